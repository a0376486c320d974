"""What becomes of the fires of a schedule at one moment: a pure function, and the only one.

Every due time is decided once, when it is first seen: it begins, it waits, or it is skipped, with
the reason. What waits is explicit, so nothing depends on who looks, or how often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from workermanager.timetables.fires import Fire, FireState, Skip
from workermanager.timetables.policy import MOST_WAITING
from workermanager.timetables.schedule import FOREVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.timetables.fires import Ending
    from workermanager.timetables.schedule import Progress, Schedule

__all__ = ["GRACE", "MISSED", "OVERLAP", "PAUSED", "QUEUE_FULL", "Decision", "decide", "settle"]

MISSED: Final = "missed"
OVERLAP: Final = "overlap"
QUEUE_FULL: Final = "queue full"
PAUSED: Final = "paused"
GRACE: Final = "grace"
_MOST_SEEN: Final = 2 * MOST_WAITING + 1  # what may be kept, is on time, and one before these


@dataclass(slots=True)
class Decision:
    """What is to be done now.

    ``starts`` begin, ``waits`` wait from now on; ``skips`` were due and never will begin, and
    ``dropped`` had waited. With ``is_cancelling``, what runs is to be called off. Nothing more will
    happen before ``next_look`` unless a fire ends or room is made (None: never again).
    """

    starts: list[Fire] = field(default_factory=list)
    waits: list[Fire] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    dropped: list[tuple[Fire, str]] = field(default_factory=list)
    is_cancelling: bool = False
    next_look: int | None = None


def decide(  # noqa: PLR0913 - all that it depends on, and nothing else does
    schedule: Schedule,
    progress: Progress,
    waiting: Sequence[Fire],
    running: int,
    *,
    now: int,
    room: int,
    ahead_ns: int = 0,
) -> Decision:
    """Decide what fell due, then what begins; ``progress`` moves on.

    ``waiting`` are the schedule's own, the earliest planned first; ``running`` counts those that
    run, and ``room`` how many more may begin. Where none does either, and there is no pause, what
    is planned within ``ahead_ns`` is decided already, and is to begin when it is planned.
    """
    case = _Case(schedule, progress, list(waiting), running, now)
    case.pass_pause()
    case.take_due()
    if not (case.line or running or progress.paused_until):
        case.take_ahead(now + ahead_ns)
    kept = case.begin(room)
    known = set(waiting)
    case.decision.waits = [fire for fire in kept if fire not in known]
    case.decision.next_look = case.next_look(kept)
    return case.decision


def settle(schedule: Schedule, progress: Progress, ending: Ending) -> bool:
    """Count how a fire has ended; True if that pauses its schedule."""
    counts, state = progress.counts, ending.state
    name = state.value
    setattr(counts, name, getattr(counts, name) + 1)
    if state is not FireState.FAILED:
        progress.failures = 0
    elif not ending.called_off:
        progress.failures += 1
    if schedule.pause_after is None or progress.failures < schedule.pause_after:
        return False
    progress.failures = 0
    pause = schedule.pause_for_ns
    until = FOREVER if pause is None else ending.ended + pause
    progress.paused_until = max(until, progress.paused_until or 0)  # it may be paused already
    return True


@dataclass(slots=True)
class _Case:
    """One schedule at one moment, while it is being decided; ``line`` is what waits."""

    schedule: Schedule
    progress: Progress
    line: list[Fire]
    running: int
    now: int
    decision: Decision = field(default_factory=Decision)

    # What fell due

    def pass_pause(self) -> None:
        """Skip what fell due in a pause; one that is over is forgotten."""
        until = self.progress.paused_until
        if until is None:
            return
        count, latest = self._ripe(min(self.now, until))
        if count:
            self._skip(count, latest[-1], PAUSED)
        if self.now >= until:
            self.progress.paused_until = None

    def take_due(self) -> None:
        """Put what is due in line, or skip it."""
        count, latest = self._ripe(self.now)
        if not count:
            return
        planned, late_ns = self.schedule.planned, self.schedule.late_ns
        on_time = [due for due in latest[-MOST_WAITING:] if self.now - planned(due) <= late_ns]
        made_up: list[int] = []
        if count > len(on_time):
            made_up, on_time = self._make_up(latest, on_time)
            kept = len(made_up) + len(on_time)
            if skipped := count - kept:
                self._skip(skipped, latest[len(latest) - kept - 1], MISSED)
        for due in made_up:
            self._enter(due)
        for due in on_time:
            self._take(due)

    def take_ahead(self, moment: int) -> None:
        """Put the next fire in line if it is planned by then; what follows it is not due yet."""
        due = self.schedule.timetable.after(self.progress.cursor)
        if due is not None and self.schedule.planned(due) <= moment:
            self._enter(due)

    def _ripe(self, moment: int) -> tuple[int, list[int]]:
        """How many undecided fires are to begin by then, and the latest of them."""
        schedule, cursor = self.schedule, self.progress.cursor
        timetable = schedule.timetable
        first = timetable.after(cursor)
        if first is None or schedule.planned(first) > moment:
            return 0, []
        second = timetable.after(first)
        if second is None or schedule.planned(second) > moment:
            return 1, [first]
        count, latest = timetable.count(cursor, moment), timetable.tail(cursor, moment, _MOST_SEEN)
        if schedule.planned(latest[-1]) > moment:  # only the last: jitter keeps the order
            count -= 1
            latest.pop()
        return count, latest

    def _make_up(self, latest: list[int], on_time: list[int]) -> tuple[list[int], list[int]]:
        """Which fires run though some were missed, and which of them are simply on time."""
        misfire = self.schedule.misfire
        if misfire.kind == "latest":
            return latest[-1:], []
        if misfire.kind == "skip":
            return [], on_time
        missed = latest[: len(latest) - len(on_time)]
        return [*missed[-misfire.limit :], *on_time], []

    def _take(self, due: int) -> None:
        """Put a fire that is on time in line, or skip it, as the overlap policy says."""
        overlap, busy = self.schedule.overlap, self.running + len(self.line)
        if overlap == "cancel-running":
            self._drop([fire for fire in self.line if not fire.is_manual], OVERLAP)
            self.decision.is_cancelling = self.running > 0
        elif (overlap == "skip" and busy) or (overlap == "queue-one" and busy > 1):
            self._skip(1, due, OVERLAP)
            return
        elif len(self.line) >= MOST_WAITING:
            self._skip(1, due, QUEUE_FULL)
            return
        self._enter(due)

    def _enter(self, due: int) -> None:
        self.line.append(Fire(self.schedule.name, due, self.schedule.planned(due)))
        self.progress.cursor = due
        self.progress.open_skip = None
        self.progress.counts.due += 1

    def _skip(self, count: int, last: int, reason: str) -> None:
        """Skip the next ``count`` fires, up to ``last``; in a row they are one record."""
        progress = self.progress
        first = self.schedule.timetable.after(progress.cursor)
        assert first is not None  # noqa: S101 - there are ``count`` of them
        if progress.open_skip is None or progress.open_skip[1] != reason:
            progress.open_skip = (first, reason)
        self.decision.skips.append(Skip(progress.open_skip[0], last, count, reason))
        progress.cursor = last
        progress.counts.due += count
        progress.counts.skipped += count

    def _drop(self, fires: list[Fire], reason: str) -> None:
        """Skip fires that have waited."""
        if not fires:
            return
        self.decision.dropped += [(fire, reason) for fire in fires]
        self.line = [fire for fire in self.line if fire not in fires]
        self.progress.counts.skipped += len(fires)

    # What begins

    def begin(self, room: int) -> list[Fire]:
        """Begin what may begin, and drop what has waited too long; give what waits on."""
        self._drop([fire for fire in self.line if self._is_past_grace(fire)], GRACE)
        is_paused = self.progress.is_paused(self.now)
        starts = self.decision.starts
        kept: list[Fire] = []
        for fire in self.line:
            is_held = is_paused and not fire.is_manual
            is_busy = self.schedule.overlap != "allow" and self.running + len(starts) > 0
            (kept if is_held or is_busy or len(starts) >= room else starts).append(fire)
        return kept

    def _is_past_grace(self, fire: Fire) -> bool:
        grace = self.schedule.grace_ns
        return grace is not None and not fire.is_manual and self.now - fire.planned > grace

    def next_look(self, kept: list[Fire]) -> int | None:
        """When the next fire is planned, what waits runs out of its grace, or a pause is over."""
        schedule, until = self.schedule, self.progress.paused_until
        moments = []
        if (due := schedule.timetable.after(self.progress.cursor)) is not None:
            moments.append(schedule.planned(due))
        if schedule.grace_ns is not None:  # those that were asked for wait as long as it takes
            ends = [fire.planned + schedule.grace_ns for fire in kept if not fire.is_manual]
            moments += [end + 1 for end in ends]
        if kept and until is not None and until < FOREVER:
            moments.append(until)
        return max(self.now + 1, min(moments)) if moments else None
