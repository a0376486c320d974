"""A log-linear histogram of durations: bounded memory, mergeable, at most 1 % off.

The layout is that of HdrHistogram (G. Tene): every power of two is cut into 64 equal buckets.
Values are stored 64 ns up, so that the first power of two needs no case of its own; from 1 µs on,
a bucket's middle is within 0.83 % of every value in it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import compress, zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Histogram", "middle_ns"]

_SHIFT: Final = 64  # also the number of buckets in each power of two


class Histogram:
    """Counts of durations in nanoseconds. One thread records; any may `merge` it meanwhile.

    Recording costs about 0.1 µs. Memory grows with the largest value seen: 13 KB for a second,
    21 KB for an hour.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: list[int] = []

    def record(self, nanoseconds: int) -> None:
        """Count one duration (0 or more)."""
        value = nanoseconds + 64
        power = value.bit_length() - 7
        try:
            self.counts[(power << 6) + (value >> power)] += 1
        except IndexError:
            self.counts.extend([0] * (((power + 2) << 6) - len(self.counts)))
            self.counts[(power << 6) + (value >> power)] += 1

    def merge(self, others: Iterable[Histogram]) -> Histogram:
        """Add what the others recorded, exactly as if it had been recorded here; gives itself."""
        theirs = [other.counts.copy() for other in others]
        self.counts = [*map(sum, zip_longest(self.counts, *theirs, fillvalue=0))]
        return self

    def since(self, earlier: Histogram) -> Histogram:
        """What was recorded after ``earlier`` was copied from this, as a histogram of its own."""
        later = Histogram()
        before = earlier.counts
        later.counts = self.counts[:]
        for index, seen in enumerate(before):
            if seen:
                later.counts[index] -= seen
        return later

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean in nanoseconds; 0 where nothing was recorded."""
        count = self.count
        total = sum(seen * middle_ns(index) for index, seen in self._filled())
        return total / count if count else 0.0

    def _filled(self) -> Iterator[tuple[int, int]]:
        """The buckets that have something, which are few, with how much."""
        counts = self.counts[:]
        return ((index, counts[index]) for index in compress(range(len(counts)), counts))

    def percentiles(self, *wanted: float) -> tuple[float, ...]:
        """The durations that the given percentages stay at or below (nearest rank), in ns.

        Asked for in ascending order; 100 is the largest. All 0 where nothing was recorded.
        """
        count = self.count
        if not count:
            return (0.0,) * len(wanted)
        ranks = iter([_rank(percent, count) for percent in wanted])
        found: list[float] = []
        rank, seen = next(ranks), 0
        for index, here in self._filled():
            seen += here
            while seen >= rank:
                found.append(middle_ns(index))
                rank = next(ranks, count + 1)
        return tuple(found)


def _rank(percent: float, count: int) -> int:
    """Which of so many values, from the smallest, a percentage of them stays at or below."""
    part, whole = _share(percent)
    return max(1, -(-count * part // whole))


@lru_cache(maxsize=1_000)
def _share(percent: float) -> tuple[int, int]:
    """A percentage as it is written, as a fraction: 99.9 is no binary number."""
    return (Fraction(str(percent)) / 100).as_integer_ratio()


def middle_ns(index: int) -> float:
    """The middle of a bucket, in nanoseconds as recorded."""
    power = (index >> 6) - 1
    low = (_SHIFT + (index & 63)) << power
    return max(0.0, low + ((1 << power) - 1) / 2 - _SHIFT)
