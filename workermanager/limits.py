"""Limits that steps share: how many run at once, or how many begin in a time, in this process.

Threads and coroutines wait in one line, first come, first served. Nobody polls: who gives back
wakes the next ones, a rate's slots are moments known beforehand, and a context that ends wakes
whoever waits by it.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakValueDictionary

from instrumentation.errors import InvalidConfig
from workermanager.cancelling import Flag
from workermanager.rates import format_rate, parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from workermanager.cancelling import Clock, Context

__all__ = ["Limit", "check_limits"]

_AT_ONCE: Final = 0  # no clock tells less


@dataclass(frozen=True, slots=True)
class Limit:
    """How many at once (``most=5``), or how many begin in a time (``most="10/s"``).

    A rate is kept evenly: a slot every 100 ms, and a slot that nobody wanted is gone, but for the
    latest ``burst - 1``, which may be made up for at once. ``weight`` is how many places or slots
    are taken by one that enters.

    Limits that differ in nothing but their weight are one and the same, wherever they were made,
    for as long as one of them is kept; what all have let go of begins anew.

    Raises:
        InvalidConfig: a figure that cannot work.
    """

    name: str
    most: int | str
    burst: int = 1
    weight: int = 1
    _state: _State = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name:
            raise InvalidConfig(f"Limit(name={self.name!r}): must be a text that is not empty")
        _check_whole(self.burst, f"limit {self.name}, burst")
        _check_whole(self.weight, f"limit {self.name}, weight")
        if isinstance(self.most, str):
            object.__setattr__(self, "most", _settle_rate(self.most, f"limit {self.name}"))
        else:
            _check_whole(self.most, f"limit {self.name}", " at once, or a rate such as 10/s")
            if self.burst > 1:
                raise InvalidConfig(
                    f"limit {self.name}, burst: {self.burst} is for a rate; leave it out, "
                    f"{self.most} at once may begin together"
                )
        if self.weight > self._room:
            raise InvalidConfig(
                f"limit {self.name}, weight: {self.weight} never fits; use at most {self._room}"
                + (", or a larger burst" if isinstance(self.most, str) else "")
            )
        object.__setattr__(self, "_state", _find_state(self.name, self.most, self.burst))

    def __str__(self) -> str:
        if not isinstance(self.most, str):
            return f"{self.most} at once"
        return self.most if self.burst == 1 else f"{self.most} with a burst of {self.burst}"

    def __reduce__(self) -> tuple[type[Limit], tuple[str, int | str, int, int]]:
        return Limit, (self.name, self.most, self.burst, self.weight)  # not who waits

    @property
    def _room(self) -> int:
        """How much may enter at one moment."""
        return self.burst if isinstance(self.most, str) else self.most

    def weighing(self, weight: int) -> Limit:
        """The same limit, of which one that enters takes ``weight``.

        Raises:
            InvalidConfig: it is more than may ever enter, or less than 1.
        """
        return replace(self, weight=weight)

    def enter(self, context: Context) -> None:
        """Wait until there is room, in this thread; no longer than the context lives.

        With a rate, whoever cannot have a slot before the context's deadline takes none. One that
        is called off gives its slot back if it is the last one; else nobody uses it.

        Raises:
            Cancelled: the context ended first; nothing is taken.
        """
        context.check()
        ticket = _Ticket(self.weight, context)
        try:
            if not self._state.ask(ticket):
                ticket.wait()
        except BaseException:
            self._state.withdraw(ticket)
            raise

    async def enter_async(self, context: Context) -> None:
        """Wait until there is room, in the same line, and let the event loop go on meanwhile.

        As `enter`; a task that is cancelled leaves the line too.

        Raises:
            Cancelled: the context ended first; nothing is taken.
        """
        context.check()
        ticket = _Ticket(self.weight, context)
        try:
            if not self._state.ask(ticket):
                await ticket.wait_async()
        except BaseException:
            self._state.withdraw(ticket)
            raise

    def queue(
        self, context: Context, wake: Callable[[], object]
    ) -> Generator[float | None, None, None]:
        """Wait in the same line, without waiting: for whoever keeps many waiting on one thread.

        Gives the seconds to wait at most before it goes on, None for without end; ``wake`` is
        called when it may go on sooner. It is in when it ends, and out of the line if it is closed.

        Raises:
            Cancelled: the context ended first; nothing is taken.
        """
        context.check()
        ticket = _Ticket(self.weight, context)
        try:
            if not self._state.ask(ticket):
                ticket.wake = wake
                while ticket.must_wait():
                    yield ticket.remaining()
        except BaseException:
            self._state.withdraw(ticket)
            raise

    def leave(self) -> None:
        """Give back what `enter` took, from any thread; a rate takes nothing back.

        Raises:
            RuntimeError: more would be given back than was taken.
        """
        if not self._state.give_back(self.weight):
            raise RuntimeError(f"limit {self.name}: left more often than entered")

    @contextmanager
    def held(self, context: Context) -> Iterator[None]:
        """Enter, and leave at the block's end.

        Raises:
            Cancelled: the context ended before there was room.
        """
        self.enter(context)
        try:
            yield
        finally:
            self.leave()


def check_limits(limits: Iterable[Limit]) -> None:
    """See that limits of one name are one limit, weights aside.

    Raises:
        InvalidConfig: two of them differ.
    """
    known: dict[str, Limit] = {}
    for limit in limits:
        first = known.setdefault(limit.name, limit)
        if (first.most, first.burst) != (limit.most, limit.burst):
            raise InvalidConfig(
                f"limit {limit.name}: {first} here and {limit} there; "
                f"make it once and share it, or give them two names"
            )


def _check_whole(value: object, name: str, more: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidConfig(f"{name}: {value!r} cannot work; write a whole number from 1{more}")


def _settle_rate(text: str, name: str) -> str:
    """The one text for a rate, so that ``60/min`` and ``1/s`` are equal."""
    if "/" not in text:  # a bare number would be a rate elsewhere; here it may mean "at once"
        raise InvalidConfig(
            f"{name}: {text!r} is not a rate; write 10/s, or a number for so many at once"
        )
    rate = parse_rate(text, name)
    if not rate:
        raise InvalidConfig(f"{name}: {text!r} would let nothing begin; write a rate above 0")
    return format_rate(rate)


class _Ticket:
    """One that wants to enter. ``due_ns`` is when it may; None until that is known."""

    __slots__ = ("context", "due_ns", "end", "wake", "weight")

    def __init__(self, weight: int, context: Context) -> None:
        self.weight = weight
        self.context = context
        self.due_ns: int | None = None
        self.end = 0  # of its slots, see `_Slots`
        self.wake: Callable[[], object] = _nobody_waits

    def must_wait(self) -> bool:
        """False once it may enter; raises Cancelled if its context has ended, also since then."""
        self.context.check()
        due = self.due_ns
        return due is None or due > self.context.clock.now()

    def remaining(self) -> float | None:
        """Seconds until it may enter or its context ends; None where a wake comes first."""
        ends = [end for end in (self.due_ns, self.context.deadline_ns) if end is not None]
        return max(0, min(ends) - self.context.clock.now()) / 1e9 if ends else None

    def wait(self) -> None:
        """Wait in this thread."""
        event = Flag()
        self.wake = event.set  # and only then look: what is given before is seen, after it is heard
        forget = self.context.on_cancel(event.set)
        try:
            while self.must_wait():
                self.context.clock.wait(event, self.remaining())
        finally:
            forget()

    async def wait_async(self) -> None:
        """Wait in this task; moments are waited for by the loop's timer."""
        import asyncio  # noqa: PLC0415 - 50 ms that a limit among threads does not need

        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # a closed loop: its coroutine gives back when collected
                loop.call_soon_threadsafe(event.set)

        self.wake = wake
        forget = self.context.on_cancel(wake)
        try:
            while self.must_wait():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.remaining()):
                        await event.wait()
        finally:
            forget()


def _nobody_waits() -> None:
    """A ticket that is in at once, or has not begun to wait."""


class _Places:
    """A weighted semaphore with a line: a heavy one is not overtaken by those that would fit."""

    __slots__ = ("__weakref__", "_free", "_line", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most
        self._line: deque[_Ticket] = deque()
        # Re-entrant, because a coroutine may be collected, and so give back, at any time.
        self._lock = threading.RLock()

    def ask(self, ticket: _Ticket) -> bool:
        """Take a place in line; True if that is in."""
        with self._lock:
            self._line.append(ticket)
            self._admit()
            return ticket.due_ns is not None

    def withdraw(self, ticket: _Ticket) -> None:
        """Leave the line, or give back what was given meanwhile."""
        with self._lock:
            if ticket.due_ns is not None:
                self._free += ticket.weight
            else:
                with suppress(ValueError):  # interrupted before it was in line
                    self._line.remove(ticket)
            self._admit()

    def give_back(self, weight: int) -> bool:
        """Let the next ones in; False if that was never taken."""
        with self._lock:
            if self._free + weight > self._most:
                return False
            self._free += weight
            self._admit()
            return True

    def _admit(self) -> None:
        while self._line and self._line[0].weight <= self._free:
            ticket = self._line[0]
            self._free -= ticket.weight
            ticket.due_ns = _AT_ONCE
            self._line.popleft()
            ticket.wake()


class _Slots:
    """A rate as a row of slots: the generic cell rate algorithm (ITU-T I.371), virtual scheduling.

    ``_end`` is where the last slot that was given ends (the theoretical arrival time), in parts
    of a nanosecond, ``_parts`` to one, so that a slot is whole: ``_slot`` of them. Nothing is
    rounded but the moment that a ticket is told, up to the next nanosecond.
    """

    __slots__ = ("__weakref__", "_burst", "_clock", "_end", "_lock", "_parts", "_slot")

    def __init__(self, rate: str, burst: int) -> None:
        per_ns = parse_rate(rate, "rate")
        self._parts, self._slot = per_ns.numerator, per_ns.denominator
        self._burst = burst
        self._end = 0
        self._clock: Clock | None = None
        self._lock = threading.RLock()  # as above

    def ask(self, ticket: _Ticket) -> bool:
        """Reserve the next slots, unless the ticket's context ends before; True if they are due."""
        with self._lock:
            clock, deadline = ticket.context.clock, ticket.context.deadline_ns
            now = clock.now()
            if clock is not self._clock:  # moments of one clock mean nothing on another
                self._clock, self._end = clock, now * self._parts
            end = max(self._end, now * self._parts) + ticket.weight * self._slot
            due = -((self._burst * self._slot - end) // self._parts)
            if deadline is not None and max(due, now) >= deadline:
                return False
            self._end = ticket.end = end
            ticket.due_ns = due
            return due <= now

    def withdraw(self, ticket: _Ticket) -> None:
        """Give back slots if no later ones were given; who waits for those was told when."""
        with self._lock:
            if ticket.due_ns is not None and self._end == ticket.end:
                self._end -= ticket.weight * self._slot

    def give_back(self, _weight: int) -> bool:
        """Nothing: a slot that was used is used."""
        return True


_State: TypeAlias = _Places | _Slots

_finding: Final = threading.Lock()
_states: Final[WeakValueDictionary[tuple[str, int | str, int], _State]] = WeakValueDictionary()


def _find_state(name: str, most: int | str, burst: int) -> _State:
    """The one state of all limits of these figures, for as long as one of them is kept."""
    with _finding:
        state = _states.get((name, most, burst))
        if state is None:
            state = _Slots(most, burst) if isinstance(most, str) else _Places(most)
            _states[name, most, burst] = state
        return state
