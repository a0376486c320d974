"""Which task is next: in the order of the input, after what it waits for, again after a failure."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Schedule", "Turn"]


class Turn(NamedTuple):
    """A task whose time has come; ``blocker`` is the first it comes after that was not ok."""

    number: int
    attempt: int
    blocker: int | None = None


class Schedule:
    """Pure bookkeeping. ``after`` has the tasks that wait, each with the numbers of the others.

    Memory is taken by tasks that wait only.
    """

    def __init__(self, count: int, after: Mapping[int, Sequence[int]]) -> None:
        self._count = count
        self._next = 0
        self._ready: list[int] = []
        self._later: list[tuple[int, int, int]] = []
        self._again: list[Turn] = []
        self._open = {number: len(set(others)) for number, others in after.items()}
        self._after = after
        self._blockers: dict[int, set[int]] = {}
        self._dependents: dict[int, list[int]] = {}
        for number, others in after.items():
            for other in set(others):
                self._dependents.setdefault(other, []).append(number)

    def take(self, now_ns: int) -> Turn | None:
        """The next task that may begin; None if none may for the moment."""
        if self._again:
            return self._again.pop()
        if self._later and self._later[0][0] <= now_ns:
            _, number, attempt = heappop(self._later)
            return Turn(number, attempt)
        if self._ready:
            return self._first(heappop(self._ready))
        while self._next < self._count:
            number = self._next
            self._next += 1
            if number not in self._open:
                return self._first(number)
        return None

    def _first(self, number: int) -> Turn:
        blockers = self._blockers.pop(number, None)
        if blockers is None:
            return Turn(number, 1, None)
        return Turn(number, 1, next(other for other in self._after[number] if other in blockers))

    def put_back(self, turn: Turn) -> None:
        """It could not begin after all: it is the next one still."""
        self._again.append(turn)

    def retry(self, number: int, attempt: int, at_ns: int) -> None:
        """A further attempt, from that moment on."""
        heappush(self._later, (at_ns, number, attempt))

    @property
    def next_ns(self) -> int | None:
        """When the next attempt that waits for its time may begin."""
        return self._later[0][0] if self._later else None

    def end(self, number: int, *, is_ok: bool) -> None:
        """A task has come to its end, also one that never began."""
        for dependent in self._dependents.pop(number, ()):
            self._open[dependent] -= 1
            if not is_ok:
                self._blockers.setdefault(dependent, set()).add(number)
            if not self._open[dependent]:
                del self._open[dependent]
                if dependent < self._next:
                    heappush(self._ready, dependent)
