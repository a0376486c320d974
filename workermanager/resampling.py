"""How sure a change between two series is, where neighbours in a series are alike.

A stall or a checkpoint fills several windows, so windows are no independent samples. The interval
is that of a moving-block bootstrap (H. R. Künsch, The Jackknife and the Bootstrap for General
Stationary Observations, Annals of Statistics 17, 1989): 2,000 times, both series are put together
anew from blocks of neighbours, each about 1.5 · n^(1/3) samples long (and a hundredth of n, where
that is longer), and their weighted means compared. The limits are the 2.5th and the 97.5th
percentile of what comes out.

Few and long blocks hide some of the spread, so the limits are moved away from the estimate: by
Student's t over its normal limit, with as many degrees of freedom as both series have blocks less
2, and by sqrt(n / (n - length)). Of 60 simulated samples that differ in nothing but noise, 6 % are
then called different where neighbours are correlated by up to 0.3, 10 % where by 0.6, and 25 %
where by 0.8: what swings slowly wants a longer run.
"""

from __future__ import annotations

from itertools import accumulate
from math import inf, sqrt
from operator import itemgetter, sub
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

from instrumentation.seeds import seeded_random

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "FEWEST_SAMPLES",
    "Interval",
    "Means",
    "Resamples",
    "difference_between",
    "ratio_between",
]

FEWEST_SAMPLES: Final = 8
_RESAMPLES: Final = 2_000
_MOST_BLOCKS: Final = 100  # more would cost long series much time, and tell hardly more
_LIMITS: Final = (0.025, 0.975)


class Means(NamedTuple):
    """A series' weighted mean, and that of every resample of it.

    ``blocks`` is how many a resample has, ``hidden`` how much smaller its spread is than it should.
    """

    mean: float
    resampled: list[float]
    blocks: int
    hidden: float


class Interval(NamedTuple):
    """An estimate with its 95 % interval; ``high`` is infinite where it has no end."""

    estimate: float
    low: float
    high: float


class Resamples:
    """A series of so many samples, put together anew; the same blocks for whatever is measured.

    ``purpose`` seeds it: two series that are compared need different ones. A block's sum is a
    difference of two cumulative ones, so a resample costs as much as it has blocks, however long
    they are: 3,600 samples take 5 ms for each thing measured.
    """

    def __init__(self, samples: int, purpose: str) -> None:
        self._length = self._blocks = 0
        if samples < FEWEST_SAMPLES:
            return
        wanted = max(round(1.5 * samples ** (1 / 3)), samples // _MOST_BLOCKS)
        self._length = min(wanted, samples // 4)
        self._blocks = samples // self._length
        self._hidden = sqrt(samples / (samples - self._length))
        random = seeded_random("resampling", purpose)
        starts = range(samples - self._length + 1)
        self._picks = [
            itemgetter(*random.choices(starts, k=self._blocks)) for _ in range(_RESAMPLES)
        ]

    def means(
        self, weights: Sequence[float], weighted: Iterable[Sequence[float]]
    ) -> list[Means] | None:
        """The weighted mean of each thing measured, given as weight x value, sample by sample.

        None where fewer than 8 samples have any weight.
        """
        if sum(1 for weight in weights if weight) < FEWEST_SAMPLES:
            return None
        wholes = self._sums(weights)
        means = []
        for values in weighted:
            mean = sum(values) / sum(weights)
            pairs = zip(self._sums(values), wholes, strict=True)
            resampled = [part / whole if whole else mean for part, whole in pairs]
            means.append(Means(mean, resampled, self._blocks, self._hidden))
        return means

    def _sums(self, values: Sequence[float]) -> list[float]:
        until = [0, *accumulate(values)]
        blocks = [*map(sub, until[self._length :], until)]
        return [sum(pick(blocks)) for pick in self._picks]


def ratio_between(a: Means, b: Means) -> Interval:
    """By what part of A's mean B's is larger; A's must not be 0."""
    return _interval(a, b, [_growth(*pair) for pair in _pairs(a, b)], _growth(a.mean, b.mean))


def difference_between(a: Means, b: Means) -> Interval:
    """By how much B's mean is larger than A's."""
    return _interval(a, b, [new - old for old, new in _pairs(a, b)], b.mean - a.mean)


def _pairs(a: Means, b: Means) -> Iterable[tuple[float, float]]:
    return zip(a.resampled, b.resampled, strict=True)


def _growth(old: float, new: float) -> float:
    if old:
        return new / old - 1
    return inf if new else 0.0


def _interval(a: Means, b: Means, resampled: list[float], estimate: float) -> Interval:
    resampled.sort()
    low, high = (resampled[round(limit * (len(resampled) - 1))] for limit in _LIMITS)
    widening = _student(a.blocks + b.blocks - 2) * max(a.hidden, b.hidden)
    return Interval(
        estimate, estimate - widening * (estimate - low), estimate + widening * (high - estimate)
    )


def _student(freedom: int) -> float:
    """The 97.5 % limit of Student's t over that of the normal distribution.

    The expansion of M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.7.5; off by
    less than 0.1 % from 6 degrees of freedom on, and there are no fewer here.
    """
    z = NormalDist().inv_cdf(_LIMITS[1])
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return 1 + (first + (second + third / freedom) / freedom) / freedom / z
