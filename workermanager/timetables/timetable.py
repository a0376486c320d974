"""``every``, ``cron``, ``at`` and ``after``: when a schedule is due, as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, ClassVar, Final, Self

from instrumentation.errors import InvalidConfig
from workermanager.durations import Duration, format_duration, parse_duration
from workermanager.timetables import jitter as jitters
from workermanager.timetables.cron import Calendar, calendar_of
from workermanager.timetables.moments import (
    DAY_NS,
    LAST_MOMENT,
    MILLISECOND_NS,
    SECOND_NS,
    find_zone,
    format_moment,
    to_moment,
)

__all__ = ["Cron", "Every", "Once", "Timetable", "after", "at", "cron", "every", "timetable_of"]

_LONGEST_DAYS: Final = 36_500
_LONGEST_NS: Final = _LONGEST_DAYS * DAY_NS


@dataclass(frozen=True, kw_only=True)
class Timetable(ABC):
    """When a schedule is due. All moments are nanoseconds since 1970-01-01 UTC, up to 2261."""

    kind: ClassVar[str]
    jitter_ns: int = 0

    @abstractmethod
    def after(self, moment: int) -> int | None:
        """The first due time later than the moment; None: never again.

        Raises:
            InvalidConfig: it counts from its registration, and is not anchored.
        """

    @abstractmethod
    def count(self, since: int, until: int) -> int:
        """How many due times are later than ``since``, and not later than ``until``."""

    @abstractmethod
    def tail(self, since: int, until: int, most: int) -> list[int]:
        """The last ``most`` of those, ascending."""

    def anchored(self, moment: int) -> Timetable:  # noqa: ARG002 - for those that are relative
        """The same, with what is relative to its registration settled; itself if nothing is."""
        return self

    def shifted(self, by_ns: int) -> Timetable:  # noqa: ARG002 - for those that are relative
        """The same so much later, where it counts from an anchor."""
        return self

    def planned(self, name: str, due: int) -> int:
        """When the fire that is due then is to start, in a schedule of that name: with jitter."""
        if not self.jitter_ns:
            return due
        return jitters.planned(name, due, self.after(due), self.jitter_ns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``timetable_of`` reads it."""
        return {"kind": self.kind, **asdict(self)}

    def _and_jitter(self) -> str:
        return f" jitter {format_duration(self.jitter_ns)}" if self.jitter_ns else ""


@dataclass(frozen=True, kw_only=True)
class Every(Timetable):
    """Due at ``anchor + n * period_ns``, n from ``first``, and not later than ``end``."""

    kind: ClassVar[str] = "every"
    period_ns: int
    first: int = 1
    anchor: int | None = None
    end: int | None = None

    def after(self, moment: int) -> int | None:
        due = self._due(self._rank(moment))
        return due if due <= self._last else None

    def count(self, since: int, until: int) -> int:
        return max(0, self._rank(until) - self._rank(since))

    def tail(self, since: int, until: int, most: int) -> list[int]:
        rank = self._rank(until)
        return [self._due(n) for n in range(max(self._rank(since), rank - most), rank)]

    def anchored(self, moment: int) -> Self:
        return replace(self, anchor=moment) if self.anchor is None else self

    def shifted(self, by_ns: int) -> Self:
        return self if self.anchor is None else replace(self, anchor=self.anchor + by_ns)

    def _due(self, rank: int) -> int:
        return _settled(self, self.anchor) + (self.first + rank) * self.period_ns

    def _rank(self, moment: int) -> int:
        """How many are due by a moment."""
        elapsed = min(moment, self._last) - _settled(self, self.anchor)
        return max(0, elapsed // self.period_ns + 1 - self.first)

    @property
    def _last(self) -> int:
        return LAST_MOMENT if self.end is None else self.end

    def __str__(self) -> str:
        until = "" if self.end is None else f" until {format_moment(self.end)}"
        return f"every {format_duration(self.period_ns)}{until}{self._and_jitter()}"


@dataclass(frozen=True, kw_only=True)
class Cron(Timetable):
    """Due when the clock of zone ``tz`` shows what ``text`` names, from ``start`` to ``end``."""

    kind: ClassVar[str] = "cron"
    text: str
    tz: str
    start: int = 0
    end: int = LAST_MOMENT

    def __post_init__(self) -> None:
        _ = self._calendar  # what cannot be read is refused at once

    def after(self, moment: int) -> int | None:
        if moment >= self.end:
            return None
        second = self._calendar.after(self._since(moment) // SECOND_NS)
        due = None if second is None else second * SECOND_NS
        return None if due is None or due > self.end else due

    def count(self, since: int, until: int) -> int:
        return self._calendar.count(*self._seconds(since, until))

    def tail(self, since: int, until: int, most: int) -> list[int]:
        seconds = self._calendar.tail(*self._seconds(since, until), most)
        return [second * SECOND_NS for second in seconds]

    @property
    def _calendar(self) -> Calendar:
        return calendar_of(self.text, self.tz)

    def _since(self, moment: int) -> int:
        return max(moment, self.start - 1)

    def _seconds(self, since: int, until: int) -> tuple[int, int]:
        first = self._since(since)
        return first // SECOND_NS, max(first, min(until, self.end)) // SECOND_NS

    def __str__(self) -> str:
        zone = find_zone(self.tz)
        since = f" from {format_moment(self.start, zone)}" if self.start else ""
        until = f" until {format_moment(self.end, zone)}" if self.end != LAST_MOMENT else ""
        return f"cron {self.text} {self.tz}{since}{until}{self._and_jitter()}"


@dataclass(frozen=True, kw_only=True)
class Once(Timetable):
    """Due one time: ``delay_ns`` after ``anchor``."""

    kind: ClassVar[str] = "once"
    delay_ns: int = 0
    anchor: int | None = None

    def after(self, moment: int) -> int | None:
        return self._due if self._due > moment else None

    def count(self, since: int, until: int) -> int:
        return int(since < self._due <= until)

    def tail(self, since: int, until: int, most: int) -> list[int]:
        return [self._due] * min(most, self.count(since, until))

    def anchored(self, moment: int) -> Self:
        return replace(self, anchor=moment) if self.anchor is None else self

    def shifted(self, by_ns: int) -> Self:
        return self if self.anchor is None else replace(self, anchor=self.anchor + by_ns)

    @property
    def _due(self) -> int:
        return _settled(self, self.anchor) + self.delay_ns

    def __str__(self) -> str:
        if self.anchor is None:
            return f"after {format_duration(self.delay_ns)}{self._and_jitter()}"
        return f"at {format_moment(self._due)}{self._and_jitter()}"


def every(
    period: Duration,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    jitter: Duration = 0,
    immediately: bool = False,
) -> Every:
    """Due at ``start`` and each period after it, up to ``end``, both included.

    Without a start it counts from its registration, and is first due one period after that, or
    ``immediately``. Each fire starts up to ``jitter`` later, before the next is due.

    Raises:
        InvalidConfig: a value that cannot work, such as a period of less than 1 ms.
    """
    period_ns = parse_duration(period, "every")
    if not MILLISECOND_NS <= period_ns <= _LONGEST_NS:
        raise InvalidConfig(
            f"every: {period} is out of range: it must be from 1ms to {_LONGEST_DAYS}d"
        )
    anchor = None if start is None else to_moment(start, "start")
    last = None if end is None else to_moment(end, "end")
    _check_order(anchor, last)
    return Every(
        period_ns=period_ns,
        first=1 if start is None and not immediately else 0,
        anchor=anchor,
        end=last,
        jitter_ns=parse_duration(jitter, "jitter"),
    )


def cron(
    text: str,
    *,
    tz: str | tzinfo | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    jitter: Duration = 0,
) -> Cron:
    """Due when the clock of a zone shows what the text names: ``"*/5 9-17 * * mon-fri"``.

    Five fields (minute, hour, day, month, weekday), six with seconds first, or ``@daily`` and the
    like. ``tz`` is a zone's name or a ZoneInfo, else the machine's zone; ``start`` and ``end`` are
    included, and in that zone if they have none. A time that the clock leaves out comes once, after
    the gap, and one that it shows twice comes once, the first time; but where every hour matches,
    it comes both times. Each fire starts up to ``jitter`` later.

    Raises:
        InvalidConfig: the text cannot be read or never comes, or another value cannot work.
    """
    if not isinstance(text, str):
        raise InvalidConfig(f'cron: {text!r} is no text; write "*/5 * * * *" or so')
    zone = find_zone(tz)
    bounds = {
        name: to_moment(value if value.tzinfo else value.replace(tzinfo=zone), name)
        for name, value in (("start", start), ("end", end))
        if value is not None
    }
    _check_order(bounds.get("start"), bounds.get("end"))
    return Cron(
        text=" ".join(text.split()),
        tz=zone.key,
        jitter_ns=parse_duration(jitter, "jitter"),
        **bounds,
    )


def at(moment: datetime, *, jitter: Duration = 0) -> Once:
    """Due once, at a moment, which needs a time zone.

    Raises:
        InvalidConfig: the moment has no time zone, or is not in the years 1970 to 2261.
    """
    return Once(anchor=to_moment(moment, "at"), jitter_ns=parse_duration(jitter, "jitter"))


def after(delay: Duration, *, jitter: Duration = 0) -> Once:
    """Due once, a delay after its registration.

    Raises:
        InvalidConfig: the delay is no duration, or out of range.
    """
    delay_ns = parse_duration(delay, "after")
    if delay_ns > _LONGEST_NS:
        raise InvalidConfig(f"after: {delay} is out of range: it must be up to {_LONGEST_DAYS}d")
    return Once(delay_ns=delay_ns, jitter_ns=parse_duration(jitter, "jitter"))


def timetable_of(document: dict[str, Any]) -> Timetable:
    """The timetable that ``to_dict`` wrote.

    Raises:
        InvalidConfig: it is none.
    """
    kinds: dict[str, type[Timetable]] = {kind.kind: kind for kind in (Every, Cron, Once)}
    fields = dict(document)
    try:
        return kinds[fields.pop("kind")](**fields)
    except (KeyError, TypeError):
        raise InvalidConfig(f"timetable: {document!r} is none that this version writes") from None


def _settled(timetable: Timetable, anchor: int | None) -> int:
    if anchor is None:
        raise InvalidConfig(
            f"{timetable}: it counts from its registration; anchored(moment) says when that is"
        )
    return anchor


def _check_order(start: int | None, end: int | None) -> None:
    if start is not None and end is not None and end < start:
        raise InvalidConfig(
            f"end: {format_moment(end)} is before the start, {format_moment(start)}"
        )
