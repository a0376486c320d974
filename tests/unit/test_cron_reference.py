"""Cron against a reference that walks minute by minute, around changes of many zones' clocks.

The reference is written from the specification alone. Fields are drawn as a text and what it means,
so nothing is parsed here.
"""

import struct
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workermanager.timetables.moments import SECOND_NS, to_datetime, to_moment
from workermanager.timetables.timetable import cron

MINUTE = timedelta(minutes=1)
CHANGES = [  # where the clock is put forward or back, or a day is left out
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # half an hour back
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("America/Santiago", date(2026, 9, 6)),  # from midnight to 01:00
    ("America/Santiago", date(2026, 4, 5)),  # from midnight to 23:00
    ("America/St_Johns", date(2010, 3, 14)),  # from 00:01 to 01:01
    ("America/St_Johns", date(2010, 11, 7)),  # from 00:01 to 23:01
    ("America/Nuuk", date(2024, 3, 31)),  # from 23:00 or so to midnight
    ("America/Toronto", date(1970, 4, 26)),
    ("Antarctica/Troll", date(2026, 3, 29)),  # two hours
    ("Africa/Casablanca", date(2026, 2, 15)),
    ("America/Caracas", date(2007, 12, 9)),
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that is left out
    ("Pacific/Kwajalein", date(1993, 8, 21)),  # as well
    ("Asia/Kathmandu", date(1986, 1, 1)),  # 15 minutes
    ("UTC", date(2028, 2, 29)),
    ("Test/Leaping", date(2026, 5, 10)),  # from 23:30 to 00:30, as no zone's since 1970
    ("Test/Leaping", date(2026, 10, 11)),  # from 00:30 to 23:30
]


def zone_file(*changes):
    """A file as tzfile(5) has it, version 1: an hour ahead from one change on, until the next."""
    at = [int(change.timestamp()) for change in changes]
    header = struct.pack(">4s16x6l", b"TZif", 0, 0, 0, len(at), 2, 8)
    kinds = bytes(n % 2 for n in range(1, len(at) + 1))
    offsets = struct.pack(">lBB", 0, 0, 0) + struct.pack(">lBB", 3600, 1, 4)
    return header + struct.pack(f">{len(at)}l", *at) + kinds + offsets + b"LMT\0LST\0"


@pytest.fixture(scope="module", autouse=True)
def _a_zone_whose_clock_leaps_over_midnight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zones")
    (folder / "Test").mkdir()
    (folder / "Test/Leaping").write_bytes(
        zone_file(
            datetime(2026, 5, 10, 23, 30, tzinfo=UTC), datetime(2026, 10, 10, 23, 30, tzinfo=UTC)
        )
    )
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(folder), *before])
    yield
    zoneinfo.reset_tzpath(before)


def midnight_of(day):
    return datetime.combine(day, time(), UTC)


@st.composite
def numbers(draw, low, high):
    """A field's text, and the values that it names."""
    texts, values = [], set()
    for kind in draw(st.lists(st.sampled_from("*/ab-s"), min_size=1, max_size=3)):
        a, b = sorted(draw(st.tuples(*[st.integers(low, high)] * 2)))
        step = draw(st.integers(1, (high - low + 1) // 2))
        text, named = {
            "*": ("*", range(low, high + 1)),
            "/": (f"*/{step}", range(low, high + 1, step)),
            "a": (f"{a}", [a]),
            "b": (f"{a}-{b}", range(a, b + 1)),
            "-": (f"{a}-{b}/{step}", range(a, b + 1, step)),
            "s": (f"{a}/{step}", range(a, high + 1, step)),
        }[kind]
        texts.append(text)
        values.update(named)
    return ",".join(texts), values


def is_last_of_month(day):
    return (day + timedelta(days=1)).month != day.month


@st.composite
def days(draw):
    text, values = draw(numbers(1, 31))
    if draw(st.booleans()):
        return text, lambda day: day.day in values
    return f"{text},L", lambda day: day.day in values or is_last_of_month(day)


@st.composite
def weekdays(draw):
    text, values = draw(numbers(0, 6))
    kind = draw(st.sampled_from(["plain", "plain", "place", "last"]))
    weekday, place = draw(st.integers(0, 7)), draw(st.integers(1, 5))

    def is_weekday(day):
        return day.isoweekday() % 7 == weekday % 7

    return {
        "plain": (text, lambda day: day.isoweekday() % 7 in values),
        "place": (
            f"{weekday}#{place}",
            lambda day: is_weekday(day) and (day.day - 1) // 7 == place - 1,
        ),
        "last": (
            f"{weekday}L",
            lambda day: is_weekday(day) and (day + timedelta(days=7)).month != day.month,
        ),
    }[kind]


star = st.just(("*", None))


@st.composite
def schedules(draw):
    """A cron text, whether every hour matches, and whether a wall time does."""
    minute, minutes = draw(numbers(0, 59))
    hour, hours = draw(st.one_of(st.just(("*", {*range(24)})), numbers(0, 23)))
    day, is_day = draw(st.one_of(star, star, days()))
    weekday, is_weekday = draw(st.one_of(star, star, weekdays()))
    is_day, is_weekday = is_day or (lambda _: True), is_weekday or (lambda _: True)
    either = not day.startswith("*") and not weekday.startswith("*")

    def matches(wall):
        both = (is_day(wall), is_weekday(wall))
        return (
            wall.minute in minutes and wall.hour in hours and (any(both) if either else all(both))
        )

    return f"{minute} {hour} {day} * {weekday}", len(hours) == 24, matches


def walk(start, end):
    while start <= end:
        yield start
        start += MINUTE


def reference(matches, zone, since, until, *, is_hourly):
    """The moments in (since, until]: by the times of the wall clock, and by the clock's passing."""
    first, last = (
        datetime.fromtimestamp(moment // SECOND_NS, UTC).replace(second=0)
        for moment in (since, until)
    )
    wide = timedelta(hours=39)  # a zone is up to 15 hours off, and a day may be left out
    walls = walk((first - wide).replace(tzinfo=None), (last + wide).replace(tzinfo=None))
    shown = [wall.replace(tzinfo=zone) for wall in walls if matches(wall)]
    if is_hourly:
        shown += [moment for moment in walk(first, last) if matches(moment.astimezone(zone))]
    due = {int(moment.timestamp()) * SECOND_NS for moment in shown}
    return sorted(moment for moment in due if since < moment <= until)


def fires(timetable, since, until):
    due = timetable.after(since)
    while due is not None and due <= until:
        yield due
        due = timetable.after(due)


moments_of_days = st.integers(-36 * 3600, 60 * 3600).map(lambda seconds: seconds * SECOND_NS)
odd_nanoseconds = st.sampled_from([0, 0, 1, -1, 123_456_789])


@settings(max_examples=100, deadline=None)
@given(schedules(), st.sampled_from(CHANGES), moments_of_days, odd_nanoseconds)
def test_cron_is_due_when_the_reference_says(schedule, change, offset, nanoseconds):
    text, is_hourly, matches = schedule
    tz, day = change
    since = to_moment(midnight_of(day)) - 24 * 3600 * SECOND_NS + offset + nanoseconds
    until = since + 30 * 3600 * SECOND_NS
    expected = reference(matches, ZoneInfo(tz), since, until, is_hourly=is_hourly)
    timetable = cron(text, tz=tz)
    assert [*fires(timetable, since, until)] == expected
    assert timetable.count(since, until) == len(expected)
    assert timetable.tail(since, until, 10_000) == expected
    assert timetable.tail(since, until, 7) == expected[-7:]
    assert timetable.tail(since, until, 0) == []


@settings(max_examples=30, deadline=None)
@given(schedules(), st.sampled_from(CHANGES), st.data())
def test_start_and_end_cut_the_same_fires_off(schedule, change, data):
    tz, day = change
    since = to_moment(midnight_of(day)) - 1
    until = since + 40 * 3600 * SECOND_NS
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, 40 * 60)] * 2)))
    first, last = (midnight_of(day) + n * MINUTE for n in (start, end))
    unbounded, bounded = cron(schedule[0], tz=tz), cron(schedule[0], tz=tz, start=first, end=last)
    wanted = takewhile(
        lambda due: due <= to_moment(last), fires(unbounded, to_moment(first) - 1, until)
    )
    expected = [*wanted]
    assert [*fires(bounded, since, until)] == expected
    assert bounded.tail(since, until, 5_000) == expected
    assert bounded.count(since, until) == len(expected)
    assert bounded.count(until, since) == 0


def test_what_is_due_in_a_gap_over_midnight_comes_after_it_in_order():
    timetable = cron("15,45 0,23 * * *", tz="Test/Leaping")
    since = to_moment(datetime(2026, 5, 10, 22, tzinfo=UTC))
    found = [to_datetime(due) for due in fires(timetable, since, since + 3 * 3600 * SECOND_NS)]
    assert [f"{due:%H:%M}" for due in found] == ["23:15", "23:45", "00:15"]
    # 00:45, as the clock shows 23:45 then, is the same fire; 00:15 is left out too, and is 01:15


def test_what_the_clock_shows_between_a_leap_and_the_midnight_it_left_out_is_due():
    timetable = cron("45 0 11 5 *", tz="Test/Leaping")
    due = to_moment(datetime(2026, 5, 10, 23, 45, tzinfo=UTC))  # 00:45, an hour ahead
    for minutes in (1, 10, 20, 24 * 60):  # before the leap, and after it
        assert timetable.after(due - minutes * 60 * SECOND_NS) == due
        assert timetable.count(due - minutes * 60 * SECOND_NS, due) == 1
