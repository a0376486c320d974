"""WHAT runs: chains of steps, as values.

Nothing in here starts a thread, sleeps by itself, or reads a clock.
"""

from instrumentation.chains import Instrumentation
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
    "branch",
    "chain",
    "compensate",
    "each",
    "finally_",
    "group",
    "on_error",
    "think",
]
