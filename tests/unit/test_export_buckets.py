"""Our histograms in the forms that others take: nothing is flattered, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.exports.buckets import BOUNDS_S, at_most, total_s, values
from workermanager.histogram import Histogram

BOUNDS_NS = [round(bound * 1e9) for bound in BOUNDS_S]
DURATIONS = st.integers(0, 100_000_000_000) | st.sampled_from(BOUNDS_NS).flatmap(
    lambda bound: st.integers(bound - 5_000, bound + 5_000)
)


def histogram_of(durations):
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


def test_the_bounds_ascend_from_100_microseconds_to_a_minute():
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))
    assert (BOUNDS_S[0], BOUNDS_S[-1], len(BOUNDS_S)) == (0.0001, 60, 25)


@given(st.lists(DURATIONS, max_size=50))
def test_a_bound_never_has_more_than_there_was_and_misses_at_most_what_is_just_below_it(durations):
    counted = at_most(histogram_of(durations))
    for bound, count in zip(BOUNDS_NS, counted, strict=True):
        assert count <= sum(duration <= bound for duration in durations)
        assert count >= sum(duration <= bound - bound / 64 - 1 for duration in durations)


@pytest.mark.parametrize("bound", BOUNDS_NS)
def test_what_lies_just_above_a_bound_is_not_below_it(bound):
    assert at_most(histogram_of([bound + 1]))[BOUNDS_NS.index(bound)] == 0


@given(st.lists(DURATIONS, max_size=50))
def test_counts_only_rise_with_the_bounds(durations):
    counted = [*at_most(histogram_of(durations)), len(durations)]
    assert counted == sorted(counted)


def test_an_empty_histogram_is_all_zeros():
    assert at_most(Histogram()) == [0] * len(BOUNDS_S)
    assert total_s(Histogram()) == 0


@given(st.lists(st.integers(1_000, 10**11), min_size=1, max_size=50))
def test_the_sum_is_within_a_percent(durations):
    assert total_s(histogram_of(durations)) == pytest.approx(sum(durations) / 1e9, rel=0.01)


@given(st.lists(DURATIONS, max_size=50))
def test_values_come_with_their_counts(durations):
    histogram = histogram_of(durations)
    assert sum(count for _, count in values(histogram)) == len(durations)
    assert [value for value, _ in values(histogram)] == sorted(
        {value for value, _ in values(histogram)}
    )
