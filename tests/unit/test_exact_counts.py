"""Whole runs have exactly the arrivals that their rate says, and so has every part of one."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workermanager import Ramp, Rate, Ticks, Worker
from workermanager.spans import Spans

SECOND = 1_000_000_000


def step(ctx, params):
    pass


def plan_of(shape=None, **options):
    return Worker(step, shape=shape, seed=7, **options).plan()


def steady(at):
    """The integral of 3,000/s up to a moment, for 20 s."""
    return Fraction(3_000 * min(at, 20 * SECOND), SECOND)


def rising(at):
    """The integral of a ramp from 0 to 1,000/s in 10 s."""
    t = Fraction(min(at, 10 * SECOND), SECOND)
    return 50 * t * t


def spiky(at):
    """The integral of 10/s for 5 s, 5,000/s for 2 s, and a fall to 0 in 3 s."""
    t = Fraction(min(at, 10 * SECOND), SECOND)
    into_spike, into_fall = min(max(t - 5, 0), 2), max(t - 7, 0)
    fall = 5_000 * into_fall - Fraction(5_000, 6) * into_fall**2
    return 10 * min(t, 5) + 5_000 * into_spike + fall


STEADY, RISING = Rate("3000/s", "20s"), Ramp("0/s", "1000/s", "10s")
SPIKY = "0:10/s,5s:10/s,5s:5000/s,7s:5000/s,10s:0/s"
PLANS = {
    "rate": (plan_of(STEADY), steady, 60_000),
    "rate by count": (plan_of(Rate("3000/s", count=60_000)), steady, 60_000),
    "stages": (plan_of("0:3000/s,20s:3000/s"), steady, 60_000),
    "ticks": (plan_of(execs_per_tick=3_000, ticks=20), steady, 60_000),
    "listed ticks": (plan_of(execs_per_tick=[3_000] * 20), steady, 60_000),
    "Ticks": (plan_of(Ticks(1_500, "500ms", 40)), steady, 60_000),
    "ramp": (plan_of(RISING), rising, 5_000),
    "ramp in stages": (plan_of("0:0/s,10s:1000/s"), rising, 5_000),
    "two ramps": (plan_of([Ramp(0, 300, "3s"), Ramp(300, 1_000, "7s")]), rising, 5_000),
    "spike": (plan_of(SPIKY), spiky, 17_550),
}
LONGEST = 21 * SECOND
MOMENTS = st.integers(0, LONGEST)
named = pytest.mark.parametrize("name", list(PLANS))


@named
def test_a_run_has_exactly_the_arrivals_of_its_integral(name):
    plan, integral, total = PLANS[name]
    arrivals = plan.arrivals
    assert arrivals.total == total == integral(LONGEST)
    assert arrivals.due_by(LONGEST) == total
    assert arrivals.due_ns(total - 1) < 20 * SECOND
    assert plan.describe()["execs"] == total


@named
@example(at=0)
@example(at=1)
@example(at=10 * SECOND - 1)
@example(at=10 * SECOND)
@example(at=20 * SECOND - 1)
@given(at=MOMENTS)
def test_every_prefix_is_the_integral_and_less_than_one_more(name, at):
    plan, integral, total = PLANS[name]
    due = plan.arrivals.due_by(at)
    assert due == min(total, ceil(integral(at + 1)))  # up to and with the nanosecond ``at``
    assert 0 <= due - integral(at) < 1 + Fraction(5_000, SECOND)


@named
@given(moments=st.tuples(MOMENTS, MOMENTS).map(sorted))
def test_every_window_is_within_one_of_the_integral(name, moments):
    plan, integral, _ = PLANS[name]
    begin, end = moments
    count = plan.arrivals.due_by(end) - plan.arrivals.due_by(begin)
    slack = Fraction(5_000, SECOND)
    assert abs(count - (integral(end) - integral(begin))) < 1 + slack


@named
@given(n=st.integers(0, 60_000))
def test_every_arrival_is_due_when_the_integral_reaches_it(name, n):
    plan, integral, total = PLANS[name]
    n %= total
    due = plan.arrivals.due_ns(n)
    assert integral(due) <= n < integral(due + 1)


@named
@settings(max_examples=30)
@given(
    missing=st.sets(st.integers(0, 60_000), max_size=20),
    end=st.integers(1, 60_000),
    moments=st.tuples(MOMENTS, MOMENTS).map(sorted),
)
def test_what_is_left_of_a_resumed_run_goes_on_at_the_integral(name, missing, end, moments):
    plan, integral, total = PLANS[name]
    end = 1 + end % (total - 1)
    gone = {n % total for n in missing if n % total < end - 1}
    durable = Spans.of(set(range(end)) - gone)
    left = plan.without(durable).arrivals
    assert left.total == total - end + len(gone)
    pause = plan.arrivals.due_ns(end)
    for at in moments:
        assert 0 <= len(gone) + integral(at + pause + 1) - end <= left.due_by(at)
        assert left.due_by(at) < len(gone) + integral(at + pause + 1) - end + 1
    assert left.due_by(LONGEST) == left.total
    assert sorted([*left.slice(0, left.total)]) == [*sorted(gone), *range(end, total)]


@pytest.mark.parametrize("name", ["rate", "ticks", "ramp", "spike"])
@pytest.mark.parametrize("spread", ["burst", "poisson"])
def test_the_other_spreads_have_the_same_arrivals_in_all(name, spread):
    shape = {"rate": STEADY, "ramp": RISING, "spike": SPIKY}.get(name)
    options = {"execs_per_tick": 3_000, "ticks": 20} if shape is None else {}
    arrivals = plan_of(shape, spread=spread, **options).arrivals
    assert arrivals.total == PLANS[name][2]
    assert arrivals.due_by(LONGEST) == arrivals.total
    for second in range(21) if spread == "burst" else ():
        at = second * SECOND
        begun = PLANS[name][1](at + SECOND)  # the whole tick at its start
        assert abs(arrivals.due_by(at) - begun) < 1
