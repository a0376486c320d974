"""A Scheduler with real threads: what runs, how it stops, who hears of it."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from instrumentation.errors import AccountingError, InvalidConfig, WriteError
from workermanager import (
    CronSchedulerConfig,
    Scheduler,
    ScheduleReport,
    TypeOfExecution,
    Worker,
    after,
    at,
    every,
)
from workermanager.database import schedule_store
from workermanager.scheduler.memory import MemoryStore
from workermanager.scheduler.roster import Roster
from workermanager.scheduler.stores import open_store
from workermanager.timetables.schedule import make_schedule

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PATIENCE_S = 20.0


def _now():
    return datetime.now(UTC)


class Gate:
    """A step that says when it runs, and goes on when it is let; deaf ones heed no cancel."""

    def __init__(self, *, is_deaf=False):
        self.entered = threading.Semaphore(0)
        self.is_open = threading.Event()
        self.is_deaf = is_deaf
        self.fires = []

    def __call__(self, ctx, params):
        self.fires.append(ctx.now)
        self.entered.release()
        while not self.is_open.wait(0.01):
            if not self.is_deaf:
                ctx.check()

    def wait_until_entered(self):
        assert self.entered.acquire(timeout=PATIENCE_S)


# What runs


def test_a_hundred_jobs_that_are_due_at_once_all_run_on_ten_threads():
    together = []

    def job(ctx, params):
        together.append(threading.active_count())
        time.sleep(0.5)

    scheduler = Scheduler(threads=10)
    moment = _now()
    for number in range(100):
        scheduler.add(job, at(moment), name=f"job-{number}")
    report = scheduler.run()
    assert report.counts.to_dict() == {
        "due": 100,
        "ran": report.counts.ran,
        "late": 100 - report.counts.ran,
        "skipped": 0,
        "failed": 0,
        "running": 0,
        "waiting": 0,
    }
    assert len(together) == 100
    assert report.exit_code == 0


def test_fires_are_due_at_whole_periods_however_long_each_takes():
    seen = []
    done = threading.Event()

    def job(ctx, params):
        seen.append(ctx.now)
        time.sleep(0.013)
        if len(seen) == 20:
            done.set()

    scheduler = Scheduler()
    scheduler.add(job, every("50ms"), overlap="queue")
    with scheduler:
        assert done.wait(PATIENCE_S)
    assert {b - a for a, b in pairwise(seen)} == {timedelta(milliseconds=50)}


def test_a_worker_runs_as_a_whole_at_each_fire():
    runs = []
    scheduler = Scheduler(on_success=lambda result: runs.append(result.report))
    scheduler.add(
        Worker(lambda ctx, params: None, execs_per_tick=3, ticks=2, tick_duration=0),
        after(0),
        name="w",
    )
    report = scheduler.run()
    assert report.counts.ran == 1
    (run,) = runs
    assert run.counts["ok"] == 6
    assert run.run.id.startswith("w.")


def test_a_schedule_may_be_added_while_it_runs():
    with Scheduler() as scheduler:
        assert scheduler.join(PATIENCE_S)
        ran = threading.Event()
        scheduler.add(lambda ctx, params: ran.set(), after("1ms"), name="late comer")
        assert ran.wait(PATIENCE_S)
        assert scheduler.join(PATIENCE_S)
    assert scheduler.report().counts.due == 1


def test_a_run_goes_on_with_what_its_fires_add():
    ran = []

    def first(ctx, params):
        scheduler.add(lambda ctx, params: ran.append(ctx.now), after("1ms"), name="second")

    scheduler = Scheduler()
    scheduler.add(first, after(0), name="first")
    runner = threading.Thread(target=scheduler.run, daemon=True)
    runner.start()
    runner.join(PATIENCE_S)
    assert not runner.is_alive()
    assert len(ran) == 1


def test_what_was_asked_for_after_the_last_fire_is_waited_for():
    gate = Gate()
    with Scheduler() as scheduler:
        scheduler.add(gate, after(0), name="job")
        gate.is_open.set()
        assert scheduler.join(PATIENCE_S)
        gate.is_open.clear()
        scheduler.run_now("job")
        assert not scheduler.join(0.01)
        gate.is_open.set()
        assert scheduler.join(PATIENCE_S)
        assert len(gate.fires) == 2


def test_only_the_keeper_looks_into_its_roster(monkeypatch):
    lookers = set()
    look = Roster.next_moment.fget

    def next_moment(roster):
        lookers.add(threading.current_thread().name)
        return look(roster)

    monkeypatch.setattr(Roster, "next_moment", property(next_moment))
    with Scheduler() as scheduler:
        scheduler.add(lambda ctx, params: None, every("1h"), name="job")
        scheduler.pause("job")
        scheduler.health()
    assert lookers == {"schedule-keeper"}


def test_the_run_ends_when_no_fire_is_left():
    scheduler = Scheduler()
    scheduler.add(
        lambda ctx, params: None, every("5ms", end=_now() + timedelta(milliseconds=300)), name="few"
    )
    report = scheduler.run()
    counts = report.counts
    assert counts.due == counts.ran + counts.late + counts.skipped > 0


# Who hears


def test_hooks_hear_of_each_fire_those_of_the_schedule_and_those_of_all():
    heard = []
    scheduler = Scheduler(
        on_success=lambda result: heard.append(("all", result.schedule, result.state)),
        on_failure=lambda result: heard.append(("all", result.schedule, str(result.error))),
    )

    def fail(ctx, params):
        raise ValueError("no such row")

    scheduler.add(
        lambda ctx, params: None,
        after(0),
        name="good",
        on_success=lambda result: heard.append(("own", result.schedule, result.attempt)),
    )
    scheduler.add(fail, after(0), name="bad", on_failure=lambda result: heard.append(result.state))
    report = scheduler.run()
    assert ("own", "good", 1) in heard
    assert ("all", "good", "ran") in heard
    assert "failed" in heard
    (told,) = [entry[2] for entry in heard if entry[:2] == ("all", "bad")]
    assert "no such row" in told
    assert (report.counts.ran, report.counts.failed, report.exit_code) == (1, 1, 1)


def test_a_hook_that_fails_changes_nothing():
    def hook(result):
        raise RuntimeError("the mail server is gone")

    scheduler = Scheduler(on_success=hook)
    scheduler.add(lambda ctx, params: None, after(0), name="job")
    assert scheduler.run().exit_code == 0


def test_a_hook_that_wants_out_stops_the_scheduler():
    def leave(result):
        raise SystemExit

    scheduler = Scheduler(on_success=leave)
    scheduler.add(lambda ctx, params: None, after(0), name="job")
    scheduler.add(lambda ctx, params: None, every("1h"), name="other")
    assert scheduler.run().counts.ran == 1


# Stopping


def test_a_stop_lets_what_runs_end_and_begins_nothing_more():
    gate = Gate()
    scheduler = Scheduler(threads=1)
    scheduler.add(gate, after(0), name="slow")
    scheduler.start()
    gate.wait_until_entered()
    scheduler.run_now("slow")
    scheduler.stop()
    gate.is_open.set()
    scheduler.close()
    report = scheduler.report()
    assert report.counts.ran + report.counts.late == 1
    assert report.skips == {"slow": {"stopped": 1}}
    assert report.exit_code == 105
    assert report.unfinished == ("slow: 1 that waited did not run",)


def test_after_the_grace_what_runs_is_cancelled_and_told():
    gate = Gate()
    scheduler = Scheduler(grace="10ms")
    scheduler.add(gate, after(0), name="endless")
    scheduler.start()
    gate.wait_until_entered()
    scheduler.stop()
    scheduler.close()
    report = scheduler.report()
    assert report.counts.failed == 1
    (told,) = report.unfinished
    assert told.startswith("endless due 20")
    assert "cancelled" in told
    assert report.exit_code == 105


def test_a_second_stop_does_not_wait_for_the_grace():
    gate = Gate()
    scheduler = Scheduler(grace="1h")
    scheduler.add(gate, after(0), name="endless")
    scheduler.start()
    gate.wait_until_entered()
    scheduler.stop()
    scheduler.stop(now=True)
    scheduler.close()
    assert scheduler.report().exit_code == 105


def test_what_heeds_no_cancel_is_left_behind_and_named():
    gate = Gate(is_deaf=True)
    scheduler = Scheduler(grace=0)
    scheduler.add(gate, after(0), name="deaf")
    scheduler.start()
    gate.wait_until_entered()
    scheduler.close()
    report = scheduler.report()
    assert [told.partition(" due ")[0] for told in report.unfinished] == ["deaf"]
    assert "left behind" in report.unfinished[0]
    assert report.counts.to_dict()["failed"] == 1
    assert report.exit_code == 105
    gate.is_open.set()
    for thread in threading.enumerate():
        if thread.name.startswith("schedule"):
            thread.join(PATIENCE_S)


def test_the_end_of_a_with_block_drains():
    gate = Gate()
    with Scheduler() as scheduler:
        scheduler.add(gate, after(0), name="job")
        gate.wait_until_entered()
        threading.Timer(0.01, gate.is_open.set).start()
    assert scheduler.report().counts.ran == 1


def test_a_scheduler_that_was_never_started_can_be_closed():
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, every("1s"), name="job")
    scheduler.close()
    scheduler.close()
    assert scheduler.report().counts.due == 0


def test_what_is_closed_takes_nothing_and_does_not_start():
    scheduler = Scheduler()
    scheduler.close()
    with pytest.raises(InvalidConfig, match="is closed: make another"):
        scheduler.add(lambda ctx, params: None, every("1s"), name="job")


@pytest.fixture
def refusing(monkeypatch):
    """Has every store refuse what is to be entered, until the test undoes it."""

    def enroll(_store, schedules, _now, **_others):
        if schedules:
            raise WriteError("the disk is full")
        return []

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "enroll", enroll)
        yield patch


def test_one_that_could_not_start_can_be_closed(refusing):
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, every("1s"), name="job")
    with pytest.raises(WriteError, match="disk"):
        scheduler.start()
    scheduler.close()


def test_a_start_that_failed_may_be_tried_again(refusing):
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, after(0), name="job")
    with pytest.raises(WriteError):
        scheduler.start()
    refusing.undo()
    assert scheduler.run().counts.ran == 1


def test_what_the_store_refused_can_be_added_again(refusing):
    with Scheduler() as scheduler:
        with pytest.raises(WriteError, match="disk"):
            scheduler.add(lambda ctx, params: None, after(0), name="job")
        refusing.undo()
        scheduler.add(lambda ctx, params: None, after(0), name="job")
        assert scheduler.join(PATIENCE_S)
    assert scheduler.report().counts.ran == 1


def test_what_waits_in_the_store_may_begin_before_its_schedule_has_been_entered(tmp_path):
    url = f"sqlite:///{tmp_path}/schedules.db"
    with closing(open_store(url)) as store:
        store.enroll([make_schedule("job", every("1h"))], time.time_ns())
        store.request("job", time.time_ns())
    ran = threading.Event()
    with Scheduler(store=url) as scheduler:
        enroll = scheduler._store.enroll

        def enroll_slowly(*args, **kwargs):
            anchored = enroll(*args, **kwargs)
            assert ran.wait(PATIENCE_S)  # a round finds what waits
            return anchored

        scheduler._store.enroll = enroll_slowly
        scheduler.add(lambda ctx, params: ran.set(), every("1h"), name="job")
    assert scheduler.report().counts.to_dict() | {"ran": 0, "late": 0} == {
        "due": 1,
        "ran": 0,
        "late": 0,
        "skipped": 0,
        "failed": 0,
        "running": 0,
        "waiting": 0,
    }


def test_a_store_that_is_locked_does_not_hold_up_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule_store, "_PATIENCE_S", 0.1)
    gate = Gate()
    scheduler = Scheduler(store=f"sqlite:///{tmp_path}/schedules.db", grace="0.1s")
    scheduler.add(gate, after(0), name="job")
    scheduler.start()
    gate.wait_until_entered()
    with closing(sqlite3.connect(tmp_path / "schedules.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        closer = threading.Thread(target=scheduler.close, daemon=True)
        closer.start()
        closer.join(PATIENCE_S)
        assert not closer.is_alive()
    report = scheduler.report()
    assert (report.unsaved, report.exit_code) == (1, 105)
    [told] = report.unfinished
    assert "cancelled" in told


def test_one_that_drains_for_long_lives():
    gate = Gate(is_deaf=True)
    scheduler = Scheduler().start()
    scheduler.add(gate, after(0), name="job")
    gate.wait_until_entered()
    scheduler.stop()
    turned = scheduler._keeper.turned
    deadline = time.monotonic() + PATIENCE_S
    while scheduler._keeper.turned - turned < 1_000_000_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    health = scheduler.health()
    gate.is_open.set()
    scheduler.close()
    assert (health.is_live, health.is_ready) == (True, False)
    assert scheduler._keeper.turned - turned >= 1_000_000_000


def test_a_step_or_a_hook_cannot_close_the_scheduler_that_runs_it():
    told = []

    def close(*_):
        with pytest.raises(InvalidConfig, match=r"stop\(\) will do"):
            scheduler.close()
        told.append(1)

    scheduler = Scheduler(on_success=close)
    scheduler.add(close, after(0), name="job")
    assert scheduler.run().counts.failed == 0
    assert len(told) == 2


def test_whoever_closes_it_second_waits_as_well():
    gate = Gate()
    with Scheduler() as scheduler:
        scheduler.add(gate, after(0), name="job")
        gate.wait_until_entered()
        first = threading.Thread(target=scheduler.close)
        first.start()
        while not scheduler.is_stopping:
            time.sleep(0)
        threading.Timer(0.01, gate.is_open.set).start()
        scheduler.close()
        assert scheduler.report().counts.ran == 1
        first.join()


def test_a_step_that_wants_out_stops_the_scheduler():
    def leave(ctx, params):
        raise SystemExit(3)

    scheduler = Scheduler()
    scheduler.add(leave, after(0), name="leaver")
    scheduler.add(lambda ctx, params: None, every("1h"), name="other")
    report = scheduler.run()
    assert report.counts.failed == 1


# Overlap, with real steps


def test_the_next_fire_calls_off_the_one_that_runs():
    gate = Gate()
    with Scheduler() as scheduler:
        scheduler.add(gate, every("20ms", immediately=True), name="job", overlap="cancel-running")
        for _ in range(3):
            gate.wait_until_entered()
        gate.is_open.set()
    counts = scheduler.report().counts
    assert counts.failed >= 2
    assert scheduler.report().unfinished == ()


def test_fires_may_run_beside_each_other_where_that_is_allowed():
    gate = Gate()
    with Scheduler(threads=3) as scheduler:
        scheduler.add(gate, every("5ms"), name="job", overlap="allow")
        for _ in range(3):
            gate.wait_until_entered()
        assert scheduler.report().counts.running == 3
        gate.is_open.set()


def test_a_stuck_fire_fails_at_its_deadline_and_its_thread_is_replaced():
    gate = Gate(is_deaf=True)
    heard = threading.Event()
    ran = threading.Event()
    with Scheduler(threads=1, on_failure=lambda result: heard.set()) as scheduler:
        scheduler.add(Worker(gate, exec_timeout="20ms"), after(0), name="stuck")
        gate.wait_until_entered()
        assert heard.wait(PATIENCE_S)
        scheduler.add(lambda ctx, params: ran.set(), after(0), name="next")
        assert ran.wait(PATIENCE_S)
        gate.is_open.set()
    report = scheduler.report()
    assert (report.counts.failed, report.counts.ran) == (1, 1)


# Control


def test_a_schedule_is_paused_resumed_and_asked_to_run():
    gate = Gate()
    gate.is_open.set()
    with Scheduler() as scheduler:
        scheduler.add(gate, every("1h"), name="job")
        scheduler.pause("job")
        scheduler.run_now("job")
        gate.wait_until_entered()
        scheduler.resume("job")
        (entry,) = scheduler.entries()
        assert entry.progress.paused_until is None or entry.progress.paused_until <= time.time_ns()
        assert scheduler.next(3)[0][1] == "job"
        due = [moment for moment, _ in scheduler.next(3)]
        assert [b - a for a, b in pairwise(due)] == [3_600 * 10**9] * 2
    (record,) = scheduler.history("job")
    assert (record.is_manual, record.state) == (True, "ran")


def test_the_history_says_why_a_fire_failed():
    def fail(ctx, params):
        raise ValueError("no such row")

    scheduler = Scheduler()
    scheduler.add(fail, after(0), name="bad")
    scheduler.run()
    (record,) = scheduler.history()
    assert record.state == "failed"
    assert "ValueError: no such row" in record.reason


def test_what_is_removed_runs_no_more():
    with Scheduler() as scheduler:
        scheduler.add(lambda ctx, params: None, every("1h"), name="job")
        scheduler.remove("job")
        assert scheduler.entries() == []
        with pytest.raises(InvalidConfig, match="there is no schedule 'job'; there are: none"):
            scheduler.run_now("job")
        assert scheduler.join(PATIENCE_S)


@pytest.mark.parametrize("method", ["pause", "resume", "run_now", "remove", "history"])
def test_a_name_that_no_schedule_has_is_refused(method):
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, every("1h"), name="nightly")
    with scheduler, pytest.raises(InvalidConfig, match="no schedule 'nigthly'; there are: nightly"):
        getattr(scheduler, method)("nigthly")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"misfire": "never"}, "schedule job: misfire: 'never' is unknown; use latest, skip, all"),
        ({"misfire": "all(0)"}, "schedule job: misfire: 'all.0.' is unknown"),
        ({"overlap": "block"}, "schedule job: overlap: 'block' is unknown; use skip, queue-one"),
        ({"lost": "retry"}, "schedule job: lost: 'retry' is unknown; use report, rerun"),
        ({"grace": "soon"}, "schedule job: grace: 'soon' is not a duration"),
        ({"pause_after": 0}, "schedule job: pause_after: 0: must be a whole number of 1 or more"),
        ({"pause_for": "1m"}, "schedule job: pause_for needs pause_after"),
        ({"on_failure": 7}, "on_failure: 7 cannot be called"),
        ({"name": ""}, "name: '': wanted up to 100 printable characters"),
        ({"name": "a\nb"}, "wanted up to 100 printable characters"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, told):
    scheduler = Scheduler()
    with pytest.raises(InvalidConfig, match=told):
        scheduler.add(lambda ctx, params: None, every("1h"), **{"name": "job", **settings})
    scheduler.close()


def test_a_name_that_is_taken_is_refused():
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, every("1h"), name="job")
    with pytest.raises(InvalidConfig, match="there is a schedule 'job' already"):
        scheduler.add(lambda ctx, params: None, every("2h"), name="job")
    scheduler.close()


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"grace": "x"}, {"late_after": -1}, {"on_success": 1}]
)
def test_a_setting_of_the_scheduler_that_cannot_be_is_refused(settings):
    with pytest.raises(InvalidConfig):
        Scheduler(**settings)


def test_it_starts_once():
    with Scheduler() as scheduler, pytest.raises(InvalidConfig, match="it starts once"):
        scheduler.start()


# Under asyncio


def test_async_steps_run_on_the_loop_that_is_there():
    loops = []

    async def job(ctx, params):
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())

    async def main():
        scheduler = Scheduler()
        scheduler.add(job, after(0), name="job")
        report = await scheduler.run_async()
        return report, asyncio.get_running_loop()

    report, loop = asyncio.run(main())
    assert loops == [loop]
    assert report.counts.ran == 1


def test_a_coroutine_that_is_cancelled_drains():
    gate = Gate()

    async def main():
        scheduler = Scheduler()
        scheduler.add(gate, after(0), name="job")
        running = asyncio.ensure_future(scheduler.run_async())
        await asyncio.to_thread(gate.wait_until_entered)
        running.cancel()
        await asyncio.sleep(0)
        gate.is_open.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        return scheduler.report()

    assert asyncio.run(main()).counts.ran == 1


def test_a_second_cancel_does_not_wait_for_the_grace():
    gate = Gate()

    async def main():
        scheduler = Scheduler(grace="1h")
        scheduler.add(gate, after(0), name="job")
        running = asyncio.ensure_future(scheduler.run_async())
        await asyncio.to_thread(gate.wait_until_entered)
        running.cancel()
        while not scheduler.is_stopping:  # noqa: ASYNC110 - it is not asyncio's to tell
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return scheduler.report()

    assert asyncio.run(main()).exit_code == 105


# As go-workers has it


def test_a_worker_on_a_clock_of_its_own_can_be_stopped_and_joined():
    gate = Gate()
    gate.is_open.set()
    config = CronSchedulerConfig(interval_in_seconds=0.05, type_of_execution=TypeOfExecution.ASYNC)
    handle = Worker(gate, cron_scheduler_config=config).run()
    for _ in range(3):
        gate.wait_until_entered()
    handle.stop()
    assert handle.join(PATIENCE_S)
    handle.close()
    assert handle.report().counts.failed == 0
    assert {b - a for a, b in pairwise(gate.fires)} == {timedelta(milliseconds=50)}


def test_a_worker_on_a_clock_of_its_own_may_block():
    count = []

    def job(ctx, params):
        count.append(1)
        if len(count) == 3:
            raise SystemExit

    config = CronSchedulerConfig(0.02, TypeOfExecution.SYNC)
    report = Worker(job, cron_scheduler_config=config).run()
    assert isinstance(report, ScheduleReport)
    assert len(count) == 3


def test_a_config_that_comes_from_another_process_means_what_it_meant():
    config = pickle.loads(pickle.dumps(CronSchedulerConfig(0.02, TypeOfExecution.SYNC)))

    def job(ctx, params):
        raise SystemExit

    report = Worker(job, cron_scheduler_config=config).run()
    assert isinstance(report, ScheduleReport)


@pytest.mark.parametrize(
    ("interval", "kind"), [(0, TypeOfExecution.SYNC), ("x", TypeOfExecution.SYNC), (1, "SYNC")]
)
def test_a_config_that_cannot_be_is_refused(interval, kind):
    with pytest.raises(InvalidConfig):
        CronSchedulerConfig(interval, kind)


def test_counts_that_do_not_add_up_are_a_bug_of_ours():
    scheduler = Scheduler()
    scheduler._tally.schedules["ghost"] = scheduler.report().counts
    scheduler._tally.schedules["ghost"].due = 1
    with pytest.raises(AccountingError):
        scheduler.report()
    scheduler.close()
