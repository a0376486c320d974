"""Which schedules are to be looked at now: those that fall due, and those that wait for room."""

from __future__ import annotations

import heapq
from typing import Final

from workermanager.timetables.store import Outlook

__all__ = ["PATIENCE_NS", "Roster"]

PATIENCE_NS: Final = 200_000_000  # well within what counts as seen in time


class Roster:
    """When each schedule wants to be looked at, in two heaps; what is outdated is passed over.

    All a schedule costs is a few comparisons, so there may be many thousands. What falls due while
    there is no room is looked at within ``patience_ns``.
    """

    def __init__(self, patience_ns: int = PATIENCE_NS) -> None:
        self.patience_ns = patience_ns
        self._outlooks: dict[str, Outlook] = {}
        self._allows_overlap: set[str] = set()
        self._due: list[tuple[int, str]] = []
        self._line: list[tuple[int, str]] = []
        self._blocked: set[str] = set()

    def enter(self, name: str, moment: int, *, allows_overlap: bool) -> None:
        """Look at a schedule at that moment, and from then on when it wants to be."""
        (self._allows_overlap.add if allows_overlap else self._allows_overlap.discard)(name)
        self._outlooks[name] = Outlook(moment, None, 0)
        heapq.heappush(self._due, (moment, name))

    def leave(self, name: str) -> None:
        """Look at a schedule no more."""
        self._outlooks.pop(name, None)
        self._blocked.discard(name)

    def note(self, name: str, outlook: Outlook) -> None:
        """A schedule was looked at: when it wants to be again."""
        before = self._outlooks.get(name)
        self._outlooks[name] = outlook
        moment, since = outlook.next_look, outlook.waits_since
        if moment is not None and (before is None or before.next_look != moment):
            heapq.heappush(self._due, (moment, name))
        self._blocked.discard(name)
        if since is None:
            return
        if outlook.running and name not in self._allows_overlap:
            self._blocked.add(name)  # until its fire has ended
        else:
            heapq.heappush(self._line, (since, name))

    def take_due(self, now: int, room: int) -> list[str]:
        """The schedules that are to be looked at by now, the earliest first.

        Where there is no ``room`` for more, those that fell due just now are left for a moment:
        most begin at their first look then, which spares noting that they wait.
        """
        names: list[str] = []
        while (moment := self.next_moment) is not None and moment <= now:
            if len(names) >= room and moment > now - self.patience_ns:
                break
            names.append(heapq.heappop(self._due)[1])
        return names

    def take_waiting(self, room: int) -> list[str]:
        """The schedules with fires that wait and may begin, at most ``room``, the oldest first."""
        names: list[str] = []
        while self._line and len(names) < room:
            since, name = heapq.heappop(self._line)
            outlook = self._outlooks.get(name)
            is_current = outlook is not None and outlook.waits_since == since
            if is_current and name not in self._blocked and name not in names:
                names.append(name)
        return names

    def unblock(self, name: str) -> bool:
        """A fire of the schedule has ended: True if another waits for that."""
        return name in self._blocked

    @property
    def next_moment(self) -> int | None:
        """When the next schedule is to be looked at; None if none ever is."""
        while self._due:
            moment, name = self._due[0]
            outlook = self._outlooks.get(name)
            if outlook is None or outlook.next_look == moment:
                return moment
            heapq.heappop(self._due)
        return None

    @property
    def is_empty(self) -> bool:
        """True if no fire waits, and none is left to come."""
        has_waiting = any(one.waits_since is not None for one in self._outlooks.values())
        return self.next_moment is None and not has_waiting
