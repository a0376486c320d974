"""When steps that threads run have taken too long: one thread that looks at many deadlines."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from workermanager.handoff import Bell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEVER", "Alarms", "Watched"]

NEVER: Final = 1 << 62
_COURTESY_NS: Final = 5_000_000  # for a step that leaves at its deadline by itself
_AGAIN_NS: Final = 1_000_000


class Watched(Protocol):
    """Something with a deadline at times, which is `NEVER` at others."""

    deadline_ns: int

    def expire(self, now: int) -> bool:
        """The deadline has passed, if it still is what it was; False: come again in a moment."""
        ...


class _Once:
    """Something that is to be told of one deadline."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.deadline_ns = NEVER
        self._ring = ring

    def expire(self, _now: int) -> bool:
        """Tell it."""
        self.deadline_ns = NEVER
        self._ring()
        return True


class Alarms:
    """Tells each of ``watched`` when its deadline has passed, a few milliseconds later.

    To set a deadline costs two assignments and a comparison, no lock and no queue: the thread is
    woken only for one that is earlier than all others, and looks at all of them when it wakes. It
    is started with the first. What telling one raises (no thread can be started, say) ends it and
    goes to ``on_crash``.
    """

    def __init__(self, now: Callable[[], int], on_crash: Callable[[BaseException], None]) -> None:
        self._now = now
        self._on_crash = on_crash
        self._watched: tuple[Watched, ...] = ()
        self._next = NEVER
        self._bell = Bell()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def add(self, one: Watched) -> None:
        """Look at one more."""
        with self._lock:
            self._watched = (*self._watched, one)

    def remove(self, one: Watched) -> None:
        """Look at it no more."""
        with self._lock:
            self._watched = tuple(other for other in self._watched if other is not one)

    def set(self, one: Watched, deadline_ns: int) -> None:
        """Set the deadline of one of those that are watched."""
        one.deadline_ns = deadline_ns
        if deadline_ns < self._next:
            with self._lock:
                self._next = min(self._next, deadline_ns)
                if self._thread is None and not self._is_over:
                    self._thread = threading.Thread(target=self._main, name="alarms", daemon=True)
                    self._thread.start()
            self._bell.ring()

    def call_at(self, deadline_ns: int, ring: Callable[[], None]) -> None:
        """Have ``ring`` called once, when the deadline has passed."""
        one = _Once(ring)
        self.add(one)
        self.set(one, deadline_ns)

    def close(self) -> None:
        """Look no more."""
        with self._lock:
            self._is_over = True
            thread = self._thread
        self._bell.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _main(self) -> None:
        try:
            while not self._is_over:
                now = self._now()
                wake = self._look(now)
                self._bell.wait((wake - now) / 1e9)
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the owner
            self._on_crash(crash)

    def _look(self, now: int) -> int:
        """Tell those whose time it is; give when to look again."""
        with self._lock:
            self._next = NEVER  # whoever sets one from now on compares with this and rings
            watched = self._watched
        wake = NEVER
        for one in watched:
            due = one.deadline_ns
            if due != NEVER and due + _COURTESY_NS <= now:
                due = NEVER if one.expire(now) else now + _AGAIN_NS - _COURTESY_NS
            wake = min(wake, due)
        with self._lock:
            self._next = min(self._next, wake)
            return self._next + _COURTESY_NS if self._next != NEVER else NEVER
