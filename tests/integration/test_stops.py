"""However a run is stopped, it ends, and its accounts are made."""

import sqlite3
import threading

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from workermanager import Cancelled, Context, InvalidConfig, Worker, finally_


def endless(step, **settings):
    return Worker(step, execs_per_tick=5, tick_duration="10ms", **settings)


def started(worker, calls_wanted=1):
    """A run in which some execs have ended."""
    run = worker.start()
    while run.figures().counts["ok"] < calls_wanted:
        assert not run.wait(0.001)
    return run


def adds_up(report):
    counts = dict(report.counts)
    return counts.pop("due") == sum(counts.values())


def test_a_stop_takes_no_more_and_lets_the_running_end():
    entered, leave = threading.Event(), threading.Event()
    ended = []

    def step(ctx, params):
        entered.set()
        assert leave.wait(30)
        ended.append(ctx.n)

    run = endless(step, threads=2).start()
    assert entered.wait(30)
    run.stop()
    assert not run.wait(0)
    leave.set()
    report = run.finish()
    assert 1 <= report.counts["ok"] == len(ended) <= 2
    assert (report.outcome, report.exit_code) == ("interrupted", 105)
    assert adds_up(report)


def test_stop_now_cancels_the_steps_that_look(calls):
    entered = threading.Event()

    def step(ctx, params):
        entered.set()
        ctx.sleep(3_600)

    run = endless(step, threads=3).start()
    assert entered.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert report.counts["ok"] == report.counts["failed"] == 0
    assert report.counts["interrupted"] == report.counts["due"] > 0


def test_a_step_that_does_not_look_is_left_behind_and_counted():
    entered, leave = threading.Event(), threading.Event()

    def deaf(ctx, params):
        entered.set()
        leave.wait(60)

    run = endless(deaf, threads=1).start()
    assert entered.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert report.counts["interrupted"] == report.counts["due"] > 0
    leave.set()
    run._staff.pool.join()  # the thread ends by itself once its step does


def test_when_the_grace_is_over_the_stop_is_now():
    entered = threading.Event()

    def step(ctx, params):
        entered.set()
        ctx.sleep(3_600)

    run = endless(step, threads=1, grace="1ms").start()
    assert entered.wait(30)
    run.stop()
    assert run.finish().outcome == "interrupted"


def test_stopping_twice_and_after_the_end_changes_nothing(calls):
    run = started(endless(calls))
    for now in (False, False, True, True):
        run.stop(now=now)
    report = run.finish()
    run.stop(now=True)
    assert adds_up(report)


def test_a_stop_after_the_last_exec_is_no_interruption(calls):
    run = Worker(calls, execs_per_tick=[5], tick_duration=0).start()
    assert run.wait(30)
    run.stop()
    assert run.finish().outcome == "passed"


@pytest.mark.parametrize("exit_", [SystemExit(3), KeyboardInterrupt()])
def test_a_step_that_wants_out_stops_the_run_and_surfaces_in_the_caller(exit_):
    def step(ctx, params):
        if ctx.n == 20:
            raise exit_

    with pytest.raises(type(exit_)) as out:
        endless(step, threads=4).run()
    assert "1 interrupted" in out.value.__notes__[0] or "interrupted" in out.value.__notes__[0]


def test_a_stopped_run_does_not_go_on_to_its_callback(calls):
    def step(ctx, params):
        raise SystemExit

    with pytest.raises(SystemExit):
        endless(step, callback=calls).run()
    assert not calls.seen


def test_the_report_of_such_a_run_is_there_and_adds_up():
    def step(ctx, params):
        if ctx.n == 3:
            raise SystemExit

    run = Worker(step, execs_per_tick=[10], tick_duration=0, threads=1).start()
    report = run.finish()
    assert (report.counts["ok"], report.counts["interrupted"], report.counts["due"]) == (3, 7, 10)
    assert report.outcome == "interrupted"


def test_a_crash_of_on_result_surfaces_and_nothing_hangs(calls):
    def on_result(result):
        raise RuntimeError("my own bug")

    with pytest.raises(RuntimeError, match="my own bug"):
        endless(calls, threads=4, on_result=on_result).run()


def test_cancelled_passes_through_except_exception():
    entered = threading.Event()
    swallowed = []

    def step(ctx, params):
        entered.set()
        try:
            ctx.sleep(3_600)
        except Exception as error:  # noqa: BLE001 - the point of the test
            swallowed.append(error)

    run = endless(step, threads=1).start()
    assert entered.wait(30)
    run.stop(now=True)
    assert run.finish().counts["interrupted"] > 0
    assert not swallowed


def test_a_nested_run_stops_with_the_run_around_it():
    entered = threading.Event()
    nested = []

    def inner(ctx, params):
        entered.set()
        ctx.sleep(3_600)

    def outer(ctx, params):
        try:
            endless(inner, threads=2).run()
        except Cancelled:
            nested.append("cancelled")
            raise

    run = endless(outer, threads=1).start()
    assert entered.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert nested == ["cancelled"]
    assert report.counts["ok"] == 0
    assert adds_up(report)


def test_everyone_who_waits_comes_back(calls):
    run = Worker(calls, execs_per_tick=[20, 20], tick_duration="20ms").start()
    waiters = [threading.Thread(target=run.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    for waiter in waiters:
        waiter.join(30)
        assert not waiter.is_alive()
    run.finish()


def test_stop_now_ends_a_chain_between_its_links():
    entered, leave = threading.Event(), threading.Event()
    links = []

    def link(ctx, params):
        links.append(ctx.path)
        entered.set()
        assert leave.wait(30)
        return link

    run = Worker([link, link], threads=1).start()
    assert entered.wait(30)
    run.stop(now=True)
    leave.set()
    assert run.finish().counts["interrupted"] == 1
    assert len(links) == 1


def test_what_a_callback_raises_to_leave_surfaces_too(calls):
    def callback(ctx, params):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Worker(calls, callback=callback).run()


def test_a_run_starts_once_and_is_finished_once(calls):
    heard = []
    run = Worker(calls, callback=lambda ctx, params: heard.append(ctx.n)).start()
    with pytest.raises(InvalidConfig, match="a Run runs once"):
        run.start()
    assert run.finish() is run.finish()
    assert heard == [0]


def test_the_rows_of_an_exec_left_behind_are_not_written(tmp_path):
    entered, leave = threading.Event(), threading.Event()
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True))

    def deaf(ctx, params):
        entered.set()
        leave.wait(60)
        ctx.insert(table, {"id": 1})

    database = f"sqlite:///{tmp_path / 'late.db'}"
    run = Worker(deaf, database=database, schema=table.metadata).start()
    assert entered.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert (report.counts["interrupted"], report.rows) == (1, {})
    leave.set()
    run._staff.pool.join()
    connection = sqlite3.connect(tmp_path / "late.db")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("more", [(), (finally_(lambda _ctx, _params: None),)])
def test_a_step_hears_why_it_is_called_off_in_plain_and_composed_chains(more):
    heard, entered = [], threading.Event()

    def listens(ctx, params):
        entered.set()
        try:
            ctx.sleep(60)
        except Cancelled as cancelled:
            heard.append(str(cancelled.cause))
            raise

    context = Context()
    run = Worker([listens, *more], source_context=context).start()
    assert entered.wait(30)
    context.cancel("closing time")
    assert run.finish().counts["interrupted"] == 1
    assert heard == ["closing time"]


def test_a_step_that_checks_hears_why_too():
    heard, entered, go_on = [], threading.Event(), threading.Event()

    def checks(ctx, params):
        entered.set()
        assert go_on.wait(30)
        try:
            ctx.check()
        except Cancelled as cancelled:
            heard.append(str(cancelled.cause))
            raise

    context = Context()
    run = Worker(checks, source_context=context).start()
    assert entered.wait(30)
    context.cancel(ValueError("of this"))
    go_on.set()
    run.finish()
    assert heard == ["of this"]
