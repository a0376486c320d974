"""Contexts: until when something may go on, and whether it was called off; a tree, as Go has it."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

from instrumentation.errors import Cancelled, InvalidConfig, TimedOut
from workermanager.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from workermanager.durations import Duration

__all__ = ["SYSTEM", "Clock", "Context", "Flag", "SystemClock", "is_awaited", "refuse_on_loop"]


class Flag:
    """What is set once, and waited for: an Event that may be set from a signal handler.

    An Event's own lock is held for moments by whoever waits, and a handler that runs in such a
    moment would wait for it for ever.
    """

    __slots__ = ("_is_set", "_lock")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """True once it was set."""
        return self._is_set

    def set(self) -> None:
        """Let everybody who waits go on."""
        self._is_set = True
        self._open()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, at most so long; True if it is."""
        limit = -1.0 if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)
        if not self._is_set and self._lock.acquire(timeout=limit):
            self._open()  # the next one's turn
        return self._is_set

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open: somebody else was quicker
            self._lock.release()


class Clock(Protocol):
    """What time is read from and waited on, so that tests can bring their own."""

    def now(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def wait(self, flag: Flag, seconds: float | None) -> bool:
        """Wait for the flag, at most so long; True if it is set."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    __slots__ = ()

    now = staticmethod(time.monotonic_ns)

    def wait(self, flag: Flag, seconds: float | None) -> bool:
        """Wait for the flag, at most so long; True if it is set."""
        return flag.wait(seconds)


SYSTEM: Final = SystemClock()
_LONGEST_S: Final = 1e9
is_awaited: Final = ContextVar("is_awaited", default=False)  # set in async steps


class Context:
    """Something that may be called off: by `cancel`, by its deadline, or with its parent.

    ``timeout`` counts from now; the deadline is the earlier one of its own and the parent's. As a
    context manager it is released at the block's end; a child that is never released is kept by
    its parent for as long as that lives.
    """

    __slots__ = (
        "_cause",
        "_children",
        "_clock",
        "_flag",
        "_listeners",
        "_lock",
        "_timeout_ns",
        "deadline_ns",
        "name",
        "parent",
    )

    def __init__(
        self,
        parent: Context | None = None,
        *,
        timeout: Duration | None = None,
        since_ns: int | None = None,
        name: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Begin to count, from ``since_ns`` on the clock if it is not now.

        ``name`` is what a timeout is told by; ``clock`` is the parent's unless given.

        Raises:
            InvalidConfig: ``timeout`` is no duration, or ``parent`` no Context.
        """
        given: object = parent
        if given is not None and not isinstance(given, Context):
            raise InvalidConfig(f"Context(parent={given!r}): wanted a Context")
        self.parent = parent
        self.name = name
        self._clock: Clock = clock or (SYSTEM if parent is None else parent._clock)
        self._timeout_ns = None if timeout is None else _nanoseconds(timeout)
        self.deadline_ns: int | None = None if parent is None else parent.deadline_ns
        if self._timeout_ns is not None:
            own = (self._clock.now() if since_ns is None else since_ns) + self._timeout_ns
            self.deadline_ns = own if self.deadline_ns is None else min(own, self.deadline_ns)
        self._cause: BaseException | None = None
        self._flag: Flag | None = None
        self._children: dict[Context, None] = {}
        self._listeners: dict[object, Callable[[], None]] = {}
        # Re-entrant, because `cancel` may come from a signal handler. To enter and leave the tree
        # takes no lock: one operation on a dict, which the interpreter does in one piece, and then
        # a look whether it was cancelled meanwhile.
        self._lock = threading.RLock()
        if parent is not None:
            parent._children[self] = None
            if parent._cause is not None:
                self.release()
                self._cause = parent._cause

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None where there is none."""
        if self.deadline_ns is None:
            return None
        return max(0, self.deadline_ns - self._clock.now()) / 1e9

    @property
    def cancelled(self) -> bool:
        """True once it was called off, or its deadline has passed."""
        if self._cause is not None:
            return True
        return self.deadline_ns is not None and self._clock.now() >= self.deadline_ns

    @property
    def clock(self) -> Clock:
        """What its deadline is read on, and waits go by."""
        return self._clock

    @property
    def is_owner(self) -> bool:
        """True if the deadline is its own, not that of one further out."""
        return self.deadline_ns is not None and (
            self.parent is None or self.parent.deadline_ns != self.deadline_ns
        )

    @property
    def cause(self) -> BaseException | None:
        """Why it was called off: what `cancel` was given, or `TimedOut`; None if it was not."""
        if self._cause is not None:
            return self._cause
        if self.deadline_ns is None or self._clock.now() < self.deadline_ns:
            return None
        owner: Context = self
        while owner.parent is not None and owner.parent.deadline_ns == owner.deadline_ns:
            owner = owner.parent
        allowed = owner._timeout_ns or 0
        told = f"{owner.name or 'it'} took longer than {format_duration(allowed)}"
        return TimedOut(told, allowed / 1e9)

    def cancel(self, cause: BaseException | str = "it was cancelled") -> None:
        """Call it off, with all below it; from any thread, a signal handler, and again.

        The first cause is kept, also where the deadline has passed meanwhile.

        Raises:
            InvalidConfig: ``cause`` is neither a text nor an exception.
        """
        given: object = cause
        if not isinstance(given, str | BaseException):
            raise InvalidConfig(f"cancel({given!r}): wanted a text or an exception")
        reason = Cancelled(cause) if isinstance(cause, str) else cause
        below = [self]  # a loop: contexts may be nested deeper than calls can
        while below:
            context = below.pop()
            with context._lock:
                if context._cause is not None:
                    continue
                context._cause = reason
                if context._flag is not None:
                    context._flag.set()
            below.extend(context._children)
            context._children = {}
            while context._listeners:
                context._listeners.popitem()[1]()

    def on_cancel(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called, in the thread that cancels; at once if that has happened.

        A deadline that passes calls nobody. Gives a function that takes the listener off again.
        """
        key = object()
        self._listeners[key] = listener
        if self._cause is not None and self._listeners.pop(key, None) is not None:
            listener()
        return lambda: self._forget(key)

    def _forget(self, key: object) -> None:
        self._listeners.pop(key, None)

    def check(self) -> None:
        """Raise Cancelled, with the cause, if it was called off or its deadline has passed."""
        cause = self.cause
        if cause is not None:
            # A new one for each: many raise it, and each adds its traceback to its own.
            raise Cancelled(cause.cause if isinstance(cause, Cancelled) else cause)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, for ever if not told; True as soon as, or if, it is called off."""
        with self._lock:
            if self._cause is not None:
                return True
            flag = self._flag = self._flag or Flag()
        limits = [limit for limit in (seconds, self.remaining) if limit is not None]
        self._clock.wait(flag, min(limits) if limits else None)
        return self.cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than it lives.

        Raises:
            Cancelled: it was called off meanwhile, or its deadline has passed.
            InvalidConfig: ``seconds`` is no number.
        """
        given: object = seconds
        if not isinstance(given, int | float) or given != given:  # noqa: PLR0124 - NaN is not itself
            raise InvalidConfig(f"sleep({given!r}): wanted seconds, as a number")
        refuse_on_loop("ctx.sleep", "await asyncio.sleep()")
        if self.wait(seconds):
            self.check()

    def release(self) -> None:
        """Let the parent forget it: its cancel is no longer this one's."""
        if self.parent is not None:
            self.parent._children.pop(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def refuse_on_loop(what: str, instead: str) -> None:
    """Raise InvalidConfig in an async step of ours: its event loop would stand still."""
    if not is_awaited.get():
        return
    asyncio = sys.modules["asyncio"]
    if asyncio._get_running_loop() is not None:  # or it is a thread that the step has started
        raise InvalidConfig(f"{what} would stop the event loop here: use {instead}")


def _nanoseconds(timeout: Duration) -> int:
    if type(timeout) is float and 0 <= timeout <= _LONGEST_S:  # as steps have it: seconds, checked
        return round(timeout * 1e9)
    return parse_duration(timeout, "timeout")
