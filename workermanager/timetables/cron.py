"""Cron: which moments a text such as ``*/5 9-17 * * mon-fri`` names. The one door to APScheduler.

APScheduler says which days match. The times of such a day are the same each day, and are mapped to
moments at once; one by one only where the zone's clock is put forward or back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.timetables.crontab import Crontab, parse_crontab
from workermanager.timetables.moments import find_zone
from workermanager.timetables.wallclock import day_shown, is_plain, midnight, seconds_shown

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

__all__ = ["Calendar", "calendar_of"]

_HOURS: Final = 24
_CALENDARS_KEPT: Final = 4_096
_DAYS_KEPT: Final = 16_384  # a calendar in use needs four, of some 200 bytes
_FIRST_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY: Final = datetime(2261, 12, 31, tzinfo=UTC)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # APScheduler's 0 is Monday
_PLACES: Final = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 5: "5th", -1: "last"}


class _Span(NamedTuple):
    """What is due from one midnight to the next: seconds since the first, ascending."""

    start: int
    times: tuple[int, ...]

    def rank(self, second: int) -> int:
        """How many are due by a second since 1970."""
        return bisect_right(self.times, second - self.start)


class Calendar:
    """The moments of one cron text in one zone, in whole seconds since 1970, from 1970 to 2261.

    It is made by ``calendar_of``, once for each, and knows what it found of late.
    """

    def __init__(self, text: str, tz: str) -> None:
        crontab = parse_crontab(text)
        self.zone = find_zone(tz)
        self.times = tuple(
            hour * 3_600 + minute * 60 + second
            for hour, minute, second in product(crontab.hours, crontab.minutes, crontab.seconds)
        )
        self.is_hourly = len(crontab.hours) == _HOURS
        self.triggers = _triggers_for(crontab)
        if _next_day(self, _FIRST_DAY.toordinal()) is None:
            raise InvalidConfig(f'cron "{text}": it never comes: no month has such a day')

    def after(self, second: int) -> int | None:
        """The first that is due later; None where that would be after 2261."""
        for span in self._spans_from(second):
            rank = span.rank(second)
            if rank < len(span.times):
                return span.start + span.times[rank]
        return None

    def count(self, since: int, until: int) -> int:
        """How many are due after the one, up to the other; 0.1 ms for each day that is new."""
        return sum(
            span.rank(until) - span.rank(since) for span in self._spans_between(since, until)
        )

    def tail(self, since: int, until: int, most: int) -> list[int]:
        """The last ``most`` of those, ascending."""
        found: list[int] = []
        for span in reversed([*self._spans_between(since, until)]):
            last = span.rank(until)
            first = max(span.rank(since), last - most + len(found))
            found[:0] = (span.start + time for time in span.times[first:last])
        return found

    def _spans_between(self, since: int, until: int) -> Iterator[_Span]:
        return takewhile(lambda span: span.start <= until, self._spans_from(since))

    def _spans_from(self, second: int) -> Iterator[_Span]:
        """In order, those in which something may be due from a second on, or somewhat earlier.

        What is due on a day may be after its end: 23:30 on a day whose last hour is left out. So
        may be a second at which the clock does not show the next day yet.
        """
        day = day_shown(second, self.zone) - 1
        matching = _next_day(self, day - 1)
        while matching is not None:
            for near in range(max(day, matching - 1), matching + 2):
                yield _span(self, near)
            day = matching + 2
            matching = _next_day(self, matching + 1)


@lru_cache(maxsize=_CALENDARS_KEPT)
def calendar_of(text: str, tz: str) -> Calendar:
    """The calendar of a cron text in a zone, which is read and checked once.

    Raises:
        InvalidConfig: the text cannot be read, names no day that ever comes, or there is no such
            zone.
    """
    return Calendar(text, tz)


@lru_cache(maxsize=_DAYS_KEPT)
def _span(calendar: Calendar, day: int) -> _Span:
    start = midnight(day, calendar.zone)
    if is_plain(day, calendar.zone):
        return _Span(start, calendar.times if _next_day(calendar, day) == day else ())
    end = midnight(day + 1, calendar.zone)
    due = {
        second
        for near in (day - 1, day, day + 1)
        if _next_day(calendar, near) == near
        for second in seconds_shown(
            near, calendar.times, calendar.zone, as_shown=calendar.is_hourly
        )
        if start <= second < end
    }
    return _Span(start, tuple(second - start for second in sorted(due)))


@lru_cache(maxsize=_DAYS_KEPT)
def _next_day(calendar: Calendar, day: int) -> int | None:
    """The first day from one on that has, in each group, a trigger that it matches."""
    while True:
        found = [_first_day(group, day) for group in calendar.triggers]
        latest = max(found)
        if latest > _LAST_DAY.toordinal():
            return None
        if min(found) == latest:
            return latest
        day = latest


def _first_day(group: list[CronTrigger], day: int) -> int:
    """The first day from one on that a trigger of the group matches; one after the last if none."""
    moment = datetime.fromordinal(day).replace(tzinfo=UTC)
    found = (trigger.get_next_fire_time(None, moment) for trigger in group)
    return min(_LAST_DAY.toordinal() + 1 if one is None else one.toordinal() for one in found)


def _triggers_for(crontab: Crontab) -> list[list[CronTrigger]]:
    """Groups of triggers; a day matches that matches, in each group, one of its triggers."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - 70 ms

    def trigger(**which: str) -> CronTrigger:
        months = ",".join(map(str, crontab.months))
        return CronTrigger(
            month=months, hour=0, minute=0, second=0, end_date=_LAST_DAY, timezone=UTC, **which
        )

    dates = [*map(str, crontab.days), *(["last"] if crontab.has_last_day else [])]
    places = [f"{_PLACES[place]} {_WEEKDAYS[weekday]}" for weekday, place in crontab.places]
    by_date = [trigger(day=",".join(dates))]
    by_weekday = [trigger(day=",".join(places))] if places else []
    if crontab.weekdays:
        weekdays = ",".join(_WEEKDAYS[weekday] for weekday in crontab.weekdays)
        by_weekday.append(trigger(day="*", day_of_week=weekdays))
    return [by_date + by_weekday] if crontab.either else [by_date, by_weekday]
