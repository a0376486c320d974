"""Rehearsals of plain steps: exact figures, rows, limits, deadlines, and how a run ends."""

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_slots import started_in_theory

from instrumentation.errors import InvalidConfig, StepError, TimedOut
from workermanager import Context, Limit, Outcome, Retry, Step, Worker, each, group, think
from workermanager.cancelling import Flag
from workermanager.handoff import Bell
from workermanager.testing import Rehearsal


class Table:
    def __init__(self, name):
        self.name = name


companies, users = Table("companies"), Table("users")


def nothing(ctx, params):
    pass


def sleep_a_second(ctx, params):
    ctx.sleep(1)


def starts(rehearsal):
    return [one.started_ns / 1e9 for one in rehearsal.results]


def ends(rehearsal):
    return [one.ended_ns / 1e9 for one in rehearsal.results]


# Time


def test_three_ticks_of_a_second_take_until_their_last_exec():
    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(nothing, execs_per_tick=5, ticks=3))
    assert report.outcome == "passed"
    assert starts(rehearsal) == [n / 5 for n in range(15)]
    assert rehearsal.clock.seconds == report.run.duration_s == 2.8


def test_hours_of_sleeping_are_no_wait_at_all(monkeypatch):
    def wait(*args, **kwargs):
        raise AssertionError("a real wait")

    for kind in (threading.Event, threading.Condition, Flag, Bell):
        monkeypatch.setattr(kind, "wait", wait)
    monkeypatch.setattr(time, "sleep", wait)
    retried = Step(fail_twice, retry=Retry(when=lambda error: 1_800.0))
    limited = Step(nothing, limit=Limit("an hour each", "1/h"))
    chain = [sleep_an_hour, group(sleep_an_hour, think(3_600)), retried, limited]
    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(chain, execs_per_tick=2, ticks=1, tick_duration=0))
    assert report.counts["ok"] == 2
    assert ends(rehearsal) == [3 * 3_600, 4 * 3_600]


def sleep_an_hour(ctx, params):
    ctx.sleep(3_600)


def fail_twice(ctx, params):
    if ctx.attempt < 3:
        raise ValueError


def test_figures_are_exact():
    def work(ctx, params):
        rehearsal.clock.advance("300ms")

    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(work, execs_per_tick=4, ticks=1, spread="burst", threads=1))
    assert [one.lag_ns for one in rehearsal.results] == [0, 300_000_000, 600_000_000, 900_000_000]
    assert {one.service_ns for one in rehearsal.results} == {300_000_000}
    assert [one.response_ns // 1_000_000 for one in rehearsal.results] == [300, 600, 900, 1_200]
    within_one_percent = pytest.approx([900, 300, 1_200], rel=0.01)  # reports have histograms
    step = report.steps["work"]
    found = [report.lag.max_ms, step.service.max_ms, report.response.max_ms]
    assert found == within_one_percent


def test_the_clock_goes_on_from_run_to_run():
    rehearsal = Rehearsal()
    for _ in range(2):
        rehearsal.run(Worker(sleep_a_second))
    assert rehearsal.clock.seconds == 2
    assert starts(rehearsal) == [0]


services = st.lists(st.integers(0, 3_000), min_size=12, max_size=12)


@given(services, st.integers(1, 4), st.sampled_from(["queue", "drop", "late:700ms", "late:0s"]))
def test_execs_start_when_theory_says(services, threads, overrun):
    def work(ctx, params):
        rehearsal.clock.advance(services[ctx.n] / 1_000)

    rehearsal = Rehearsal()
    plan = {"execs_per_tick": [4, 0, 8], "threads": threads, "overrun": overrun}
    report = rehearsal.run(Worker(work, **plan))
    moments = [tick * 1_000 + n * 1_000 // of for tick, of in [(0, 4), (2, 8)] for n in range(of)]
    most_late = {"queue": float("inf"), "late:700ms": 700}.get(overrun, 0)
    wanted = started_in_theory(moments, threads, services.__getitem__, most_late)
    assert {one.n: one.started_ns // 1_000_000 for one in rehearsal.results} == wanted
    assert report.counts["ok"] == len(wanted)
    lost = report.counts["dropped" if overrun == "drop" else "expired"]
    assert lost == 12 - len(wanted)


def test_a_place_that_falls_free_is_there_for_what_falls_due_at_that_moment():
    def work(ctx, params):
        ctx.sleep(0.5)

    shared = {"threads": 1, "overrun": "drop"}
    report = Rehearsal().run(Worker(work, execs_per_tick=2, ticks=5, **shared))
    assert report.counts["dropped"] == 0
    report = Rehearsal().run(Worker(work, execs_per_tick=4, ticks=5, **shared))
    assert report.counts["dropped"] == 10


def test_members_of_a_group_run_at_the_same_time():
    parts = [think(3), think(1), think(1), think(1)]
    assert Rehearsal().run_once(group(*parts)).service_ns == 3_000_000_000
    assert Rehearsal().run_once(group(*parts, most=1)).service_ns == 6_000_000_000
    assert Rehearsal().run_once(group(*parts[::-1], most=2)).service_ns == 4_000_000_000


def test_items_are_taken_as_there_is_room():
    begun = []

    def note(ctx, params):
        begun.append((params["item"], rehearsal.clock.seconds))
        ctx.sleep(params["item"])

    rehearsal = Rehearsal()
    rehearsal.run_once(each(note, over="items", most=2), items=[3, 1, 1, 2])
    assert begun == [(3, 0), (1, 0), (1, 1), (2, 2)]
    assert rehearsal.clock.seconds == 4


def test_ten_thousand_items_are_no_deeper_than_one():
    result = Rehearsal().run_once(each(nothing, over="items", into="all"), items=range(10_000))
    assert len(result.params["all"]) == 10_000


def test_a_step_may_run_an_event_loop_of_its_own():
    def work(ctx, params):
        return {"made": asyncio.run(asyncio.sleep(0, "by a coroutine"))}

    assert Rehearsal().run_once(work).params["made"] == "by a coroutine"


def test_a_rehearsal_repeats():
    def draw(ctx, params):
        ctx.sleep(ctx.random.random())
        return {"drawn": [ctx.faker.name(), ctx.uuid(), ctx.now, ctx.key]}

    def told():
        rehearsal = Rehearsal()
        rehearsal.run(Worker([draw, group(draw, draw)], execs_per_tick=7, ticks=2, threads=3))
        return rehearsal.results

    assert told() == told()


# Rows and results


def add_company(ctx, params):
    ctx.insert(companies, {"n": ctx.n})
    ctx.sleep(5 - ctx.n)
    ctx.insert(users, {"of": ctx.n})
    if ctx.n == 1:
        raise ValueError("no company")


def test_rows_are_those_of_execs_that_were_ok_in_their_order():
    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(add_company, execs_per_tick=4, ticks=1))
    assert rehearsal.rows == {
        "companies": [{"n": 0}, {"n": 2}, {"n": 3}],
        "users": [{"of": 0}, {"of": 2}, {"of": 3}],
    }
    assert rehearsal.durable == [0, 2, 3]
    assert report.rows == {"companies": 3, "users": 3}
    assert [one.n for one in rehearsal.results] == [0, 1, 2, 3]
    assert isinstance(rehearsal.results[1].error, StepError)


def test_a_run_keeps_nothing_of_the_one_before():
    rehearsal = Rehearsal()
    rehearsal.run(Worker(add_company))
    rehearsal.run(Worker(nothing))
    assert (rehearsal.rows, rehearsal.durable) == ({}, [0])


def test_one_exec_with_params():
    result = Rehearsal().run_once(lambda ctx, params: {"sum": sum(params["items"])}, items=[1, 2])
    assert (result.outcome, result.params["sum"]) == (Outcome.OK, 3)


def test_what_failed_is_in_the_result():
    def fail(ctx, params):
        raise ValueError(params["text"])

    result = Rehearsal().run_once(fail, text="because")
    assert result.outcome is Outcome.FAILED
    assert str(result.error) == "step fail/1/fail failed: ValueError: because"


def test_a_transaction_is_refused_because_nothing_could_answer():
    result = Rehearsal().run_once(lambda ctx, params: ctx.transact(lambda connection: None))
    assert isinstance(result.error.cause, InvalidConfig)
    assert "a rehearsal has no database" in str(result.error)


def test_whoever_hears_of_results_hears_of_them():
    heard = []
    Rehearsal().run(Worker(nothing, execs_per_tick=3, ticks=1, on_result=heard.append))
    assert [one.n for one in heard] == [0, 1, 2]


def test_the_callback_has_the_report_and_its_rows_come_last():
    def tell(ctx, params):
        ctx.insert(companies, {"ok": params["report"].counts["ok"]})

    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(add_company, callback=tell))
    assert rehearsal.rows["companies"] == [{"n": 0}, {"ok": 1}]
    assert report.rows == {"companies": 2, "users": 1}
    assert set(report.steps) == {"add_company", "tell"}


def test_a_run_that_was_stopped_is_not_called_back():
    called = []
    shared = {"execs_per_tick": 1, "callback": lambda ctx, params: called.append(ctx.n)}
    Rehearsal().run(Worker(fail, ticks=9, abort_on=["failed<1%"], **shared))
    assert called == []
    Rehearsal().run(Worker(fail, ticks=9, **shared))
    assert called == [0]


# Limits


def test_a_rate_gives_each_step_its_slot():
    rehearsal = Rehearsal()
    limited = Step(nothing, limit=Limit("slow", "1/min", burst=2))
    rehearsal.run(Worker(limited, execs_per_tick=4, ticks=1, tick_duration=0))
    assert ends(rehearsal) == [0, 0, 60, 120]


def test_places_are_given_in_the_order_of_those_who_come():
    rehearsal = Rehearsal()
    heavy = Limit("places", 2)
    chain = [
        lambda ctx, params: ctx.sleep(10 * (ctx.n == 0)),
        Step(lambda ctx, params: ctx.sleep(4), limit=heavy),
    ]
    rehearsal.run(Worker(chain, execs_per_tick=4, ticks=1))
    assert ends(rehearsal) == [14, 4.25, 4.5, 8.25]


def test_who_waits_for_a_place_leaves_at_its_deadline():
    rehearsal = Rehearsal()
    limited = Step(lambda ctx, params: ctx.sleep(4), limit=Limit("one", 1))
    plan = {"execs_per_tick": 3, "ticks": 1, "tick_duration": 0, "exec_timeout": 5}
    rehearsal.run(Worker(limited, **plan))
    assert ends(rehearsal) == [4, 5, 5]
    assert [one.outcome for one in rehearsal.results] == ["ok", "failed", "failed"]


def test_a_place_that_is_never_given_back_is_told_of():
    limit = Limit("kept", 1)

    def keep(ctx, params):
        limit.enter(ctx.scope)

    with pytest.raises(RuntimeError, match=r"wait for ever.*\[0\]"):
        Rehearsal().run_once([keep, Step(nothing, limit=limit)])


# Deadlines


def test_a_sleep_ends_at_the_deadline():
    rehearsal = Rehearsal()
    result = rehearsal.run_once(Step(sleep_an_hour, timeout=2))
    assert isinstance(result.error.cause, TimedOut)
    assert not result.error.cause.still_running
    assert rehearsal.clock.seconds == 2


def test_a_step_that_works_past_its_deadline_is_given_up_there_and_not_tried_again():
    begun = []
    limit = Limit("one", 1)

    def work(ctx, params):
        begun.append(rehearsal.clock.seconds)
        ctx.insert(companies, {"n": ctx.n})
        params["seen"] = True
        rehearsal.clock.advance(5)

    rehearsal = Rehearsal()
    tried = Step(work, timeout=2, retry=Retry(base=0), limit=limit)
    report = rehearsal.run(Worker(tried, execs_per_tick=2, ticks=1, tick_duration=0))
    first = rehearsal.results[0]
    assert first.error.cause.still_running
    assert "seen" not in first.params
    assert (rehearsal.rows, begun) == ({}, [0, 5])
    assert ends(rehearsal) == [2, 7]
    assert (report.steps["work"].failed, report.stuck) == (2, 1)
    assert rehearsal.clock.seconds == 7


def fail(ctx, params):
    raise ValueError("no")


def test_one_that_fails_wakes_those_who_sleep_beside_it():
    result = Rehearsal().run_once(group(sleep_an_hour, [think(1), fail], sleep_an_hour))
    assert str(result.error).endswith("ValueError: no")
    assert result.ended_ns == 1_000_000_000


def test_one_that_works_is_waited_for_though_another_failed():
    def work(ctx, params):
        rehearsal.clock.advance(10)
        ctx.sleep(1)

    rehearsal = Rehearsal()
    result = rehearsal.run_once(group(work, [think(1), fail], [think(10.5), fail]))
    assert str(result.error).endswith("ValueError: no")
    assert rehearsal.clock.seconds == 11


def test_a_pause_between_attempts_ends_at_the_deadline():
    rehearsal = Rehearsal()
    tried = Step(fail, retry=Retry(when=lambda error: 3_600.0))
    report = rehearsal.run(Worker(tried, exec_timeout=5))
    assert isinstance(rehearsal.results[0].error.cause, TimedOut)
    assert ends(rehearsal) == [5]
    assert report.steps["fail"].service.count == 1


@pytest.mark.parametrize(
    ("make", "settings", "path"),
    [
        (lambda part: group(part, part, timeout=3), {}, "sleep_an_hour/1/group"),
        (lambda part: part, {"exec_timeout": 3}, "sleep_an_hour"),
        (lambda part: part, {"tick_timeout": 3}, "sleep_an_hour"),
    ],
)
def test_a_deadline_further_out_is_its_owners(make, settings, path):
    rehearsal = Rehearsal()
    rehearsal.run(Worker(make(sleep_an_hour), **settings))
    assert rehearsal.results[0].error.path == path
    assert ends(rehearsal) == [3]


def test_a_context_ends_the_run_at_its_deadline():
    rehearsal = Rehearsal()
    source = Context(timeout="2500ms", clock=rehearsal.clock)
    report = rehearsal.run(Worker(sleep_a_second, execs_per_tick=1, source_context=source))
    counts = report.counts
    assert (counts["due"], counts["ok"], counts["interrupted"]) == (3, 2, 1)
    assert report.outcome == "interrupted"
    assert rehearsal.clock.seconds == 2.5


def test_a_run_that_is_idle_at_its_deadline_ends_there():
    rehearsal = Rehearsal()
    source = Context(timeout=15, clock=rehearsal.clock)
    plan = {"execs_per_tick": 1, "tick_duration": 10, "ticks": 3, "source_context": source}
    report = rehearsal.run(Worker(nothing, **plan))
    assert report.counts["due"] == 2
    assert rehearsal.clock.seconds == report.run.duration_s == 15


def test_what_is_left_of_a_context_on_another_clock_passes_in_virtual_time():
    rehearsal = Rehearsal()
    source = Context(timeout="1h")
    report = rehearsal.run(Worker(nothing, execs_per_tick=1, source_context=source))
    assert report.run.ended_by == "stop"
    assert rehearsal.clock.seconds == pytest.approx(3_600, abs=10)


def test_the_environment_is_read_again_when_a_tick_begins(tmp_path):
    file = tmp_path / ".env"
    file.write_text("PRICE=1")

    def read(ctx, params):
        seen.append(ctx.run.env["PRICE"])
        file.write_text("PRICE=23")

    seen = []
    Rehearsal().run(Worker(read, execs_per_tick=2, ticks=2, env_file=file))
    assert seen == ["1", "1", "23", "23"]


def test_a_context_that_is_cancelled_ends_the_run():
    source = Context()

    def cancel(ctx, params):
        if ctx.n == 2:
            source.cancel("enough")

    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(cancel, execs_per_tick=1, ticks=9, source_context=source))
    assert report.counts["due"] == 3
    assert report.run.ended_by == "stop"


# How a run goes and ends


def test_a_run_without_an_end_is_refused():
    with pytest.raises(InvalidConfig, match="a rehearsal needs an end"):
        Rehearsal().run(Worker(nothing, execs_per_tick=1))


def test_a_chain_is_no_worker():
    with pytest.raises(InvalidConfig, match="run_once takes a chain"):
        Rehearsal().run(nothing)


def test_a_threshold_ends_the_run_at_a_whole_second():
    def fail_late(ctx, params):
        assert ctx.tick < 3

    rehearsal = Rehearsal()
    aborting = {"abort_on": ["failed<1%"], "execs_per_tick": 10, "ticks": 60}
    report = rehearsal.run(Worker(fail_late, **aborting))
    assert report.run.ended_by == "threshold"
    assert rehearsal.clock.seconds == report.run.duration_s == 4
    counts = report.counts
    assert (counts["ok"], counts["failed"], counts["interrupted"]) == (30, 10, 1)


def test_the_warm_up_is_counted_apart():
    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(sleep_a_second, execs_per_tick=2, ticks=4, warmup="1s"))
    assert (report.warmup["ok"], report.counts["ok"]) == (2, 6)
    assert report.response.count == 6


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_a_step_that_leaves_the_run_is_heard(leave):
    def work(ctx, params):
        raise leave

    with pytest.raises(leave):
        Rehearsal().run(Worker(work, execs_per_tick=2, ticks=2))


def test_what_hears_of_results_may_fail_the_test():
    def hear(result):
        assert result.n == 5

    with pytest.raises(AssertionError):
        Rehearsal().run(Worker(nothing, on_result=hear))


def test_no_database_is_opened(tmp_path):
    file = tmp_path / "untouched.db"
    Rehearsal().run(Worker(add_company, database=f"sqlite:///{file}"))
    assert not file.exists()


def test_a_row_for_what_is_no_table_fails_its_exec_alone():
    def add(ctx, params):
        ctx.insert("companies" if ctx.n == 1 else Companies, {"n": ctx.n})

    class Companies:
        name = "companies"

    rehearsal = Rehearsal()
    report = rehearsal.run(Worker(add, execs_per_tick=3, ticks=1))
    assert (report.counts["ok"], report.counts["failed"]) == (2, 1)
    assert str(rehearsal.results[1].error) == (
        "ctx.insert: wanted a table, which has a name, found str"
    )
    assert rehearsal.rows == {"companies": [{"n": 0}, {"n": 2}]}
