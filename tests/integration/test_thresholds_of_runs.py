"""Real runs held to thresholds: what they come to, what ends them, and what their ledger says."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine

from workermanager import InvalidConfig, Rate, Worker

schema = MetaData()
things = Table("things", schema, Column("id", Integer, primary_key=True))


def inserts(ctx, params):
    ctx.insert(things, {"id": ctx.n})


def fails_often(ctx, params):
    if ctx.n % 4 == 0:
        raise OSError


def at_once(step, execs=8, **settings):
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


class Kept:
    """The settings of a run in a database of its own, and what that database has of it."""

    def __init__(self, path):
        self._path = path
        self.settings = {
            "database": f"sqlite:///{path}",
            "schema": schema,
            "run_id": "kept",
            "seed": 7,
        }

    def read(self, sql):
        with closing(sqlite3.connect(self._path)) as connection:
            return [value for (value,) in connection.execute(sql)]

    @property
    def state(self):
        return self.read("SELECT state FROM workermanager_runs")[0]

    @property
    def ids(self):
        return self.read("SELECT id FROM things ORDER BY id")


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "kept.db")


# What a run comes to


def test_a_run_that_keeps_to_its_thresholds_passes(calls):
    expressions = ["ok==8", "failed==0", "p99<1h", "Calls.max<1h", "rate>0/s", "dropped<1%"]
    report = at_once(calls, thresholds=expressions).run()
    assert [one.expression for one in report.thresholds] == expressions
    assert all(one.passed for one in report.thresholds)
    assert not any(one.aborted for one in report.thresholds)
    assert (report.outcome, report.exit_code, report.run.ended_by) == ("passed", 0, "plan")
    assert (report.thresholds[0].value, report.thresholds[0].unit) == (8, "")
    assert report.thresholds[2].value == pytest.approx(report.response.p99_ms, abs=0.001)


def test_a_broken_threshold_fails_a_run_whose_execs_are_all_ok(calls):
    report = at_once(calls, thresholds=["ok<8", "failed==0"]).run()
    assert [one.passed for one in report.thresholds] == [False, True]
    assert (report.outcome, report.exit_code, report.run.ended_by) == ("failed", 99, "plan")
    assert report.counts["ok"] == 8


@pytest.mark.parametrize(
    ("thresholds", "outcome", "exit_code"),
    [
        ([], "failed", 1),
        (["failed<=25%"], "passed", 0),
        (["failed<=2"], "passed", 0),
        (["ok>=75%"], "passed", 0),
        (["failed<25%"], "failed", 99),
        (["dropped==0"], "failed", 1),
        (["failed<=25% over 1s"], "failed", 1),
        (["fails_often.failed<=25%"], "failed", 1),
        (["failed<=25%", "ok==8"], "failed", 99),
    ],
)
def test_how_many_may_fail_is_for_a_threshold_of_the_run_to_say(thresholds, outcome, exit_code):
    report = at_once(fails_often, thresholds=thresholds).run()
    assert (report.outcome, report.exit_code) == (outcome, exit_code)
    assert report.counts["failed"] == 2


def test_a_stop_from_outside_comes_before_what_thresholds_say(calls):
    run = Worker(
        calls, execs_per_tick=5, tick_duration="10ms", thresholds=["ok==0"], abort_on=["p99>1h"]
    ).start()
    while not run.figures().counts["ok"]:
        assert not run.wait(0.001)
    run.stop()
    report = run.finish()
    assert (report.outcome, report.exit_code, report.run.ended_by) == ("interrupted", 105, "stop")
    assert [one.passed for one in report.thresholds] == [False, False]


def test_rows_are_held_to_thresholds_by_table(kept):
    expressions = ["rows.things==8", "rows.things<8"]
    report = at_once(inserts, thresholds=expressions, **kept.settings).run()
    assert [(one.value, one.passed) for one in report.thresholds] == [(8, True), (8, False)]


def test_transactions_of_a_step_are_held_to_thresholds(kept):
    def transacts(ctx, params):
        ctx.transact(lambda connection: connection.execute(things.insert(), {"id": ctx.n}))

    expressions = ["transacts.transact.p99<1h", "transacts.transact.ok==8"]
    report = at_once(transacts, thresholds=expressions, **kept.settings).run()
    assert [one.passed for one in report.thresholds] == [True, True]


def test_a_step_that_joins_a_chain_is_held_to_thresholds():
    def later(ctx, params):
        pass

    def grows(ctx, params):
        return later

    report = at_once(grows, thresholds=["step:later.ok==8", "step:nosuch.p99<1s"]).run()
    assert [(one.value, one.passed) for one in report.thresholds] == [(8, True), (None, False)]


@pytest.mark.parametrize("setting", ["thresholds", "abort_on"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["p99<200"], "p99 is a time; write it with a unit"),
        (["insert.p99<1s"], "no 'insert'; did you mean inserts?"),
        (["rows.thing<1"], "no 'thing'; did you mean things?"),
        ("p99<200ms", "is no list of expressions"),
        ([5], "5 is no threshold"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(setting, given, told, kept, tmp_path):
    with pytest.raises(InvalidConfig) as refusal:
        at_once(inserts, **{setting: given}, **kept.settings)
    assert str(refusal.value).startswith(setting.removesuffix("s"))
    assert told in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_thresholds_can_be_read_while_a_run_goes_on(calls):
    run = Worker(
        calls, execs_per_tick=5, tick_duration="10ms", thresholds=["ok>=1", "ok<1"]
    ).start()
    while [one.passed for one in run.verdicts()] != [True, False]:
        assert not run.wait(0.01)
    run.stop()
    report = run.finish()
    assert [one.expression for one in run.verdicts()] == ["ok>=1", "ok<1"]
    assert run.verdicts() == report.thresholds


# What ends a run


def test_a_run_is_ended_by_a_threshold_that_aborts_it():
    worker = Worker(
        fails_often, execs_per_tick=5, tick_duration="10ms", abort_on=["dropped==0", "failed<3"]
    )  # without end
    report = worker.run()
    assert (report.outcome, report.exit_code, report.run.ended_by) == ("failed", 99, "threshold")
    dropped, failed = report.thresholds
    assert (dropped.passed, dropped.aborted) == (True, False)
    assert (failed.passed, failed.aborted) == (False, True)
    assert failed.value >= 3


def test_an_aborted_run_lets_the_running_execs_end(calls):
    def slow(ctx, params):
        ctx.sleep(0.2)
        calls(ctx, params)

    worker = Worker(slow, execs_per_tick=5, tick_duration="50ms", threads=4, abort_on=["ok<1"])
    report = worker.run()
    assert report.run.ended_by == "threshold"
    assert report.counts["ok"] == len(calls.seen)
    assert report.counts["failed"] == 0


def test_a_stop_from_outside_stays_one_though_its_drain_breaks_a_threshold():
    waits, judged = threading.Event(), threading.Event()

    def until_judged(ctx, params):
        if ctx.n:
            waits.set()
            assert judged.wait(30)

    run = Worker(
        *(until_judged,),
        execs_per_tick=5,
        tick_duration="10ms",
        threads=2,
        abort_on=["rate>=1000/s over 1s"],
    ).start()
    assert waits.wait(30)
    run.stop()
    while run.verdicts()[0].value is None:
        assert not run.wait(0.01)
    judged.set()
    report = run.finish()
    assert (report.outcome, report.run.ended_by, report.exit_code) == ("interrupted", "stop", 105)
    assert [(one.passed, one.aborted) for one in report.thresholds] == [(False, False)]


def test_nothing_in_the_warm_up_aborts_a_run(calls):
    def fails_at_first(ctx, params):
        calls(ctx, params)
        if ctx.n < 5:
            raise OSError

    worker = Worker(
        fails_at_first, shape=Rate("50/s", "1300ms"), warmup="100ms", abort_on=["failed==0"]
    )
    report = worker.run()
    assert (report.outcome, report.run.ended_by) == ("passed", "plan")
    assert report.warmup["failed"] == 5
    assert report.counts["ok"] == 60


def test_a_crash_comes_before_what_thresholds_say():
    def on_result(result):
        raise RuntimeError("a crash of ours")

    run = at_once(lambda ctx, params: None, on_result=on_result, thresholds=["ok==0"]).start()
    report = run.finish()
    assert (report.outcome, report.exit_code, report.run.ended_by) == ("failed", 1, "error")
    with pytest.raises(RuntimeError, match="a crash of ours"):
        run.raise_for_stop(report)


# What the ledger says


def test_a_run_whose_execs_are_all_durable_is_finished_though_a_threshold_failed(kept):
    report = at_once(inserts, thresholds=["ok==0"], **kept.settings).run()
    assert report.exit_code == 99
    assert kept.state == "finished"
    assert kept.ids == list(range(8))


def test_a_run_with_failures_that_are_tolerated_can_still_be_finished(kept):
    fails = {3, 5}

    def inserts_or_not(ctx, params):
        if ctx.n in fails:
            raise OSError
        ctx.insert(things, {"id": ctx.n})

    worker = at_once(inserts_or_not, thresholds=["failed<50%"], **kept.settings)
    assert worker.run().exit_code == 0
    assert kept.state == "failed"
    fails.clear()
    report = worker.run(resume="kept")
    assert (report.counts["ok"], kept.state) == (2, "finished")
    assert kept.ids == list(range(8))


def test_an_aborted_run_is_finished_by_a_resume(kept):
    runs = []

    def inserts_ten_and_waits(ctx, params):
        while ctx.n >= 10 and not (runs and runs[0].is_stopping):
            ctx.sleep(0.002)
        ctx.insert(things, {"id": ctx.n})

    worker = at_once(
        inserts_ten_and_waits, 60, threads=2, thresholds=["failed==0"], **kept.settings
    )
    runs.append(replace(worker, abort_on=["ok<3"]).start())
    report = runs[0].finish()
    assert (report.outcome, report.run.ended_by) == ("failed", "threshold")
    assert kept.state == "failed"
    durable = kept.ids
    assert len(durable) == report.counts["ok"] == 60 - report.counts["interrupted"] < 60

    report = worker.run(resume="kept")
    assert (report.outcome, report.run.ended_by) == ("passed", "plan")
    assert (report.counts["skipped"], report.counts["ok"]) == (len(durable), 60 - len(durable))
    assert kept.ids == list(range(60))
    assert kept.state == "finished"


def test_tables_of_a_schema_go_by_the_name_that_their_rows_are_told_by(tmp_path):
    attached = MetaData()
    inside = Table("inside", attached, Column("id", Integer, primary_key=True), schema="main")
    engine = create_engine(f"sqlite:///{tmp_path}/kept.db")
    attached.create_all(engine)
    engine.dispose()

    def inserts_inside(ctx, params):
        ctx.insert(inside, {"id": ctx.n})

    worker = at_once(
        inserts_inside,
        thresholds=["rows.inside==8"],
        database=f"sqlite:///{tmp_path}/kept.db",
        schema=attached,
    )
    report = worker.run()
    assert report.rows == {"inside": 8}
    assert (report.thresholds[0].value, report.exit_code) == (8, 0)


# Nested runs


def test_a_nested_run_is_judged_by_its_own_thresholds_at_its_end(calls):
    reports = []

    def outer(ctx, params):
        reports.append(at_once(calls, thresholds=["ok==8", "ok==7 over 1s"]).run())

    report = at_once(outer, 2, thresholds=["ok==2"]).run()
    assert report.exit_code == 0
    for nested in reports:
        assert [one.passed for one in nested.thresholds] == [True, False]
        assert nested.exit_code == 99
