"""WHAT runs: chains of steps, as values.

Nothing in here starts a thread, sleeps by itself, or reads a clock.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from instrumentation.arguments import as_json, param
    from instrumentation.chains import Instrumentation
    from instrumentation.commands import Command
    from instrumentation.composing import (
        Chain,
        branch,
        chain,
        compensate,
        each,
        finally_,
        group,
        on_error,
    )
    from instrumentation.errors import (
        AccountingError,
        Cancelled,
        CommandFailed,
        InvalidConfig,
        InvalidStep,
        ParamError,
        PipelineFailed,
        StepError,
        TimedOut,
        WorkerManagerError,
        WriteError,
    )
    from instrumentation.execution import Exec, Outcome, Result
    from instrumentation.params import TaskParams
    from instrumentation.pipelines import SKIP, DeadLetter, Skip
    from instrumentation.steps import Retry, Step
    from instrumentation.thinking import think

__all__ = [
    "SKIP",
    "AccountingError",
    "Cancelled",
    "Chain",
    "Command",
    "CommandFailed",
    "DeadLetter",
    "Exec",
    "Instrumentation",
    "InvalidConfig",
    "InvalidStep",
    "Outcome",
    "ParamError",
    "PipelineFailed",
    "Result",
    "Retry",
    "Skip",
    "Step",
    "StepError",
    "TaskParams",
    "TimedOut",
    "WorkerManagerError",
    "WriteError",
    "as_json",
    "branch",
    "chain",
    "compensate",
    "each",
    "finally_",
    "group",
    "on_error",
    "param",
    "think",
]

_HOMES: Final = {
    "SKIP": "instrumentation.pipelines",
    "AccountingError": "instrumentation.errors",
    "Cancelled": "instrumentation.errors",
    "Chain": "instrumentation.composing",
    "Command": "instrumentation.commands",
    "CommandFailed": "instrumentation.errors",
    "DeadLetter": "instrumentation.pipelines",
    "Exec": "instrumentation.execution",
    "Instrumentation": "instrumentation.chains",
    "InvalidConfig": "instrumentation.errors",
    "InvalidStep": "instrumentation.errors",
    "Outcome": "instrumentation.execution",
    "ParamError": "instrumentation.errors",
    "PipelineFailed": "instrumentation.errors",
    "Result": "instrumentation.execution",
    "Retry": "instrumentation.steps",
    "Skip": "instrumentation.pipelines",
    "Step": "instrumentation.steps",
    "StepError": "instrumentation.errors",
    "TaskParams": "instrumentation.params",
    "TimedOut": "instrumentation.errors",
    "WorkerManagerError": "instrumentation.errors",
    "WriteError": "instrumentation.errors",
    "as_json": "instrumentation.arguments",
    "branch": "instrumentation.composing",
    "chain": "instrumentation.composing",
    "compensate": "instrumentation.composing",
    "each": "instrumentation.composing",
    "finally_": "instrumentation.composing",
    "group": "instrumentation.composing",
    "on_error": "instrumentation.composing",
    "param": "instrumentation.arguments",
    "think": "instrumentation.thinking",
}


if not TYPE_CHECKING:  # who checks types would take any name for an Any

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: every command wants no more than `errors`."""
        if name not in _HOMES:
            raise AttributeError(f"module 'instrumentation' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
