"""Bounded hand-overs between stages: whoever comes takes everything that waits, in one go.

A result is seen by the next stage as soon as it is appended, which takes no lock; room is settled
once for a whole hand. An item takes up room in the channel that it was taken from until the next
one has room for it, so never more items are under way than all bounds add up to.
"""

from __future__ import annotations

from collections import deque
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

__all__ = ["MOST", "NOT_YET", "Channel", "Drain", "Hand", "Ring"]

MOST: Final = 8_192
"""The most items that a channel holds whose bound is not given."""
_MOST_AT_ONCE: Final = 1 << 16
_PACE_NS: Final = 1_000_000  # of work: as much as may wait for a stage


class Ring(Protocol):
    """Whoever waits for a channel, a thread or a task."""

    def ring(self) -> None:
        """Wake it, now or when it comes to wait; never blocks."""
        ...


class Hand:
    """What one worker has taken: an iterator, so that an idle one can take over its rest."""

    __slots__ = ("items", "serial", "size")

    def __init__(self, items: list[Any], serial: int = 0) -> None:
        self.items: Iterator[Any] = iter(items)
        self.size = len(items)
        self.serial = serial

    @property
    def begun(self) -> int:
        """How many of its items have been begun."""
        return self.size - length_hint(self.items)


NOT_YET: Final = Hand([])
"""Given where nothing waits: the bell will ring when there is something, or there never will."""


class Channel:
    """The items that wait for a stage, and the room they take up.

    ``attention`` is looked at after every item that is put: someone waits for it, or all was
    called off. Whatever is called with "held" in its docstring wants the lock held, which is one
    for a whole pipeline. It is re-entrant: a signal handler may call things off.
    """

    def __init__(
        self,
        lock: threading.RLock,
        workers: int,
        bound: int | None,
        *,
        singly: bool = False,
        in_order: bool = False,
    ) -> None:
        self.attention = False
        self.held = 0
        self.bound = bound or 2 * workers
        self.is_broken = False
        self._lock = lock
        self._workers = workers
        self._is_fixed = bound is not None
        self._is_shared = workers > 1 and not singly and not in_order
        self._in_order = in_order and not singly
        self._most = 1 if singly or in_order else _MOST_AT_ONCE
        self._serial = 0
        self._taken = 0
        self._is_ended = False
        self._waiting: list[Any] = []
        self.put = self._waiting.append
        self._takers: dict[Ring, None] = {}
        self._putters: dict[Ring, None] = {}
        self._hands: dict[Ring, Hand] = {}

    @property
    def entered(self) -> int:
        """How many items were ever put. Held."""
        return self._taken + len(self._waiting)

    def take(self, bell: Ring) -> Hand | None:
        """What waits, or this worker's share; NOT_YET to wait, None when no more will come."""
        with self._lock:
            self._hands.pop(bell, None)
            self._takers[bell] = None  # first: what is called off from now on, rings
            hand = None if self.is_broken else self._grab() or self._take_over()
            if hand is None and not (self.is_broken or self._is_ended):
                self.attention = True
                hand = self._grab()  # what was put before the flag was up, nobody tells of
                if hand is None:
                    return NOT_YET
            self._takers.pop(bell, None)
            if hand is None:
                return None
            if self._is_shared:
                self._hands[bell] = hand
            self.attention = bool(self._takers)
            if self.attention and self._waiting:
                self._ring_taker()
            return hand

    def _grab(self) -> Hand | None:
        waiting = self._waiting
        if not waiting:
            return None
        share = min(self._most, -(-len(waiting) // self._workers))
        items = waiting[:share]
        del waiting[:share]
        self._serial += 1
        self._taken += len(items)
        return Hand(items, self._serial)

    def _take_over(self) -> Hand | None:
        """The rest of a hand that a slow item holds up."""
        for hand in self._hands.values():
            rest = list(hand.items)  # in one go: the interpreter does not switch in between
            if rest:
                hand.size -= len(rest)
                return Hand(rest)
        return None

    def _ring_taker(self) -> None:
        """Wake one; it looks after the others when it comes, and until then nobody is told."""
        self.attention = False
        if self._takers:
            bell = next(iter(self._takers))
            del self._takers[bell]
            bell.ring()

    def attend(self) -> bool:
        """Wake whoever waits for what was put; False if all was called off."""
        with self._lock:
            if not self.is_broken:
                self._ring_taker()
            return not self.is_broken

    def admit(self, count: int, bell: Ring) -> int:
        """Room for so many items, or as many as there is: the bell rings for the rest. Held."""
        self._putters.pop(bell, None)
        room = count if self.is_broken else max(0, min(count, self.bound - self.held))
        self.held += room
        if room < count:
            self._putters[bell] = None
        elif self._putters and self.held < self.bound:
            self._ring_putter()
        return room

    def release(self, count: int) -> None:
        """So many have gone on, or ended. Held."""
        self.held -= count
        if self._putters and self.bound - self.held >= (self.bound // 4 or 1):
            self._ring_putter()

    def _ring_putter(self) -> None:
        bell = next(iter(self._putters))
        del self._putters[bell]
        bell.ring()

    def note_pace(self, count: int, took_ns: int) -> None:
        """Bound what waits by what the workers do in a millisecond, twice their number at least.

        So a stage that takes long has next to nothing waiting, and a quick one enough for the
        price of waking it to be shared by many. Where the order is kept, nobody can take over
        from a worker, so that it gets no more than it does in a tenth of that. Held.
        """
        done = count * self._workers * _PACE_NS // (took_ns or 1)
        if self._in_order:
            self._most = max(1, min(2 * self._most, done // self._workers // 10))
        if not self._is_fixed:
            grown = min(MOST, 2 * self.bound, (self.bound + done) // 2)
            self.bound = max(2 * self._workers, grown)

    def end(self) -> None:
        """Nothing more will be put."""
        with self._lock:
            self._is_ended = True
            self._ring_all()

    def break_off(self) -> None:
        """Give out nothing more, and keep nobody waiting for room."""
        with self._lock:
            self.is_broken = self.attention = True
            self._ring_all()

    def _ring_all(self) -> None:
        for bell in (*self._takers, *self._putters):
            bell.ring()
        self._takers.clear()
        self._putters.clear()


class Drain:
    """Where the results of a sink go: nowhere."""

    def __init__(self) -> None:
        self.attention = False
        self.put = deque[Any](maxlen=0).append

    def attend(self) -> bool:
        """False: all was called off."""
        return False

    def admit(self, count: int, _bell: Ring) -> int:
        """There is always room."""
        return count

    def end(self) -> None:
        """It does not matter here."""

    def break_off(self) -> None:
        """Have the sink stop."""
        self.attention = True
