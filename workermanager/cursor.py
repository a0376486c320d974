"""Which due arrivals a thread that asks gets, and what becomes of those that none has room for.

Pure bookkeeping: time comes in as an argument, and the caller holds the lock. The backlog is two
integers, the next arrival to hand out and the number that are due, so a million queued execs cost
nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workermanager.clock import Arrivals

__all__ = ["Cursor", "Overrun", "Tally"]

_MOST_AT_ONCE: Final = 512
_MILLISECOND_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Overrun:
    """What happens to an arrival when no thread is free.

    ``queue``: it waits, which shows as lag. ``drop``: it is counted as dropped at once.
    ``late``: it waits, and is counted as expired if it would start more than ``limit_ns`` late.
    """

    kind: Literal["queue", "drop", "late"] = "queue"
    limit_ns: int = 0

    @classmethod
    def parse(cls, text: str, name: str = "overrun") -> Overrun:
        """Read ``queue``, ``drop`` or ``late:500ms``; ``name`` is what a refusal calls it.

        Raises:
            InvalidConfig: it is none of these.
        """
        if not isinstance(text, str):
            raise InvalidConfig(f"{name}: {text!r} is unknown; use queue, drop, or late:500ms")
        kind, _, limit = text.partition(":")
        if kind == "late" and limit:
            return cls("late", parse_duration(limit, name))
        if text == "queue":
            return cls("queue")
        if text == "drop":
            return cls("drop")
        raise InvalidConfig(f"{name}: {text!r} is unknown; use queue, drop, or late:500ms")

    def __str__(self) -> str:
        return f"late:{format_duration(self.limit_ns)}" if self.kind == "late" else self.kind


class Tally(NamedTuple):
    """How many arrivals were due, handed out, dropped and expired; the rest is queued."""

    due: int = 0
    taken: int = 0
    dropped: int = 0
    expired: int = 0

    @property
    def queued(self) -> int:
        """How many wait for a thread."""
        return self.due - self.taken - self.dropped - self.expired

    def without(self, part: Tally) -> Tally:
        """The counts less those of a part."""
        return Tally(*(ours - theirs for ours, theirs in zip(self, part, strict=True)))


class Cursor:
    """Hands out arrivals once they are due, in order, each once.

    ``dropped`` and ``expired`` count what was never handed out; ``taken`` what was. Those of the
    first ``warm_end`` arrivals are also counted apart. It is not thread-safe.
    """

    def __init__(
        self, arrivals: Arrivals, overrun: Overrun, threads: int, warm_end: int = 0
    ) -> None:
        self.arrivals = arrivals
        self.overrun = overrun
        self.threads = threads
        self.warm_end = warm_end
        self.taken = 0
        self.dropped = 0
        self.expired = 0
        self._warm = Tally()
        self.closed_at: int | None = None
        self.on_tick: Callable[[int], None] | None = None
        self._next = 0
        self._pace: int | None = None  # `drop` only: what threads told of lately
        self._next_tick_first = 0
        self._kept: deque[int] = deque()  # `drop` only: due, and promised to an idle thread
        self._end = arrivals.total

    def take(
        self, elapsed_ns: int, idle: int, most: int = _MOST_AT_ONCE, pace: int | None = 0
    ) -> Iterator[int] | None:
        """The arrivals to run now, for one thread; None where nothing is due.

        ``idle`` is how many threads wait for work, the asking one included if it waited. A
        backlog is shared out in batches, smaller as it shrinks and at most ``most``; the batch is
        an iterator that an idle thread may help to empty. ``pace`` is how many execs the asking
        thread runs in a millisecond, None where that is not known yet.
        """
        if self.closed_at is not None:
            return None
        due = self.arrivals.due_by(elapsed_ns)
        if self.overrun.kind == "drop":
            if pace is not None:  # a thread that was kept from running seems slow for once
                self._pace = max(pace, ((self._pace or 0) + pace) // 2)
            if self._pace is None:  # nothing has ended: what has no room is seen when something has
                return self._hand_out(1) if idle and due > self._next else None
            return self._take_or_drop(due, idle * self._turns(elapsed_ns, due, self._pace))
        if self.overrun.kind == "late":
            self._expire(elapsed_ns)
        backlog = due - self._next
        if backlog <= 0:
            return None
        return self._hand_out(min(backlog // self.threads, most, _MOST_AT_ONCE) or 1)

    def _hand_out(self, count: int) -> Iterator[int]:
        first = self._next
        self._next += count
        self.taken += count
        if first < self.warm_end:
            self._note_warm("taken", first, self._next)
        if self.on_tick is not None:
            self._enter_ticks(first, self._next)
        return self.arrivals.slice(first, self._next)

    def _note_warm(self, what: str, start: int, stop: int) -> None:
        warm = max(0, min(stop, self.warm_end) - start)
        self._warm = self._warm._replace(**{what: getattr(self._warm, what) + warm})

    def _enter_ticks(self, start: int, stop: int) -> None:
        """Tell ``on_tick`` of every tick of which an exec is handed out first."""
        assert self.on_tick is not None  # noqa: S101 - for the type checker
        handed_out = list(self.arrivals.slice(start, stop))
        place = 0  # of the first that is in no tick told of: a resumed run leaves ticks out
        while (place := bisect_left(handed_out, self._next_tick_first, place)) < len(handed_out):
            tick = self.arrivals.place(handed_out[place])[0]
            is_last = self.arrivals.ticks is not None and tick + 1 >= self.arrivals.ticks
            self._next_tick_first = 1 << 62 if is_last else self.arrivals.first_of(tick + 1)
            self.on_tick(tick)

    def _turns(self, elapsed_ns: int, due: int, pace: int) -> int:
        """How many an idle thread would have begun by now, had it been woken in time.

        One where all fell due at once; more where the machine kept the threads waiting, and execs
        are so short that a thread would have run several meanwhile.
        """
        if due == self._next:
            return 1
        oldest = self._kept[0] if self._kept else self._next
        first = next(self.arrivals.slice(oldest, oldest + 1))
        late_ns = elapsed_ns - self.arrivals.due_ns(first)
        return 1 + late_ns * pace // _MILLISECOND_NS

    def _take_or_drop(self, due: int, room: int) -> Iterator[int] | None:
        """Keep as many of the newly due as there is room for, and drop the rest."""
        room = max(0, room - len(self._kept))
        kept = min(room, due - self._next)
        self._kept.extend(range(self._next, self._next + kept))  # places in line
        self.dropped += due - self._next - kept
        if self._next < self.warm_end:
            self._note_warm("dropped", self._next + kept, due)
        self._next = due
        if not self._kept:
            return None
        self.taken += 1
        place = self._kept.popleft()
        if place < self.warm_end:
            self._note_warm("taken", place, place + 1)
        if self.on_tick is not None:
            self._enter_ticks(place, place + 1)
        return self.arrivals.slice(place, place + 1)

    def _expire(self, elapsed_ns: int) -> None:
        """Count out, in one go, what is too late already."""
        too_late = self.arrivals.due_by(elapsed_ns - self.overrun.limit_ns - 1)
        if too_late > self._next:
            self.expired += too_late - self._next
            if self._next < self.warm_end:
                self._note_warm("expired", self._next, too_late)
            self._next = too_late

    def next_due(self) -> int | None:
        """When the next arrival is due; None when there are no more."""
        if self.closed_at is not None or self._next == self._end:
            return None
        return self.arrivals.due_ns(next(self.arrivals.slice(self._next, self._next + 1)))

    @property
    def is_exhausted(self) -> bool:
        """True when nothing will be handed out any more."""
        return self.closed_at is not None or (self._next == self._end and not self._kept)

    def close(self, elapsed_ns: int) -> None:
        """Hand out nothing from now on; what is due by now and not taken stays queued for ever."""
        if self.closed_at is None and not self.is_exhausted:
            self.closed_at = elapsed_ns

    def due(self, elapsed_ns: int) -> int:
        """How many arrivals were due by a moment, or by the close, whichever came first."""
        at = elapsed_ns if self.closed_at is None else min(elapsed_ns, self.closed_at)
        return max(self.arrivals.due_by(at), self._next)

    def queued(self, elapsed_ns: int) -> int:
        """How many of them wait for a thread."""
        return self.tally(elapsed_ns).queued

    def tally(self, elapsed_ns: int) -> Tally:
        """The counts at a moment."""
        return Tally(self.due(elapsed_ns), self.taken, self.dropped, self.expired)

    def tally_warmup(self, elapsed_ns: int) -> Tally:
        """The counts of the first ``warm_end`` arrivals at a moment."""
        return self._warm._replace(due=min(self.due(elapsed_ns), self.warm_end))
