"""Async steps: awaited on one event loop beside the threads, cancelled for real, accounted for."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select

from workermanager import (
    Cancelled,
    Context,
    Limit,
    Retry,
    Run,
    Step,
    StepError,
    TimedOut,
    Worker,
    each,
    finally_,
    group,
    on_error,
)


def all_now(chain, execs=1, **settings):
    return Worker(chain, execs_per_tick=[execs], tick_duration=0, **settings)


class Gathering:
    """An async step that goes on when so many execs are in it at the same time."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.inside = self.most = 0
        self.full = None

    async def __call__(self, ctx, params):
        self.full = self.full or asyncio.Event()
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside >= self.wanted:
            self.full.set()
        await self.full.wait()
        self.inside -= 1


class Endless:
    """An async step that never ends by itself, and notes how it was ended."""

    def __init__(self):
        self.began = threading.Event()
        self.ended = []

    async def __call__(self, ctx, params):
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.ended.append(ctx.n)
            raise


async def quick(ctx, params):
    await asyncio.sleep(0)
    return {"quick": True}


def test_thousands_are_in_flight_at_once():
    gathering = Gathering(3_000)
    report = all_now(gathering, 3_000, threads=2).run()
    assert report.counts["ok"] == 3_000
    assert gathering.most == 3_000


def test_no_more_are_in_flight_than_there_may_be():
    gathering = Gathering(5)
    report = all_now(gathering, 50, in_flight=5).run()
    assert report.counts["ok"] == 50
    assert gathering.most == 5


def test_plain_steps_of_a_mixed_chain_run_on_threads_and_async_ones_on_one_loop():
    loops, threads = set(), set()

    async def on_loop(ctx, params):
        await asyncio.sleep(0)
        loops.add((asyncio.get_running_loop(), threading.current_thread()))
        return {"seen": [*params["seen"], "async"]}

    def on_thread(ctx, params):
        threads.add(threading.current_thread())
        return {"seen": [*params.get("seen", ()), "plain"]}

    results = []
    chain = [on_thread, on_loop, on_thread, on_loop]
    report = all_now(chain, 40, threads=3, on_result=results.append).run()
    assert report.counts["ok"] == 40
    assert len(loops) == 1
    assert 1 <= len(threads) <= 3
    assert {loop_thread for _, loop_thread in loops}.isdisjoint(threads)
    assert all(one.params["seen"] == ["plain", "async"] * 2 for one in results)
    assert [step.ok for step in report.steps.values()] == [40] * 4


def test_what_has_no_room_is_dropped_at_once():
    run = all_now(Endless(), 10, in_flight=2, overrun="drop").start()
    while run.figures().counts["dropped"] < 8:
        run.wait(0.001)
    run.stop(now=True)
    counts = run.finish().counts
    assert (counts["dropped"], counts["interrupted"]) == (8, 2)


def test_a_stop_lets_those_in_flight_end_and_begins_no_more():
    entered, leave = threading.Event(), threading.Event()

    async def held(ctx, params):
        entered.set()
        await asyncio.to_thread(leave.wait, 30)

    run = Worker(held, execs_per_tick=[1, 1], tick_duration="1h").start()
    assert entered.wait(30)
    run.stop()
    leave.set()
    counts = run.finish().counts
    assert (counts["due"], counts["ok"], counts["interrupted"]) == (1, 1, 0)


def test_stop_now_cancels_what_awaits():
    endless = Endless()
    run = all_now(endless, 20).start()
    assert endless.began.wait(30)
    run.stop(now=True)
    assert run.finish().counts["interrupted"] == 20
    assert set(endless.ended) <= set(range(20))
    assert endless.ended


def test_a_step_that_takes_too_long_is_cancelled_for_real_and_can_be_recovered():
    endless, seen = Endless(), []

    def recover(ctx, params):
        seen.append(ctx.error)

    report = all_now(on_error(Step(endless, "endless", timeout=0.02), recover), 3).run()
    assert report.counts["ok"] == 3
    assert sorted(endless.ended) == [0, 1, 2]
    assert {type(error.cause) for error in seen} == {TimedOut}
    assert not any(error.cause.still_running for error in seen)
    assert (report.steps["endless"].failed, report.steps["endless"].ok) == (3, 0)


def test_a_cancelled_attempt_is_tried_again_because_nothing_of_it_runs_any_more():
    attempts = []

    async def second_time_lucky(ctx, params):
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.get_running_loop().create_future()

    step = Step(second_time_lucky, retry=Retry(base=0), timeout=0.02)
    assert all_now(step).run().counts["ok"] == 1
    assert attempts == [1, 2]


def test_the_deadline_of_the_exec_cancels_its_step_and_its_finals_run():
    endless, results = Endless(), []
    chain = [Step(endless, "endless"), finally_(quick)]
    report = all_now(chain, exec_timeout="20ms", on_result=results.append).run()
    assert report.counts["failed"] == 1
    assert endless.ended == [0]
    assert report.steps["quick"].ok == 1
    error = results[0].error
    assert isinstance(error, StepError)
    assert str(error.cause) == "exec 0 of endless took longer than 20ms"


def test_members_of_a_group_run_beside_each_other_and_join_in_order():
    first = asyncio.Event()

    async def waits_for_the_other(ctx, params):
        await first.wait()
        return {"who": "a"}

    async def lets_it_go(ctx, params):
        first.set()
        return {"who": "b"}

    def plain(ctx, params):
        return {"who": "c"}

    results = []
    chain = group(waits_for_the_other, lets_it_go, plain, into="all")
    assert all_now(chain, on_result=results.append).run().counts["ok"] == 1
    params = results[0].params
    assert params["all"] == [{"who": "a"}, {"who": "b"}, {"who": "c"}]
    assert params["who"] == "c"


def test_the_first_failure_cancels_the_siblings_and_is_the_one_raised():
    endless, results = Endless(), []

    async def fails(ctx, params):
        while not endless.began.is_set():  # noqa: ASYNC110 - it is a thread's, for other tests
            await asyncio.sleep(0)
        raise ValueError("no")

    report = all_now(group(Step(endless, "endless"), fails), on_result=results.append).run()
    assert report.counts["failed"] == 1
    assert endless.ended == [0]
    assert isinstance(results[0].error.cause, ValueError)


def test_each_has_as_many_members_at_once_as_it_may():
    gathering, results = Gathering(4), []
    chain = each(Step(gathering, "gathering"), over=lambda _: range(40), most=4)
    assert all_now(chain, on_result=results.append).run().counts["ok"] == 1
    assert gathering.most == 4


def test_a_limit_is_kept_by_async_and_plain_steps_together():
    inside, most, lock = 0, 0, threading.Lock()

    def count(change):
        nonlocal inside, most
        with lock:
            inside += change
            most = max(most, inside)

    async def one(ctx, params):
        count(1)
        await asyncio.sleep(0.001)
        count(-1)

    def other(ctx, params):
        count(1)
        ctx.run.sleep(0.001)
        count(-1)

    limit = Limit("async and plain", 3)
    chain = [Step(one, limit=limit), Step(other, limit=limit)]
    report = all_now(chain, 60, threads=8).run()
    assert report.counts["ok"] == 60
    assert most == 3
    assert report.steps["one.limit"].ok == 60


def test_what_a_step_raises_to_leave_ends_the_run_as_on_threads():
    async def leaves(ctx, params):
        raise SystemExit(3)

    with pytest.raises(SystemExit) as raised:
        all_now(leaves).run()
    assert raised.value.code == 3


def test_a_step_that_comes_to_a_plain_chain_later_is_awaited_by_its_thread():
    report = all_now(lambda _ctx, _params: quick, 30, threads=4).run()
    assert report.counts["ok"] == 30
    assert report.steps["quick"].ok == 30


@pytest.mark.parametrize(
    ("does", "instead"),
    [
        (lambda ctx: ctx.sleep(1), "use await asyncio.sleep"),
        (lambda ctx: ctx.transact(lambda _: None), "use it in a plain step"),
        (lambda _ctx: Worker(quick).run(), r"use await run_async\(\)"),
    ],
)
def test_what_would_stop_the_loop_is_refused_and_told_how_to_do_it(does, instead, tmp_path):
    async def blocks(ctx, params):
        does(ctx)

    results = []
    database = f"sqlite:///{tmp_path / 'seed.db'}"
    report = all_now(blocks, database=database, on_result=results.append).run()
    assert report.counts["failed"] == 1
    with pytest.raises(StepError, match=instead):
        raise results[0].error


def test_rows_of_async_steps_are_durable_when_their_exec_is_ok(tmp_path):
    schema = MetaData()
    names = Table("names", schema, Column("id", Integer, primary_key=True))

    async def inserts(ctx, params):
        ctx.insert(names, {"id": ctx.n})
        await asyncio.sleep(0)
        if ctx.n % 3 == 0:
            raise ValueError("every third")

    url = f"sqlite:///{tmp_path / 'seed.db'}"
    report = all_now(inserts, 30, database=url, schema=schema).run()
    assert report.rows == {"names": 20}
    engine = create_engine(url)
    with engine.connect() as connection:
        ids = connection.execute(select(names.c.id).order_by(names.c.id)).scalars().all()
    engine.dispose()
    assert ids == [n for n in range(30) if n % 3]


def test_the_same_seed_gives_the_same_draws_however_many_are_in_flight():
    def draws(in_flight):
        drawn = {}

        async def draw(ctx, params):
            await asyncio.sleep(0)
            drawn[ctx.n] = (ctx.random.random(), ctx.uuid(), ctx.unique("a@b.c"))

        all_now([quick, draw], 50, seed=5, in_flight=in_flight).run()
        return drawn

    assert draws(1) == draws(50)


def test_the_warm_up_is_recorded_apart():
    report = Worker(quick, execs_per_tick=10, ticks=4, tick_duration="10ms", warmup="20ms").run()
    assert report.warmup["ok"] == 20
    assert report.counts["ok"] == 20
    assert report.steps["quick"].ok == 20


# From a coroutine


def test_run_async_runs_its_steps_on_the_loop_of_the_caller_which_goes_on():
    async def main():
        loop, turns, done = asyncio.get_running_loop(), 0, asyncio.Event()
        seen = set()

        async def step(ctx, params):
            seen.add(asyncio.get_running_loop())
            await done.wait()

        async def beside():
            nonlocal turns
            for _ in range(20):
                await asyncio.sleep(0)
                turns += 1
            done.set()

        report, _ = await asyncio.gather(all_now(step, 5).run_async(), beside())
        return report.counts["ok"], turns, seen == {loop}

    assert asyncio.run(main()) == (5, 20, True)


def test_run_async_runs_plain_chains_without_stopping_the_loop():
    async def main():
        gate = threading.Event()

        def step(ctx, params):
            assert gate.wait(30)

        async def opens():
            gate.set()

        report, _ = await asyncio.gather(all_now(step, 5).run_async(), opens())
        return report.counts["ok"]

    assert asyncio.run(main()) == 5


def test_a_cancelled_run_async_stops_its_run_and_closes_its_accounts():
    results = []
    endless = Endless()

    async def main():
        worker = all_now(endless, 10, on_result=results.append)
        running = asyncio.create_task(worker.run_async())
        while not endless.began.is_set():  # noqa: ASYNC110 - it is a thread's, for other tests
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(main()) == []
    assert results == []


def test_a_run_async_that_is_cancelled_while_it_starts_leaves_nothing_behind(monkeypatch):
    starting, go_on, start = threading.Event(), threading.Event(), Run.start
    endless = Endless()

    def start_late(run):
        starting.set()
        assert go_on.wait(30)
        return start(run)

    async def main():
        running = asyncio.create_task(all_now(endless, 10).run_async())
        while not starting.is_set():  # noqa: ASYNC110 - it is a thread's
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    monkeypatch.setattr(Run, "start", start_late)
    assert asyncio.run(main()) == []


def test_run_async_takes_no_thread_from_its_steps():
    async def step(ctx, params):
        return {"added": await asyncio.to_thread(sum, [3, 4])}

    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with asyncio.timeout(30):
            return await asyncio.gather(*(all_now(step, 2).run_async() for _ in range(3)))

    assert [report.counts["ok"] for report in asyncio.run(main())] == [2, 2, 2]


def test_run_async_raises_what_a_step_leaves_with():
    async def leaves(ctx, params):
        raise KeyboardInterrupt

    async def main():
        with pytest.raises(KeyboardInterrupt):
            await all_now(leaves).run_async()

    asyncio.run(main())


def test_a_run_started_by_an_async_step_is_nested_in_it():
    counted = Counter()

    async def inner(ctx, params):
        counted[ctx.run.is_nested] += 1

    async def outer(ctx, params):
        report = await all_now(inner, 3).run_async()
        assert report.counts["ok"] == 3

    assert all_now(outer, 4).run().counts["ok"] == 4
    assert counted == {True: 12}


def test_a_nested_run_ends_with_the_deadline_of_its_step():
    endless = Endless()

    async def outer(ctx, params):
        await all_now(endless).run_async()

    results = []
    report = all_now(Step(outer, timeout=0.05), on_result=results.append).run()
    assert report.counts["failed"] == 1
    assert isinstance(results[0].error.cause, TimedOut)
    assert endless.ended == [0]


def test_a_source_context_ends_the_run_with_its_cause():
    endless, context = Endless(), Context(name="the request")
    run = all_now(endless, 3, source_context=context).start()
    assert endless.began.wait(30)
    context.cancel("the client has gone")
    report = run.finish()
    assert report.counts["interrupted"] == 3
    assert report.outcome == "interrupted"
    with pytest.raises(Cancelled, match="the client has gone"):
        context.check()


def test_a_step_whose_own_task_somebody_else_cancels_fails_as_any_other():
    async def awaits(ctx, params):
        other = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    results = []
    report = all_now(on_error(awaits, lambda _ctx, _params: None), on_result=results.append).run()
    assert report.counts["ok"] == 1
    assert (report.steps["awaits"].ok, report.steps["awaits"].failed) == (0, 1)
    report = all_now(awaits, on_result=results.append).run()
    assert report.counts["failed"] == 1
    assert "cancelled, and not by its run" in str(results[-1].error)
