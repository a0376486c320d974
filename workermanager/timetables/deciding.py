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


def decide(
    schedule: Schedule,
    progress: Progress,
    waiting: Sequence[Fire],
    running: int,
    now: int,
    room: int,
) -> Decision:
    """Decide what fell due, then what begins; ``progress`` moves on.

    ``waiting`` are the schedule's own, the earliest planned first; ``running`` counts those that
    run, and ``room`` how many more may begin.
    """
    decision = Decision()
    line = list(waiting)
    _pass_pause(schedule, progress, now, decision)
    _take_due(schedule, progress, line, running, now, decision)
    kept = _begin(schedule, progress, line, running, now, room, decision)
    known = set(waiting)
    decision.waits = [fire for fire in kept if fire not in known]
    decision.next_look = _next_look(schedule, progress, kept, now)
    return decision


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
    progress.paused_until = FOREVER if pause is None else ending.ended + pause
    return True


# What fell due


def _ripe(schedule: Schedule, cursor: int, now: int) -> tuple[int, list[int]]:
    """How many undecided fires are to begin by now, and the latest of them."""
    first = schedule.timetable.after(cursor)
    if first is None or schedule.planned(first) > now:
        return 0, []
    second = schedule.timetable.after(first)
    if second is None or schedule.planned(second) > now:
        return 1, [first]
    count = schedule.timetable.count(cursor, now)
    latest = schedule.timetable.tail(cursor, now, _MOST_SEEN)
    if schedule.planned(latest[-1]) > now:  # only the last: jitter keeps the order
        count -= 1
        latest.pop()
    return count, latest


def _pass_pause(schedule: Schedule, progress: Progress, now: int, decision: Decision) -> None:
    """Skip what fell due in a pause; a pause that is over is forgotten."""
    if progress.paused_until is None:
        return
    count, latest = _ripe(schedule, progress.cursor, min(now, progress.paused_until))
    if count:
        _skip(schedule, progress, count, latest[-1], PAUSED, decision)
    if now >= progress.paused_until:
        progress.paused_until = None


def _take_due(  # noqa: PLR0913, PLR0917 - one place calls it
    schedule: Schedule,
    progress: Progress,
    line: list[Fire],
    running: int,
    now: int,
    decision: Decision,
) -> None:
    """Put what fell due in ``line``, or skip it."""
    count, latest = _ripe(schedule, progress.cursor, now)
    if not count:
        return
    seen_in_time = [
        due for due in latest[-MOST_WAITING:] if now - schedule.planned(due) <= schedule.late_ns
    ]
    missed = count - len(seen_in_time)
    if missed:
        kept, seen_in_time = _make_up(schedule, latest, seen_in_time)
        if skipped := count - len(kept) - len(seen_in_time):
            last = latest[-(count - skipped) - 1] if skipped < count else latest[-1]
            _skip(schedule, progress, skipped, last, MISSED, decision)
        for due in kept:
            _enter(schedule, progress, due, line)
    for due in seen_in_time:
        _take(schedule, progress, due, line, running, decision)


def _make_up(
    schedule: Schedule, latest: list[int], seen_in_time: list[int]
) -> tuple[list[int], list[int]]:
    """Which fires run for those that were missed, and which are simply on time."""
    misfire = schedule.misfire
    if misfire.kind == "latest":
        return latest[-1:], []
    missed = latest[: len(latest) - len(seen_in_time)]
    return missed[len(missed) - min(misfire.limit, len(missed)) :], seen_in_time


def _take(  # noqa: PLR0913, PLR0917 - one place calls it
    schedule: Schedule,
    progress: Progress,
    due: int,
    line: list[Fire],
    running: int,
    decision: Decision,
) -> None:
    """Put a fire that is on time in line, or skip it, as the overlap policy says."""
    overlap, busy = schedule.overlap, running + len(line)
    if overlap == "cancel-running":
        decision.dropped += [(fire, OVERLAP) for fire in line if not fire.is_manual]
        _count_dropped(progress, sum(not fire.is_manual for fire in line))
        line[:] = [fire for fire in line if fire.is_manual]
        decision.is_cancelling = running > 0
    elif (overlap == "skip" and busy) or (overlap == "queue-one" and busy > 1):
        _skip(schedule, progress, 1, due, OVERLAP, decision)
        return
    elif overlap in {"queue", "allow"} and len(line) >= MOST_WAITING:
        _skip(schedule, progress, 1, due, QUEUE_FULL, decision)
        return
    _enter(schedule, progress, due, line)


def _enter(schedule: Schedule, progress: Progress, due: int, line: list[Fire]) -> None:
    line.append(Fire(schedule.name, due, schedule.planned(due)))
    progress.cursor = due
    progress.open_skip = None
    progress.counts.due += 1


def _skip(  # noqa: PLR0913, PLR0917 - the parts of a Skip, and where it goes
    schedule: Schedule, progress: Progress, count: int, last: int, reason: str, decision: Decision
) -> None:
    """Skip the next ``count`` fires, up to ``last``; one after the other, they are one record."""
    first = schedule.timetable.after(progress.cursor)
    assert first is not None  # noqa: S101 - there are ``count`` of them
    if progress.open_skip is None or progress.open_skip[1] != reason:
        progress.open_skip = (first, reason)
    decision.skips.append(Skip(progress.open_skip[0], last, count, reason))
    progress.cursor = last
    progress.counts.due += count
    progress.counts.skipped += count


def _count_dropped(progress: Progress, count: int) -> None:
    progress.counts.skipped += count


# What begins


def _begin(  # noqa: PLR0913, PLR0917 - one place calls it
    schedule: Schedule,
    progress: Progress,
    line: list[Fire],
    running: int,
    now: int,
    room: int,
    decision: Decision,
) -> list[Fire]:
    """Begin what may begin, and drop what waited too long; give what waits on."""
    is_paused = progress.is_paused(now)
    kept = []
    for fire in line:
        if _is_past_grace(schedule, fire, now):
            decision.dropped.append((fire, GRACE))
            _count_dropped(progress, 1)
        elif is_paused and not fire.is_manual:
            kept.append(fire)
        elif len(decision.starts) < room and (
            schedule.overlap == "allow" or not running + len(decision.starts)
        ):
            decision.starts.append(fire)
        else:
            kept.append(fire)
    return kept


def _is_past_grace(schedule: Schedule, fire: Fire, now: int) -> bool:
    grace = schedule.grace_ns
    return grace is not None and not fire.is_manual and now - fire.planned > grace


def _next_look(
    schedule: Schedule, progress: Progress, kept: Sequence[Fire], now: int
) -> int | None:
    """When the next fire is planned, what waits runs out of its grace, or a pause is over."""
    moments = []
    if (due := schedule.timetable.after(progress.cursor)) is not None:
        moments.append(schedule.planned(due))
    if kept and schedule.grace_ns is not None:
        moments.append(min(fire.planned for fire in kept) + schedule.grace_ns + 1)
    if kept and progress.paused_until is not None and progress.paused_until < FOREVER:
        moments.append(progress.paused_until)
    return max(now + 1, min(moments)) if moments else None
