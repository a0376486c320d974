"""How due arrivals reach threads: there is no dispatcher, threads take.

A thread that is done with its work takes whatever has fallen due. When nothing has, it queues at
a turnstile; the one at its head sleeps until the next arrival is due, takes it, and lets the next
one through. So one thread wakes for an arrival, however many are idle, and a busy thread never
waits for a sleeping one that the interpreter lock keeps from waking.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workermanager.cursor import Cursor, Tally

__all__ = ["Bell", "Ended", "Handoff", "Reading"]

_LONGEST_SLEEP_S: Final = 3_600.0


class Bell:
    """Wakes the one thread that waits for it; a ring before the wait is not lost.

    A bare lock, because it may be rung from a signal handler, where an Event can deadlock.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the waiter, now or when it comes."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it rings already

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; True if it rang."""
        return self._lock.acquire(timeout=min(max(seconds, 0.0), _LONGEST_SLEEP_S))


class Handoff:
    """Gives each due arrival to one of the threads that ask.

    ``elapsed`` tells nanoseconds since the run began. ``hands`` are the batches that threads have
    in hand, one for each slot: iterators, so that an idle thread can help itself from them (the
    interpreter gives out every item of a range iterator once).
    """

    def __init__(self, cursor: Cursor, elapsed: Callable[[], int], slots: int) -> None:
        self.cursor = cursor
        self.is_closed = False
        self.on_close: Callable[[], object] | None = None
        self.hands: list[Iterator[int]] = [iter(()) for _ in range(slots)]
        self._elapsed = elapsed
        self._lock = threading.RLock()  # re-entrant: `close` may come from a signal handler
        self._turnstile = threading.Lock()
        self._bell = Bell()
        self._idle = slots  # a thread that has not asked yet is free
        self._fresh = [True] * slots

    def take(self, slot: int, pace: int | None) -> Iterator[int] | None:
        """The next execs for a thread; None when the run has no more.

        ``pace`` is how many it runs in a millisecond, about as many as it gets at once; None where
        it has run none yet.
        """
        if self._fresh[slot]:
            self._fresh[slot] = False
            batch = self._wait(pace)
        else:
            batch = self._take_due(pace) or self._help() or self._be_idle(pace)
        if batch is not None:
            self.hands[slot] = batch
        return batch

    def poll(self, free: int) -> tuple[Iterator[int] | None, float | None]:
        """The next execs for one who never waits here and has room for ``free`` of them.

        Where there are none now, how many seconds until it should ask again; None for when there
        is room, or the run was closed.
        """
        with self._lock:
            now, drops = self._elapsed(), self.cursor.overrun.kind == "drop"
            batch = self.cursor.take(now, free, free, 0) if free or drops else None
            due = self.cursor.next_due() if free or drops else None
        return batch, None if due is None else max(0, due - now) / 1e9

    def _take_due(self, pace: int | None) -> Iterator[int] | None:
        with self._lock:
            return self.cursor.take(self._elapsed(), self._idle, pace or 1, pace)

    def _help(self) -> Iterator[int] | None:
        """Take one exec off a batch that a slow exec holds up."""
        for hand in self.hands:
            for n in hand:
                return iter((n,))
        return None

    def _be_idle(self, pace: int | None) -> Iterator[int] | None:
        with self._lock:
            self._idle += 1
        return self._wait(pace)

    def _wait(self, pace: int | None) -> Iterator[int] | None:
        """Stand at the turnstile, counted as idle, until there is work or there will be none."""
        with self._turnstile:
            while True:
                with self._lock:
                    now = self._elapsed()
                    batch = self.cursor.take(now, self._idle, pace or 1, pace)
                    if batch is not None or self.cursor.is_exhausted:
                        self._idle -= 1
                        return batch
                    due = self.cursor.next_due()
                self._bell.wait(_LONGEST_SLEEP_S if due is None else (due - now) / 1e9)

    @property
    def is_over(self) -> bool:
        """True when nothing will be handed out any more."""
        with self._lock:
            return self.cursor.is_exhausted

    def close(self) -> None:
        """Hand out nothing more: threads finish the exec they run, and are sent home."""
        with self._lock:
            self.cursor.close(self._elapsed())
            self.is_closed = True
        self._bell.ring()
        if self.on_close is not None:
            self.on_close()

    def read(self, ended: Callable[[], tuple[Ended, Ended]]) -> Reading:
        """The moment, and the counts at it.

        ``ended`` (what was measured, and the warm-up) is asked first: what ends meanwhile still
        counts as running, so nothing is missed and nothing is counted twice.
        """
        measured, warm = ended()
        with self._lock:
            now = self._elapsed()
            tally, warm_tally = self.cursor.tally(now), self.cursor.tally_warmup(now)
        counts = _count(tally.without(warm_tally), measured)
        return Reading(now, counts, _count(warm_tally, warm) if self.cursor.warm_end else None)


class Ended(NamedTuple):
    """How many execs ended in each way; ``expired`` are those that expired at their start."""

    ok: int
    failed: int
    interrupted: int
    expired: int


class Reading(NamedTuple):
    """Counts at a moment: without the warm-up, and the warm-up's (None where there is none)."""

    now: int
    counts: dict[str, int]
    warmup: dict[str, int] | None


def _count(tally: Tally, ended: Ended) -> dict[str, int]:
    return {
        "due": tally.due,
        "running": tally.taken - sum(ended),
        "queued": tally.queued,
        "ok": ended.ok,
        "failed": ended.failed,
        "dropped": tally.dropped,
        "expired": ended.expired + tally.expired,
        "interrupted": ended.interrupted,
    }
