from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.rates import SECOND, format_decimal, format_rate, parse_rate

HOUR = 3_600 * SECOND
RATES = st.fractions(0, 1) | st.builds(
    Fraction, st.integers(0, 10**9), st.sampled_from([1, 60, 3_600, 7, 86_400]).map(SECOND.__mul__)
)


@pytest.mark.parametrize(
    ("text", "execs", "nanoseconds"),
    [
        ("100/s", 100, SECOND),
        ("0.5/s", 1, 2 * SECOND),
        ("1/h", 1, HOUR),
        ("90/min", 90, 60 * SECOND),
        ("600/m", 600, 60 * SECOND),
        ("7/300ms", 7, 300_000_000),
        ("3/10s", 3, 10 * SECOND),
        ("50_000/s", 50_000, SECOND),
        ("100/1m30s", 100, 90 * SECOND),
        ("24/d", 1, HOUR),
        ("5/ms", 5, 1_000_000),
        ("5/us", 5, 1_000),
        ("5/µs", 5, 1_000),
        ("1/ns", 1, 1),
        ("1/0.3s", 1, 300_000_000),
        (" 100 / s ", 100, SECOND),
        ("100", 100, SECOND),
        ("2.5", 5, 2 * SECOND),
        ("7/3", 7, 3 * SECOND),
        ("0/s", 0, SECOND),
        ("1000000000/s", 1, 1),
        (100, 100, SECOND),
        (0, 0, SECOND),
        (0.1, 1, 10 * SECOND),
        (1e-7, 1, 10_000_000 * SECOND),
        (Fraction(1, 3), 1, 3 * SECOND),
    ],
)
def test_a_rate_is_an_exact_fraction_of_execs_per_nanosecond(text, execs, nanoseconds):
    assert parse_rate(text, "rate") == Fraction(execs, nanoseconds)


@pytest.mark.parametrize(
    "value",
    [
        *("", "/s", "100/", "x", "100/x", "100 s", "1e3/s", "1__0/s", "_1/s", "1./s", ".5/s"),
        *("1/s/s", "+1/s", "nan", "inf", "1/2min", "1/-1s", "\u0661/s", "1/s\n2", "9" * 3_000),
        *(float("nan"), float("inf"), -float("inf"), True, None, [100], b"100/s"),
    ],
)
def test_what_is_no_rate_is_refused_in_one_line_that_shows_it(value):
    with pytest.raises(InvalidConfig) as refused:
        parse_rate(value, "--rate")
    message = str(refused.value)
    assert message.startswith(f"--rate: {value!r} is not a rate; write 100/s, ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "value", ["-1/s", "-0.5", -1, -0.1, "1000000001/s", "2/ns", 1e10, 10**10, Fraction(-1, 3)]
)
def test_a_rate_that_cannot_be_kept_is_refused(value):
    with pytest.raises(InvalidConfig) as refused:
        parse_rate(value, "rate")
    assert str(refused.value) == (
        f"rate: {value!r} is out of range: it must be from 0/s to 1_000_000_000/s"
    )


@pytest.mark.parametrize("text", ["1/0s", "1/0", "0/0s", "1/0ns", "1/0.1ns"])
def test_a_rate_per_no_time_at_all_is_refused(text):
    with pytest.raises(InvalidConfig, match=rf"^rate: '{text}' is out of range: .* no time at all"):
        parse_rate(text, "rate")


def test_more_digits_than_anyone_needs_are_refused():
    assert parse_rate(5e-324, "rate") > 0
    with pytest.raises(InvalidConfig, match=r"^rate: .* has too many digits$"):
        parse_rate(Fraction(1, 10**1_000), "rate")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("100.50/s", "100.5/s"),
        ("50_000/s", "50000/s"),
        ("90/min", "1.5/s"),
        ("600/m", "10/s"),
        ("1/min", "1/min"),
        ("7/300ms", "1400/min"),
        ("1/h", "1/h"),
        ("1/90min".replace("min", "m"), "16/d"),
        ("1/7s", "1/7000000000ns"),
        ("0/h", "0/s"),
        (1e-7, "0.0000001/s"),
    ],
)
def test_a_rate_has_one_text_in_the_unit_that_suits_it(value, text):
    assert format_rate(parse_rate(value, "rate")) == text


@given(RATES)
def test_the_text_of_a_rate_reads_back_exactly(rate):
    assert parse_rate(format_rate(rate), "rate") == rate


@given(st.floats(0, 1e9))
def test_a_float_means_the_number_that_it_is_printed_as(number):
    rate = parse_rate(number, "rate")
    assert float(rate * SECOND) == number
    assert parse_rate(format_rate(rate), "rate") == rate


@given(st.integers(0, 10**12), st.integers(0, 9), st.integers(0, 9))
def test_a_decimal_has_all_its_digits(numerator, twos, fives):
    number = Fraction(numerator, 2**twos * 5**fives)
    assert Fraction(format_decimal(number)) == number
    assert format_decimal(number / 3) is None or numerator % 3 == 0
