"""Which schedules are to be looked at now: those that fall due, and those that wait for room."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import Final

from workermanager.timetables.store import Outlook

__all__ = ["PATIENCE_NS", "Roster"]

PATIENCE_NS: Final = 200_000_000  # well within what counts as seen in time


class Roster:
    """When each schedule is to be looked at, in two heaps; what is outdated there is passed over.

    All a schedule costs is a few comparisons, so there may be many thousands. What falls due while
    there is no room is looked at within ``patience_ns``. One that is idle is looked at ``ahead_ns``
    before its fire is planned, so that the fire stands ready then.
    """

    def __init__(self, patience_ns: int = PATIENCE_NS) -> None:
        self.patience_ns = patience_ns
        self.ahead_ns = 0
        self._outlooks: dict[str, Outlook] = {}
        self._wakes: dict[str, int] = {}
        self._allows_overlap: set[str] = set()
        self._due: list[tuple[int, str]] = []
        self._line: list[tuple[int, str]] = []
        self._lined: set[tuple[int, str]] = set()  # the same: each stands in line once

    def enter(self, name: str, moment: int, *, allows_overlap: bool) -> None:
        """Look at a schedule at that moment, and from then on when it wants to be."""
        (self._allows_overlap.add if allows_overlap else self._allows_overlap.discard)(name)
        self._outlooks[name] = Outlook(moment, None, 0)
        self._wake_at(name, moment)

    def leave(self, name: str) -> None:
        """Look at a schedule no more."""
        self._outlooks.pop(name, None)
        self._wakes.pop(name, None)

    def note(self, name: str, outlook: Outlook) -> None:
        """A schedule was looked at: when it wants to be again."""
        before, moment = self._outlooks.get(name), outlook.next_look
        self._outlooks[name] = outlook
        if moment is None:
            self._wakes.pop(name, None)
        elif _is_busy(outlook) or (before is not None and before.next_look == moment):
            self._wake_at(name, moment)  # what it is busy with may have ended by then
        else:
            self._wake_at(name, moment - self.ahead_ns)
        if outlook.waits_since is not None and not self._is_blocked(name, outlook):
            self._stand_in_line(outlook.waits_since, name)

    def end(self, name: str) -> bool:
        """A fire of the schedule has ended: True if another waits for that."""
        before = self._outlooks.get(name)
        if before is None:
            return False
        outlook = self._outlooks[name] = replace(before, running=max(0, before.running - 1))
        if outlook.next_look is not None and not _is_busy(outlook):
            self._wake_at(name, outlook.next_look - self.ahead_ns)
        return self._is_blocked(name, before)

    def take_due(self, now: int, room: int) -> list[str]:
        """The schedules that are to be looked at by now, the earliest first.

        Where there is no ``room`` for more, those that fell due just now are left for a moment:
        most begin at their first look then, which spares noting that they wait.
        """
        names: list[str] = []
        while (moment := self.next_moment) is not None and moment <= now:
            if len(names) >= room and moment > now - self.patience_ns:
                break
            name = heapq.heappop(self._due)[1]
            del self._wakes[name]
            names.append(name)
        return names

    def take_waiting(self, room: int) -> list[str]:
        """The schedules with fires that wait and may begin, at most ``room``, the oldest first."""
        names: dict[str, None] = {}
        while self._line and len(names) < room:
            since, name = heapq.heappop(self._line)
            self._lined.discard((since, name))
            outlook = self._outlooks.get(name)
            if outlook is not None and outlook.waits_since == since:
                names[name] = None
        return list(names)

    @property
    def next_moment(self) -> int | None:
        """When the next schedule is to be looked at; None if none ever is."""
        while self._due:
            moment, name = self._due[0]
            if self._wakes.get(name) == moment:
                return moment
            heapq.heappop(self._due)
        return None

    @property
    def is_empty(self) -> bool:
        """True if no fire waits, and none is left to come."""
        return self.next_moment is None and all(
            one.waits_since is None for one in self._outlooks.values()
        )

    def _wake_at(self, name: str, moment: int) -> None:
        if self._wakes.get(name) != moment:
            self._wakes[name] = moment
            heapq.heappush(self._due, (moment, name))

    def _stand_in_line(self, since: int, name: str) -> None:
        if (since, name) not in self._lined:
            self._lined.add((since, name))
            heapq.heappush(self._line, (since, name))

    def _is_blocked(self, name: str, outlook: Outlook) -> bool:
        """True where what waits waits for a fire that runs, not for room."""
        has_waiting = outlook.waits_since is not None
        return has_waiting and outlook.running > 0 and name not in self._allows_overlap


def _is_busy(outlook: Outlook) -> bool:
    return outlook.running > 0 or outlook.waits_since is not None
