from datetime import timedelta
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.durations import format_duration, parse_duration

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3_600 * SECOND,
    "d": DAY,
}


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("500ms", 500_000_000),
        ("1s", SECOND),
        ("1m30s", 90 * SECOND),
        ("1h2m3s", 3_723 * SECOND),
        ("1.5h", 5_400 * SECOND),
        ("0.1s", 100_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("  2s ", 2 * SECOND),
        ("2", 2 * SECOND),
        ("0.25", 250_000_000),
        ("0", 0),
        ("0s", 0),
        (2, 2 * SECOND),
        (0.1, 100_000_000),
        (0, 0),
        (timedelta(minutes=1, microseconds=1), 60_000_001_000),
    ],
)
def test_a_duration_is_read_as_people_write_it(written, nanoseconds):
    assert parse_duration(written, "grace") == nanoseconds


@given(
    st.lists(
        st.tuples(st.decimals(0, 10**6, places=3, allow_nan=False), st.sampled_from(sorted(UNITS))),
        min_size=1,
        max_size=4,
    )
)
def test_parts_add_up_exactly(parts):
    text = "".join(f"{number}{unit}" for number, unit in parts)
    exact = sum(floor(Fraction(number) * UNITS[unit]) for number, unit in parts)
    assert parse_duration(text, "grace") == exact


@given(st.integers(0, 10**11))
def test_whole_seconds_are_exact_however_many(seconds):
    assert parse_duration(seconds, "grace") == seconds * SECOND
    assert parse_duration(str(seconds), "grace") == seconds * SECOND


@given(st.integers(0, 10**7), st.integers(0, 999_999_999))
def test_a_decimal_fraction_is_not_bent_by_binary_floats(seconds, nanoseconds):
    text = f"{seconds}.{nanoseconds:09}"
    assert parse_duration(text, "grace") == seconds * SECOND + nanoseconds


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_timedelta_is_exact(delta):
    microseconds = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    assert parse_duration(delta, "grace") == microseconds * 1_000


@pytest.mark.parametrize(
    "written",
    ["", " ", "soon", "1x", "1 s", "s", "1s!", "1s2", "1h-1s", "-1s", "1e3", ".5s", "1.s", "1_0s"],
)
def test_text_that_is_no_duration_is_refused_with_examples(written):
    with pytest.raises(InvalidConfig, match=r"^grace: .* is not a duration; write 500ms, 1s, "):
        parse_duration(written, "grace")


@pytest.mark.parametrize("value", [True, None, [1], float("nan"), b"1s", 1j])
def test_a_value_that_is_no_duration_is_refused(value):
    with pytest.raises(InvalidConfig, match=r"^grace: .* is not a duration"):
        parse_duration(value, "grace")


@pytest.mark.parametrize(
    "value", [-1, -0.5, -1e-10, timedelta(microseconds=-1), float("inf"), float("-inf"), 1e300]
)
def test_a_duration_that_cannot_be_is_out_of_range(value):
    with pytest.raises(InvalidConfig, match=r"^grace: .* is out of range"):
        parse_duration(value, "grace")


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1µs"),
        (1_250_000, "1.25ms"),
        (1_254_999, "1.25ms"),
        (999_400, "999µs"),
        (SECOND, "1s"),
        (1_500_000_000, "1.5s"),
        (99 * SECOND, "99s"),
        (100 * SECOND, "1m40s"),
        (9_000 * SECOND, "2h30m"),
        (DAY + 61 * SECOND, "24h1m1s"),
        (-1_250_000, "-1.25ms"),
    ],
)
def test_a_duration_is_shown_as_people_read_it(nanoseconds, shown):
    assert format_duration(nanoseconds) == shown


def within_a_third_digit(value, exact):
    return abs(value - exact) * 200 <= exact


@given(st.integers(1, 10**15) | st.integers(0, 15).map(lambda digits: 10**digits - 1))
def test_what_is_shown_can_be_read_back_to_three_digits(nanoseconds):
    back = parse_duration(format_duration(nanoseconds), "grace")
    assert within_a_third_digit(back, nanoseconds)


@pytest.mark.parametrize("nanoseconds", [999_500, 999_999, 999_500_000, 999_999_999])
def test_what_rounds_up_to_a_thousand_is_not_shown_in_powers_of_ten(nanoseconds):
    assert "e" not in format_duration(nanoseconds)
