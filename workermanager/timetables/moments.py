"""Moments: integer nanoseconds since 1970-01-01 UTC, datetimes at the edges, and time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from instrumentation.errors import InvalidConfig

__all__ = [
    "DAY_NS",
    "LAST_MOMENT",
    "MILLISECOND_NS",
    "SECOND_NS",
    "find_zone",
    "format_moment",
    "to_datetime",
    "to_moment",
]

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

LAST_MOMENT: Final = (datetime(2262, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND * 1_000 - 1
"""The end of 2261: the last whole year whose moments fit into 64 bits, as databases have them."""


def to_moment(value: datetime, name: str = "moment") -> int:
    """The moment of a datetime; ``name`` is what a refusal calls it.

    Raises:
        InvalidConfig: it is no datetime, has no time zone, or is not in the years 1970 to 2261.
    """
    if not isinstance(value, datetime):
        raise InvalidConfig(f"{name}: {value!r} is no datetime; write datetime(…, tzinfo=UTC)")
    if value.utcoffset() is None:
        raise InvalidConfig(
            f"{name}: {value} has no time zone; add one, such as tzinfo=UTC or ZoneInfo(…)"
        )
    moment = (value - _EPOCH) // _MICROSECOND * 1_000
    if not 0 <= moment <= LAST_MOMENT:
        raise InvalidConfig(f"{name}: {value} is out of range: it must be from 1970 to 2261")
    return moment


def to_datetime(moment: int, tz: tzinfo = UTC) -> datetime:
    """The moment as a datetime in a time zone, rounded down to a microsecond."""
    return (_EPOCH + timedelta(microseconds=moment // 1_000)).astimezone(tz)


def format_moment(moment: int, tz: tzinfo = UTC) -> str:
    """The moment to the millisecond, rounded down: ``2026-03-29T01:00:00.000Z``, or an offset."""
    text = to_datetime(moment, tz).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if str(tz) == "UTC" else text


def find_zone(tz: str | tzinfo | None, name: str = "tz") -> ZoneInfo:
    """The time zone of a name or of a ZoneInfo, else the machine's; ``name`` is for refusals.

    Raises:
        InvalidConfig: there is no such zone, or it has no name by which another process finds it.
    """
    if tz is None:
        return _find_own_zone(name)
    key = tz.key if isinstance(tz, ZoneInfo) else "UTC" if tz is UTC else tz
    if not isinstance(key, str):
        raise InvalidConfig(
            f"{name}: {tz!r} has no name; write one, such as {name}='Europe/Berlin'"
        )
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidConfig(
            f"{name}: {key!r} is no time zone; write a name such as Europe/Berlin, or UTC"
        ) from None


def _find_own_zone(name: str) -> ZoneInfo:
    from tzlocal import get_localzone  # noqa: PLC0415 - only who names no zone pays for it

    try:
        return ZoneInfo(str(get_localzone()))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidConfig(
            f"{name}: the time zone of this machine has no name; write {name}='Europe/Berlin' or so"
        ) from None
