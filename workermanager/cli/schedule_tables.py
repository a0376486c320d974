"""Schedules, their fires and what is next: for people on standard output, and as JSON values."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from workermanager.cli.summary import make_console, make_table, named
from workermanager.durations import format_duration
from workermanager.redaction import one_line
from workermanager.timetables.fires import Counts
from workermanager.timetables.moments import SECOND_NS, find_zone, format_moment, to_datetime
from workermanager.timetables.schedule import FOREVER
from workermanager.timetables.timetable import Cron

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo

    from rich.table import Table

    from workermanager.scheduler.report import ScheduleReport
    from workermanager.timetables.fires import Record
    from workermanager.timetables.schedule import Progress, Schedule
    from workermanager.timetables.store import Entry
    from workermanager.timetables.timetable import Timetable

__all__ = [
    "describe_entry",
    "describe_record",
    "look_ahead",
    "show_entries",
    "show_moment",
    "show_next",
    "show_records",
    "show_report",
    "since_when",
    "zone_of",
]

_STATES: Final = {"failed": "red", "late": "yellow", "skipped": "yellow", "running": "cyan"}


def zone_of(timetable: Timetable) -> tzinfo | None:
    """The time zone that a timetable's times are shown in; None is the machine's."""
    return find_zone(timetable.tz) if isinstance(timetable, Cron) else None


def show_moment(moment: int, zone: tzinfo | None) -> str:
    """A moment for people: ``2026-03-29 03:30:00 CEST``, with milliseconds where there are any."""
    shown = to_datetime(moment).astimezone(zone)
    milliseconds = shown.microsecond // 1_000
    fraction = f".{milliseconds:03}" if milliseconds else ""
    return f"{shown:%Y-%m-%d %H:%M:%S}{fraction} {shown:%Z}"


def since_when(progress: Progress, now: int) -> int:
    """After which moment the next fire of a schedule can be: a pause skips what falls into it."""
    return max(now, progress.paused_until) if progress.paused_until is not None else now


def look_ahead(schedules: Iterable[tuple[Schedule, int]]) -> Iterator[tuple[int, int, Schedule]]:
    """When each fire is planned, when it is due, and whose it is, the earliest first.

    Each schedule comes with the moment after which its fires are wanted.
    """
    coming = (_plan(schedule, since) for schedule, since in schedules)
    return heapq.merge(*coming, key=lambda fire: fire[:2])


def _plan(schedule: Schedule, since: int) -> Iterator[tuple[int, int, Schedule]]:
    while (due := schedule.timetable.after(since)) is not None:
        yield schedule.planned(due), due, schedule
        since = due


# What a scheduler has done


def show_report(report: ScheduleReport, names: Sequence[str], *, on_stderr: bool = False) -> None:
    """Print what became of the fires: of each schedule, why some were skipped, and of all."""
    console = make_console(on_stderr=on_stderr)
    counts = {**dict.fromkeys(names, Counts()), **report.schedules}
    console.print(_tabulate_counts(counts))
    for name, reasons in report.skips.items():
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        console.print(Text(f"skipped of {named(name)}: {told}"))
    console.print(Text(report.accounting))


def _tabulate_counts(schedules: Mapping[str, Counts]) -> Table:
    table = make_table("schedule", "due", "ran", "late", "skipped", "failed", "running", "waiting")
    for name, counts in schedules.items():
        table.add_row(Text(named(name)), *_cells(counts))
    return table


def _cells(counts: Counts) -> list[Text]:
    return [
        Text(f"{count:,}", style=_STATES.get(state, "") if count else "dim")
        for state, count in counts.to_dict().items()
    ]


# What a store has


def show_entries(entries: Sequence[Entry], now: int) -> None:
    """Print schedules: how each is declared, then how it stands."""
    console = make_console()
    if not entries:
        console.print("no schedule yet")
        return
    declared = make_table("schedule", "when", "misfire", "overlap", "grace", "lost", "pause after")
    standing = make_table("schedule", "state", "next", *entries[0].progress.counts.to_dict())
    for entry in entries:
        schedule, name = entry.schedule, Text(named(entry.schedule.name))
        declared.add_row(
            name,
            Text(str(schedule.timetable)),
            str(schedule.misfire),
            schedule.overlap,
            _duration(schedule.grace_ns),
            schedule.lost,
            _pausing(schedule),
        )
        standing.add_row(
            name, _state(entry, now), _next(entry, now), *_cells(entry.progress.counts)
        )
    console.print(declared)
    console.print(standing)


def _duration(nanoseconds: int | None) -> str:
    return "none" if nanoseconds is None else format_duration(nanoseconds)


def _pausing(schedule: Schedule) -> str:
    if schedule.pause_after is None:
        return "never"
    length = "" if schedule.pause_for_ns is None else f" for {_duration(schedule.pause_for_ns)}"
    return f"{schedule.pause_after:,} failed{length}"


def _state(entry: Entry, now: int) -> Text:
    if entry.progress.is_paused(now):
        return Text("paused", style="yellow")
    return Text("on") if entry.is_served else Text("no process", style="red")


def _next(entry: Entry, now: int) -> str:
    planned = _next_planned(entry, now)
    if planned is None:
        return "-"
    whole = planned - planned % SECOND_NS  # a table has no room for more
    return show_moment(whole, zone_of(entry.schedule.timetable))


def _next_planned(entry: Entry, now: int) -> int | None:
    coming = _plan(entry.schedule, since_when(entry.progress, now))
    return next((planned for planned, _due, _schedule in coming), None)


def describe_entry(entry: Entry, now: int) -> dict[str, Any]:
    """A schedule as JSON-ready values, times in UTC."""
    progress = entry.progress
    is_paused = progress.is_paused(now)
    until = progress.paused_until
    return {
        **entry.schedule.to_dict(),
        "when": str(entry.schedule.timetable),
        "target": entry.target,
        "next": _utc(_next_planned(entry, now)),
        "is_paused": is_paused,
        "paused_until": _utc(until) if is_paused and until != FOREVER else None,
        "is_served": entry.is_served,
        "failures_in_a_row": progress.failures,
        "counts": progress.counts.to_dict(),
    }


def show_next(coming: Sequence[tuple[int, int, Schedule]]) -> None:
    """Print fires that are to come, each in its schedule's time zone."""
    console = make_console()
    if not coming:
        console.print("no fire is to come")
        return
    table = make_table("schedule", "begins")
    for planned, _due, schedule in coming:
        moment = show_moment(planned, zone_of(schedule.timetable))
        table.add_row(Text(named(schedule.name)), moment)
    console.print(table)


# What has become of fires


def show_records(records: Sequence[Record], zones: Mapping[str, tzinfo | None]) -> None:
    """Print a history, the latest fire first, each in the zone of its schedule."""
    console = make_console()
    if not records:
        console.print("no fire yet")
        return
    table = make_table("schedule", "due", "state", "lateness", "ran for")
    table.add_column("")
    for record in records:
        table.add_row(
            Text(named(record.schedule)),
            show_moment(record.due, zones.get(record.schedule)),
            Text(record.state, style=_STATES.get(record.state, "")),
            _between(record.planned, record.started),
            _between(record.started, record.ended),
            Text(one_line(_remark(record, zones.get(record.schedule)))),
        )
    console.print(table)


def _between(begin: int | None, end: int | None) -> str:
    return "-" if begin is None or end is None else format_duration(end - begin)


def _remark(record: Record, zone: tzinfo | None) -> str:
    remarks = [record.reason] if record.reason else []
    if record.count > 1:
        remarks.append(f"{record.count:,} times, up to {show_moment(record.last, zone)}")
    if record.attempt > 1:
        remarks.append(f"attempt {record.attempt}")
    if record.is_manual:
        remarks.append("asked for")
    return ", ".join(remarks)


def describe_record(record: Record) -> dict[str, Any]:
    """An entry of a history as JSON-ready values, times in UTC."""
    return {
        "schedule": record.schedule,
        "due": _utc(record.due),
        "last": _utc(record.last),
        "count": record.count,
        "planned": _utc(record.planned),
        "state": str(record.state),
        "attempt": record.attempt,
        "is_manual": record.is_manual,
        "started": _utc(record.started),
        "ended": _utc(record.ended),
        "reason": record.reason,
        "node": record.node,
    }


def _utc(moment: int | None) -> str | None:
    return None if moment is None else format_moment(moment)
