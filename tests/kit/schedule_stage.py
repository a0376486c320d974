"""Keepers in virtual time: jobs that take as long as they are told, stalls, stops and kills."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from instrumentation.errors import Cancelled
from workermanager.scheduler.clocks import Look
from workermanager.scheduler.keeper import Keeper
from workermanager.scheduler.notify import Notifier
from workermanager.scheduler.performing import Duty
from workermanager.scheduler.report import Tally
from workermanager.scheduler.roster import Roster

if TYPE_CHECKING:
    from workermanager.timetables.schedule import Schedule

MS = 1_000_000
S = 1_000 * MS
T0 = 1_767_225_600 * S  # 2026-01-01


@dataclass(frozen=True)
class Act:
    """What one fire does: how long it runs, whether it fails, and whether it heeds a cancel."""

    takes: int = 0
    fails: bool = False
    heeds: bool = True


@dataclass
class Run:
    """One run of a fire, as its job saw it; ``is_cut`` where its process went away meanwhile."""

    fire: object
    hand: Hand
    started: int
    ended: int | None = None
    is_cut: bool = False


@dataclass
class Stage:
    """What several keepers share: the time, and all that was run."""

    now: int = T0
    runs: list[Run] = field(default_factory=list)
    events: list = field(default_factory=list)
    keepers: list[Hand] = field(default_factory=list)
    _count: int = 0

    def at(self, moment, do):
        self._count += 1
        heapq.heappush(self.events, (moment, self._count, do))

    def play(self, until):
        """Go on until then: every keeper turns whenever it wants to, at once."""
        turns, since = 0, self.now
        while True:
            turns, since = (turns + 1, since) if since == self.now else (0, self.now)
            assert turns < 1_000, "keepers turn and turn, and nothing comes of it"
            for hand in self.keepers:
                hand.turn()
            wakes = [hand.wakes_at() for hand in self.keepers]
            moment = min([until, *wakes, *(self.events[:1] and [self.events[0][0]])])
            if moment >= until and not (self.events and self.events[0][0] <= until):
                break
            self.pass_to(moment)
        self.now = until

    def pass_to(self, moment):
        """Time passes, and what happens in it happens, but no keeper turns."""
        while self.events and self.events[0][0] <= moment:
            at, _, do = heapq.heappop(self.events)
            self.now = max(self.now, at)
            do()
        self.now = max(self.now, moment)


class Hand:
    """One keeper on a stage, with its crew, its job for every schedule, and its bell."""

    is_gone = False

    def __init__(  # noqa: PLR0913 - what a test may set of it
        self,
        stage,
        store,
        schedules: list[Schedule],
        acts,
        *,
        threads,
        look_ns=0,
        most_ahead_ns=20 * MS,
    ):
        self.stage, self.store, self.acts = stage, store, acts
        self.size, self.look_ns, self._reads = threads, look_ns, 0
        self.name = "job"
        self.tally = Tally()
        self.scopes = {}
        self.keeper = Keeper(
            store,
            self,
            self.tally,
            Roster(),
            now=lambda: stage.now,
            steady=self._steady,
            jumps=self,
            notifier=Notifier(),
            grace_ns=S,
            most_ahead_ns=most_ahead_ns,
        )
        self.keeper._bell = self
        for schedule in store.enroll(schedules, stage.now):
            self.keeper.enter(Duty(schedule, self))
        stage.keepers.append(self)

    def _steady(self):
        """So a look takes ``look_ns``, of a time that is not the stage's."""
        self._reads += 1
        return self.stage.now + self._reads * self.look_ns

    def look(self):
        """No clock is ever set here."""
        return Look()

    def turn(self):
        self.keeper.turn()
        self.heed()

    def wakes_at(self):
        return self.stage.now + self.keeper._pause()

    # As its crew

    def submit(self, task):
        """A thread takes it at once, and waits until it is planned."""
        fire = self.keeper.running[-1]
        self.stage.at(max(self.stage.now, fire.planned), lambda: self.is_gone or task())

    # As its job

    def run(self, fire, scope, done):
        stage = self.stage
        act = self.acts(fire)
        run = Run(fire, self, stage.now)
        stage.runs.append(run)

        def end(error=None):
            if run.ended is None:
                run.ended = stage.now
                self.scopes.pop(fire, None)
                done(error, None)

        self.scopes[fire] = (scope, end, act.heeds)
        error = ValueError("it failed") if act.fails else None
        stage.at(stage.now + act.takes, lambda: end(error))

    def heed(self):
        """Those that are called off and heed it end."""
        for scope, end, heeds in list(self.scopes.values()):
            if heeds and scope.cancelled:
                end(Cancelled("called off"))

    # As its bell

    def ring(self):
        """Nobody waits but `play`, which looks anyway."""

    def wait(self, seconds):
        """Only a drain waits here."""
        self.heed()
        events, until = self.stage.events, self.stage.now + max(1, round(seconds * 1e9))
        if not self.keeper._ended:
            self.stage.pass_to(min([until, *(event[0] for event in events[:1])]))

    # How it goes

    def stop(self):
        """Drain, and leave."""
        self.keeper.stop()
        self.stage.keepers.remove(self)
        self.keeper._drain()
        self._go()

    def kill(self):
        """It is there no more, and nor is what it ran."""
        self.stage.keepers.remove(self)
        self._go()

    def _go(self):
        self.is_gone = True
        for run in self.stage.runs:
            if run.hand is self and run.ended is None:
                run.ended, run.is_cut = self.stage.now, True
