from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workermanager.clock import SPREADS, arrivals

SECOND = 1_000_000_000
EXECS = st.integers(1, 40) | st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any)
TICK_NS = st.integers(0, 50) | st.sampled_from([999, 333_333_333, SECOND, 3_600 * SECOND])


@st.composite
def plans(draw, spreads=SPREADS, tick_ns=TICK_NS):
    """What `arrivals` takes, with an end."""
    execs = draw(EXECS)
    ticks = len(execs) if isinstance(execs, list) else draw(st.integers(1, 6))
    return execs, ticks, draw(tick_ns), draw(st.sampled_from(spreads)), draw(st.integers(0, 999))


def per_tick(execs, ticks):
    return execs if isinstance(execs, list) else [execs] * ticks


def moments_of(due):
    return [due.due_ns(n) for n in range(due.total)]


# What holds for every spread


@given(plans())
def test_there_are_exactly_as_many_arrivals_as_planned(plan):
    execs, ticks, tick_ns, _, _ = plan
    due = arrivals(*plan)
    assert due.total == sum(per_tick(execs, ticks))
    assert (due.ticks, due.tick_ns) == (ticks, tick_ns)
    assert due.due_by(ticks * tick_ns) == due.total


@given(plans())
def test_arrivals_come_in_order_from_the_start_on(plan):
    moments = moments_of(arrivals(*plan))
    assert moments == sorted(moments)
    assert moments[0] >= 0


@given(plans(tick_ns=TICK_NS.filter(bool)))
def test_all_arrivals_are_due_before_the_end(plan):
    due = arrivals(*plan)
    assert moments_of(due)[-1] < due.ticks * due.tick_ns
    assert due.due_by(due.ticks * due.tick_ns - 1) == due.total


@given(plans(), st.lists(st.floats(-0.1, 1.1), max_size=20))
def test_due_by_counts_the_arrivals_up_to_a_moment_in_whatever_order_it_is_asked(plan, fractions):
    due = arrivals(*plan)
    moments, end = moments_of(due), due.ticks * due.tick_ns
    around = sorted({moment + beside for moment in moments for beside in (-1, 0, 1)})
    anywhere = [int(fraction * end) for fraction in fractions]
    for elapsed in [*around, *anywhere, *reversed(around), end, -1]:
        assert due.due_by(elapsed) == sum(moment <= elapsed for moment in moments)


@given(plans())
def test_every_arrival_has_its_place_in_its_tick(plan):
    execs, ticks, *_ = plan
    due = arrivals(*plan)
    places = [(tick, at) for tick, k in enumerate(per_tick(execs, ticks)) for at in range(k)]
    assert [due.place(n) for n in range(due.total)] == places


@given(plans())
def test_first_of_a_tick_is_the_inverse_of_place(plan):
    due = arrivals(*plan)
    for n in range(due.total):
        tick, at = due.place(n)
        assert due.first_of(tick) + at == n


@given(plans(tick_ns=TICK_NS.filter(bool)), st.integers(0, 10), st.floats(0, 1, exclude_max=True))
def test_tick_at_tells_the_tick_that_is_on_and_the_last_after_the_end(plan, tick, into):
    due = arrivals(*plan)
    assert due.tick_at(tick * due.tick_ns + int(into * due.tick_ns)) == min(tick, due.ticks - 1)


@given(plans())
def test_the_same_plan_gives_the_same_arrivals(plan):
    assert moments_of(arrivals(*plan)) == moments_of(arrivals(*plan))


@pytest.mark.parametrize("spread", SPREADS)
def test_three_thousand_a_second_for_twenty_seconds_are_sixty_thousand(spread):
    due = arrivals(3_000, 20, SECOND, spread, 7)
    assert due.total == 60_000
    assert due.due_by(20 * SECOND - 1) == 60_000
    assert due.due_ns(59_999) < 20 * SECOND


@pytest.mark.parametrize("spread", SPREADS)
def test_ticks_of_no_length_make_everything_due_at_once(spread):
    for due in (arrivals(5, 3, 0, spread, 7), arrivals([5, 0, 10], None, 0, spread, 7)):
        assert moments_of(due) == [0] * 15
        assert (due.due_by(-1), due.due_by(0)) == (0, 15)


@pytest.mark.parametrize("spread", SPREADS)
def test_arrivals_without_an_end_go_on(spread):
    due = arrivals(1_000, None, SECOND, spread, 7)
    assert (due.total, due.ticks) == (None, None)
    for n in (0, 1, 999, 1_000, 123_456):
        moment = due.due_ns(n)
        assert due.due_by(moment) > n
        assert due.due_by(moment - 1) <= n
        assert due.place(n) == divmod(n, 1_000)
    assert due.due_ns(10**6) == pytest.approx(1_000 * SECOND, rel=0.005)
    assert due.tick_at(77 * SECOND) == 77


# Even


@given(plans(spreads=("even",)))
def test_even_arrivals_are_spread_by_exact_integers(plan):
    execs, ticks, tick_ns, _, _ = plan
    exact = [
        floor(tick * tick_ns + Fraction(at * tick_ns, k))
        for tick, k in enumerate(per_tick(execs, ticks))
        for at in range(k)
    ]
    assert moments_of(arrivals(*plan)) == exact


@pytest.mark.parametrize(("execs", "tick_ns"), [(3, SECOND), (7, 333_333_333), (1_000_003, 10**7)])
def test_even_arrivals_do_not_drift_in_a_thousand_million_ticks(execs, tick_ns):
    due, ticks = arrivals(execs, None, tick_ns, "even", 0), 10**9
    assert due.due_ns(ticks * execs) == ticks * tick_ns
    assert due.due_by(ticks * tick_ns - 1) == ticks * execs
    assert due.due_by(ticks * tick_ns) == ticks * execs + 1
    assert due.due_ns(ticks * execs + 2) == ticks * tick_ns + 2 * tick_ns // execs


@given(st.integers(1, 10**6), st.integers(1, 3_600 * SECOND), st.integers(0, 10**15))
def test_even_due_by_is_the_inverse_of_due_ns_at_any_rate(execs, tick_ns, elapsed):
    due = arrivals(execs, None, tick_ns, "even", 0)
    count = due.due_by(elapsed)
    assert due.due_ns(count) > elapsed
    assert count == 0 or due.due_ns(count - 1) <= elapsed


# Burst


@given(plans(spreads=("burst",)))
def test_a_burst_has_all_execs_of_a_tick_at_its_start(plan):
    execs, ticks, tick_ns, _, _ = plan
    starts = [tick * tick_ns for tick, k in enumerate(per_tick(execs, ticks)) for _ in range(k)]
    assert moments_of(arrivals(*plan)) == starts


# Poisson, but for its distribution, which test_clock_poisson.py is about


@given(plans(spreads=("poisson",)), st.integers(0, 999))
def test_another_seed_gives_other_poisson_arrivals(plan, seed):
    execs, ticks, _, spread, first_seed = plan
    assume(seed != first_seed)
    hour = 3_600 * SECOND
    one = arrivals(execs, ticks, hour, spread, first_seed)
    other = arrivals(execs, ticks, hour, spread, seed)
    assert moments_of(one) != moments_of(other)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8).filter(any), st.integers(0, 999))
def test_no_poisson_arrival_falls_into_a_pause(execs, seed):
    due = arrivals(execs, len(execs), SECOND, "poisson", seed)
    assert all(execs[moment // SECOND] for moment in moments_of(due))
