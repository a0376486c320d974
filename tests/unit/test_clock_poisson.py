"""Whether Poisson arrivals are distributed as they should be, and the same however they are read.

The seeds are fixed: these tests pass always or never. Their sizes were chosen so that a wrong
distribution fails: the even spread does, as the last test shows.
"""

from fractions import Fraction
from itertools import pairwise
from math import exp, sqrt
from random import Random

import pytest

from workermanager.clock import arrivals, bend
from workermanager.lines import Line, Segment

SECOND = 1_000_000_000
RATE = 1_000
CRITICAL = 1.95  # Kolmogorov's distribution exceeds it once in a thousand times


def endless(seed, spread="poisson"):
    return arrivals(RATE, None, SECOND, spread, seed)


def kolmogorov_smirnov(samples, cumulative):
    """How far the samples are from a distribution: D·√n."""
    ordered, n = sorted(samples), len(samples)
    expected = [cumulative(sample) for sample in ordered]
    above = max((rank + 1) / n - one for rank, one in enumerate(expected))
    below = max(one - rank / n for rank, one in enumerate(expected))
    return max(above, below) * sqrt(n)


def uniform(fraction):
    return min(max(fraction, 0.0), 1.0)


def exponential(gap):
    return 1 - exp(-gap)


def gaps(moments, mean_ns):
    return [(late - soon) / mean_ns for soon, late in pairwise([0, *moments])]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("execs", [50, 512, 1_000])
def test_the_moments_of_a_run_with_an_end_are_uniform(seed, execs):
    due = arrivals(execs, 4, SECOND, "poisson", seed)
    moments = [due.due_ns(n) / (4 * SECOND) for n in range(due.total)]
    assert kolmogorov_smirnov(moments, uniform) < CRITICAL


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gaps_of_a_run_with_an_end_are_exponential(seed):
    due = arrivals(RATE, 5, SECOND, "poisson", seed)
    moments = [due.due_ns(n) for n in range(due.total)]
    assert kolmogorov_smirnov(gaps(moments, SECOND / RATE), exponential) < CRITICAL


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gaps_of_a_run_without_end_are_exponential(seed):
    due = endless(seed)
    moments = [due.due_ns(n) for n in range(6_000)]
    assert kolmogorov_smirnov(gaps(moments, SECOND / RATE), exponential) < CRITICAL


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gaps_in_and_between_blocks_are_of_one_kind(seed):
    """Blocks of 1,024 arrivals are drawn apart; the gaps around a seam must not show it."""
    due = endless(seed)
    seams = [
        due.due_ns(n) - due.due_ns(n - 1)
        for block in range(1, 200)
        for n in (block * 1_024 - 1, block * 1_024, block * 1_024 + 1)
    ]
    assert kolmogorov_smirnov([gap * RATE / SECOND for gap in seams], exponential) < CRITICAL


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counts_scatter_as_much_as_their_mean(seed):
    """The variance of a Poisson count is its mean: gaps that hang together would show here."""
    due, window = endless(seed), SECOND // 100
    edges = [due.due_by(n * window - 1) for n in range(2_001)]
    counts = [late - soon for soon, late in pairwise(edges)]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    assert mean == pytest.approx(RATE / 100, rel=0.03)
    assert variance / mean == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_varied_plan_is_uniform_in_the_share_of_execs_that_should_have_come(seed):
    execs = [500, 0, 2_000, 100]
    due = arrivals(execs, 4, SECOND, "poisson", seed)
    shares = []
    for n in range(due.total):
        tick, into = divmod(due.due_ns(n), SECOND)
        shares.append((sum(execs[:tick]) + execs[tick] * into / SECOND) / due.total)
    assert kolmogorov_smirnov(shares, uniform) < CRITICAL


@pytest.mark.parametrize("ticks", [20, None], ids=["with an end", "without"])
def test_random_access_equals_sequential_access(ticks):
    shuffled = list(range(0, 20_000, 7))
    Random(1).shuffle(shuffled)
    in_order = arrivals(RATE, ticks, SECOND, "poisson", 7)
    sequential = [in_order.due_ns(n) for n in range(20_000)]
    at_random = arrivals(RATE, ticks, SECOND, "poisson", 7)
    assert [at_random.due_ns(n) for n in shuffled] == [sequential[n] for n in shuffled]
    assert sequential == sorted(sequential)


@pytest.mark.parametrize("ticks", [50, None], ids=["with an end", "without"])
def test_due_by_is_the_inverse_of_due_ns_from_anywhere_to_anywhere(ticks):
    due, random = arrivals(RATE, ticks, SECOND, "poisson", 7), Random(2)
    for _ in range(200):
        elapsed = random.randrange(49 * SECOND)
        count = due.due_by(elapsed)
        assert due.due_ns(count) > elapsed
        assert due.due_ns(count - 1) <= elapsed


def test_an_even_spread_would_fail_these_tests():
    due = endless(0, spread="even")
    moments = [due.due_ns(n) for n in range(6_000)]
    assert kolmogorov_smirnov(gaps(moments, SECOND / RATE), exponential) > 10 * CRITICAL


# Along a rate line

TO_TOP = Segment(4 * SECOND, Fraction(0), Fraction(2_000, SECOND))
FROM_TOP = Segment(2 * SECOND, Fraction(2_000, SECOND), Fraction(333, SECOND))


def share_by(segments, moment):
    """The part of a line's integral that has gone by, in floats."""
    gone, whole, at = 0.0, 0.0, 0
    for duration, begin, end in segments:
        into = min(max(moment - at, 0), duration) / duration
        first, last = float(begin) * duration, float(end) * duration
        gone += first * into + (last - first) * into * into / 2
        whole += (first + last) / 2
        at += duration
    return gone / whole


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "segments", [[TO_TOP], [TO_TOP, FROM_TOP]], ids=["rising", "rising and falling"]
)
def test_the_moments_along_a_ramp_have_the_distribution_of_its_integral(segments, seed):
    due = bend(Line(segments, SECOND), "poisson", seed)
    shares = [share_by(segments, due.due_ns(n)) for n in range(due.total)]
    assert kolmogorov_smirnov(shares, uniform) < CRITICAL


def test_uniform_moments_along_a_ramp_would_fail_that():
    due = arrivals(1_000, 4, SECOND, "poisson", 1)
    shares = [share_by([TO_TOP], due.due_ns(n)) for n in range(due.total)]
    assert kolmogorov_smirnov(shares, uniform) > 5 * CRITICAL


@pytest.mark.parametrize("seed", range(8))
def test_a_line_whose_integral_is_no_whole_number_is_covered_to_its_end(seed):
    """Sixteen runs of 1.5 execs each: both arrivals of a run lie anywhere before its end."""
    segments = [Segment(3 * SECOND, Fraction(1, 2 * SECOND), Fraction(1, 2 * SECOND))]
    moments = []
    for run in range(16):
        due = bend(Line(segments, SECOND), "poisson", 100 * seed + run)
        assert due.total == 2
        moments += [due.due_ns(0), due.due_ns(1)]
    assert max(moments) < 3 * SECOND
    assert kolmogorov_smirnov([at / (3 * SECOND) for at in moments], uniform) < CRITICAL


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gaps_of_a_line_without_end_are_exponential(seed):
    steady = Segment(None, Fraction(RATE, SECOND), Fraction(RATE, SECOND))
    due = bend(Line([steady], SECOND), "poisson", seed)
    moments = [due.due_ns(n) for n in range(6_000)]
    assert kolmogorov_smirnov(gaps(moments, SECOND / RATE), exponential) < CRITICAL
    assert due.due_by(moments[-1]) == 6_000
