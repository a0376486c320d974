"""Plays schedules in virtual time: the store decides, and fires run as long as they are told to."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workermanager.scheduler.memory import MemoryStore
from workermanager.scheduler.roster import Roster
from workermanager.timetables.fires import Ending, Fire, FireState
from workermanager.timetables.store import Look

if TYPE_CHECKING:
    from workermanager.timetables.schedule import Schedule

S = 1_000_000_000


@dataclass
class Player:
    """One scheduler in virtual time, with ``threads``; ``takes`` says how long a fire runs."""

    schedules: list[Schedule]
    now: int = 0
    threads: int = 10
    takes: object = 0
    fails: object = False
    is_deaf: bool = False  # what is cancelled goes on
    store: MemoryStore = field(default_factory=MemoryStore)
    began: list[tuple[str, int, int]] = field(default_factory=list)  # schedule, due, started
    cancelled: list[Fire] = field(default_factory=list)
    skips: dict[tuple[str, str], int] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        self.roster = Roster()
        self.running: dict[Fire, int] = {}
        self.ends: list[tuple[int, int, Fire]] = []
        for schedule in self.store.enroll(self.schedules, self.now):
            self.roster.enter(schedule.name, self.now, allows_overlap=schedule.overlap == "allow")

    def play(self, until: int, *, stall: tuple[int, int] | None = None) -> None:
        """Go on until then; nobody looks between the two moments of ``stall``."""
        while True:
            moments = [self.roster.next_moment, self.ends[0][0] if self.ends else None]
            moment = min((one for one in moments if one is not None), default=None)
            if moment is None or moment > until:
                break
            if stall is not None and stall[0] <= moment < stall[1]:
                moment = stall[1]
            self.now = max(self.now, moment)
            self.turn()
        self.now = max(self.now, until)

    def turn(self) -> None:
        """One look, as the keeper's."""
        endings = []
        while self.ends and self.ends[0][0] <= self.now:
            _, _, fire = heapq.heappop(self.ends)
            started = self.running.pop(fire, None)
            if started is None:
                continue
            endings.append(self._end(fire, started))
        unblocked = [e.fire.schedule for e in endings if self.roster.unblock(e.fire.schedule)]
        room = self.threads - len(self.running)
        names = [
            *self.roster.take_waiting(room),
            *unblocked,
            *self.roster.take_due(self.now, self.threads),
        ]
        look = Look(now=self.now, endings=endings, names=list(dict.fromkeys(names)), room=room)
        findings = self.store.look(look)
        self.looks += 1
        for key, count in findings.skips.items():
            self.skips[key] = self.skips.get(key, 0) + count
        for name, outlook in findings.outlooks.items():
            self.roster.note(name, outlook)
        for fire in findings.starts:
            self.began.append((fire.schedule, fire.due, self.now))
            self.running[fire] = self.now
            takes = self.takes(fire) if callable(self.takes) else self.takes
            heapq.heappush(self.ends, (self.now + takes, len(self.began), fire))
        for fire in findings.cancels:
            if self.is_deaf:
                continue
            self.cancelled.append(fire)
            heapq.heappush(self.ends, (self.now, -len(self.cancelled), fire))
        for entry in self.store.entries(self.now):
            entry.progress.counts.check()

    def _end(self, fire: Fire, started: int) -> Ending:
        if fire in self.cancelled:
            return Ending(fire, FireState.FAILED, started, self.now, "cancelled", called_off=True)
        if self.fails(fire) if callable(self.fails) else self.fails:
            return Ending(fire, FireState.FAILED, started, self.now, "it failed")
        is_late = started - fire.planned > S
        return Ending(fire, FireState.LATE if is_late else FireState.RAN, started, self.now)

    def counts(self, name: str) -> dict[str, int]:
        """How the fires of a schedule stand, those that are none left out."""
        for entry in self.store.entries(self.now):
            if entry.schedule.name == name:
                counts = entry.progress.counts.to_dict()
                return {key: value for key, value in counts.items() if value}
        raise LookupError(name)

    def dues(self, name: str = "job") -> list[int]:
        """The due times that began, in their order."""
        return [due for schedule, due, _ in self.began if schedule == name]
