"""Every exception of the project, so that a caller can tell whose fault a failure is.

::

    WorkerManagerError
    ├── InvalidConfig       a setting, a flag, a target or a plan that cannot work
    │   └── InvalidStep     a step that cannot be called, or returned what no chain can follow
    ├── ParamError          a param that is missing or of another type than asked for
    ├── StepError           a step failed its exec: path, attempt, and the cause
    ├── CommandFailed       a child process did not start, failed, or wrote what nobody can read
    ├── TimedOut            something took longer than it may (also a TimeoutError)
    ├── WriteError          the database refused an exec's rows
    ├── RunFailed           a whole run of a schedule's Worker: its report says what
    ├── AccountingError     the counts of a run do not add up: a bug of ours
    └── PipelineFailed      what ended a pipeline, the first error first (an ExceptionGroup)

    Cancelled               a BaseException: called off, with the cause; never counted as a failure
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

__all__ = [
    "AccountingError",
    "Cancelled",
    "CommandFailed",
    "InvalidConfig",
    "InvalidStep",
    "ParamError",
    "PipelineFailed",
    "RunFailed",
    "StepError",
    "TimedOut",
    "WorkerManagerError",
    "WriteError",
    "text_of",
]


def text_of(error: BaseException) -> str:
    """What an error says; one of the user's own may fail at that as well."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - whatever it is, there is no text
        return f"(no text: its __str__ raises {type(failure).__name__})"


class WorkerManagerError(Exception):
    """The root: catch it to catch everything this project raises on purpose."""


class InvalidConfig(WorkerManagerError):
    """A setting, a flag, a target or a plan that cannot work; the message says what and where."""


class InvalidStep(InvalidConfig):
    """A step that cannot be called as ``(ctx, params)``, or a return value no chain can follow."""


class ParamError(WorkerManagerError, LookupError):
    """A param is missing, or is not of the type that was asked for.

    ``key`` names the param, ``wanted`` the type asked for, ``found`` the type that is there
    (None where the param is missing).
    """

    def __init__(self, message: str, key: str, wanted: type, found: type | None) -> None:
        super().__init__(message, key, wanted, found)
        self.key = key
        self.wanted = wanted
        self.found = found

    def __str__(self) -> str:
        return str(self.args[0])


class StepError(WorkerManagerError):
    """A step failed its exec, after its last attempt.

    ``path`` is the step's place in the chain (``addCompanies/2/add_user``), ``attempt`` the
    attempt that failed (from 1), ``cause`` what the step raised, also kept as ``__cause__``,
    ``step`` the name that the step has in figures.
    """

    def __init__(self, path: str, attempt: int, cause: Exception, step: str = "") -> None:
        super().__init__(path, attempt, cause, step)
        self.step = step or path.rpartition("/")[2]
        self.path = path
        self.attempt = attempt
        self.cause = cause
        self.__cause__ = cause

    def __str__(self) -> str:
        tries = "" if self.attempt == 1 else f" on attempt {self.attempt}"
        told = text_of(self.cause)
        return f"step {self.path} failed{tries}: {type(self.cause).__name__}: {told}"


class CommandFailed(WorkerManagerError):
    """A child process did not start, did not end well, or wrote what nobody can read.

    ``command`` is its program. ``exit_code`` is 128 + ``signal`` where a signal ended it, and 127
    or 126 where it could not be started; ``stderr`` is the end of what it wrote there.
    """

    def __init__(
        self,
        message: str,
        command: str,
        exit_code: int,
        signal: int | None = None,
        stderr: str = "",
    ) -> None:
        super().__init__(message, command, exit_code, signal, stderr)
        self.command = command
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr

    def __str__(self) -> str:
        return str(self.args[0])


class TimedOut(WorkerManagerError, TimeoutError):
    """Something took longer than it may.

    ``seconds`` is how long it might take. ``still_running`` is True where a thread does it yet,
    because threads cannot be ended; what comes of it is ignored.
    """

    def __init__(self, message: str, seconds: float, *, still_running: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.still_running = still_running

    def __reduce__(self) -> tuple[partial[TimedOut], tuple[str, float]]:
        return partial(type(self), still_running=self.still_running), (str(self), self.seconds)


class WriteError(WorkerManagerError):
    """The database refused an exec's rows; the message is the database's, without the values."""


class RunFailed(WorkerManagerError):
    """A run that was one fire of a schedule has failed; the message says by what.

    ``report`` is the run's (a ``Report``).
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class AccountingError(WorkerManagerError):
    """The counts of a run do not add up to the execs that were due: a bug of ours, never yours."""


class PipelineFailed(WorkerManagerError, ExceptionGroup[Exception]):
    """A pipeline ended early: the error that ended it comes first, then those that followed.

    ``report`` has its counts (a ``FlowReport``).
    """

    report: Any

    def __new__(cls, message: str, errors: Sequence[Exception], report: Any = None) -> Self:
        self = super().__new__(cls, message, errors)
        self.report = report
        return self

    def derive(self, errors: Sequence[Exception], /) -> PipelineFailed:  # type: ignore[override]
        """The same with a part of the errors, for ``except*``."""
        return PipelineFailed(self.message, errors, self.report)


class Cancelled(BaseException):
    """Called off: the run was stopped, a sibling failed, or a deadline further out has passed.

    ``cause`` says which, as text or as the error behind it. A BaseException, like asyncio's, so
    that a step's ``except Exception`` does not swallow it.
    """

    def __init__(self, cause: BaseException | str = "the run was stopped") -> None:
        super().__init__(cause if isinstance(cause, str) else text_of(cause))
        self.cause = cause
