"""What is kept of schedules, fires and processes, row by row, and what a row means."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from workermanager.timetables.fires import Counts, Fire, FireState, Record
from workermanager.timetables.schedule import Progress

if TYPE_CHECKING:
    from workermanager.timetables.schedule import Schedule

__all__ = ["FireRow", "NodeRow", "ScheduleRow", "new_row", "progress_of", "record_of", "taken_up"]


class ScheduleRow(NamedTuple):
    """A schedule as it is kept: ``wanted`` is its timetable before it was anchored."""

    name: str
    schedule: str
    wanted: str
    target: str | None
    cursor: int
    paused_until: int | None
    failures: int
    skip_due: int | None
    skip_reason: str | None
    skip_count: int
    due: int
    ran: int
    late: int
    skipped: int
    failed: int


class FireRow(NamedTuple):
    """A fire, or ``times`` skipped ones from ``due`` to ``last``; ``node`` runs it, or has."""

    schedule: str
    due: int
    last: int
    times: int
    planned: int
    state: str
    attempt: int = 1
    is_manual: bool = False
    started: int | None = None
    ended: int | None = None
    reason: str | None = None
    node: str | None = None
    is_cancelled: bool = False

    @property
    def fire(self) -> Fire:
        """The fire, if it is one."""
        return Fire(self.schedule, self.due, self.planned, self.attempt, bool(self.is_manual))


class NodeRow(NamedTuple):
    """A process that serves schedules: ``beat`` grows while it lives.

    ``start`` is when it began, in ticks since the boot that ``boot`` names.
    """

    id: str
    host: str
    pid: int
    start: int | None
    boot: str
    beat: int
    serves: str


def progress_of(row: ScheduleRow) -> Progress:
    """How far a schedule has come, but for what waits and runs."""
    skip = None if row.skip_due is None else (row.skip_due, row.skip_reason or "")
    counts = Counts(row.due, row.ran, row.late, row.skipped, row.failed)
    return Progress(row.cursor, row.paused_until, row.failures, skip, counts)


def new_row(schedule: Schedule, now: int, target: str | None) -> ScheduleRow:
    """A schedule that nobody knows yet."""
    anchored = replace(schedule, timetable=schedule.timetable.anchored(now))
    return ScheduleRow(
        name=schedule.name,
        schedule=json.dumps(anchored.to_dict(), sort_keys=True),
        wanted=json.dumps(schedule.timetable.to_dict(), sort_keys=True),
        target=target,
        cursor=anchored.begins_after(now),
        paused_until=None,
        failures=0,
        skip_due=None,
        skip_reason=None,
        skip_count=0,
        due=0,
        ran=0,
        late=0,
        skipped=0,
        failed=0,
    )


def taken_up(known: ScheduleRow, new: ScheduleRow, wanted: Schedule) -> ScheduleRow:
    """A schedule that was known, as it is from now on."""
    kept = json.loads(known.schedule)
    target = known.target if new.target is None else new.target
    timetables = (known.wanted, json.dumps(kept["timetable"], sort_keys=True))
    if new.wanted in timetables:
        document = {**wanted.to_dict(), "timetable": kept["timetable"]}
        return known._replace(schedule=json.dumps(document, sort_keys=True), target=target)
    return known._replace(
        schedule=new.schedule,
        wanted=new.wanted,
        target=target,
        cursor=new.cursor,
        skip_due=None,
        skip_reason=None,
        skip_count=0,
    )


def record_of(row: FireRow) -> Record:
    """What the history says of a fire."""
    return Record(
        schedule=row.schedule,
        due=row.due,
        last=row.last,
        count=row.times,
        planned=row.planned,
        state=FireState(row.state),
        attempt=row.attempt,
        is_manual=bool(row.is_manual),
        started=row.started,
        ended=row.ended,
        reason=row.reason,
        node=row.node,
    )
