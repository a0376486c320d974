"""Schedules as users write them, checked by mypy --strict and never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from workermanager import (
    CronSchedulerConfig,
    Exec,
    FireResult,
    Report,
    Scheduler,
    ScheduleReport,
    TaskParams,
    TypeOfExecution,
    Worker,
    after,
    at,
    cron,
    every,
)
from workermanager.timetables.schedule import Schedule
from workermanager.timetables.timetable import Cron, Every, Once


def job(ctx: Exec, params: TaskParams) -> None:
    assert_type(ctx.now, datetime)


async def waits(ctx: Exec, params: TaskParams) -> None: ...


def hear(result: FireResult) -> None:
    assert_type(result.due, datetime)
    assert_type(result.error, BaseException | None)


def use_a_worker() -> None:
    assert_type(Worker(job).run(), Report)
    blocking = CronSchedulerConfig(1, TypeOfExecution.SYNC)
    assert_type(Worker(job, cron_scheduler_config=blocking).run(), ScheduleReport)
    background = CronSchedulerConfig(0.5, TypeOfExecution.ASYNC)
    handle = Worker(job, cron_scheduler_config=background).run()
    assert_type(handle, Scheduler)
    handle.stop()
    assert_type(handle.join(1.0), bool)


def use_a_scheduler() -> None:
    assert_type(every("5m"), Every)
    assert_type(cron("0 6 * * *", tz="UTC"), Cron)
    assert_type(at(datetime(2026, 1, 1, tzinfo=UTC)), Once)
    scheduler = Scheduler(store=None, threads=2, grace=30, on_failure=hear)
    assert_type(scheduler.add(job, every("5m"), name="job", on_success=hear), Schedule)
    scheduler.add([job, waits], after(1.5), overlap="queue")
    scheduler.add(Worker(job), cron("@daily"), on_failure=lambda result: result.reason)  # type: ignore[attr-defined]
    scheduler.add(job, "5m")  # type: ignore[arg-type]
    assert_type(scheduler.run(), ScheduleReport)
    assert_type(scheduler.run().exit_code, int)
    with scheduler as started:
        assert_type(started, Scheduler)


async def use_it_under_asyncio() -> None:
    async with Scheduler() as scheduler:
        assert_type(scheduler, Scheduler)
    assert_type(await Scheduler().run_async(), ScheduleReport)
