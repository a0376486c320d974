"""What is left of a resumed run's arrivals, and a `Cursor` that hands it out."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workermanager.clock import arrivals
from workermanager.cursor import Cursor, Overrun
from workermanager.remaining import Remaining
from workermanager.spans import Spans

SECOND = 1_000_000_000
EXECS = st.integers(1, 12) | st.lists(st.integers(0, 8), min_size=1, max_size=6).filter(any)
TICK_NS = st.integers(0, 50) | st.sampled_from([999, SECOND])
LONG_TICK_NS = st.sampled_from([997, SECOND])


@st.composite
def resumed(draw, spreads=("even", "burst", "poisson"), tick_ns=TICK_NS):
    """The arrivals of a plan with an end, and which n of it are durable."""
    execs = draw(EXECS)
    ticks = len(execs) if isinstance(execs, list) else draw(st.integers(1, 6))
    spread, seed = draw(st.sampled_from(spreads)), draw(st.integers(0, 99))
    whole = arrivals(execs, ticks, draw(tick_ns), spread, seed)
    return whole, draw(st.sets(st.integers(0, whole.total - 1)))


def left_of(whole, done):
    return Remaining(whole, Spans.of(done))


def in_line(left, start=0, stop=None):
    return list(left.slice(start, left.total if stop is None else stop))


def missing(whole, done):
    return sorted(set(range(whole.total)) - done)


def furthest(done):
    """One past the furthest durable exec."""
    return max(done, default=-1) + 1


# Who is in line


@given(resumed())
def test_the_missing_execs_are_in_line_once_each_and_no_other(plan):
    left = left_of(*plan)
    assert in_line(left) == missing(*plan)
    assert left.total == len(missing(*plan))


@given(resumed(), st.data())
def test_any_places_in_line_can_be_asked_for(plan, data):
    left = left_of(*plan)
    start = data.draw(st.integers(0, left.total))
    stop = data.draw(st.integers(start, left.total))
    assert in_line(left, start, stop) == missing(*plan)[start:stop]


@given(resumed())
def test_when_all_are_durable_nothing_is_left(plan):
    whole, _ = plan
    left = left_of(whole, set(range(whole.total)))
    assert left.total == 0
    assert in_line(left) == []
    assert left.due_by(10 * 3_600 * SECOND) == 0
    assert Cursor(left, Overrun(), 1).is_exhausted


@given(resumed())
def test_when_none_is_durable_everything_is_as_planned(plan):
    whole, _ = plan
    left = left_of(whole, set())
    assert in_line(left) == list(range(whole.total))
    assert [left.due_ns(n) for n in in_line(left)] == [whole.due_ns(n) for n in in_line(left)]


# When they are due


@given(resumed())
def test_nobody_in_line_is_due_before_the_one_in_front(plan):
    left = left_of(*plan)
    moments = [left.due_ns(n) for n in in_line(left)]
    assert moments == sorted(moments)
    assert all(moment >= 0 for moment in moments)


@given(resumed(), st.lists(st.floats(-0.1, 1.1), max_size=20))
def test_due_by_counts_who_is_due_up_to_a_moment_in_whatever_order_it_is_asked(plan, fractions):
    whole, _ = plan
    left = left_of(*plan)
    moments = [left.due_ns(n) for n in in_line(left)]
    end = whole.ticks * whole.tick_ns
    around = sorted({moment + beside for moment in moments for beside in (-1, 0, 1)})
    anywhere = [int(fraction * end) for fraction in fractions]
    for elapsed in [*around, *anywhere, *reversed(around), end, -1]:
        assert left.due_by(elapsed) == sum(moment <= elapsed for moment in moments)


@given(resumed())
def test_what_is_missing_before_the_furthest_durable_exec_is_due_at_once(plan):
    left, end = left_of(*plan), furthest(plan[1])
    gaps = [n for n in in_line(left) if n < end]
    assert all(left.due_ns(n) == 0 for n in gaps)
    assert left.due_by(0) >= len(gaps)


@given(resumed(tick_ns=LONG_TICK_NS))
def test_after_the_furthest_durable_exec_the_pace_is_the_plans_own(plan):
    whole, done = plan
    left = left_of(whole, done)
    rest = range(furthest(done), whole.total)
    assume(rest)
    assert left.due_ns(rest[0]) == (whole.due_ns(0) if rest[0] == 0 else 0)
    assert [left.due_ns(b) - left.due_ns(a) for a, b in pairwise(rest)] == [
        whole.due_ns(b) - whole.due_ns(a) for a, b in pairwise(rest)
    ]


@given(resumed(tick_ns=LONG_TICK_NS))
def test_the_tick_that_is_on_is_the_one_the_plan_was_paused_in(plan):
    whole, done = plan
    left, end = left_of(whole, done), furthest(plan[1])
    assume(end < whole.total)
    pause = whole.due_ns(end) if end else 0
    for elapsed in (0, whole.tick_ns // 2, whole.tick_ns, 100 * whole.tick_ns):
        assert left.tick_at(elapsed) == whole.tick_at(pause + elapsed)


# Who is who


@given(resumed())
def test_n_stays_an_execs_identity_and_keeps_its_place_in_the_plan(plan):
    whole, _ = plan
    left = left_of(*plan)
    assert (left.ticks, left.tick_ns) == (whole.ticks, whole.tick_ns)
    for n in in_line(left):
        assert left.place(n) == whole.place(n)
        assert left.first_of(left.place(n)[0]) == whole.first_of(whole.place(n)[0])


# Without end


@pytest.mark.parametrize("spread", ["even", "burst", "poisson"])
def test_a_run_without_end_goes_on_after_its_gaps(spread):
    whole = arrivals(10, None, SECOND, spread, 3)
    left = left_of(whole, {0, 1, 3, 24})
    assert left.total is None
    assert left.ticks is None
    expected = [2, *range(4, 24), *range(25, 60)]
    assert in_line(left, 0, len(expected)) == expected
    assert in_line(left, 30, 33) == expected[30:33]
    assert in_line(left, 10_000, 10_002) == [10_004, 10_005]
    moments = [left.due_ns(n) for n in expected]
    assert moments[:21] == [0] * 21
    assert moments[21:] == [whole.due_ns(n) - whole.due_ns(25) for n in range(25, 60)]
    for elapsed in range(0, moments[-1], SECOND // 7):
        assert left.due_by(elapsed) == sum(moment <= elapsed for moment in moments)


# Handed out


def handed_out(cursor, whole, idle=0):
    """What a thread that never rests gets, batch by batch, until the end of the plan."""
    end = (whole.ticks + 1) * whole.tick_ns
    while (batch := cursor.take(end, idle)) is not None:
        yield list(batch)


@given(resumed(), st.integers(1, 5))
def test_queue_hands_out_the_missing_execs_only_each_once(plan, threads):
    cursor = Cursor(left_of(*plan), Overrun("queue"), threads)
    handed = [n for batch in handed_out(cursor, plan[0]) for n in batch]
    assert handed == missing(*plan)
    assert cursor.is_exhausted
    assert (cursor.taken, cursor.queued(SECOND)) == (len(handed), 0)


@given(resumed(), st.integers(1, 5))
def test_drop_hands_out_or_drops_the_missing_execs_only(plan, idle):
    cursor = Cursor(left_of(*plan), Overrun("drop"), idle)
    handed = [n for batch in handed_out(cursor, plan[0], idle) for n in batch]
    assert handed == missing(*plan)[:idle]
    assert cursor.dropped == len(missing(*plan)) - len(handed)
    assert cursor.is_exhausted


@given(resumed())
def test_drop_with_a_thread_idle_at_every_moment_drops_only_what_comes_at_one_time(plan):
    left = left_of(*plan)
    cursor = Cursor(left, Overrun("drop"), 1)
    handed, moments = [], [left.due_ns(n) for n in in_line(left)]
    while (moment := cursor.next_due()) is not None:
        handed.extend(cursor.take(moment, 1))
    assert [left.due_ns(n) for n in handed] == sorted(set(moments))
    assert set(handed) <= set(missing(*plan))
    assert cursor.taken + cursor.dropped == left.total


@given(resumed(), st.sampled_from(["queue", "drop"]), st.integers(1, 5))
def test_on_tick_hears_of_each_tick_once_before_its_first_missing_exec(plan, kind, threads):
    whole, _ = plan
    cursor = Cursor(left_of(*plan), Overrun(kind), threads)
    heard, handed, most = [], [], threads if kind == "drop" else 0
    cursor.on_tick = heard.append
    for batch in handed_out(cursor, whole, most):
        handed.extend(batch)
        assert heard == sorted({whole.place(n)[0] for n in handed})


def test_threads_may_share_a_batch_that_reaches_over_a_gap():
    left = left_of(arrivals(1_000, 1, 0, "even", 0), {1, 500})
    batch = left.slice(0, left.total)
    assert [next(batch) for _ in range(3)] == [0, 2, 3]
    assert not hasattr(batch, "send"), "a generator cannot be shared"
