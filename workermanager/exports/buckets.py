"""Our histograms in the forms that others take: cumulative buckets, or values with their counts.

The bounds are round numbers, so that alerts and dashboards can name them. They fall into our finer
buckets; one that a bound cuts counts as above it. So a bound may miss what lies up to 1.6 % below
it, and never has more than there was: a share "below 100 ms" is not flattered.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from workermanager.histogram import Histogram, middle_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BOUNDS_S", "at_most", "total_s", "values"]

BOUNDS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.00075),
    *(0.001, 0.0025, 0.005, 0.0075),
    *(0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""The upper bounds of exported histograms, in seconds."""


def _first_above(nanoseconds: int) -> int:
    """The index of the first bucket with a value above so many nanoseconds."""
    one = Histogram()
    one.record(nanoseconds + 1)
    return one.counts.index(1)


_CUTS: Final = (0, *(_first_above(round(bound * 1e9)) for bound in BOUNDS_S))


def at_most(histogram: Histogram) -> list[int]:
    """How many durations were at most each of `BOUNDS_S`, cumulative."""
    counts = histogram.counts
    return list(accumulate(sum(counts[start:stop]) for start, stop in pairwise(_CUTS)))


def total_s(histogram: Histogram) -> float:
    """The sum of all durations in seconds, as exact as buckets are (1 %)."""
    return sum(middle * count for middle, count in values(histogram)) / 1e9


def values(histogram: Histogram) -> Iterator[tuple[float, int]]:
    """The middle of each bucket that has any, in nanoseconds, and how many it has."""
    for index, count in enumerate(histogram.counts):
        if count:
            yield middle_ns(index), count
