"""Real runs with a warm-up: whatever is counted or timed leaves it out, exec by exec."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from workermanager import Instrumentation, InvalidConfig, Rate, Retry, Step, Worker

schema = MetaData()
things = Table("things", schema, Column("id", Integer, primary_key=True))
OUTCOMES = ("ok", "failed", "dropped", "expired", "interrupted")
WARM, MEASURED = range(4), range(4, 12)  # of `three_ticks`


def three_ticks(step, **settings):
    """4 execs at 0, 4 at 40 ms and 4 at 80 ms; those of the first tick are the warm-up."""
    settings = {"spread": "burst", "warmup": "40ms", "seed": 7, **settings}
    return Worker(step, execs_per_tick=[4, 4, 4], tick_duration="40ms", **settings)


def url_in(folder):
    return f"sqlite:///{folder}/warm.db"


def ids_in(folder):
    with closing(sqlite3.connect(folder / "warm.db")) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM things ORDER BY id")]


def adds_up(counts):
    return counts["due"] == sum(counts[name] for name in OUTCOMES)


def timed(report):
    return [durations.count for durations in (report.response, report.lag, report.service)]


# Figures


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("spread", ["even", "burst", "poisson"])
def test_every_figure_leaves_out_just_the_execs_that_are_due_in_the_warm_up(calls, threads, spread):
    worker = three_ticks(calls, spread=spread, threads=threads)
    arrivals = worker.plan().arrivals
    warm = [n for n in range(12) if arrivals.due_ns(n) < 40_000_000]
    report = worker.run()
    assert calls.sorted == list(range(12))
    assert report.warmup == {
        **dict.fromkeys(OUTCOMES, 0),
        "due": len(warm),
        "ok": len(warm),
    }
    left = 12 - len(warm)
    assert (report.counts["due"], report.counts["ok"]) == (left, left)
    assert timed(report) == [left] * 3
    assert report.steps["Calls"].ok == report.steps["Calls"].service.count == left
    assert report.run.warmup_s == 0.04
    assert report.outcome == "passed"
    assert "(and" in report.accounting


def test_a_rate_has_its_warm_up_by_the_clock(calls):
    report = Worker(calls, shape=Rate("100/s", "150ms"), warmup="55ms").run()
    assert (report.warmup["due"], report.counts["due"]) == (6, 9)
    assert report.rate == pytest.approx(9 / (report.run.duration_s - 0.055))


def test_without_a_warm_up_there_are_no_counts_of_one(calls):
    report = three_ticks(calls, warmup=0).run()
    assert (report.warmup, report.run.warmup_s) == (None, 0)
    assert report.counts["ok"] == 12


def test_failures_and_errors_of_the_warm_up_are_in_its_counts_alone():
    def fails(ctx, params):
        if ctx.n in (1, 2, 9):
            raise OSError(f"exec {ctx.n}")

    report = three_ticks(fails, thresholds=["failed<=1", "failed<20%", "ok==7"]).run()
    assert (report.warmup["ok"], report.warmup["failed"]) == (2, 2)
    assert (report.counts["ok"], report.counts["failed"]) == (7, 1)
    assert [(one.count, one.example) for one in report.errors] == [(1, "exec 9")]
    assert (report.steps["fails"].ok, report.steps["fails"].failed) == (7, 1)
    assert [one.value for one in report.thresholds] == [1, 12.5, 7]
    assert report.exit_code == 0


def test_a_run_that_failed_in_its_warm_up_alone_has_passed():
    def fails(ctx, params):
        if ctx.n in WARM:
            raise OSError

    report = three_ticks(fails).run()
    assert (report.outcome, report.errors, report.warmup["failed"]) == ("passed", [], 4)


def test_retries_and_steps_that_join_a_chain_are_left_out_as_well():
    def grown(ctx, params):
        pass

    def tries(ctx, params):
        if ctx.attempt == 1:
            raise OSError
        return grown

    step = Step(tries, retry=Retry(attempts=2, base=0))
    report = three_ticks(step, threads=2).run()
    assert (report.steps["tries"].ok, report.steps["tries"].retried) == (8, 8)
    assert report.steps["grown"].ok == 8


def test_results_are_given_of_every_exec():
    results = []
    three_ticks(lambda ctx, params: None, on_result=results.append).run()
    assert sorted(result.n for result in results) == list(range(12))


# Drops, expiries, stops


@pytest.mark.parametrize(
    ("overrun", "outcome"), [("drop", "dropped"), ("late:1ms", "expired"), ("queue", None)]
)
def test_what_finds_no_thread_in_the_warm_up_is_lost_in_its_counts(calls, overrun, outcome):
    def step(ctx, params):
        calls(ctx, params)
        ctx.sleep(0.01)

    report = three_ticks(step, overrun=overrun, threads=1).run()
    ran = {"warm": sum(n in WARM for n in calls.seen), "measured": sum(n >= 4 for n in calls.seen)}
    assert report.warmup["ok"] == ran["warm"]
    assert report.counts["ok"] == ran["measured"]
    assert timed(report) == [ran["measured"]] * 3
    for counts, due in ((report.warmup, 4), (report.counts, 8)):
        assert adds_up(counts)
        assert counts["due"] == due
        assert outcome is None or counts[outcome] == due - counts["ok"]
    if outcome is not None:
        assert report.warmup[outcome] >= 3  # one thread slept while the others fell due


def test_a_stop_in_the_warm_up_leaves_nothing_measured(calls):
    run = Worker(calls, execs_per_tick=5, tick_duration="10ms", warmup="1h").start()
    while run.figures().warmup["ok"] < 5:
        assert not run.wait(0.001)
    assert run.is_warming_up
    assert run.figures().counts["due"] == 0
    run.stop()
    report = run.finish()
    assert (report.outcome, report.run.ended_by, report.exit_code) == ("interrupted", "stop", 105)
    assert not any(report.counts.values())
    assert adds_up(report.warmup)
    assert report.warmup["ok"] == len(calls.seen)
    assert timed(report) == [0, 0, 0]
    assert report.rate == 0
    assert report.run.warmup_s == report.run.duration_s
    assert sum(window.ok for window in report.series if window.is_warmup) == len(calls.seen)


def test_thresholds_of_a_run_that_was_stopped_in_its_warm_up_were_not_measured(calls):
    worker = Worker(
        *(calls,),
        execs_per_tick=5,
        tick_duration="10ms",
        warmup="1h",
        thresholds=["p99<1s", "rate>=1/s", "failed<1%", "p99<1s over 1s"],
    )
    run = worker.start()
    while run.figures().warmup["ok"] < 1:
        assert not run.wait(0.001)
    run.stop()
    report = run.finish()
    assert [(one.value, one.passed) for one in report.thresholds] == [(None, False)] * 4
    assert report.exit_code == 105


def test_what_a_stop_interrupts_in_the_warm_up_is_in_its_counts():
    def step(ctx, params):
        ctx.sleep(3_600)

    run = Worker(step, execs_per_tick=5, tick_duration="10ms", warmup="1h", threads=2).start()
    while run.figures().warmup["running"] < 2:
        assert not run.wait(0.001)
    run.stop(now=True)
    report = run.finish()
    assert report.warmup["interrupted"] == report.warmup["due"] >= 2
    assert report.counts["interrupted"] == 0


def test_what_a_thread_had_in_hand_at_a_stop_in_the_warm_up_is_in_its_counts():
    runs = []

    def step(ctx, params):
        while not runs:
            ctx.sleep(0.001)
        if ctx.n == 200:
            runs[0].stop()

    worker = Worker(
        *(step,),
        execs_per_tick=[400, 1],
        tick_duration="1h",
        spread="burst",
        warmup="1h",
        threads=1,
    )
    runs.append(worker.start())
    report = runs[0].finish()
    assert report.warmup == {
        **dict.fromkeys(OUTCOMES, 0),
        "due": 400,
        "ok": 201,
        "interrupted": 199,
    }
    assert not any(report.counts.values())


def test_a_warm_up_that_is_all_of_a_run_is_refused(calls):
    with pytest.raises(InvalidConfig, match="warmup: 120ms is all of the run: every exec is due"):
        three_ticks(calls, warmup="120ms")
    with pytest.raises(InvalidConfig, match="is all of the run"):
        three_ticks(calls, warmup="81ms")  # the last burst is at 80 ms
    assert three_ticks(calls, warmup="80ms").plan().warm_end == 8
    with pytest.raises(InvalidConfig, match="is all of the run"):
        Worker(calls, execs_per_tick=[5], tick_duration=0, warmup="1ms")
    with pytest.raises(InvalidConfig, match="warmup: 'soon' is not a duration"):
        three_ticks(calls, warmup="soon")


# Windows


def test_windows_of_the_warm_up_stand_apart_and_the_others_add_up_to_the_figures(calls):
    report = three_ticks(calls, warmup="80ms").run()
    warm = [window for window in report.series if window.is_warmup]
    measured = [window for window in report.series if not window.is_warmup]
    assert report.series == [*warm, *measured]
    assert sum(window.due for window in warm) == 8
    for name in ("due", *OUTCOMES):
        assert sum(getattr(window, name) for window in measured) == report.counts[name]
    assert sum(window.response.count for window in measured) == report.response.count == 4


# Databases


def inserts(ctx, params):
    ctx.insert(things, {"id": ctx.n})


@pytest.mark.parametrize("threads", [1, 4])
def test_rows_of_the_warm_up_are_written_but_its_times_are_not_told(tmp_path, threads):
    url = url_in(tmp_path)
    report = three_ticks(inserts, database=url, schema=schema, threads=threads).run()
    assert ids_in(tmp_path) == list(range(12))
    assert report.rows == {"things": 12}
    assert (report.warmup["ok"], report.counts["ok"]) == (4, 8)
    assert timed(report) == [8, 8, 8]


def test_a_row_that_is_refused_in_the_warm_up_fails_there(tmp_path):
    def inserts_some_twice(ctx, params):
        ctx.insert(things, {"id": None if ctx.n in (0, 5, 6) else ctx.n, "nosuch": 1})

    report = three_ticks(inserts_some_twice, database=url_in(tmp_path), schema=schema).run()
    assert (report.warmup["failed"], report.counts["failed"]) == (4, 8)
    assert sum(kind.count for kind in report.errors) == 8


def test_transactions_of_the_warm_up_are_in_no_figure_of_steps(tmp_path):
    def transacts(ctx, params):
        ctx.transact(lambda connection: connection.execute(things.insert(), {"id": ctx.n}))
        if ctx.n in (1, 2, 7):
            ctx.transact(lambda connection: 1 / 0)

    report = three_ticks(transacts, database=url_in(tmp_path), schema=schema, threads=2).run()
    assert ids_in(tmp_path) == list(range(12))
    times = report.steps["transacts.transact"]
    assert (times.ok, times.failed, times.service.count) == (8, 1, 9)
    assert (report.warmup["failed"], report.counts["failed"]) == (2, 1)


def test_a_resumed_run_has_no_warm_up(tmp_path):
    fails = {0, 5, 6}

    def inserts_or_not(ctx, params):
        if ctx.n in fails:
            raise OSError
        ctx.insert(things, {"id": ctx.n})

    worker = three_ticks(inserts_or_not, database=url_in(tmp_path), schema=schema, run_id="warm")
    first = worker.run()
    assert (first.warmup["failed"], first.counts["failed"]) == (1, 2)
    fails.clear()
    report = worker.run(resume="warm")
    assert (report.warmup, report.run.warmup_s) == (None, 0)
    assert report.counts["due"] == report.counts["ok"] == report.response.count == 3
    assert report.counts["skipped"] == 9
    assert ids_in(tmp_path) == list(range(12))
    assert not any(window.is_warmup for window in report.series)


def test_another_warm_up_does_not_keep_a_run_from_being_resumed(tmp_path):
    worker = three_ticks(inserts, database=url_in(tmp_path), schema=schema, run_id="warm")
    worker.run()
    assert replace(worker, warmup=0).run(resume="warm").counts["skipped"] == 12


# Nested runs


def test_a_nested_run_has_a_warm_up_of_its_own(tmp_path):
    reports = []

    def inner(ctx, params):
        ctx.insert(things, {"id": params["base"] + ctx.n})

    def outer(ctx, params):
        instrumentation = Instrumentation(
            func_dispatcher=inner, task_arguments={"base": 100 * ctx.n}
        )
        reports.append(three_ticks(instrumentation).run())

    worker = Worker(
        outer, execs_per_tick=[2], tick_duration=0, database=url_in(tmp_path), schema=schema
    )
    report = worker.run()
    assert (report.outcome, report.warmup, report.counts["ok"]) == ("passed", None, 2)
    assert report.rows == {"things": 24}
    for nested in reports:
        assert (nested.warmup["ok"], nested.counts["ok"]) == (4, 8)
        assert timed(nested) == [8, 8, 8]
    assert len(ids_in(tmp_path)) == 24


def test_a_run_nested_in_a_warm_up_counts_for_itself(calls):
    reports = []

    def outer(ctx, params):
        reports.append(Worker(calls, execs_per_tick=[3], tick_duration=0).run())

    report = three_ticks(outer).run()
    assert (report.warmup["ok"], report.counts["ok"]) == (4, 8)
    assert [(nested.counts["ok"], nested.warmup) for nested in reports] == [(3, None)] * 12


def test_the_callback_has_no_warm_up(calls):
    def afterwards(ctx, params):
        calls(ctx, params)
        assert params["report"].warmup["ok"] == 4

    report = three_ticks(lambda ctx, params: None, callback=afterwards).run()
    assert report.outcome == "passed"
    assert len(calls.seen) == 1
    assert report.steps["afterwards"].ok == 1
