import threading
from fractions import Fraction
from math import ceil
from random import Random

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from workermanager.histogram import Histogram

US, MS, SECOND, HOUR = 1_000, 1_000_000, 1_000_000_000, 3_600_000_000_000
WANTED = (0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100)
DURATIONS = st.integers(US, HOUR) | st.integers(0, 31).map(lambda power: US << power)


def histogram_of(durations):
    histogram = Histogram()
    for one in durations:
        histogram.record(one)
    return histogram


def nearest_rank(durations, percent):
    ordered = sorted(durations)
    return ordered[max(1, ceil(len(ordered) * Fraction(str(percent)) / 100)) - 1]


def clamped(draw):
    """20,000 draws, from 1 µs to 1 hour."""
    random = Random(1)
    return [min(max(int(draw(random)), US), HOUR) for _ in range(20_000)]


DISTRIBUTIONS = {
    "constant": [5 * MS] * 1_000,
    "one value": [123_456_789],
    "two values": [2 * US, 40 * MS],
    "powers of two and beside": [
        (1 << power) + beside for power in range(11, 41) for beside in (-1, 0, 1)
    ]
    * 200,
    "every microsecond": [n * US for n in range(1, 20_001)],
    "uniform": clamped(lambda random: random.uniform(US, 10 * MS)),
    "uniform to an hour": clamped(lambda random: random.uniform(US, HOUR)),
    "exponential": clamped(lambda random: random.expovariate(1 / (3 * MS))),
    "normal": clamped(lambda random: random.gauss(50 * MS, 5 * MS)),
    "lognormal": clamped(lambda random: random.lognormvariate(13, 2)),
    "pareto": clamped(lambda random: 100 * US * random.paretovariate(1.1)),
    "two humps": clamped(lambda random: random.gauss(*random.choice([(MS, US), (SECOND, MS)]))),
    "a stall": [5 * MS] * 19_000 + [n * 2 * MS for n in range(1, 1_001)],
}


@pytest.mark.parametrize("durations", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_every_percentile_is_within_one_percent_of_the_exact_one(durations):
    exact = tuple(nearest_rank(durations, percent) for percent in WANTED)
    assert histogram_of(durations).percentiles(*WANTED) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("durations", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_percentiles_agree_with_hdrhistogram(durations):
    reference = HdrHistogram(1, HOUR, 4)
    for one in durations:
        reference.record_value(one)
    expected = tuple(reference.get_value_at_percentile(percent) for percent in WANTED)
    assert histogram_of(durations).percentiles(*WANTED) == pytest.approx(expected, rel=0.01)


@given(st.lists(DURATIONS, min_size=1), st.lists(st.floats(0, 100), min_size=1).map(sorted))
def test_any_percentile_of_any_durations_is_within_one_percent(durations, wanted):
    exact = tuple(nearest_rank(durations, percent) for percent in wanted)
    assert histogram_of(durations).percentiles(*wanted) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("count", [1_000, 41_000, 83_000])
def test_a_percentile_has_the_exact_rank_although_99_9_is_no_binary_number(count):
    slow = count // 1_000
    histogram = histogram_of([MS] * (count - slow) + [SECOND] * slow)
    assert histogram.percentiles(99.9, 100) == pytest.approx((MS, SECOND), rel=0.01)


@pytest.mark.parametrize("durations", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_the_mean_is_within_one_percent(durations):
    exact = sum(durations) / len(durations)
    assert histogram_of(durations).mean == pytest.approx(exact, rel=0.01)


@given(st.lists(st.integers(0, US)))
def test_durations_below_a_microsecond_are_a_few_nanoseconds_off_at_most(durations):
    histogram = histogram_of(durations)
    for percent in (1, 50, 100) if durations else ():
        exact = nearest_rank(durations, percent)
        assert histogram.percentiles(percent) == pytest.approx((exact,), abs=8)


def test_a_duration_of_nothing_is_exactly_nothing():
    assert histogram_of([0]).percentiles(100) == (0,)


def test_an_empty_histogram_has_no_figures():
    histogram = Histogram()
    assert (histogram.count, histogram.mean, histogram.percentiles(50, 99)) == (0, 0, (0, 0))


@given(st.lists(DURATIONS))
def test_every_duration_is_counted_once(durations):
    assert histogram_of(durations).count == len(durations)


# Merging and copying


@given(st.lists(st.lists(DURATIONS, max_size=20), max_size=6))
def test_merging_is_the_same_as_recording_everything_in_one(parts):
    merged = Histogram().merge(map(histogram_of, parts))
    assert merged.counts == histogram_of(one for part in parts for one in part).counts


def test_merging_leaves_the_others_as_they_were():
    one, other = histogram_of([MS]), histogram_of([HOUR])
    assert one.merge([other]) is one
    one.record(HOUR)
    assert (one.count, other.count) == (3, 1)


def test_a_copy_stays_as_it_was_when_the_original_goes_on_and_grows():
    original = histogram_of([MS])
    copy = Histogram().merge([original])
    original.record(MS)
    original.record(HOUR)
    assert copy.percentiles(100) == pytest.approx((MS,), rel=0.01)
    assert (copy.count, original.count) == (1, 3)


def test_copies_while_another_thread_records_and_grows_lose_nothing():
    histogram, durations = Histogram(), [int(US * 1.0005**n) for n in range(40_000)]
    durations = [min(one, HOUR) for one in durations]
    recording = threading.Thread(target=lambda: list(map(histogram.record, durations)))
    seen = [0]
    recording.start()
    while recording.is_alive():
        copy = Histogram().merge([histogram])
        seen.append(copy.count)
        copy.percentiles(50, 100)
    recording.join()
    assert seen == sorted(seen)
    assert histogram.counts == histogram_of(durations).counts


# Memory


@pytest.mark.parametrize(("longest", "kilobytes"), [(SECOND, 13), (HOUR, 21)])
def test_memory_is_bounded_by_the_longest_duration_not_by_their_number(longest, kilobytes):
    histogram, random = Histogram(), Random(1)
    histogram.record(longest)
    slots = len(histogram.counts)
    for _ in range(10_000):
        histogram.record(random.randrange(longest))
    assert len(histogram.counts) == slots <= kilobytes * 1_000 / 8


def test_growing_step_by_step_takes_no_more_than_growing_at_once():
    durations = [1 << power for power in range(42)]
    assert len(histogram_of(durations).counts) == len(histogram_of(durations[-1:]).counts)
