"""Rehearsals of async steps: on an event loop in virtual time, beside each other."""

import asyncio

import pytest

from instrumentation.errors import InvalidConfig, TimedOut
from workermanager import Limit, Outcome, Step, Worker, each, group, think
from workermanager.testing import Rehearsal, looping


def sleeping(seconds):
    async def sleep(ctx, params):
        await asyncio.sleep(seconds)

    return sleep


def test_execs_with_async_steps_run_at_the_same_time_and_take_no_real_time():
    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(sleeping(3_600), execs_per_tick=100, ticks=2, threads=1))
    assert report.counts["ok"] == 200
    assert {one.service_ns for one in rehearsal.results} == {3_600_000_000_000}
    assert {one.lag_ns for one in rehearsal.results} == {0}


def test_no_more_of_them_than_may_be_in_flight():
    rehearsal = Rehearsal()
    rehearsal.run(Worker(sleeping(1), execs_per_tick=5, ticks=1, tick_duration=0, in_flight=2))
    assert [one.ended_ns / 1e9 for one in rehearsal.results] == [1, 1, 2, 2, 3]


def test_ten_years_are_awaited_though_a_float_cannot_tell_their_nanoseconds():
    rehearsal = Rehearsal()
    ten_years = 10 * 365 * 86_400
    rehearsal.run_once(group(sleeping(ten_years), think(ten_years)))
    assert rehearsal.clock.seconds == pytest.approx(ten_years, abs=1e-6)


def test_plain_and_async_members_share_one_time():
    seen = []

    def noting(seconds):
        async def note_async(ctx, params):
            await asyncio.sleep(seconds)
            seen.append((seconds, rehearsal.clock.seconds))

        return note_async

    def note(ctx, params):
        seen.append(("plain", rehearsal.clock.seconds))

    rehearsal = Rehearsal()
    rehearsal.run_once(group(noting(3), [think(2), note], noting(1)))
    assert seen == [(1, 1), ("plain", 2), (3, 3)]


def test_async_steps_may_wait_for_each_other():
    told = asyncio.Event()

    async def tell(ctx, params):
        await asyncio.sleep(2)
        told.set()

    async def hear(ctx, params):
        await told.wait()
        return {"heard_at": rehearsal.clock.seconds}

    rehearsal = Rehearsal()
    result = rehearsal.run_once(group(hear, tell))
    assert result.params["heard_at"] == 2


def test_one_that_fails_cancels_those_beside_it_at_once():
    left = []

    async def fail(ctx, params):
        await asyncio.sleep(1)
        raise ValueError("no")

    async def stay(ctx, params):
        try:
            await asyncio.sleep(100)
        finally:
            left.append(rehearsal.clock.seconds)

    rehearsal = Rehearsal()
    result = rehearsal.run_once(group(stay, fail))
    assert str(result.error).endswith("ValueError: no")
    assert left == [1]
    assert result.ended_ns == 1_000_000_000


def test_a_deadline_cancels_it():
    rehearsal = Rehearsal()
    result = rehearsal.run_once(Step(sleeping(100), timeout=2))
    assert isinstance(result.error.cause, TimedOut)
    assert rehearsal.clock.seconds == 2


def test_its_own_timeouts_are_virtual_too():
    async def give_up(ctx, params):
        try:
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        except TimeoutError:
            return {"gave_up_at": rehearsal.clock.seconds}

    rehearsal = Rehearsal()
    assert rehearsal.run_once(give_up).params["gave_up_at"] == 60


def test_a_limit_has_one_line_for_both_kinds():
    limit = Limit("both", 1)
    parts = [
        Step(sleeping(2), "first", limit=limit),
        Step(lambda ctx, params: ctx.sleep(3), "second", limit=limit),
        Step(sleeping(4), "third", limit=limit),
    ]
    rehearsal = Rehearsal()
    assert rehearsal.run_once(group(*parts)).outcome is Outcome.OK
    assert rehearsal.clock.seconds == 9


def test_what_never_comes_is_told_of(monkeypatch):
    monkeypatch.setattr(looping, "_PATIENCE_S", 0.01)

    async def wait(ctx, params):
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="wait for what never comes"):
        Rehearsal().run_once(wait)


def test_a_step_that_goes_to_a_thread_is_waited_for():
    async def work(ctx, params):
        return {"made": await asyncio.to_thread(lambda: "elsewhere")}

    assert Rehearsal().run_once(work).params["made"] == "elsewhere"


def test_what_a_step_leaves_running_is_cancelled_at_the_end():
    tasks = []

    async def leave(ctx, params):
        tasks.append(asyncio.create_task(asyncio.sleep(100)))

    Rehearsal().run_once(leave)
    assert tasks[0].cancelled()


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_one_that_leaves_the_run_is_heard(leave):
    async def work(ctx, params):
        raise leave

    with pytest.raises(leave):
        Rehearsal().run(Worker(work))


def test_items_are_awaited_as_there_is_room():
    async def sleep(ctx, params):
        await asyncio.sleep(params["item"])
        return {"ended_at": rehearsal.clock.seconds}

    rehearsal = Rehearsal()
    result = rehearsal.run_once(each(sleep, over="items", most=2, into="all"), items=[3, 1, 1, 2])
    assert [one["ended_at"] for one in result.params["all"]] == [3, 1, 2, 4]


def test_beside_a_loop_that_runs_it_goes_to_a_thread_as_it_says():
    async def nap(ctx, params):
        await asyncio.sleep(3600)

    async def main():
        with pytest.raises(
            InvalidConfig, match=r"rehearse in a plain function, or with asyncio\.to_thread"
        ):
            Rehearsal().run(Worker(nap))
        rehearsal = Rehearsal()
        report = await asyncio.to_thread(rehearsal.run, Worker(nap))
        return report.counts["ok"], rehearsal.clock.seconds

    assert asyncio.run(main()) == (1, 3600.0)
