"""A year of fires in zones whose clocks are put forward and back, and the ends of months."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from instrumentation.errors import InvalidConfig
from workermanager.timetables import moments
from workermanager.timetables.moments import SECOND_NS, format_moment, to_datetime, to_moment
from workermanager.timetables.timetable import cron, every

MINUTE_NS = 60 * SECOND_NS


def year_of(text, tz, year=2026):
    """All that is due in a year of the zone's own, as datetimes there, one after the other."""
    zone = ZoneInfo(tz)
    timetable = cron(text, tz=tz)
    since, until = (to_moment(datetime(y, 1, 1, tzinfo=zone)) - 1 for y in (year, year + 1))
    found, due = [], timetable.after(since)
    while due <= until:
        found.append(due)
        due = timetable.after(due)
    assert timetable.count(since, until) == len(found)
    assert timetable.tail(since, until, len(found) + 1) == found
    return [to_datetime(due, zone) for due in found]


def shown(found, month, day):
    """What is due on a day, as the clock shows it and with its offset from UTC."""
    return [due.strftime("%H:%M%z") for due in found if (due.month, due.day) == (month, day)]


GAPS = [  # zone, day, a time in the gap, what the clock shows then
    ("Europe/Berlin", (3, 29), "30 2 * * *", "03:30+0200"),
    ("America/New_York", (3, 8), "30 2 * * *", "03:30-0400"),
    ("Australia/Lord_Howe", (10, 4), "15 2 * * *", "02:45+1100"),
    ("America/Santiago", (9, 6), "30 0 * * *", "01:30-0300"),
]
FOLDS = [  # zone, day, a time in the fold, its first passing
    ("Europe/Berlin", (10, 25), "30 2 * * *", "02:30+0200"),
    ("America/New_York", (11, 1), "30 1 * * *", "01:30-0400"),
    ("Australia/Lord_Howe", (4, 5), "45 1 * * *", "01:45+1100"),
    ("America/Santiago", (4, 4), "30 23 * * *", "23:30-0300"),
]


@pytest.mark.parametrize(("tz", "day", "text", "time"), GAPS)
def test_a_daily_time_in_the_gap_comes_once_after_it(tz, day, text, time):
    found = year_of(text, tz)
    assert len({due.date() for due in found}) == len(found) == 365
    assert shown(found, *day) == [time]
    assert len({due.strftime("%H:%M") for due in found}) == 2  # as ever on all other days


@pytest.mark.parametrize(("tz", "day", "text", "time"), FOLDS)
def test_a_daily_time_in_the_fold_comes_once_the_first_time(tz, day, text, time):
    found = year_of(text, tz)
    assert len({due.date() for due in found}) == len(found) == 365
    assert shown(found, *day) == [time]


def test_times_that_fall_on_the_same_instant_are_one_fire():
    found = year_of("0,30 2,3 * * *", "Europe/Berlin")
    assert shown(found, 3, 29) == ["03:00+0200", "03:30+0200"]
    assert len(found) == 4 * 365 - 2


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]


@pytest.mark.parametrize("tz", ZONES)
def test_every_five_minutes_has_no_hole_and_no_double_in_a_year(tz):
    found = [to_moment(due) for due in year_of("*/5 * * * *", tz)]
    assert {later - earlier for earlier, later in pairwise(found)} == {5 * MINUTE_NS}
    assert len(found) == 365 * 288


@pytest.mark.parametrize("text", ["30 * * * *", "30 */1 * * *", "30 0-23 * * *"])
def test_where_every_hour_matches_both_hours_of_a_fold_do_and_none_is_lost_in_a_gap(text):
    found = year_of(text, "Europe/Berlin")
    assert [time for time in shown(found, 10, 25) if time.startswith("02")] == [
        "02:30+0200",
        "02:30+0100",
    ]
    assert {later - earlier for earlier, later in pairwise(map(to_moment, found))} == {
        60 * MINUTE_NS
    }


def test_by_the_clocks_passing_what_half_an_hours_gap_leaves_out_comes_after_it():
    found = year_of("15 * * * *", "Australia/Lord_Howe")
    assert shown(found, 10, 4)[:4] == ["00:15+1030", "01:15+1030", "02:45+1100", "03:15+1100"]


def test_what_is_due_on_a_day_that_is_left_out_comes_on_the_next():
    found = year_of("0 12 30 * *", "Pacific/Apia", 2011)
    assert [(due.month, due.day, due.hour) for due in found][-2:] == [(11, 30, 12), (12, 31, 12)]
    assert len(year_of("0 12 * * *", "Pacific/Apia", 2011)) == 364


def test_where_the_clock_goes_back_over_midnight_each_day_comes_once():
    found = year_of("0 0 * * *", "America/St_Johns", 2010)  # 7 November: 00:01, then 23:01
    assert shown(found, 11, 7) == ["00:00-0230"]
    assert len(found) == 365
    assert shown(year_of("59 23 * * *", "America/St_Johns", 2010), 11, 6) == ["23:59-0230"]


def test_a_leap_day_comes_every_fourth_year_but_not_in_2100():
    timetable = cron("0 0 29 2 *", tz="UTC")
    since, until = (to_moment(datetime(year, 1, 1, tzinfo=UTC)) for year in (2024, 2112))
    years = [to_datetime(due).year for due in timetable.tail(since, until, 100)]
    assert years == [*range(2024, 2100, 4), 2104, 2108]
    assert timetable.count(since, until) == len(years)
    in_2097 = to_moment(datetime(2097, 1, 1, tzinfo=UTC))
    assert to_datetime(timetable.after(in_2097)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(("year", "february"), [(2026, 28), (2028, 29)])
def test_month_ends_are_the_last_days_of_all_twelve(year, february):
    found = year_of("0 0 L * *", "Europe/Berlin", year)
    assert [due.day for due in found] == [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def test_a_thirty_first_comes_in_the_seven_months_that_have_one():
    found = year_of("0 0 31 * *", "America/New_York")
    assert [due.month for due in found] == [1, 3, 5, 7, 8, 10, 12]
    assert {due.day for due in found} == {31}


def test_every_second_of_a_day_of_23_hours_comes():
    zone = ZoneInfo("Europe/Berlin")
    since, until = (to_moment(datetime(2026, 3, day, tzinfo=zone)) - 1 for day in (29, 30))
    timetable = cron("* * * * * *", tz=zone)
    assert timetable.count(since, until) == 23 * 3600
    assert timetable.tail(since, until, 2) == [until + 1 - 2 * SECOND_NS, until + 1 - SECOND_NS]


def test_the_last_fires_of_a_year_are_the_same_however_many_came_before():
    timetable = cron("*/5 * * * *", tz="Europe/Berlin")
    until = to_moment(datetime(2026, 11, 1, tzinfo=UTC))
    last_week = [until - n * 5 * MINUTE_NS for n in range(2016)][::-1]
    since = until - 365 * 86_400 * SECOND_NS
    assert timetable.tail(since, until, 2016) == last_week
    assert timetable.tail(since, until, 1) == [until]


# Zones and bounds


def test_bounds_without_a_zone_are_in_that_of_the_cron_and_are_included():
    bounds = {"start": datetime(2026, 7, 1, 12), "end": datetime(2026, 7, 3, 12)}  # noqa: DTZ001
    timetable = cron("0 12 * * *", tz="Europe/Berlin", **bounds)
    found = timetable.tail(0, moments.LAST_MOMENT, 100)
    assert [format_moment(due) for due in found] == [
        f"2026-07-0{day}T10:00:00.000Z" for day in (1, 2, 3)
    ]
    assert timetable.after(found[-1]) is None
    assert timetable.after(0) == found[0]
    assert timetable.count(found[0] - 1, found[-1]) == 3


def test_a_bound_within_a_second_leaves_that_second_out():
    start = datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    timetable = cron("* * * * * *", tz="UTC", start=start, end=start + timedelta(seconds=2))
    assert timetable.count(0, moments.LAST_MOMENT) == 2


def test_a_zone_may_be_a_name_or_a_zoneinfo_or_utc():
    named = cron("@daily", tz="Europe/Berlin")
    assert named == cron("@daily", tz=ZoneInfo("Europe/Berlin"))
    assert hash(named) == hash(cron("@daily", tz=ZoneInfo("Europe/Berlin")))
    assert cron("@daily", tz=UTC) == cron("@daily", tz="UTC")


def test_without_a_zone_it_is_the_machines_by_its_name(monkeypatch):
    monkeypatch.setattr("tzlocal.get_localzone", lambda: ZoneInfo("America/New_York"))
    assert cron("@daily").tz == "America/New_York"


def test_a_machine_whose_zone_has_no_name_is_told_to_write_one(monkeypatch):
    monkeypatch.setattr("tzlocal.get_localzone", lambda: "local")  # as tzlocal calls such a zone
    with pytest.raises(InvalidConfig, match="tz: the time zone of this machine has no name; write"):
        cron("@daily")


@pytest.mark.parametrize(
    "tz", ["Europe/Nowhere", "", "Europe", "../etc", "/etc/localtime", "CET-1"]
)
def test_a_zone_that_there_is_not_is_refused(tz):
    with pytest.raises(InvalidConfig, match=r"tz: '.*' is no time zone; write a name such as"):
        cron("@daily", tz=tz)


def test_a_zone_without_a_name_is_refused():
    offset = datetime.fromisoformat("2026-01-01T00:00+02:00").tzinfo
    with pytest.raises(InvalidConfig, match=r"tz: .* has no name; write one, such as tz='Europe"):
        cron("@daily", tz=offset)


def test_a_cron_ends_with_the_year_2261():
    timetable = cron("0 0 31 12 *", tz="UTC")
    last = timetable.tail(0, moments.LAST_MOMENT, 1)
    assert [format_moment(due) for due in last] == ["2261-12-31T00:00:00.000Z"]
    assert timetable.after(last[0]) is None
    assert every(1).anchored(moments.LAST_MOMENT).after(moments.LAST_MOMENT) is None
    assert last[0] < 2**63
