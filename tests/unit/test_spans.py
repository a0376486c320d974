"""`Spans` against a plain set of the same numbers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.spans import Spans

NUMBERS = st.sets(st.integers(0, 60), max_size=40)
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def members(spans):
    return {number for first, end in spans.pairs for number in range(first, end)}


# A set


@given(NUMBERS)
def test_it_holds_the_numbers_it_was_made_of(numbers):
    spans = Spans.of(numbers)
    assert members(spans) == numbers
    assert [number for number in range(-2, 64) if number in spans] == sorted(numbers)


@given(PAIRS)
def test_pairs_may_overlap_touch_be_empty_and_come_in_any_order(pairs):
    expected = {number for first, end in pairs for number in range(first, end)}
    assert members(Spans(pairs)) == expected
    assert Spans(pairs) == Spans.of(expected)


@given(NUMBERS)
def test_it_is_as_short_as_can_be(numbers):
    pairs = Spans.of(numbers).pairs
    assert all(first < end for first, end in pairs)
    assert all(end < following for (_, end), (following, _) in pairwise(pairs))


@given(NUMBERS)
def test_its_length_is_how_many_numbers_it_holds(numbers):
    assert len(Spans.of(numbers)) == len(numbers)


@given(NUMBERS)
def test_its_end_is_one_past_the_largest(numbers):
    assert Spans.of(numbers).end == max(numbers, default=-1) + 1


@given(st.lists(NUMBERS, max_size=5))
def test_a_union_holds_the_numbers_of_all(sets):
    assert Spans.union(map(Spans.of, sets)) == Spans.of(set().union(*sets))


@given(NUMBERS)
def test_gaps_are_the_missing_numbers_below_the_largest(numbers):
    missing = set(range(max(numbers, default=0))) - numbers
    assert members(Spans.of(numbers).gaps()) == missing


@given(NUMBERS, st.data())
def test_a_slice_gives_the_numbers_at_its_places_in_order(numbers, data):
    start = data.draw(st.integers(0, len(numbers)))
    stop = data.draw(st.integers(0, len(numbers)))
    assert list(Spans.of(numbers).slice(start, stop)) == sorted(numbers)[start:stop]


@given(NUMBERS, NUMBERS)
def test_it_equals_another_with_the_same_numbers_only(one, other):
    assert (Spans.of(one) == Spans.of(other)) == (one == other)
    assert len({Spans.of(one), Spans.of(sorted(one))}) == 1


def test_it_is_no_set_of_another_kind():
    assert Spans.of([1]) != {1}


def test_a_million_in_order_are_one_pair():
    assert Spans.of(range(1_000_000)).pairs == ((0, 1_000_000),)


# Text


@given(NUMBERS)
def test_what_is_read_is_what_was_written(numbers):
    spans = Spans.of(numbers)
    assert Spans.parse(str(spans)) == spans


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([0], "0"),
        ([503], "503"),
        ([0, 1], "0-1"),
        ([*range(500), 503], "0-499,503"),
        ([1, 3, 4, 5, 7], "1,3-5,7"),
    ],
)
def test_the_text_has_both_ends_of_each_run_of_numbers(numbers, text):
    assert str(Spans.of(numbers)) == text
    assert repr(Spans.of(numbers)) == f"Spans({text})"


@pytest.mark.parametrize(
    "text",
    ["x", "1-", "-1", "1-2-3", "1..3", "1;2", "0x1", "1.5", "one-two", "5-3", ",", "1_0", " 1 - 3"],
)
def test_text_that_is_nothing_of_the_kind_is_refused(text):
    with pytest.raises(ValueError, match="span of execs"):
        Spans.parse(text)
