"""One job, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from instrumentation.errors import Cancelled, InvalidConfig, TimedOut
from workermanager.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.cancelling import Context
    from workermanager.durations import Duration

__all__ = ["Job", "JobResult", "as_error", "refuse", "run"]

_D_co = TypeVar("_D_co", covariant=True)
_A = TypeVar("_A")
_V_co = TypeVar("_V_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Job(Generic[_D_co, _A, _V_co]):
    """A function to call once, as ``fn(context, args)``, and what to know its result by.

    ``descriptor`` is any value; the result has it. ``timeout`` counts from when the job begins.

    Raises:
        InvalidConfig: ``fn`` cannot be called, or ``timeout`` is no duration.
    """

    descriptor: _D_co
    fn: Callable[[Context, _A], _V_co]
    args: _A
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise InvalidConfig(
                f"Job({self.descriptor!r}): fn is {self.fn!r}, which cannot be called;"
                " it must be a function of (context, args)"
            )
        if self.timeout is not None:
            parse_duration(self.timeout, f"Job({self.descriptor!r}): timeout")


class JobResult(NamedTuple, Generic[_D_co, _V_co]):
    """What came of a job: ``value``, or else ``error``, which is None where all went well.

    ``error`` is what ``fn`` raised, whatever it was; `TimedOut` where a deadline passed;
    `Cancelled`, which is no Exception, where the job was called off.
    """

    value: _V_co | None
    error: BaseException | None
    descriptor: _D_co


def run(job: Job[Any, Any, Any], context: Context) -> JobResult[Any, Any]:
    """Call the function, unless it is called off already; what comes too late is not its value."""
    cause = context.cause
    if cause is not None:
        return JobResult(None, as_error(cause), job.descriptor)
    try:
        value = job.fn(context, job.args)
    except BaseException as error:  # noqa: BLE001 - whoever reads the result gets it
        return JobResult(None, _overrun(context, error) or error, job.descriptor)
    if isinstance(value, CoroutineType):
        value.close()
        return JobResult(None, _refuse_async(job), job.descriptor)
    late = _overrun(context, None)
    return JobResult(value if late is None else None, late, job.descriptor)


def _overrun(context: Context, error: BaseException | None) -> TimedOut | None:
    """That the deadline has passed, if it has: then a value is late, and an error is its doing."""
    cause = None if context.deadline_ns is None else context.cause
    if not isinstance(cause, TimedOut):
        return None
    late = TimedOut(str(cause), cause.seconds)
    late.__cause__ = None if isinstance(error, Cancelled) else error
    return late


def as_error(cause: BaseException) -> TimedOut | Cancelled:
    """Why a job was called off, as its error."""
    return cause if isinstance(cause, TimedOut | Cancelled) else Cancelled(cause)


def refuse(item: object) -> Job[object, object, None]:
    """A job in place of an item that is none: its result says so, and the item describes it."""
    return Job(item, _refuse_item, item)


def _refuse_item(_context: Context, item: object) -> None:
    raise InvalidConfig(
        f"{item!r} is no job; the source of a job pool must give Job(descriptor, fn, args)"
    )


def _refuse_async(job: Job[Any, Any, Any]) -> InvalidConfig:
    name = getattr(job.fn, "__name__", type(job.fn).__name__)
    return InvalidConfig(
        f"Job({job.descriptor!r}): {name} is async, and was not run: a job pool has threads only;"
        " write a plain function"
    )
