"""Limits on how many begin in a time: the moments are exact, and worked out beforehand."""

import asyncio
from fractions import Fraction
from itertools import count
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumping_time import JumpingClock, run_jumping

from instrumentation import Cancelled
from workermanager.cancelling import Context
from workermanager.limits import Limit

NUMBERS = count()


def new_rate(rate, burst=1):
    """A limit that no other test has."""
    return Limit(f"rate-{next(NUMBERS)}", rate, burst)


def begin(limit, clock):
    """Enter, and tell when that was."""
    limit.enter(Context(clock=clock))
    limit.leave()
    return clock.ns


@pytest.mark.parametrize(
    ("rate", "gap"), [("3/s", Fraction(10**9, 3)), ("7/300ms", Fraction(3 * 10**8, 7))]
)
def test_over_a_long_time_begins_are_even_to_the_nanosecond(rate, gap):
    limit, clock = new_rate(rate), JumpingClock()

    begun = [begin(limit, clock) for _ in range(10_000)]

    assert begun == [ceil(n * gap) for n in range(10_000)]


def test_a_slot_that_nobody_used_is_not_saved_up():
    limit, clock = new_rate("10/s"), JumpingClock()
    begin(limit, clock)
    clock.ns = 5_000_000_000

    assert [begin(limit, clock) for _ in range(3)] == [5_000_000_000, 5_100_000_000, 5_200_000_000]


def test_a_burst_is_what_may_begin_together_after_a_pause():
    limit, clock = new_rate("10/s", burst=3), JumpingClock()

    assert [begin(limit, clock) for _ in range(5)] == [0, 0, 0, 100_000_000, 200_000_000]
    clock.ns = 450_000_000  # two slots and a half that nobody used
    assert [begin(limit, clock) for _ in range(3)] == [450_000_000, 450_000_000, 500_000_000]


def test_a_heavy_one_takes_as_many_slots():
    limit, clock = new_rate("10/s", burst=3), JumpingClock()

    assert begin(limit.weighing(3), clock) == 0
    assert begin(limit.weighing(2), clock) == 200_000_000
    assert begin(limit, clock) == 300_000_000


class Bucket:
    """Tokens that fall into a bucket evenly; who comes takes some, and waits for what it owes."""

    def __init__(self, per_ns, size):
        self.per_ns, self.size = per_ns, size
        self.tokens, self.at = Fraction(size), 0

    def take(self, now, tokens):
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.per_ns) - tokens
        self.at = now
        return now + ceil(max(0, -self.tokens) / self.per_ns)


RATES = {"10/s": Fraction(10, 10**9), "7/9ns": Fraction(7, 9), "1/ns": Fraction(1)}


@given(
    st.sampled_from(sorted(RATES)),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), min_size=1, max_size=40),
)
def test_in_no_window_more_begin_than_its_burst_and_its_share(rate, burst, arrivals):
    """And nobody waits longer than that takes: each begins when a bucket of tokens lets it."""
    limit, clock, per_ns = new_rate(rate, burst), JumpingClock(), RATES[rate]
    bucket = Bucket(per_ns, burst)
    begun = []
    for tenths, wanted in arrivals:
        clock.ns += int(tenths / per_ns / 10)
        weight = min(wanted, burst)
        due = bucket.take(clock.ns, weight)
        assert begin(limit.weighing(weight), clock) == due
        begun.append((due, weight))
    for place, (first, _) in enumerate(begun):
        inside = 0
        for last, weight in begun[place:]:
            inside += weight
            assert inside < burst + per_ns * (last - first + 1)  # moments are whole nanoseconds


def test_who_cannot_begin_before_its_deadline_takes_no_slot():
    limit, clock = new_rate("1/s"), JumpingClock()
    begin(limit, clock)

    for _ in range(5):  # each gives up at 0.1 s after it came; nobody behind it pays for that
        with pytest.raises(Cancelled, match="charge took longer than 100ms"):
            limit.enter(Context(timeout="100ms", name="charge", clock=clock))
    assert clock.ns == 500_000_000
    assert begin(limit, clock) == 1_000_000_000


def test_a_slot_at_the_very_deadline_is_left_to_the_next():
    limit, clock = new_rate("1/s"), JumpingClock()
    begin(limit, clock)

    async def main():
        late = asyncio.create_task(limit.enter_async(Context(timeout="1s", clock=clock)))
        await asyncio.sleep(0.5)
        await limit.enter_async(Context(clock=clock))
        assert round(clock.ns / 1e9, 6) == 1
        with pytest.raises(Cancelled):
            await late

    run_jumping(clock, main())


def test_more_than_may_begin_and_give_up_do_not_slow_down_those_that_begin():
    limit, clock = new_rate("10/s"), JumpingClock()
    begun = []

    async def arrive(milliseconds):
        await asyncio.sleep(milliseconds / 1_000)
        await limit.enter_async(Context(timeout="1.02s", clock=clock))
        begun.append(clock.ns)

    async def main():
        arriving = [arrive(50 * n) for n in range(200)]  # twice as many as may begin, for 10 s
        return await asyncio.gather(*arriving, return_exceptions=True)

    outcomes = run_jumping(clock, main())

    assert len(begun) + sum(isinstance(one, Cancelled) for one in outcomes) == 200
    assert [round(ns / 1e9, 6) for ns in begun] == [n / 10 for n in range(len(begun))]
    assert len(begun) >= 100


def test_coroutines_begin_evenly_in_the_order_they_came_in():
    limit, clock = new_rate("10/s"), JumpingClock()
    begun = []

    async def enter(who):
        await limit.enter_async(Context(clock=clock))
        begun.append((who, round(clock.ns / 1e9, 6)))

    async def main():
        await asyncio.gather(*map(enter, range(5)))

    run_jumping(clock, main())
    assert begun == [(n, n / 10) for n in range(5)]


@pytest.mark.parametrize(
    ("called_off", "next_begins"),
    [([3], 0.3), ([3, 2], 0.2), ([1, 2], 0.4), ([2, 3], 0.3), ([3, 2, 1], 0.1)],
)
@pytest.mark.parametrize("is_task", [False, True])
def test_the_last_slot_is_given_back_by_one_that_is_called_off(called_off, next_begins, is_task):
    limit, clock = new_rate("10/s"), JumpingClock()

    async def main():
        contexts = [Context(clock=clock) for _ in range(4)]
        waiting = [asyncio.create_task(limit.enter_async(context)) for context in contexts]
        await asyncio.sleep(0)
        for who in called_off:
            waiting[who].cancel() if is_task else contexts[who].cancel()
            await asyncio.wait([waiting[who]])
        await limit.enter_async(Context(clock=clock))
        assert round(clock.ns / 1e9, 6) == next_begins
        await asyncio.gather(*waiting, return_exceptions=True)

    run_jumping(clock, main())


def test_another_clock_begins_anew():
    limit, late, early = new_rate("1/h"), JumpingClock(), JumpingClock()
    late.ns = 10**18

    assert begin(limit, late) == 10**18
    assert begin(limit, early) == 0
    assert begin(limit, early) == 3_600 * 10**9
