"""The clocks of schedules: what time it is, how much has passed, and what was done to them.

Due times are of the wall clock, which people and daemons set. What has passed is read from a clock
that nobody sets, and compared.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

__all__ = ["Jumps", "Look", "WallClock"]

_NOTABLE_NS: Final = 500_000_000  # less is slewing, as time daemons do it
_BLURRED_NS: Final = 100_000_000  # well below, or a pause between two readings would be a jump
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class WallClock:
    """The machine's clocks, in nanoseconds."""

    __slots__ = ()

    def now(self) -> int:
        """Since 1970-01-01 UTC; set by whoever may."""
        return time.time_ns()

    def steady(self) -> int:
        """Since some moment, never set, time spent suspended included.

        Where a system has no such clock that time is missing: a suspension is then a jump forward.
        """
        return self.awake() if _BOOTTIME is None else time.clock_gettime_ns(_BOOTTIME)

    def awake(self) -> int:
        """The same without the time spent suspended, where the two can be told apart."""
        return time.monotonic_ns()


class Look(NamedTuple):
    """What happened to the clocks between two looks, in nanoseconds; 0 is nothing of note."""

    jump_ns: int = 0  # how far the wall clock was set, backward if negative
    slept_ns: int = 0  # how long the machine was suspended


class Jumps:
    """Tells when the wall clock was set, and when the machine slept, by looks from time to time.

    What changed by 500 ms or less between two looks is followed silently. For one thread.
    """

    __slots__ = ("_clock", "_last")

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self._last: tuple[int, int] | None = None
        self.look()

    def look(self) -> Look:
        """What happened since the last look.

        A look that was itself interrupted, on a machine that has no time for it, tells nothing
        and leaves it to the next one.
        """
        before = self._clock.steady()
        wall, awake = self._clock.now(), self._clock.awake()
        steady = self._clock.steady()
        if steady - before > _BLURRED_NS:
            return Look()
        found = wall - steady, steady - awake
        last, self._last = self._last or found, found
        return Look(_notable(found[0] - last[0]), _notable(found[1] - last[1]))


def _notable(change_ns: int) -> int:
    return change_ns if abs(change_ns) > _NOTABLE_NS else 0
