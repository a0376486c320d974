"""Runs a chain of functions many times, at a known rate, and accounts for every run of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from workermanager.version import VERSION

if TYPE_CHECKING:
    from instrumentation import (
        SKIP,
        AccountingError,
        Cancelled,
        Chain,
        Command,
        CommandFailed,
        DeadLetter,
        Exec,
        Instrumentation,
        InvalidConfig,
        InvalidStep,
        Outcome,
        ParamError,
        PipelineFailed,
        Result,
        Retry,
        Skip,
        Step,
        StepError,
        TaskParams,
        TimedOut,
        WorkerManagerError,
        WriteError,
        as_json,
        branch,
        chain,
        compensate,
        each,
        finally_,
        group,
        on_error,
        param,
        think,
    )
    from workermanager.cancelling import Context
    from workermanager.flows.pipeline import Pipeline
    from workermanager.flows.report import FlowReport
    from workermanager.jobs.pool import Job, JobResult, WorkerPool
    from workermanager.limits import Limit
    from workermanager.plan import Plan
    from workermanager.report import Report, load_report
    from workermanager.run import Run
    from workermanager.scheduler.classic import CronSchedulerConfig, TypeOfExecution
    from workermanager.scheduler.performing import FireResult
    from workermanager.scheduler.report import ScheduleReport
    from workermanager.scheduler.scheduler import Scheduler
    from workermanager.scheduler.stores import open_store
    from workermanager.shapes import Ramp, Rate, Ticks
    from workermanager.timetables.timetable import Timetable, after, at, cron, every
    from workermanager.worker import Worker

__version__ = VERSION

__all__ = [
    "SKIP",
    "AccountingError",
    "Cancelled",
    "Chain",
    "Command",
    "CommandFailed",
    "Context",
    "CronSchedulerConfig",
    "DeadLetter",
    "Exec",
    "FireResult",
    "FlowReport",
    "Instrumentation",
    "InvalidConfig",
    "InvalidStep",
    "Job",
    "JobResult",
    "Limit",
    "Outcome",
    "ParamError",
    "Pipeline",
    "PipelineFailed",
    "Plan",
    "Ramp",
    "Rate",
    "Report",
    "Result",
    "Retry",
    "Run",
    "ScheduleReport",
    "Scheduler",
    "Skip",
    "Step",
    "StepError",
    "TaskParams",
    "Ticks",
    "TimedOut",
    "Timetable",
    "TypeOfExecution",
    "Worker",
    "WorkerManagerError",
    "WorkerPool",
    "WriteError",
    "after",
    "as_json",
    "at",
    "branch",
    "chain",
    "compensate",
    "cron",
    "each",
    "every",
    "finally_",
    "group",
    "load_report",
    "on_error",
    "open_store",
    "param",
    "think",
]

_HOMES: Final = {
    "Context": "workermanager.cancelling",
    "CronSchedulerConfig": "workermanager.scheduler.classic",
    "FireResult": "workermanager.scheduler.performing",
    "FlowReport": "workermanager.flows.report",
    "Pipeline": "workermanager.flows.pipeline",
    "Job": "workermanager.jobs.pool",
    "JobResult": "workermanager.jobs.pool",
    "Limit": "workermanager.limits",
    "Plan": "workermanager.plan",
    "Ramp": "workermanager.shapes",
    "Rate": "workermanager.shapes",
    "Report": "workermanager.report",
    "Run": "workermanager.run",
    "ScheduleReport": "workermanager.scheduler.report",
    "Scheduler": "workermanager.scheduler.scheduler",
    "Ticks": "workermanager.shapes",
    "Timetable": "workermanager.timetables.timetable",
    "TypeOfExecution": "workermanager.scheduler.classic",
    "Worker": "workermanager.worker",
    "WorkerPool": "workermanager.jobs.pool",
    "after": "workermanager.timetables.timetable",
    "at": "workermanager.timetables.timetable",
    "cron": "workermanager.timetables.timetable",
    "every": "workermanager.timetables.timetable",
    "load_report": "workermanager.report",
    "open_store": "workermanager.scheduler.stores",
}


if not TYPE_CHECKING:  # who checks types would take any name for an Any

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used, so that the command line starts at once."""
        if name not in __all__:
            raise AttributeError(f"module 'workermanager' has no attribute {name!r}")
        value = getattr(import_module(_HOMES.get(name, "instrumentation")), name)
        globals()[name] = value
        return value
