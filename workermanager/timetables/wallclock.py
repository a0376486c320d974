"""Which moments a zone's clock shows as given times of a day, where it is put forward or back too.

A time that the clock leaves out (a gap) counts as if it had not been put forward yet: 02:30 is what
it then shows as 03:30, as in RFC 5545, section 3.3.5. Of a time that it shows twice (a fold), the
first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["day_shown", "is_plain", "midnight", "seconds_shown"]

_EPOCH_DAY: Final = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 - a day of any zone
_DAY: Final = 86_400
_HOUR: Final = 3_600
_SECOND: Final = timedelta(seconds=1)


def day_shown(second: int, zone: ZoneInfo) -> int:
    """The day (an ordinal, as of ``date``) that the clock shows at a second since 1970."""
    return datetime.fromtimestamp(second, zone).toordinal()


@lru_cache(maxsize=4096)
def midnight(day: int, zone: ZoneInfo) -> int:
    """The second since 1970 at which a day begins; a day that is left out ends as it begins."""
    return (day - _EPOCH_DAY) * _DAY - _offset(day, 0, zone)


def is_plain(day: int, zone: ZoneInfo) -> bool:
    """True where nothing is left out or shown twice from the day before to the day after.

    No zone's clock is put forward or back twice within that time (the least is 6.9 days).
    """
    nights = {midnight(near, zone) - near * _DAY for near in range(day - 1, day + 3)}
    return len(nights) == 1


def seconds_shown(
    day: int, times: Iterable[int], zone: ZoneInfo, *, as_shown: bool
) -> Iterator[int]:
    """The seconds since 1970 of ``times``, in ascending seconds of the day; some may be the same.

    What a gap leaves out comes after it, as if the clock had not been put forward. ``as_shown`` is
    for what goes by the clock's passing: what a fold shows twice counts twice.
    """
    for hour, of_hour in groupby(times, lambda time: time // _HOUR):
        ends = (hour * _HOUR, hour * _HOUR + _HOUR - 1)
        offsets = {_offset(day, end, zone, fold) for end in ends for fold in (0, 1)}
        if len(offsets) == 1:
            shift = (day - _EPOCH_DAY) * _DAY - offsets.pop()
            yield from (shift + time for time in of_hour)
            continue
        for time in of_hour:
            wall = (day - _EPOCH_DAY) * _DAY + time
            first, second = (wall - _offset(day, time, zone, fold) for fold in (0, 1))
            yield first
            if as_shown and first < second:  # a fold; in a gap it is the other way (PEP 495)
                yield second


def _offset(day: int, time: int, zone: ZoneInfo, fold: int = 0) -> int:
    """Seconds that the zone is ahead of UTC when its clock shows a second of a day."""
    wall = datetime.fromordinal(day) + timedelta(seconds=time)
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None  # noqa: S101 - for the type checker: a ZoneInfo always has one
    return offset // _SECOND
