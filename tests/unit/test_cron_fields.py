"""What a cron text means, field by field, and what is said of one that cannot be read."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from instrumentation.errors import InvalidConfig
from workermanager.timetables.crontab import parse_crontab
from workermanager.timetables.moments import DAY_NS, to_datetime, to_moment
from workermanager.timetables.timetable import cron

NEW_YEAR = to_moment(datetime(2026, 1, 1, tzinfo=UTC))  # a Thursday
LEAP_YEARS = {2028, 2032, 2036}


def days_of_2026(text):
    """The days on which it is due, as (month, day)."""
    found = cron(f"0 0 {text}", tz="UTC").tail(NEW_YEAR - 1, NEW_YEAR + 365 * DAY_NS - 1, 1_000)
    return [(to_datetime(due).month, to_datetime(due).day) for due in found]


def days_where(matches):
    days = (date(2026, 1, 1) + timedelta(days=n) for n in range(365))
    return [(day.month, day.day) for day in days if matches(day)]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("*", range(60)),
        ("0", [0]),
        ("007", [7]),
        ("5-8", range(5, 9)),
        ("*/20", [0, 20, 40]),
        ("*/60", [0]),
        ("10-30/10", [10, 20, 30]),
        ("45/5", [45, 50, 55]),
        ("59/5", [59]),
        ("30,1,1-3,30", [1, 2, 3, 30]),
    ],
)
def test_a_field_is_a_list_of_numbers_ranges_and_steps(text, minutes):
    assert parse_crontab(f"{text} * * * *").minutes == (*minutes,)


def test_five_fields_are_due_at_second_zero_and_a_sixth_in_front_is_the_seconds():
    assert parse_crontab("* * * * *").seconds == (0,)
    assert parse_crontab("15,45 1 2 3 4 5")[:3] == ((15, 45), (1,), (2,))


@pytest.mark.parametrize("text", ["mon-wed", "1-3", "MON-Wed", "mon,tue,wed", "3,2,1"])
def test_weekdays_have_numbers_and_names_in_any_case(text):
    assert parse_crontab(f"0 0 * * {text}").weekdays == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "weekdays"),
    [
        ("0", [0]),
        ("7", [0]),
        ("sun", [0]),
        ("5-7", [0, 5, 6]),
        ("fri-sun", [0, 5, 6]),
        ("sun-tue", [0, 1, 2]),
        ("*/7", [0]),
        ("1/2", [1, 3, 5]),
        ("0-7", range(7)),
    ],
)
def test_sunday_is_the_first_weekday_and_the_last(text, weekdays):
    assert parse_crontab(f"0 0 * * {text}").weekdays == (*weekdays,)


@pytest.mark.parametrize(
    ("number", "name"),
    [*enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"])],
)
def test_a_weekday_of_a_text_is_that_weekday_of_the_calendar(number, name):
    isoweekday = number or 7
    for text in (f"* * {number}", f"* * {name}"):
        assert days_of_2026(text) == days_where(lambda day: day.isoweekday() == isoweekday)


@pytest.mark.parametrize("text", ["jan,Mar-MAY", "1,3-5"])
def test_months_have_numbers_and_names_in_any_case(text):
    assert parse_crontab(f"0 0 1 {text} *").months == (1, 3, 4, 5)


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * sun"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 jan *"),
    ],
)
def test_a_nickname_stands_for_fields(nickname, fields):
    assert parse_crontab(nickname) == parse_crontab(fields)


def test_of_day_and_weekday_either_may_match_where_both_are_restricted():
    assert days_of_2026("13 * fri") == days_where(lambda day: day.day == 13 or day.weekday() == 4)
    assert days_of_2026("1-31 * fri") == days_where(lambda _: True)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("* * fri", lambda day: day.weekday() == 4),
        ("13 * *", lambda day: day.day == 13),
        ("*/2 * fri", lambda day: day.day % 2 == 1 and day.weekday() == 4),
        ("13 * */2", lambda day: day.day == 13 and day.isoweekday() in {7, 2, 4, 6}),
        ("*/2 * fri#2", lambda day: day.day in {9, 11, 13} and day.weekday() == 4),
    ],
)
def test_both_must_match_where_one_begins_with_a_star(text, matches):
    assert days_of_2026(text) == days_where(matches)


def test_the_last_day_of_a_month_is_l():
    ends = {31, 28, 30}
    assert days_of_2026("L * *") == days_where(lambda day: (day + timedelta(days=1)).day == 1)
    assert {day for _, day in days_of_2026("l * *")} == ends
    assert days_of_2026("1,L 2 *") == [(2, 1), (2, 28)]


@pytest.mark.parametrize("text", ["* * mon#2", "* * 1#2", "* * MON#2"])
def test_the_second_monday_of_a_month_is_in_its_second_week(text):
    found = days_of_2026(text)
    assert found == days_where(lambda day: day.weekday() == 0 and 8 <= day.day <= 14)
    assert len(found) == 12


def test_a_fifth_weekday_comes_only_in_months_that_have_one():
    assert days_of_2026("* * sun#5") == days_where(lambda day: day.weekday() == 6 and day.day > 28)
    assert days_of_2026("* * 7#1") == days_where(lambda day: day.weekday() == 6 and day.day < 8)


@pytest.mark.parametrize("text", ["* * friL", "* * 5L", "* * FRIl"])
def test_the_last_friday_of_a_month_has_none_after_it(text):
    assert days_of_2026(text) == days_where(
        lambda day: day.weekday() == 4 and (day + timedelta(days=7)).month != day.month
    )


def test_weekdays_of_a_month_and_plain_ones_are_a_list_together():
    assert days_of_2026("* 6 mon#1,friL,wed") == days_where(
        lambda day: day.month == 6 and (day.day in {1, 26} or day.weekday() == 2)
    )


def test_a_leap_day_comes_in_leap_years():
    found = cron("0 0 29 2 *", tz="UTC").tail(NEW_YEAR, NEW_YEAR + 4_000 * DAY_NS, 100)
    assert {to_datetime(due).date() for due in found} == {date(y, 2, 29) for y in LEAP_YEARS}


NICKNAMES = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"
NUMBERS = "write *, a number, a range such as 0-2, a step such as */2, or a list of them"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("61 * * * *", "minute: 61 is out of range: it must be from 0 to 59"),
        ("* 24 * * *", "hour: 24 is out of range: it must be from 0 to 23"),
        ("* * 0 * *", "day: 0 is out of range: it must be from 1 to 31"),
        ("* * 32 * *", "day: 32 is out of range: it must be from 1 to 31"),
        ("* * * 13 *", "month: 13 is out of range: it must be from 1 to 12"),
        ("* * * * 8", "weekday: 8 is out of range: it must be from 0 to 7"),
        ("60 * * * * *", "second: 60 is out of range: it must be from 0 to 59"),
        ("1-99 * * * *", "minute: 99 is out of range: it must be from 0 to 59"),
        ("*/0 * * * *", "minute: the step 0 is out of range: it must be from 1 to 60"),
        ("*/61 * * * *", "minute: the step 61 is out of range: it must be from 1 to 60"),
        ("* * * * mon#6", "weekday: 6 is out of range: it must be from 1 to 5"),
        ("* * * * mon#0", "weekday: 0 is out of range: it must be from 1 to 5"),
        ("* * * * 9L", "weekday: 9 is out of range: it must be from 0 to 7"),
        ("5-3 * * * *", "minute: 5-3 runs backwards; write it as two ranges"),
        ("* * * * sat-mon", "weekday: sat-mon runs backwards; write it as two ranges"),
        ("x * * * *", "minute: 'x' is unknown; write 0 to 59"),
        ("* * * * monday", "weekday: 'monday' is unknown; write 0 to 7, or sun to sat"),
        ("* * * * L", "weekday: 'L' is unknown; write 0 to 7, or sun to sat"),
        ("* * * mon *", "month: 'mon' is unknown; write 1 to 12, or jan to dec"),
        ("-1 * * * *", f"minute: '-1' cannot be read; {NUMBERS}"),
        ("1,,2 * * * *", f"minute: '' cannot be read; {NUMBERS}"),
        ("*-5 * * * *", f"minute: '*-5' cannot be read; {NUMBERS}"),
        ("*/x * * * *", f"minute: '*/x' cannot be read; {NUMBERS}"),
        ("٣ * * * *", f"minute: '٣' cannot be read; {NUMBERS}"),
        (
            "* * * *",
            "4 fields are not five (minute hour day month weekday), or six with seconds first",
        ),
        (
            "@reboot",
            f"it is unknown; write one of {NICKNAMES}",
        ),
        ("0 0 30 2 *", "it never comes: no month has such a day"),
        ("0 0 31 4,6,9,11 *", "it never comes: no month has such a day"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line_that_names_the_field(text, refusal):
    with pytest.raises(InvalidConfig) as refused:
        cron(text, tz="UTC")
    assert str(refused.value) == f'cron "{text}": {refusal}'


def test_a_number_that_python_would_not_read_is_out_of_range_as_well():
    with pytest.raises(InvalidConfig, match="9 is out of range: it must be from 0 to 59"):
        cron(f"{'9' * 5_000} * * * *", tz="UTC")


def test_what_is_no_text_is_refused():
    with pytest.raises(InvalidConfig, match=r"cron: 5 is no text; write"):
        cron(5)


def test_apscheduler_is_imported_only_once_a_cron_is_made():
    code = (
        "import sys\n"
        "from workermanager import after, at, cron, every\n"
        "every(1).anchored(0).after(0), after(1)\n"
        "print('apscheduler' in sys.modules, 'tzlocal' in sys.modules)\n"
        "cron('@daily', tz='UTC')\n"
        "print('apscheduler' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False", "True"]
