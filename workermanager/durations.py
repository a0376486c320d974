"""Durations as people write them, as integer nanoseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from math import isnan
from typing import Final, TypeAlias

from instrumentation.errors import InvalidConfig

__all__ = ["Duration", "format_duration", "parse_duration"]

Duration: TypeAlias = str | int | float | timedelta
"""``"500ms"``, ``"1m30s"``, a number of seconds, or a timedelta."""

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_LONGEST_S: Final = 1e12  # 30,000 years
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")


def parse_duration(value: Duration, name: str) -> int:
    """The duration in nanoseconds; ``name`` is what a refusal calls it. A bare number is seconds.

    Raises:
        InvalidConfig: it is no duration, or it is negative.
    """
    if isinstance(value, str):
        return _parse_text(value.strip(), name)
    if isinstance(value, timedelta):
        nanoseconds = value // timedelta(microseconds=1) * 1_000
    else:
        nanoseconds = _parse_seconds(value, name)
    if nanoseconds < 0:
        raise InvalidConfig(f"{name}: {value} is out of range: it must be from 0 to 1e12 seconds")
    return nanoseconds


def _parse_seconds(seconds: object, name: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or isnan(seconds):
        raise _not_a_duration(seconds, name)
    from decimal import Decimal  # noqa: PLC0415 - 4 ms of every start on the command line

    return int(Decimal(str(seconds)) * _UNITS["s"]) if 0 <= seconds < _LONGEST_S else -1


def _parse_text(text: str, name: str) -> int:
    if _NUMBER.fullmatch(text):
        return _exactly(text, _UNITS["s"])
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _not_a_duration(text, name)
    return sum(_exactly(number, _UNITS[unit]) for number, unit in parts)


def _exactly(number: str, unit: int) -> int:
    """A decimal number of units, rounded down to a whole nanosecond."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole) * unit + int(fraction or "0") * unit // scale


def _not_a_duration(value: object, name: str) -> InvalidConfig:
    return InvalidConfig(
        f"{name}: {value!r} is not a duration; write 500ms, 1s, 1m30s, or seconds as a number"
    )


def format_duration(nanoseconds: int) -> str:
    """A duration for people: three digits, and the unit that suits (``1.25ms``, ``2h30m``)."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        digits = f"{nanoseconds / size:.3g}"
        if float(digits) < 1_000:  # noqa: PLR2004 - what rounds up to it goes to the next unit
            return digits + unit
    if nanoseconds < 100 * _UNITS["s"]:
        return f"{nanoseconds / _UNITS['s']:.3g}s"
    minutes, seconds = divmod(round(nanoseconds / _UNITS["s"]), 60)
    hours, minutes = divmod(minutes, 60)
    sized = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in sized if count)
