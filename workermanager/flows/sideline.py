"""A time limit for functions that run in threads, which cannot be ended: they are left to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from instrumentation.errors import TimedOut
from workermanager.durations import format_duration
from workermanager.handoff import Bell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Sideline"]

_HOUR_S: Final = 3_600.0
_LEAVE: Final = object()
_MOST_LEFT: Final = 16  # threads that one worker leaves to themselves before it gives up


def _wait(bell: Bell, seconds: float | None) -> bool:
    """Wait for a ring, however long; a bell by itself waits for an hour at most."""
    deadline = None if seconds is None else time.monotonic() + seconds
    remaining = _HOUR_S if seconds is None else seconds
    while not bell.wait(remaining):
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
    return True


class _Seat:
    """One thread beside a worker, and what it is asked and answers."""

    __slots__ = ("answer", "asked", "is_done", "item", "told")

    def __init__(self) -> None:
        self.asked = Bell()
        self.told = Bell()
        self.item: Any = None
        self.answer: tuple[Any, BaseException | None] = (None, None)
        self.is_done = False  # it has answered, and is free again


class Sideline:
    """Calls a function in a thread beside the worker's, for as long as it may take.

    The handing over costs some 20 µs an item. ``start`` starts a thread of the pipeline's.
    """

    def __init__(
        self, fn: Callable[[Any], Any], seconds: float, name: str, start: Callable[..., None]
    ) -> None:
        self._fn = fn
        self._seconds = seconds
        self._name = name
        self._start = start
        self._seat: _Seat | None = None
        self._left: list[_Seat] = []

    def __call__(self, item: Any) -> Any:
        """What the function returns or raises.

        Raises:
            TimedOut: it took too long, and runs on; what comes of it is ignored.
        """
        seat = self._seat
        if seat is None:
            seat = self._seat = self._sit_down()
        seat.item = item
        seat.is_done = False
        seat.asked.ring()
        if not _wait(seat.told, self._seconds):
            if not seat.is_done:
                self._leave(seat)
            _wait(seat.told, None)  # it was done in the last moment, and rings just now
        result, error = seat.answer
        seat.answer = (None, None)
        if error is not None:
            raise error
        return result

    def _sit_down(self) -> _Seat:
        self._left = [one for one in self._left if not one.is_done]
        if len(self._left) >= _MOST_LEFT:
            raise TimedOut(
                f"{self._name}: {_MOST_LEFT} threads are stuck in it, no more are started",
                self._seconds,
                still_running=True,
            )
        seat = _Seat()
        self._start(lambda: self._serve(seat))
        return seat

    def _leave(self, seat: _Seat) -> NoReturn:
        self._left.append(seat)
        self.close()
        seconds = format_duration(int(self._seconds * 1e9))
        told = f"{self._name} took longer than {seconds} for an item"
        raise TimedOut(told, self._seconds, still_running=True)

    def _serve(self, seat: _Seat) -> None:
        while True:
            _wait(seat.asked, None)
            if seat.item is _LEAVE:
                return
            try:
                seat.answer = (self._fn(seat.item), None)
            except BaseException as error:  # noqa: BLE001 - it is raised in the worker
                seat.answer = (None, error)
            seat.is_done = True
            seat.told.ring()

    def close(self) -> None:
        """Let the thread go, at once or when it is done."""
        if self._seat is not None:
            self._seat.item = _LEAVE
            self._seat.asked.ring()
            self._seat = None
