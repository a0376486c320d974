"""Keeps the schedules: looks at them when they are due, starts what begins, notes what has ended.

One thread does all of it, in turns. What it decides is decided by the store, in one transaction for
each turn; what runs, runs on the crew's threads.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from loguru import logger

from instrumentation.errors import Cancelled, WriteError
from workermanager.cancelling import Context, Flag
from workermanager.durations import format_duration
from workermanager.handoff import Bell
from workermanager.scheduler.performing import describe_fire, perform
from workermanager.timetables.store import Look

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.scheduler.clocks import Jumps
    from workermanager.scheduler.crew import Crew
    from workermanager.scheduler.notify import Notifier
    from workermanager.scheduler.performing import Duty
    from workermanager.scheduler.report import Tally
    from workermanager.scheduler.roster import Roster
    from workermanager.timetables.fires import Ending, Fire
    from workermanager.timetables.store import Findings, Store

__all__ = ["Keeper"]

_LONGEST_WAIT_NS: Final = 1_000_000_000  # a clock that is set, or a suspend, is noticed by then
_HANDOVER_NS: Final = 400_000  # from a look to the first step, on another thread
MOST_AHEAD_NS: Final = 20_000_000
_ROUND_NS: Final = 1_000_000_000
_GIVE_UP_NS: Final = 1_000_000_000  # after a cancel: what has not ended then is left behind
_HANGS_NS: Final = 30_000_000_000  # longer than a store is waited for, twice over
_STOPPED: Final = "the scheduler stopped"
_OVERTAKEN: Final = "the next fire is due"


class Keeper:
    """Turns from `start` until it is told to `stop` and has drained.

    ``steady`` and ``now`` are nanoseconds that only pass, and those since 1970. ``settled`` is set
    when nothing runs and no fire is left to come, or all is over. ``turned`` is when it last turned
    (steady), ``next_moment`` when the next look is due.
    """

    def __init__(  # noqa: PLR0913 - one place makes it
        self,
        store: Store,
        crew: Crew,
        tally: Tally,
        roster: Roster,
        *,
        now: Callable[[], int],
        steady: Callable[[], int],
        jumps: Jumps,
        notifier: Notifier,
        grace_ns: int,
        most_ahead_ns: int = MOST_AHEAD_NS,
    ) -> None:
        self.settled = Flag()
        self.is_over = False
        self.is_stopping = False
        self.crash: BaseException | None = None
        self.turned = 0
        self.next_moment: int | None = None  # told to others, who must not touch the roster
        self._settling = threading.Lock()
        self._store = store
        self._crew = crew
        self._tally = tally
        self._now = now
        self._steady = steady
        self._jumps = jumps
        self._notifier = notifier
        waits = () if notifier.interval_s is None else (int(notifier.interval_s * 1e9),)
        self._longest_wait: int = min((_LONGEST_WAIT_NS, *waits))
        self._grace_ns = grace_ns
        self._most_ahead = most_ahead_ns
        self._is_cancelling = False
        self._stopped = 0
        self._is_failing = False
        self._duties: dict[str, Duty] = {}
        self._roster = roster
        self._entering: deque[Duty] = deque()
        self._nudges: deque[str] = deque()
        self._ended: deque[Ending] = deque()
        self._unnoted: list[Ending] = []
        self._running: dict[Fire, Context] = {}
        self._scope = Context(name="the scheduler")
        self._bell = Bell()
        self._next_round = 0
        self._next_alive = 0
        self._thread = threading.Thread(target=self._main, name="schedule-keeper", daemon=True)

    # From other threads

    def start(self) -> None:
        """Begin to turn."""
        self.turned = self._steady()
        self._thread.start()

    def expect(self, duty: Duty) -> None:
        """Know a schedule that is being entered: the store may give fires of it that waited."""
        self._duties[duty.schedule.name] = duty

    def enter(self, duty: Duty) -> None:
        """Keep one more schedule, which the store knows already."""
        self.expect(duty)
        self._entering.append(duty)
        self._unsettle()

    def nudge(self, name: str) -> None:
        """Look at a schedule now: somebody has asked for a fire, or changed it."""
        self._nudges.append(name)
        self._unsettle()

    def _unsettle(self) -> None:
        """Something is to be done: whoever waits, waits for that."""
        with self._settling:
            if self.settled.is_set() and not self.is_over:
                self.settled = Flag()
        self._bell.ring()

    def leave(self, name: str) -> None:
        """Keep a schedule no more."""
        self._duties.pop(name, None)
        self.nudge(name)

    def stop(self, *, now: bool = False) -> None:
        """Begin nothing more; what runs may go on for the grace, or with ``now`` is cancelled.

        Safe to call from any thread, from a signal handler, and again.
        """
        is_new = now > self._is_cancelling or not self.is_stopping
        self._stopped = self._steady() if is_new else self._stopped
        self.is_stopping = True
        if now:
            self._is_cancelling = True
            self._scope.cancel(Cancelled(_STOPPED))  # the keeper may be waiting for its store
        self._bell.ring()

    def wait_out(self) -> bool:
        """Wait until it has drained; False if it hangs, for a store that never answers."""
        while self._thread.is_alive():
            self._thread.join(_LONGEST_WAIT_NS / 1e9)
            grace = 0 if self._is_cancelling else self._grace_ns
            if self.is_stopping and self._steady() - self._stopped > grace + _HANGS_NS:
                self._tally.unfinished.append("the store does not answer: it knows no ends")
                return False
        return True

    @property
    def running(self) -> list[Fire]:
        """The fires that run here."""
        return list(self._running)

    # On the keeper's thread

    def _main(self) -> None:
        try:
            self._notifier.ready()
            self._notifier.status(f"{len(self._duties)} schedules")
            while not self.is_stopping:
                self.turn()
                self._bell.wait(self._pause() / 1e9)
            self._notifier.stopping()
            self._notifier.status(f"draining: {len(self._running)} fires run")
            self._drain()
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the scheduler
            self.crash = crash
            logger.error("the schedules are kept no more: {!r}", crash)
            self._scope.cancel(crash)
        finally:
            with self._settling:
                self.is_over = True
                self.settled.set()

    def turn(self) -> None:
        """Note what has ended, decide what is due, and start what begins."""
        self._heed_clock()
        self._take_in()
        now = self._now()
        endings = self._take_endings()
        room = self._crew.size - len(self._running)
        names = [
            *self._roster.take_waiting(room),
            *self._nudged(),
            *self._roster.take_due(now, room),
        ]
        is_round = self._store.is_shared and now >= self._next_round
        if endings or names or is_round:
            look = Look(
                now=now,
                endings=endings,
                ahead_ns=self._roster.ahead_ns,
                names=list(dict.fromkeys(names)),
                room=room,
                is_round=is_round,
            )
            self._look(look)
        if is_round:
            self._next_round = now + _ROUND_NS
        self._tell_alive()
        self.next_moment = self._roster.next_moment
        with self._settling:
            if not (self._running or self._entering or self._nudges) and self._roster.is_empty:
                self.settled.set()

    def _look(self, look: Look) -> None:
        began = self._steady()
        try:
            findings = self._store.look(look)
        except WriteError as error:
            if not self._is_failing:
                self._is_failing = True
                logger.error("the store does not go on, and is tried each second: {}", error)
            self._unnoted = list(look.endings)
            for name in look.names:
                self._roster.enter(name, look.now + _ROUND_NS, allows_overlap=self._allows(name))
            return
        if self._is_failing:
            self._is_failing = False
            logger.info("the store goes on")
        self._look_ahead(self._steady() - began)
        self._heed(findings)

    def _look_ahead(self, took_ns: int) -> None:
        """Look so much earlier as a look has taken of late, so that fires stand ready in time."""
        ahead = self._roster.ahead_ns
        wanted = min(self._most_ahead, took_ns + _HANDOVER_NS)
        self._roster.ahead_ns = ahead + (wanted - ahead) // 8 if ahead else wanted

    def _heed(self, findings: Findings) -> None:
        self._tally.note(findings)
        for name, outlook in findings.outlooks.items():
            if name in self._duties:
                self._roster.note(name, outlook)
        for fire in findings.starts:
            self._begin(fire)
        for fire in findings.cancels:
            if (scope := self._running.get(fire)) is not None:
                scope.cancel(Cancelled(_OVERTAKEN))
        for name in findings.pauses:
            logger.warning("{} has failed too often, and is paused", name)
        for ending in findings.lost:
            logger.error("{}: {}", describe_fire(ending.fire), ending.reason)
        for ending in findings.fenced:
            logger.error(
                "{} has ended too late: this process was taken for dead", describe_fire(ending.fire)
            )
        for (name, reason), count in findings.skips.items():
            logger.info("{}: {} skipped ({})", name, count, reason)

    def _begin(self, fire: Fire) -> None:
        duty = self._duties[fire.schedule]
        scope = self._running[fire] = Context(self._scope, name=describe_fire(fire))
        self._crew.submit(lambda: perform(duty, fire, scope, self._now, self._note))

    def _note(self, ending: Ending, error: BaseException | None) -> None:
        """A fire has ended: on the thread that it ran on."""
        if error is not None and not isinstance(error, Exception | Cancelled):
            self.stop()  # a step that wants out
        self._ended.append(ending)
        self._bell.ring()

    def _take_endings(self) -> list[Ending]:
        endings, self._unnoted = self._unnoted, []
        for _ in range(len(self._ended)):
            ending = self._ended.popleft()
            scope = self._running.pop(ending.fire, None)
            if scope is None:
                continue  # it was left behind
            scope.release()
            self._tally.end(ending)
            if self._roster.end(ending.fire.schedule):
                self._nudges.append(ending.fire.schedule)
            endings.append(ending)
        return endings

    def _take_in(self) -> None:
        now = self._now()
        while self._entering:
            name = self._entering.popleft().schedule.name
            self._roster.enter(name, now, allows_overlap=self._allows(name))

    def _nudged(self) -> list[str]:
        names = []
        while self._nudges:
            name = self._nudges.popleft()
            if name in self._duties:
                names.append(name)
            else:
                self._roster.leave(name)
        return names

    def _allows(self, name: str) -> bool:
        duty = self._duties.get(name)
        return duty is not None and duty.schedule.overlap == "allow"

    def _heed_clock(self) -> None:
        look = self._jumps.look()
        if look.slept_ns:
            logger.warning("nothing ran for {:.1f} s: the machine slept", look.slept_ns / 1e9)
        if look.jump_ns:
            logger.warning("the clock was set by {:+.3f} s", look.jump_ns / 1e9)
            self._store.heed_clock(look.jump_ns)
            self._nudges.extend(list(self._duties))

    def _tell_alive(self) -> None:
        """Note that this loop turns, and tell systemd as often as it wants to hear it."""
        interval, now = self._notifier.interval_s, self._steady()
        self.turned = now
        if interval is not None and now >= self._next_alive:
            self._next_alive = now + int(interval * 1e9)
            self._notifier.alive()

    def _pause(self) -> int:
        """How long nothing is to be done, in nanoseconds, unless the bell rings."""
        if self._ended or self._entering or self._nudges:
            return 0
        now, moment = self._now(), self.next_moment
        limits = [now + self._longest_wait]
        if moment is not None:
            is_full = len(self._running) >= self._crew.size
            limits.append(
                moment + self._roster.patience_ns if is_full and moment <= now else moment
            )
        if self._store.is_shared:
            limits.append(self._next_round)
        return max(0, min(limits) - now)

    # Draining

    def _drain(self) -> None:
        """Let what runs end; after the grace, or told so, cancel it; then leave it behind."""
        began = self._steady()
        cancelled = None
        while True:
            self._tell_alive()
            self._look_back()
            if not self._running:
                break
            passed = self._steady()
            if cancelled is None and (self._is_cancelling or passed - began >= self._grace_ns):
                cancelled = passed
                self._scope.cancel(Cancelled(_STOPPED))
            if cancelled is not None and passed - cancelled >= _GIVE_UP_NS:
                break
            limit = began + self._grace_ns if cancelled is None else cancelled + _GIVE_UP_NS
            self._bell.wait(min(self._longest_wait, max(0, limit - passed)) / 1e9)
        self._leave()

    def _look_back(self) -> None:
        """Note what has ended since the last look; nothing begins any more."""
        told = len(self._unnoted)
        endings = self._take_endings()
        new = endings[told:]
        self._tally.unfinished += [_cut_short(ending) for ending in new if ending.called_off]
        if endings:
            self._look(Look(now=self._now(), endings=endings))

    def _leave(self) -> None:
        """Give up what runs yet, and what waits, and tell the store."""
        for fire in list(self._running):
            self._tally.abandon(fire, f"{describe_fire(fire)}: left behind, it did not end")
        try:  # what waits in a shared store, the next process goes on with
            waiting = {} if self._store.is_shared else self.waiting()
            self._store.leave(self._unnoted, self._now())
        except WriteError as error:
            logger.error("the store was not told how fires ended: {}", error)
            self._tally.unsaved += len(self._unnoted)
            return
        for name, count in waiting.items():
            self._tally.drop(name, "stopped", count)
            self._tally.unfinished.append(f"{name}: {count} that waited did not run")

    def waiting(self) -> dict[str, int]:
        """How many fires of each schedule wait, where some do."""
        entries = self._store.entries(self._now())
        counts = {one.schedule.name: one.progress.counts.waiting for one in entries}
        return {name: count for name, count in counts.items() if count and name in self._duties}


def _cut_short(ending: Ending) -> str:
    ran = format_duration(ending.ended - ending.started)
    return f"{describe_fire(ending.fire)}: {ending.reason} after {ran}"
