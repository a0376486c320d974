"""A step of a chain, as a value: a function, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from instrumentation.errors import InvalidConfig, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams

__all__ = ["Limiter", "Retry", "Step", "StepFunction", "check_name", "check_timeout"]

_LONGEST_S: Final = 1e9  # 30 years


class StepFunction(Protocol):
    """A plain function that a chain can call."""

    def __call__(self, ctx: Exec, params: TaskParams, /) -> Any:
        """Do the work; return params to merge, None, a next step, or ``(params, next step)``."""
        ...


class Limiter(Protocol):
    """A limit that steps share, such as `workermanager.Limit`."""

    @property
    def name(self) -> str:
        """What the limit is known by."""
        ...

    def enter(self, context: Any, /) -> None:
        """Wait until there is room, at most as long as the context lives."""
        ...

    async def enter_async(self, context: Any, /) -> None:
        """Wait for it on an event loop."""
        ...

    def leave(self) -> None:
        """Make room."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When and how long to wait before a failed step is tried again.

    ``attempts`` (the first included) and ``deadline`` (seconds since the first attempt began)
    hold together. The wait before attempt k+1 is drawn evenly from 0 to ``base · 2^(k-1)``
    seconds, at most ``cap`` ("full jitter", M. Brooker, Exponential Backoff And Jitter, 2015),
    from the run's seed. ``when`` looks at the error: False or None gives up, True retries, a
    number of seconds retries after just that long.

    Raises:
        InvalidConfig: a figure that cannot work.
    """

    attempts: int = 3
    deadline: float | None = None
    base: float = 0.1
    cap: float = 30.0
    when: Callable[[Exception], bool | float | None] | None = None

    def __post_init__(self) -> None:
        attempts: object = self.attempts
        if not isinstance(attempts, int) or attempts < 1:
            raise InvalidConfig(f"Retry(attempts={attempts!r}): must be 1 or more")
        for name in ("deadline", "base", "cap"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and value >= 0
            if not is_number and not (name == "deadline" and value is None):
                raise InvalidConfig(f"Retry({name}={value!r}): must be 0 seconds or more")
        when: object = self.when
        is_error = isinstance(when, type) and issubclass(when, BaseException)
        if is_error or not (when is None or callable(when)):
            raise InvalidConfig(
                f"Retry(when={when!r}): wanted a function of the error, as in "
                "when=lambda error: isinstance(error, OSError)"
            )

    def wait(self, attempt: int, elapsed: float, error: Exception, random: Random) -> float | None:
        """Seconds to wait after ``attempt`` failed, ``elapsed`` seconds in; None to give up."""
        if attempt >= self.attempts:
            return None
        verdict = not _may_run_yet(error) if self.when is None else self.when(error)
        if verdict is False or verdict is None:
            return None
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        seconds = random.uniform(0, ceiling) if verdict is True else max(0.0, float(verdict))
        if self.deadline is not None and elapsed + seconds >= self.deadline:
            return None
        return seconds


@dataclass(frozen=True, slots=True)
class Step:
    """A function of a chain with its name, and how it is called.

    ``fn`` takes ``(ctx, params)``; ``async def`` functions run on an event loop beside the threads.
    The name is the function's own unless given. ``timeout`` is in seconds, for each attempt: a step
    that takes longer fails with TimedOut. A function that a thread runs goes on then, because a
    thread cannot be ended, but nothing that it does in its ctx has an effect any more. ``limit`` is
    what it shares with other steps: it waits until there is room.

    Raises:
        InvalidConfig: ``name`` is no text on one line, ``retry`` no Retry, ``timeout`` no number
            of seconds, or ``limit`` no limit.
    """

    fn: StepFunction
    name: str = ""
    retry: Retry | None = None
    timeout: float | None = None
    limit: Limiter | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", type(self.fn).__name__))
        check_name(self.name, "Step")
        given: object = self.retry
        if given is not None and not isinstance(given, Retry):
            raise InvalidConfig(f"step {self.name!r}: retry={given!r} is no Retry")
        check_timeout(self.timeout, f"step {self.name!r}: Step")
        if self.limit is not None and not hasattr(self.limit, "enter"):
            raise InvalidConfig(f"step {self.name!r}: limit={self.limit!r} is no Limit")


def check_timeout(timeout: float | None, where: str) -> float | None:
    """The timeout, if it is a number of seconds above 0, or none.

    Raises:
        InvalidConfig: it is not.
    """
    given: object = timeout
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if timeout is not None and not (is_number and 0 < timeout <= _LONGEST_S):
        raise InvalidConfig(f"{where}(timeout={timeout!r}): must be seconds, above 0")
    return timeout


def check_name(name: str, where: str, setting: str = "name") -> str:
    """The name, if it is text on one line.

    Raises:
        InvalidConfig: it is not.
    """
    given: object = name
    if not isinstance(given, str) or not given or not given.isprintable():
        raise InvalidConfig(f"{where}({setting}={name!r}): wanted a name on one line")
    return name


def _may_run_yet(error: Exception) -> bool:
    return isinstance(error, TimedOut) and error.still_running
