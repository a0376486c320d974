"""``every``, ``at`` and ``after``; and what all timetables have in common."""

import json
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.timetables.moments import (
    DAY_NS,
    LAST_MOMENT,
    MILLISECOND_NS,
    SECOND_NS,
    find_zone,
    format_moment,
    to_datetime,
    to_moment,
)
from workermanager.timetables.timetable import after, at, cron, every, timetable_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_NS = to_moment(NOON)
BERLIN = find_zone("Europe/Berlin")

# every


def test_every_is_first_due_a_period_after_its_registration():
    timetable = every("5m").anchored(NOON_NS + 1)
    assert timetable.after(NOON_NS) == NOON_NS + 1 + 300 * SECOND_NS
    assert timetable.anchored(0) is timetable


def test_every_with_a_start_is_due_at_the_start_itself():
    timetable = every("5m", start=NOON)
    assert timetable.after(0) == NOON_NS
    assert timetable.after(NOON_NS) == NOON_NS + 300 * SECOND_NS
    assert timetable.anchored(0) is timetable


def test_every_may_be_due_immediately():
    timetable = every("5m", immediately=True).anchored(NOON_NS)
    assert timetable.after(NOON_NS - 1) == NOON_NS
    assert every("5m", immediately=True, start=NOON) == every("5m", start=NOON)


def test_every_is_due_up_to_its_end_which_is_included():
    timetable = every(60, start=NOON, end=NOON + timedelta(minutes=2))
    assert timetable.tail(0, LAST_MOMENT, 10) == [NOON_NS + n * 60 * SECOND_NS for n in range(3)]
    assert timetable.after(NOON_NS + 120 * SECOND_NS) is None
    assert timetable.after(LAST_MOMENT) is None
    assert timetable.count(NOON_NS, LAST_MOMENT) == 2
    assert timetable.count(LAST_MOMENT, NOON_NS) == 0


def test_every_may_end_before_it_was_ever_due():
    timetable = every("1h", end=NOON).anchored(NOON_NS)
    assert timetable.after(0) is None
    assert timetable.count(0, LAST_MOMENT) == 0
    assert timetable.tail(0, LAST_MOMENT, 5) == []


decimals = st.decimals("0.001", "100000", places=9, allow_nan=False)
moments = st.integers(NOON_NS - 10**15, NOON_NS + 10**15)


@given(decimals, st.booleans(), moments, st.integers(0, 10**14), st.integers(0, 5))
def test_every_is_its_anchor_and_whole_periods(seconds, immediately, since, length, most):
    timetable = every(f"{seconds}s", immediately=immediately).anchored(NOON_NS)
    period, first = Fraction(seconds) * SECOND_NS, 0 if immediately else 1
    until = since + length

    def numbers_due_by(moment):
        return max(first, (Fraction(moment - NOON_NS) / period).__floor__() + 1)

    low, high = numbers_due_by(since), numbers_due_by(until)
    assert timetable.after(since) == NOON_NS + low * period
    assert timetable.count(since, until) == high - low
    assert timetable.tail(since, until, most) == [
        NOON_NS + n * period for n in range(max(low, high - most), high)
    ]


def test_every_third_of_a_second_has_not_drifted_after_a_year():
    timetable = every("333333333ns", start=NOON)
    found = timetable.tail(NOON_NS, NOON_NS + 365 * DAY_NS, 1)
    assert (found[0] - NOON_NS) % 333_333_333 == 0
    assert timetable.count(NOON_NS, NOON_NS + 365 * DAY_NS) == 365 * DAY_NS // 333_333_333


@pytest.mark.parametrize(
    ("period", "refusal"),
    [
        (0, "every: 0 is out of range: it must be from 1ms to 36500d"),
        ("0.9ms", "every: 0.9ms is out of range: it must be from 1ms to 36500d"),
        ("36501d", "every: 36501d is out of range: it must be from 1ms to 36500d"),
        ("soon", "every: 'soon' is not a duration; write 500ms, 1s, 1m30s, or seconds as a number"),
    ],
)
def test_a_period_that_cannot_work_is_refused(period, refusal):
    with pytest.raises(InvalidConfig) as refused:
        every(period)
    assert str(refused.value) == refusal
    assert every("1ms").period_ns == MILLISECOND_NS


def test_what_counts_from_its_registration_needs_one():
    for relative in (every("5m"), after("5m")):
        for ask in (
            lambda one: one.after(0),
            lambda one: one.count(0, 1),
            lambda one: one.tail(0, 1, 1),
        ):
            with pytest.raises(InvalidConfig, match="5m: it counts from its registration"):
                ask(relative)


# at and after


def test_at_is_due_once():
    timetable = at(NOON)
    assert timetable.after(NOON_NS - 1) == NOON_NS
    assert timetable.after(NOON_NS) is None
    assert timetable.count(NOON_NS - 1, NOON_NS) == 1
    assert timetable.count(NOON_NS, LAST_MOMENT) == 0
    assert timetable.tail(0, LAST_MOMENT, 5) == [NOON_NS]
    assert timetable.tail(0, LAST_MOMENT, 0) == []
    assert timetable.anchored(0) is timetable


def test_after_is_due_once_a_delay_after_its_registration():
    timetable = after("90s").anchored(NOON_NS)
    assert timetable.after(0) == NOON_NS + 90 * SECOND_NS
    assert timetable.anchored(0) is timetable
    assert after(0).anchored(NOON_NS).after(NOON_NS - 1) == NOON_NS


def test_a_delay_that_is_out_of_range_is_refused():
    with pytest.raises(InvalidConfig, match="after: 36501d is out of range: it must be up to"):
        after("36501d")


# Datetimes and moments


@pytest.mark.parametrize("make", [at, lambda moment: every(1, start=moment)])
def test_a_datetime_without_a_time_zone_is_refused_where_there_is_no_other(make):
    with pytest.raises(InvalidConfig, match="2026-01-01 00:00:00 has no time zone; add one"):
        make(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("year", [1969, 2262, 9999])
def test_a_year_whose_moments_do_not_fit_into_64_bits_is_refused(year):
    with pytest.raises(InvalidConfig, match=r"at: .* is out of range: it must be from 1970"):
        at(datetime(year, 12, 31, tzinfo=UTC))


def test_what_is_no_datetime_is_refused():
    with pytest.raises(InvalidConfig, match=r"at: '2026' is no datetime; write datetime\("):
        at("2026")


def test_an_end_before_the_start_is_refused():
    refusal = "end: 2026-03-01T11:59:59.000Z is before the start, 2026-03-01T12:00:00.000Z"
    for make in (lambda **bounds: every(1, **bounds), lambda **bounds: cron("@daily", **bounds)):
        with pytest.raises(InvalidConfig) as refused:
            make(start=NOON, end=NOON - timedelta(seconds=1))
        assert str(refused.value) == refusal


def test_a_moment_is_nanoseconds_whatever_the_zone():
    assert to_moment(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_moment(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0
    assert to_moment(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)) == (
        to_moment(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)) + 3_600 * SECOND_NS
    )


@given(st.datetimes(datetime(1970, 1, 1), datetime(2261, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_datetime_comes_back_from_its_moment(value):
    assert to_datetime(to_moment(value)) == value
    assert to_datetime(to_moment(value), BERLIN) == value


def test_a_moment_for_people_has_milliseconds_and_its_zone():
    moment = to_moment(datetime(2026, 3, 29, 1, tzinfo=UTC)) + 999_999
    assert format_moment(moment) == "2026-03-29T01:00:00.000Z"
    assert format_moment(moment, find_zone("UTC")) == "2026-03-29T01:00:00.000Z"
    assert format_moment(moment, BERLIN) == "2026-03-29T03:00:00.000+02:00"
    assert format_moment(0, find_zone("Africa/Abidjan")) == "1970-01-01T00:00:00.000+00:00"


# As text and as JSON

TIMETABLES = {
    "every 5m": every("5m"),
    "every 90s until 2026-03-01T12:00:00.000Z jitter 10s": every("90s", end=NOON, jitter=10),
    "cron */5 * * * * Europe/Berlin": cron(" */5  * * * * ", tz="Europe/Berlin"),
    "cron @daily UTC from 2026-03-01T12:00:00.000Z until 2026-03-01T13:00:00.000Z jitter 1s": cron(
        "@daily", tz="UTC", start=NOON, end=NOON + timedelta(hours=1), jitter="1s"
    ),
    "at 2026-03-01T12:00:00.000Z": at(NOON),
    "after 10s jitter 500ms": after(10, jitter="500ms"),
    "at 2026-03-01T12:00:10.000Z": after("10s").anchored(NOON_NS),
}


@pytest.mark.parametrize(("text", "timetable"), TIMETABLES.items(), ids=str)
def test_a_timetable_has_a_text_for_people(text, timetable):
    assert str(timetable) == text


@pytest.mark.parametrize("timetable", TIMETABLES.values(), ids=str)
@pytest.mark.parametrize("moment", [None, NOON_NS])
def test_a_timetable_comes_back_from_json(timetable, moment):
    one = timetable if moment is None else timetable.anchored(moment)
    again = timetable_of(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert hash(again) == hash(one)
    assert again.anchored(0).after(0) == one.anchored(0).after(0)


@pytest.mark.parametrize(
    "document", [{}, {"kind": "never"}, {"kind": "every"}, {"kind": "once", "weight": 1}]
)
def test_a_document_that_is_no_timetable_is_refused(document):
    with pytest.raises(InvalidConfig, match=r"timetable: \{.*\} is none that this version writes"):
        timetable_of(document)


def test_a_stored_cron_is_checked_like_any_other():
    stored = cron("@daily", tz="UTC").to_dict()
    with pytest.raises(InvalidConfig, match="minute: 61 is out of range"):
        timetable_of({**stored, "text": "61 * * * *"})
    with pytest.raises(InvalidConfig, match="'Mars/Base' is no time zone"):
        timetable_of({**stored, "tz": "Mars/Base"})
