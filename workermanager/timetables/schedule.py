"""A schedule: a name, a timetable and policies, as a value; and how far it has come."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration
from workermanager.timetables.fires import Counts
from workermanager.timetables.policy import Misfire, check_lost, check_overlap
from workermanager.timetables.timetable import Once, timetable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workermanager.durations import Duration
    from workermanager.timetables.policy import Lost, Overlap
    from workermanager.timetables.timetable import Timetable

__all__ = ["FOREVER", "Progress", "Schedule", "check_name", "make_schedule", "next_fires"]

FOREVER: Final = 1 << 62
_SECOND_NS: Final = 1_000_000_000
_NAME: Final = re.compile(r"\S(?:.{0,98}\S)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When something is due, and what is done about fires that are missed, overlap or fail.

    A fire that began more than ``late_ns`` after it was planned is late; one that nobody saw for
    so long was missed. With ``grace_ns``, one that has not begun by then is skipped. After
    ``pause_after`` failures in a row it pauses, for ``pause_for_ns`` or until it is resumed.
    """

    name: str
    timetable: Timetable
    misfire: Misfire = field(default_factory=Misfire)
    overlap: Overlap = "skip"
    grace_ns: int | None = None
    lost: Lost = "report"
    pause_after: int | None = None
    pause_for_ns: int | None = None
    late_ns: int = _SECOND_NS

    def planned(self, due: int) -> int:
        """When a fire is to begin: the due time, and its jitter."""
        return self.timetable.planned(self.name, due)

    def begins_after(self, now: int) -> int:
        """The last moment that is none of a new schedule's business; a single time always is."""
        is_single = isinstance(self.timetable, Once)
        due = self.timetable.after(-1) if is_single else None
        return (now if due is None else min(due, now)) - 1

    def to_dict(self) -> dict[str, Any]:
        """The schedule as JSON-ready values, for `of`."""
        return {
            "name": self.name,
            "timetable": self.timetable.to_dict(),
            "misfire": str(self.misfire),
            "overlap": self.overlap,
            "grace": _format(self.grace_ns),
            "lost": self.lost,
            "pause_after": self.pause_after,
            "pause_for": _format(self.pause_for_ns),
            "late_after": _format(self.late_ns),
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> Schedule:
        """A schedule from what `to_dict` gave.

        Raises:
            InvalidConfig: a value that cannot be.
            LookupError: one is missing.
        """
        return make_schedule(
            document["name"],
            timetable_of(document["timetable"]),
            **{name: document[name] for name in _SETTINGS},
        )


_SETTINGS: Final = (
    "misfire",
    "overlap",
    "grace",
    "lost",
    "pause_after",
    "pause_for",
    "late_after",
)


def make_schedule(  # noqa: PLR0913 - the settings of a schedule, all by name
    name: str,
    timetable: Timetable,
    *,
    misfire: str = "latest",
    overlap: str = "skip",
    grace: Duration | None = None,
    lost: str = "report",
    pause_after: int | None = None,
    pause_for: Duration | None = None,
    late_after: Duration = "1s",
) -> Schedule:
    """A schedule from its settings as users write them.

    Raises:
        InvalidConfig: one that cannot be; the message names the schedule and the setting.
    """
    shown = f"schedule {check_name(name)}"
    if pause_for is not None and pause_after is None:
        raise InvalidConfig(f"{shown}: pause_for needs pause_after: after how many failures?")
    return Schedule(
        name=name,
        timetable=timetable,
        misfire=Misfire.parse(misfire, f"{shown}: misfire"),
        overlap=check_overlap(overlap, f"{shown}: overlap"),
        grace_ns=None if grace is None else parse_duration(grace, f"{shown}: grace"),
        lost=check_lost(lost, f"{shown}: lost"),
        pause_after=_check_count(pause_after, f"{shown}: pause_after"),
        pause_for_ns=_above_zero(pause_for, f"{shown}: pause_for"),
        late_ns=parse_duration(late_after, "late_after"),
    )


def next_fires(schedules: list[Schedule], now: int, most: int) -> list[tuple[int, str]]:
    """The next due times after ``now``, merged, at most so many."""

    def upcoming(schedule: Schedule) -> Iterator[tuple[int, str]]:
        timetable, moment = schedule.timetable.anchored(now), now
        while (due := timetable.after(moment)) is not None:
            yield due, schedule.name
            moment = due

    return [*islice(heapq.merge(*map(upcoming, schedules)), most)]


def check_name(name: str) -> str:
    """The name of a schedule, if it can be one: up to 100 printable characters.

    Raises:
        InvalidConfig: it cannot.
    """
    given: object = name
    if not isinstance(given, str) or not _NAME.fullmatch(given) or not given.isprintable():
        raise InvalidConfig(f"name: {given!r}: wanted up to 100 printable characters")
    return given


def _check_count(count: int | None, name: str) -> int | None:
    given: object = count
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidConfig(f"{name}: {given!r}: must be a whole number of 1 or more")
    return given


def _above_zero(duration: Duration | None, name: str) -> int | None:
    if duration is None:
        return None
    if not (nanoseconds := parse_duration(duration, name)):
        raise InvalidConfig(f"{name}: 0 is no pause; leave it out to pause until it is resumed")
    return nanoseconds


def _format(nanoseconds: int | None) -> str | None:
    """A duration as text that is read back as exactly this."""
    if nanoseconds is None:
        return None
    for size, unit in ((_SECOND_NS, "s"), (1_000_000, "ms")):
        if nanoseconds % size == 0:
            return f"{nanoseconds // size}{unit}"
    return f"{nanoseconds}ns"


@dataclass(slots=True)
class Progress:
    """How far a schedule has come: every due time up to ``cursor`` is decided.

    It is paused until ``paused_until``; ``failures`` are those in a row. ``open_skip`` is where the
    latest run of skipped fires began, and why, while it can still grow.
    """

    cursor: int
    paused_until: int | None = None
    failures: int = 0
    open_skip: tuple[int, str] | None = None
    counts: Counts = field(default_factory=Counts)

    def is_paused(self, now: int) -> bool:
        """True while nothing that falls due begins."""
        return self.paused_until is not None and now < self.paused_until
