"""What is to happen next in virtual time: actions in the order of their moments."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.testing.clock import StageClock

__all__ = ["Agenda"]


class Agenda:
    """Does things at their moments of a clock; what has the same moment, in the order of entry."""

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock
        self._numbers = count()
        self._entries: list[tuple[int, int, Callable[[], None]]] = []

    def enter(self, moment: int, action: Callable[[], None]) -> None:
        """Have something done at a moment."""
        heappush(self._entries, (moment, next(self._numbers), action))

    def has_something_by(self, moment: int | None) -> bool:
        """True if something is to be done by then; with None, if anything ever is."""
        entries = self._entries
        return bool(entries) and (moment is None or entries[0][0] <= moment)

    def play_moment(self) -> bool:
        """Go to the next moment, and do all that is to be done then; False if nothing is left."""
        entries = self._entries
        if not entries:
            return False
        moment = entries[0][0]
        while entries and entries[0][0] == moment:
            self._clock.turn_to(moment)
            heappop(entries)[2]()
        return True
