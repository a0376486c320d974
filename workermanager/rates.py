"""Rates as people write them, as exact fractions of execs per nanosecond, and back."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Final, TypeAlias

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration

__all__ = ["SECOND", "Frequency", "format_decimal", "format_rate", "parse_rate"]

Frequency: TypeAlias = str | int | float | Fraction
"""``"100/s"``, ``"90/min"``, ``"7/300ms"``, or a number of execs per second."""

SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3_600 * SECOND,
    "d": 86_400 * SECOND,
    "m": 60 * SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_PREFERRED: Final = ("s", "min", "h", "d")
_MOST: Final = Fraction(1)  # one each nanosecond: moments are whole ones
_MOST_BITS: Final = 2_048  # of a denominator: 1e-300/s is still a rate, and can be written out
_LONGEST_TEXT: Final = 2_000
_NUMBER: Final = re.compile(r"-?\d+(?:_\d+)*(?:\.\d+)?", re.ASCII)
_WHOLE_NS: Final = re.compile(r"(\d+)ns", re.ASCII)


def parse_rate(value: Frequency, name: str) -> Fraction:
    """The rate in execs per nanosecond; ``name`` is what a refusal calls it.

    Text is ``COUNT/UNIT`` or ``COUNT/DURATION``; a bare number, as text too, is per second. A
    float means the number that it is printed as. 0 is a pause.

    Raises:
        InvalidConfig: it is no rate, negative, or more than 1,000,000,000/s.
    """
    rate = _parse_text(value, name) if isinstance(value, str) else _parse_number(value, name)
    if not 0 <= rate <= _MOST:
        raise InvalidConfig(
            f"{name}: {value!r} is out of range: it must be from 0/s to 1_000_000_000/s"
        )
    if rate.denominator.bit_length() > _MOST_BITS:
        raise InvalidConfig(f"{name}: {value!r} has too many digits")
    return rate


def _parse_number(value: object, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise _not_a_rate(value, name)
    if isinstance(value, float):
        if not isfinite(value):
            raise _not_a_rate(value, name)
        return Fraction(Decimal(str(value))) / SECOND
    return Fraction(value) / SECOND


def _parse_text(text: str, name: str) -> Fraction:
    count, slash, per = (part.strip() for part in text.partition("/"))
    if len(text) > _LONGEST_TEXT or not _NUMBER.fullmatch(count) or (slash and not per):
        raise _not_a_rate(text, name)
    nanoseconds = _parse_unit(per, text, name) if slash else SECOND
    if not nanoseconds:
        raise InvalidConfig(f"{name}: {text!r} is out of range: {per} is no time at all")
    return Fraction(count) / nanoseconds


def _parse_unit(per: str, text: str, name: str) -> int:
    whole = _WHOLE_NS.fullmatch(per)
    if whole is not None:
        return int(whole[1])  # however many digits; a duration keeps 28
    try:
        return _UNITS[per] if per in _UNITS else parse_duration(per, name)
    except InvalidConfig:
        raise _not_a_rate(text, name) from None


def _not_a_rate(value: object, name: str) -> InvalidConfig:
    return InvalidConfig(
        f"{name}: {value!r} is not a rate; write 100/s, 0.5/s, 90/min, 1/h, 7/300ms, "
        f"or a number per second"
    )


def format_rate(rate: Fraction) -> str:
    """A rate (execs per nanosecond) as the one text for it, which `parse_rate` reads back exactly.

    Per second if that is a finite decimal, else per minute, hour or day, else as a fraction
    (``3/7ns``).
    """
    for unit in _PREFERRED:
        number = format_decimal(rate * _UNITS[unit])
        if number is not None:
            return f"{number}/{unit}"
    return f"{rate.numerator}/{rate.denominator}ns"


def format_decimal(number: Fraction) -> str | None:
    """All digits of a number of 0 or more; None where there is no end to them."""
    rest, places = number.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        places = max(places, power)
    if rest != 1:
        return None
    digits = str(number.numerator * 10**places // number.denominator).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits
