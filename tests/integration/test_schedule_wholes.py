"""A whole run of a Worker for each fire of its schedule: its report says what came of the fire."""

import asyncio
import sqlite3
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table

from instrumentation.errors import Cancelled, InvalidConfig, RunFailed
from tests.kit.firing import DUE, SECOND, Due, Firing
from workermanager import Worker
from workermanager.cancelling import Context
from workermanager.database.store import read_run

schema = MetaData()
users = Table(
    "users", schema, Column("id", String, primary_key=True), Column("n", Integer, nullable=False)
)
RUN_ID = "nightly.20260329T010000"


def many(step, execs=10, **settings):
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.db"


def stored(path, step, execs=10, **settings):
    return many(step, execs, database=f"sqlite:///{path}", schema=schema, threads=2, **settings)


def read(path, sql="SELECT id, n FROM users ORDER BY id"):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def add_user(ctx, params):
    ctx.insert(users, {"id": str(ctx.uuid()), "n": ctx.n})


# Outcomes


def test_a_fire_is_all_execs_of_its_worker(firing, calls):
    came = firing.begin(firing.job(many(calls, 20, threads=3)))
    assert came.wait() is None
    assert calls.sorted == list(range(20))
    assert came.report.counts["ok"] == 20
    assert came.told_on is came.thread


def test_a_failed_run_is_a_failed_fire_which_says_how_many_and_by_what(firing):
    def fail_some(ctx, params):
        if ctx.n % 4 == 1:
            raise ValueError("no name")

    error = firing.fire(firing.job(many(fail_some)))
    assert isinstance(error, RunFailed)
    assert str(error) == "3 of 10 execs failed: fail_some: ValueError: no name"
    assert error.report.counts["failed"] == 3


def test_a_threshold_that_was_missed_is_named(firing, calls):
    error = firing.fire(firing.job(many(calls, thresholds=["ok>=100%", "failed<0.1%", "rate<1/s"])))
    assert isinstance(error, RunFailed)
    assert str(error).startswith("threshold rate<1/s was missed: 10 due = ")


def test_a_failed_callback_is_a_failed_fire(firing, calls):
    def report_it(ctx, params):
        raise OSError("no disk")

    error = firing.fire(firing.job(many(calls, callback=report_it)))
    assert isinstance(error, RunFailed)
    assert str(error).endswith("report_it: OSError: no disk")


def test_a_step_that_wants_to_leave_is_told_of_with_the_report(firing):
    def leave(ctx, params):
        raise SystemExit(3)

    came = firing.begin(firing.job(many(leave)))
    assert isinstance(came.wait(), SystemExit)
    assert came.report.outcome == "interrupted"


def test_a_database_that_cannot_be_opened_fails_the_fire_and_not_the_schedule(firing, tmp_path):
    job = firing.job(stored(tmp_path / "missing" / "rows.db", add_user))
    assert isinstance(firing.fire(job), InvalidConfig)
    (tmp_path / "missing").mkdir()
    assert firing.fire(job, DUE + SECOND) is None


# Who it is


def test_the_run_s_id_and_epoch_are_those_of_the_fire(firing):
    seen = []

    def note(ctx, params):
        seen.append((ctx.run.id, ctx.now))

    job = firing.job(many(note, 1, callback=note), name="a b")
    for due in (DUE, DUE + 1_500_000):
        assert firing.fire(job, due) is None
    ids = [run_id for run_id, _ in seen]
    first, second = ids[0], ids[2]
    assert first.startswith("a-b-")
    assert first.endswith(".20260329T010000")
    assert second.endswith(".20260329T010000.001500000")
    assert ids == [first, f"{first}.callback", second, f"{second}.callback"]
    at = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert [now for _, now in seen[::2]] == [at, at.replace(microsecond=1_500)]


def test_an_epoch_of_the_worker_s_own_is_kept(firing):
    seen, epoch = [], datetime(2020, 1, 1, tzinfo=UTC)
    worker = many(lambda ctx, params: seen.append(ctx.now), 1, epoch=epoch)
    assert firing.fire(firing.job(worker)) is None
    assert seen == [epoch]


def test_draws_repeat_with_the_fire_and_differ_among_fires(firing):
    drawn = []
    job = firing.job(many(lambda ctx, params: drawn.append(ctx.random.random()), 3, threads=1))
    for due in (DUE, DUE + SECOND, DUE):
        assert firing.fire(job, due) is None
    assert drawn[:3] == drawn[6:]
    assert len(set(drawn)) == 6


# Calling off


def test_a_fire_that_is_called_off_stops_its_run_now_and_no_other(firing):
    begun = threading.Semaphore(0)

    def sleep(ctx, params):
        begun.release()
        ctx.sleep(3_600)

    job = firing.job(many(sleep, 2))
    came = [firing.begin(job, DUE + second * SECOND) for second in range(2)]
    for _ in range(4):
        begun.acquire()
    came[0].scope.cancel("the next one is due")
    error = came[0].wait()
    assert isinstance(error, Cancelled)
    assert error.cause == "the next one is due"
    assert came[0].report.outcome == "interrupted"
    assert not came[1].told


def test_a_fire_that_was_called_off_before_runs_nothing(firing, calls):
    job, scope, told = firing.job(many(calls)), Context(), []
    scope.cancel()
    job.run(Due(), scope, lambda *came: told.append(came))
    ((error, report),) = told
    assert isinstance(error, Cancelled)
    assert not calls.seen
    assert report.counts["ok"] == 0


def test_a_source_context_that_is_cancelled_calls_the_fire_off(firing):
    source, begun = Context(), threading.Event()

    def sleep(ctx, params):
        begun.set()
        ctx.sleep(3_600)

    came = firing.begin(firing.job(many(sleep, 1, source_context=source)))
    begun.wait()
    source.cancel()
    assert isinstance(came.wait(), Cancelled)


def test_a_step_that_is_stuck_fails_its_fire_on_time_and_keeps_no_thread_of_the_crew(firing):
    is_open, stuck = threading.Event(), []

    def stick(ctx, params):
        stuck.append(threading.current_thread())
        is_open.wait()

    came = firing.begin(firing.job(many(stick, 2, exec_timeout="20ms", threads=2)))
    error = came.wait()
    assert isinstance(error, RunFailed)
    assert str(error).startswith("2 of 2 execs failed: stick: TimedOut: exec ")
    assert came.report.stuck == 2
    assert not firing.replaced
    is_open.set()
    for thread in stuck:
        thread.join()


# Async steps


def test_async_steps_run_on_a_loop_of_the_run_s_own(firing):
    loops = []

    async def step(ctx, params):
        loops.append(asyncio.get_running_loop())

    job = firing.job(step)
    assert firing.fire(job) is None
    assert firing.fire(job, DUE + SECOND) is None
    assert len(loops) == 2


def test_async_steps_run_on_the_loop_that_runs_already():
    loops = []

    async def step(ctx, params):
        loops.append(asyncio.get_running_loop())

    async def main():
        loop = asyncio.get_running_loop()
        firing = Firing(loop)
        job = firing.job(step)
        assert await asyncio.to_thread(firing.fire, job) is None
        assert loops == [loop]
        firing.close()

    asyncio.run(main())


# Databases


def test_rows_of_all_fires_are_there_and_each_fire_is_a_run_of_the_ledger(firing, path):
    job = firing.job(stored(path, add_user))
    for second in range(3):
        assert firing.fire(job, DUE + second * SECOND) is None
    assert len(read(path)) == 30
    assert read(path, "SELECT state FROM workermanager_runs") == [("finished",)] * 3


def test_a_fire_that_was_lost_goes_on_where_it_was_and_doubles_nothing(firing, path):
    seen, fault = [], [5]

    def add_some(ctx, params):
        seen.append(ctx.n)
        if ctx.n in fault:
            raise OSError("killed")
        add_user(ctx, params)

    job = firing.job(stored(path, add_some))
    assert isinstance(firing.fire(job), RunFailed)
    before = read(path)
    assert len(before) == 9
    seen.clear()
    fault.clear()
    assert firing.fire(job, attempt=2) is None
    assert seen == [5]
    assert set(before) < set(read(path))
    assert len(read(path)) == 10
    record = read_run(f"sqlite:///{path}", RUN_ID)
    assert record.state == "finished"


def test_a_fire_that_had_finished_before_it_was_lost_does_nothing_again(firing, path, calls):
    def add(ctx, params):
        calls(ctx, params)
        add_user(ctx, params)

    job = firing.job(stored(path, add))
    assert firing.fire(job) is None
    calls.seen.clear()
    assert firing.fire(job, attempt=2) is None
    assert not calls.seen
    assert len(read(path)) == 10


def test_a_fire_that_was_lost_before_its_run_began_is_run(firing, path):
    job = firing.job(stored(path, add_user))
    assert firing.fire(job, attempt=2) is None
    assert firing.fire(job, DUE + SECOND, attempt=3) is None
    assert len(read(path)) == 20


def test_a_fire_without_a_ledger_is_run_from_its_start_with_the_same_keys(firing, path, calls):
    def add(ctx, params):
        calls(ctx, params)
        add_user(ctx, params)

    job = firing.job(stored(path, add, ledger=False))
    assert firing.fire(job) is None
    assert firing.fire(job, attempt=2) is None
    assert len(calls.seen) == 20
    assert len(read(path)) == 10


def test_a_fire_that_is_resumed_is_called_off_as_any(firing, path):
    begun, is_again = threading.Event(), threading.Event()

    def wait_then_add(ctx, params):
        if is_again.is_set():
            begun.set()
            ctx.sleep(3_600)
        raise OSError

    job = firing.job(stored(path, wait_then_add, 1))
    assert isinstance(firing.fire(job), RunFailed)
    is_again.set()
    came = firing.begin(job, attempt=2)
    begun.wait()
    came.scope.cancel()
    assert isinstance(came.wait(), Cancelled)


def test_a_lost_fire_of_another_plan_is_refused_and_not_run_anew(firing, path, calls):
    assert firing.fire(firing.job(stored(path, add_user))) is None
    error = firing.fire(firing.job(stored(path, add_user, 11)), attempt=2)
    assert isinstance(error, InvalidConfig)
    assert "execs_per_tick" in str(error)
    assert len(read(path)) == 10
