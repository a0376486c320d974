"""Arrivals along a rate line, against its integral in fractions."""

from fractions import Fraction
from itertools import chain, pairwise
from math import ceil
from random import Random
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.clock import Steady, Varied, arrivals, bend
from workermanager.cursor import Cursor, Overrun
from workermanager.lines import Line, Segment, integral
from workermanager.remaining import Remaining
from workermanager.spans import Spans

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND

SMALL_RATES = st.just(Fraction(0)) | st.fractions(0, 1, max_denominator=11)
SMALL_NS = st.integers(0, 60)
LARGE_RATES = st.just(Fraction(0)) | st.builds(
    Fraction, st.integers(0, 50_000), st.sampled_from([SECOND, 7 * SECOND, HOUR, 333_333_333])
)
LARGE_NS = st.integers(0, 10**12) | st.sampled_from([SECOND, 30 * SECOND, HOUR])
TICK_NS = st.integers(1, 40)


@st.composite
def lines(draw, rates=SMALL_RATES, durations=SMALL_NS):
    """The segments of a line with an end: ramps, constant rates and pauses, joined or not."""
    segments, at = [], draw(rates)
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.just(at) | rates)
        at = draw(st.just(begin) | rates)
        segments.append(Segment(draw(durations), begin, at))
    return segments


def with_execs(segments):
    return bool(integral(segments))


SMALL = lines().filter(with_execs)
LARGE = lines(LARGE_RATES, LARGE_NS).filter(with_execs)


def passed(segments, t):
    """The exact integral of the rate from 0 to t."""
    total = Fraction(0)
    for duration, begin, end in segments:
        into = t if duration is None else min(t, duration)
        if into > 0:
            slope = Fraction(end - begin, duration) if duration else 0
            total += begin * into + slope * into * into / 2
        t -= into
    return total


def end_of(segments):
    return sum(duration for duration, _, _ in segments)


def constant(rate, duration=None):
    return [Segment(duration, Fraction(rate), Fraction(rate))]


def ramp(start, end, duration):
    return [Segment(duration, Fraction(start), Fraction(end))]


def moments_of(due):
    return [due.due_ns(n) for n in range(due.total)]


# What the line is


@given(SMALL)
def test_every_arrival_is_due_at_the_last_nanosecond_that_the_integral_allows(segments):
    due = Line(segments, 10)
    for n in range(due.total):
        moment = due.due_ns(n)
        assert passed(segments, moment) <= n < passed(segments, moment + 1)


@given(LARGE, st.data())
def test_the_same_holds_at_any_scale(segments, data):
    due = Line(segments, SECOND)
    for n in data.draw(st.lists(st.integers(0, due.total - 1), max_size=20)):
        moment = due.due_ns(n)
        assert 0 <= moment < end_of(segments)
        assert passed(segments, moment) <= n < passed(segments, moment + 1)


@given(SMALL)
def test_there_are_as_many_arrivals_as_the_integral_rounded_up_all_before_the_end(segments):
    due, end = Line(segments, 10), end_of(segments)
    assert due.total == ceil(passed(segments, end)) == ceil(integral(segments))
    assert due.due_ns(due.total - 1) < end
    assert due.due_by(end - 1) == due.due_by(end) == due.due_by(10 * end) == due.total


@given(SMALL)
def test_arrivals_come_in_order_from_the_start_on(segments):
    moments = moments_of(Line(segments, 10))
    assert moments == sorted(moments)
    assert moments[0] >= 0


@given(LARGE, st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**13)), max_size=20))
def test_the_count_over_any_window_is_its_integral_and_never_off_by_one(segments, windows):
    due = Line(segments, SECOND)
    for start, length in windows:
        before, upto = due.due_by(start - 1), due.due_by(start + length - 1)
        first, last = passed(segments, start), passed(segments, start + length)
        assert abs(before - first) < 1
        assert abs((upto - before) - (last - first)) < 1


@given(SMALL, st.integers(0, 600))
def test_due_by_counts_the_arrivals_up_to_a_moment(segments, elapsed):
    due = Line(segments, 10)
    assert due.due_by(elapsed) == sum(moment <= elapsed for moment in moments_of(due))
    assert due.due_by(-1) == 0


@given(LARGE, st.data())
def test_due_by_is_the_inverse_of_due_ns(segments, data):
    due = Line(segments, SECOND)
    for n in data.draw(st.lists(st.integers(0, due.total - 1), max_size=20)):
        moment = due.due_ns(n)
        assert due.due_by(moment) > n
        assert due.due_by(moment - 1) <= n


def test_a_segment_of_no_length_is_as_good_as_none():
    plain = Line([*ramp(0, 1, 10), *constant(2, 10)], 5)
    padded = Line([*ramp(0, 1, 10), *constant(9, 0), *constant(2, 10), *ramp(9, 8, 0)], 5)
    assert moments_of(padded) == moments_of(plain)


# Ticks only number the execs


@given(SMALL, TICK_NS)
def test_every_arrival_is_placed_in_the_tick_that_it_is_due_in(segments, tick_ns):
    due = Line(segments, tick_ns)
    in_tick = {}
    for n, moment in enumerate(moments_of(due)):
        tick = moment // tick_ns
        assert due.place(n) == (tick, in_tick.get(tick, 0))
        in_tick[tick] = in_tick.get(tick, 0) + 1
    assert due.ticks == -(-end_of(segments) // tick_ns)
    assert due.tick_at(end_of(segments) - 1) == due.tick_at(10**9) == due.ticks - 1


@given(SMALL, TICK_NS)
def test_first_of_a_tick_counts_the_arrivals_before_it(segments, tick_ns):
    due = Line(segments, tick_ns)
    moments = moments_of(due)
    for tick in range(due.ticks + 2):
        assert due.first_of(tick) == sum(moment < tick * tick_ns for moment in moments)


@given(SMALL, TICK_NS, st.integers(0, 99))
def test_places_are_the_same_in_whatever_order_they_are_asked_for(segments, tick_ns, seed):
    numbers = list(range(Line(segments, tick_ns).total))
    in_order, shuffled = Line(segments, tick_ns), Line(segments, tick_ns)
    places = [in_order.place(n) for n in numbers]
    Random(seed).shuffle(numbers)
    assert all(shuffled.place(n) == places[n] for n in numbers)


def test_threads_that_share_a_line_get_the_places_of_their_own_execs():
    due = Line(ramp(0, Fraction(1, 50), 100_000), 100)
    expected = [Line(ramp(0, Fraction(1, 50), 100_000), 100).place(n) for n in range(due.total)]
    found = [[] for _ in range(4)]

    def work(slot):
        found[slot] = [(n, due.place(n)) for n in range(slot, due.total, 4)]

    threads = [Thread(target=work, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [place for _, place in sorted(chain.from_iterable(found))] == expected


# It is what the layouts of ticks are, where it can be


@pytest.mark.parametrize(("execs", "ticks"), [(100, 10), (3, 7), (1, 1)])
def test_a_constant_line_is_a_steady_layout(execs, ticks):
    rate = Fraction(execs, SECOND)
    line, steady = Line(constant(rate, ticks * SECOND), SECOND), Steady(execs, ticks, SECOND)
    assert (line.total, line.ticks, line.tick_ns) == (steady.total, steady.ticks, SECOND)
    assert moments_of(line) == moments_of(steady)
    assert [line.place(n) for n in range(line.total)] == [
        steady.place(n) for n in range(line.total)
    ]
    for moment in moments_of(steady):
        for elapsed in (moment - 1, moment, moment + 1):
            assert line.due_by(elapsed) == steady.due_by(elapsed)


@given(st.integers(1, 10**6), st.integers(1, HOUR), st.integers(0, 10**15))
def test_an_endless_line_is_an_endless_steady_layout(execs, tick_ns, number):
    line = Line(constant(Fraction(execs, tick_ns)), tick_ns)
    steady = Steady(execs, None, tick_ns)
    assert (line.total, line.ticks) == (None, None)
    assert line.due_ns(number) == steady.due_ns(number)
    assert line.due_by(number) == steady.due_by(number)
    assert line.tick_at(number) == steady.tick_at(number)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any), st.integers(20, 60))
def test_the_line_of_varied_ticks_is_their_layout(execs, tick_ns):
    rates = [Fraction(count, tick_ns) for count in execs]
    line = Line([Segment(tick_ns, rate, rate) for rate in rates], tick_ns)
    varied = Varied(execs, tick_ns)
    assert (line.total, line.ticks) == (varied.total, varied.ticks)
    assert moments_of(line) == moments_of(varied)
    for elapsed in range(-1, (len(execs) + 1) * tick_ns):
        assert line.due_by(elapsed) == varied.due_by(elapsed)
        assert elapsed < 0 or line.tick_at(elapsed) == varied.tick_at(elapsed)
    assert [line.first_of(k) for k in range(len(execs) + 1)] == [
        varied.first_of(k) for k in range(len(execs) + 1)
    ]
    assert [line.place(n) for n in range(line.total)] == [
        varied.place(n) for n in range(line.total)
    ]


# Cases that people know the answer of


def test_three_thousand_a_second_for_twenty_seconds_are_sixty_thousand():
    due = Line(constant(Fraction(3_000, SECOND), 20 * SECOND), SECOND)
    assert (due.total, due.ticks) == (60_000, 20)
    assert due.due_by(20 * SECOND - 1) == 60_000
    assert due.due_ns(59_999) == 59_999 * SECOND // 3_000


def test_a_ramp_to_a_thousand_a_second_in_ten_seconds_has_five_thousand():
    due = Line(ramp(0, Fraction(1_000, SECOND), 10 * SECOND), SECOND)
    assert due.total == 5_000
    assert [due.first_of(tick) for tick in range(11)] == [50 * tick * tick for tick in range(11)]
    assert due.due_ns(1_250) == 5 * SECOND  # a quarter of them in half of the time


def test_a_ramp_down_mirrors_the_ramp_up():
    up = Line(ramp(0, Fraction(1_000, SECOND), 10 * SECOND), SECOND)
    down = Line(ramp(Fraction(1_000, SECOND), 0, 10 * SECOND), SECOND)
    assert down.total == up.total
    assert [down.first_of(tick) for tick in range(11)] == [
        5_000 - up.first_of(10 - tick) for tick in range(11)
    ]


def test_one_an_hour_for_ten_days_are_two_hundred_and_forty():
    due = Line(constant(Fraction(1, HOUR), 240 * HOUR), SECOND)
    assert moments_of(due) == [n * HOUR for n in range(240)]
    assert due.place(239) == (239 * 3_600, 0)


def test_fifty_thousand_a_second_do_not_drift_in_an_hour():
    due = Line(constant(Fraction(50_000, SECOND), HOUR), SECOND)
    assert due.total == 180_000_000
    for n in (0, 1, 49_999, 50_000, 123_456_789, 179_999_999):
        assert due.due_ns(n) == n * 20_000
        assert due.place(n) == divmod(n, 50_000)


def test_a_pause_has_no_arrivals_and_what_falls_into_it_waits_for_its_end():
    # 2.5 arrivals, a pause, and on: number 2 is at 8, number 3 half a period after the pause
    segments = [*constant(Fraction(1, 4), 10), *constant(0, 90), *constant(Fraction(1, 4), 10)]
    assert moments_of(Line(segments, 10)) == [0, 4, 8, 102, 106]
    whole = [*constant(Fraction(1, 5), 10), *constant(0, 90), *constant(Fraction(1, 5), 10)]
    assert moments_of(Line(whole, 10)) == [0, 5, 100, 105]


def test_a_jump_changes_the_pace_at_once():
    segments = [*constant(Fraction(1, 10), 30), *constant(Fraction(1, 2), 4), *constant(0, 5)]
    assert moments_of(Line(segments, 10)) == [0, 10, 20, 30, 32]


# A count ends it


@given(SMALL, st.integers(1, 60), TICK_NS)
def test_a_count_keeps_the_first_arrivals_and_leaves_them_as_they_are(segments, count, tick_ns):
    whole, cut = Line(segments, tick_ns), Line(segments, tick_ns, count)
    assert cut.total == min(count, whole.total)
    assert moments_of(cut) == moments_of(whole)[: cut.total]
    assert cut.due_by(10**9) == cut.total
    if count < whole.total:
        assert cut.ticks == cut.due_ns(cut.total - 1) // tick_ns + 1
        assert cut.first_of(cut.ticks) == cut.total
    else:
        assert cut.ticks == whole.ticks


def test_a_count_ends_a_line_that_would_go_on():
    due = Line(constant(Fraction(100, SECOND)), SECOND, 250)
    assert (due.total, due.ticks) == (250, 3)
    assert due.due_by(HOUR) == 250
    assert due.tick_at(HOUR) == 2


# Fractions of arrivals, for the spreads that are bent from it


@given(SMALL, st.lists(st.floats(0, 1, exclude_max=True), max_size=20), st.integers(1, 60))
def test_moments_come_in_order_and_stay_before_the_end(segments, shares, count):
    for due in (Line(segments, 10), Line(segments, 10, count)):
        moments = [due.moment(share * due.total) for share in [*sorted(shares), 1.0]]
        assert moments == sorted(moments)
        assert moments[-1] < end_of(segments)


@given(LARGE, st.lists(st.floats(0, 1), max_size=20))
def test_the_moment_of_a_share_is_when_the_integral_has_that_share(segments, shares):
    due, whole = Line(segments, SECOND), integral(segments)
    for share in shares:
        moment = due.moment(share * due.total)
        slack = Fraction(1, 10**9) + whole / 10**12  # floats, and 2^-40
        assert passed(segments, moment) <= whole * Fraction(share) + slack
        assert passed(segments, moment + 1) >= whole * Fraction(share) - slack


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any))
def test_the_moment_of_a_whole_count_is_when_that_arrival_is_due(corners):
    rates = [Fraction(corner, 10) for corner in corners]
    segments = [Segment(20, one, other) for one, other in pairwise(rates)]
    due = Line(segments, 10)
    assert integral(segments) == due.total
    assert [due.moment(float(n)) for n in range(due.total)] == moments_of(due)


def test_moments_of_a_line_without_end_go_on():
    due = Line([*ramp(0, 1, 10), *constant(1)], 10)
    assert due.moment(1_000_004.25) == 1_000_009
    assert due.moment(1_000_005.0) == 1_000_010


@given(SMALL, TICK_NS)
def test_a_burst_has_all_execs_of_a_tick_at_its_start(segments, tick_ns):
    line = Line(segments, tick_ns)
    due = bend(line, "burst", 0)
    moments = [line.due_ns(n) // tick_ns * tick_ns for n in range(line.total)]
    assert moments_of(due) == moments
    for elapsed in range(-1, end_of(segments) + 2 * tick_ns):
        assert due.due_by(elapsed) == sum(moment <= elapsed for moment in moments)


@given(SMALL, st.integers(0, 99))
def test_poisson_arrivals_stay_before_the_end_and_out_of_pauses(segments, seed):
    due = bend(Line(segments, 10), "poisson", seed)
    moments = moments_of(due)
    assert moments == sorted(moments)
    assert moments[-1] < end_of(segments)
    assert all(passed(segments, moment) < passed(segments, moment + 1) for moment in moments)
    for elapsed in (*moments, end_of(segments)):
        assert due.due_by(elapsed) == sum(moment <= elapsed for moment in moments)


def test_a_layout_that_is_bent_evenly_is_itself():
    line = Line(constant(1, 10), 10)
    assert bend(line, "even", 0) is line
    assert type(arrivals(5, 2, SECOND, "even", 0)) is Steady


# Handed out


@given(SMALL, TICK_NS)
def test_a_line_is_handed_out_tick_by_tick(segments, tick_ns):
    line = Line(segments, tick_ns)
    cursor = Cursor(line, Overrun(), 2)
    heard, handed = [], []
    cursor.on_tick = heard.append
    while (moment := cursor.next_due()) is not None:
        handed.extend(cursor.take(moment, 0))
        assert heard == sorted({line.place(n)[0] for n in handed})
    assert handed == list(range(line.total))


@given(SMALL, st.data())
def test_what_is_missing_of_a_line_can_be_resumed(segments, data):
    line = Line(segments, 10)
    done = data.draw(st.sets(st.integers(0, line.total - 1)))
    cursor = Cursor(Remaining(line, Spans.of(done)), Overrun(), 2)
    handed = []
    while (moment := cursor.next_due()) is not None:
        handed.extend(cursor.take(moment, 0))
    assert handed == sorted(set(range(line.total)) - done)
    assert cursor.is_exhausted
