from bisect import bisect_right
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_slots import Slots, started_in_theory

from instrumentation.errors import InvalidConfig
from workermanager.clock import SPREADS, arrivals
from workermanager.cursor import Cursor, Overrun, Tally
from workermanager.remaining import Remaining
from workermanager.spans import Spans
from workermanager.telemetry import Recorder

MS = 1_000_000
SECOND = 1_000 * MS
QUEUE, DROP, LATE = Overrun("queue"), Overrun("drop"), Overrun("late", 300)
TICK = 1_000  # nanoseconds

OVERRUNS = st.sampled_from([QUEUE, DROP, LATE])
EXECS = st.integers(0, 8)
SERVICES = st.integers(1, 3 * TICK)  # with a few slots: from mostly idle to hopelessly behind
ONE = st.just(1)


def simulations(
    *,
    overruns=OVERRUNS,
    execs=EXECS,
    spreads=SPREADS,
    services=SERVICES,
    most=ONE,
):
    """Up to six ticks of a few execs, on up to four slots."""

    def build(counts, spread, overrun, lengths, slots, most):  # noqa: PLR0913, PLR0917 - all drawn
        due = arrivals(counts, len(counts), TICK, spread, 1)
        return Slots(Cursor(due, overrun, slots), slots, lambda n: lengths[n % len(lengths)], most)

    return st.builds(
        build,
        st.lists(execs, min_size=1, max_size=6).filter(any),
        st.sampled_from(spreads),
        overruns,
        st.lists(services, min_size=1, max_size=8),
        st.integers(1, 4),
        most,
    )


def in_theory(simulation, **limit):
    moments = moments_of(simulation.cursor.arrivals)
    return started_in_theory(moments, simulation.slots, simulation.service, **limit)


def moments_of(due):
    return [due.due_ns(n) for n in range(due.total)]


def backlog_of(count, threads, overrun=QUEUE):
    """A cursor with that many arrivals, all of them due from moment 0."""
    return Cursor(arrivals(count, 1, 0, "even", 0), overrun, threads)


def batches(cursor, now=0, idle=0, most=512):
    while (batch := cursor.take(now, idle, most)) is not None:
        yield list(batch)


# Reading


@pytest.mark.parametrize(
    ("text", "overrun"),
    [("queue", QUEUE), ("drop", DROP), ("late:500ms", Overrun("late", 500 * MS))],
)
def test_overrun_is_read_from_text_and_shown_the_same(text, overrun):
    assert Overrun.parse(text) == overrun
    assert str(overrun) == text


@pytest.mark.parametrize("text", ["", "late", "late:", "drop:5s", "queue:1s", "wait", "QUEUE"])
def test_an_unknown_overrun_names_the_setting_and_what_there_is(text):
    with pytest.raises(InvalidConfig, match=rf"^--overrun: '{text}' is unknown; use queue, drop"):
        Overrun.parse(text, "--overrun")


def test_a_late_limit_that_is_no_duration_is_refused():
    with pytest.raises(InvalidConfig, match=r"^--overrun: 'soon' is not a duration"):
        Overrun.parse("late:soon", "--overrun")


# Whatever the policy


@given(simulations(most=st.integers(1, 8)))
def test_every_arrival_is_accounted_for_at_every_moment(simulation):
    cursor, moments = simulation.cursor, moments_of(simulation.cursor.arrivals)

    def watch(now):
        due, handed = bisect_right(moments, now), len(simulation.taken_at)
        assert cursor.due(now) == due
        assert cursor.taken == handed
        assert cursor.queued(now) == due - handed - cursor.dropped - cursor.expired >= 0

    simulation.watch = watch
    simulation.run()
    assert cursor.is_exhausted
    assert len(simulation.started) + cursor.dropped + cursor.expired == len(moments)


@given(simulations(most=st.integers(1, 8)))
def test_arrivals_are_handed_out_in_order_and_never_before_they_are_due(simulation):
    handed = simulation.run().taken_at
    assert [n for n, _ in handed] == sorted({n for n, _ in handed})
    assert all(moment >= simulation.cursor.arrivals.due_ns(n) for n, moment in handed)


def test_nothing_is_handed_out_before_the_first_arrival_is_due():
    due = arrivals([0, 2], None, TICK, "even", 0)
    cursor = Cursor(due, QUEUE, 1)
    assert cursor.next_due() == TICK
    assert cursor.take(TICK - 1, 1) is None
    assert list(cursor.take(TICK, 1)) == [0]
    assert cursor.next_due() == due.due_ns(1)


# queue


@given(simulations(overruns=st.just(QUEUE)))
def test_queue_starts_every_exec_as_soon_as_it_is_due_and_a_slot_is_free(simulation):
    assert simulation.run().started == in_theory(simulation)
    assert (simulation.cursor.dropped, simulation.cursor.expired) == (0, 0)


@given(st.integers(1, 20_000), st.integers(1, 64), st.integers(1, 600))
def test_a_batch_leaves_the_other_threads_their_share_and_shrinks_with_the_backlog(
    backlog, threads, most
):
    left, sizes = backlog, []
    for batch in batches(backlog_of(backlog, threads), most=most):
        assert batch == list(range(backlog - left, backlog - left + len(batch)))
        assert len(batch) <= max(1, min(left // threads, most, 512))
        left -= len(batch)
        sizes.append(len(batch))
    assert left == 0
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == max(1, min(backlog // threads, most, 512))


# drop


# Arrivals at even moments and services of odd length: no slot is done just when one is due.
@given(
    simulations(
        overruns=st.just(DROP),
        execs=st.sampled_from([0, 1, 2, 4, 5, 10]),
        spreads=["even", "burst"],
        services=st.integers(0, 3 * TICK // 2).map(lambda half: 2 * half + 1),
    )
)
def test_drop_runs_what_finds_a_slot_idle_and_drops_the_rest(simulation):
    expected = in_theory(simulation, limit=0)
    assert simulation.run().started == expected
    cursor = simulation.cursor
    assert (cursor.dropped, cursor.expired) == (cursor.arrivals.total - len(expected), 0)


def test_drop_keeps_as_many_of_a_burst_as_there_are_idle_slots():
    cursor = backlog_of(10, 4, DROP)
    assert list(batches(cursor, idle=3)) == [[0], [1], [2]]
    assert (cursor.taken, cursor.dropped) == (3, 7)


def test_drop_blames_a_pause_of_the_machine_on_nobody_whose_execs_are_short():
    # 50 due within 5 ms, nobody woken; a thread runs 400 of them in a millisecond.
    cursor = Cursor(arrivals(10_000, 1, SECOND, "even", 0), DROP, 4)
    taken = []
    while (batch := cursor.take(5 * MS - 1, 4, pace=400)) is not None:
        taken.extend(batch)
    assert (taken, cursor.dropped) == (list(range(50)), 0)


def test_drop_after_a_pause_has_room_for_one_long_exec_a_thread():
    cursor = Cursor(arrivals(10_000, 1, SECOND, "even", 0), DROP, 4)
    assert list(cursor.take(5 * MS - 1, 4, pace=0)) == [0]
    assert cursor.dropped == 46


def test_drop_decides_nothing_before_it_knows_how_long_execs_are():
    cursor = Cursor(arrivals(10, 1, 0, "even", 0), DROP, 3)
    assert [list(cursor.take(0, idle, pace=None)) for idle in (3, 2, 1)] == [[0], [1], [2]]
    assert (cursor.dropped, cursor.queued(0)) == (0, 7)
    assert cursor.take(0, 0, pace=0) is None  # the first has ended
    assert (cursor.dropped, cursor.queued(0)) == (7, 0)
    assert cursor.is_exhausted


def test_drop_drops_everything_while_nobody_is_idle():
    cursor = backlog_of(10, 4, DROP)
    assert cursor.take(0, idle=0) is None
    assert (cursor.taken, cursor.dropped, cursor.queued(0)) == (0, 10, 0)
    assert cursor.is_exhausted


# late


@given(simulations(overruns=st.builds(Overrun, st.just("late"), st.integers(0, 3 * TICK))))
def test_late_expires_just_what_could_not_start_within_the_limit(simulation):
    cursor = simulation.cursor
    expected = in_theory(simulation, limit=cursor.overrun.limit_ns)
    assert simulation.run().started == expected
    assert (cursor.dropped, cursor.expired) == (0, cursor.arrivals.total - len(expected))


# Ticks


@given(simulations())
def test_on_tick_hears_of_each_tick_once_in_order_before_its_first_exec_runs(simulation):
    heard, cursor = [], simulation.cursor
    cursor.on_tick = lambda tick: heard.append((tick, len(simulation.taken_at)))
    simulation.run()
    ran = [cursor.arrivals.place(n)[0] for n, _ in simulation.taken_at]
    assert heard == [(tick, ran.index(tick)) for tick in sorted(set(ran))]


@given(st.lists(EXECS, min_size=1, max_size=6).filter(any))
def test_on_tick_hears_of_each_tick_when_a_backlog_goes_out_in_batches(execs):
    cursor = Cursor(arrivals(execs, len(execs), TICK, "even", 0), QUEUE, 1)
    heard = []
    cursor.on_tick = heard.append
    assert sum(map(len, batches(cursor, now=len(execs) * TICK))) == sum(execs)
    assert heard == [tick for tick, k in enumerate(execs) if k]


@given(
    st.lists(EXECS, min_size=1, max_size=6).filter(any),
    st.sets(st.integers(0, 40)),
    st.integers(1, 8),
)
def test_on_tick_hears_of_no_tick_whose_execs_are_all_durable(execs, done, most):
    whole = arrivals(execs, len(execs), TICK, "even", 0)
    durable = Spans((n, n + 1) for n in sorted(done) if n < whole.total)
    cursor = Cursor(Remaining(whole, durable), QUEUE, 1)
    heard = []
    cursor.on_tick = heard.append
    left = [n for batch in batches(cursor, now=len(execs) * TICK, most=most) for n in batch]
    assert heard == sorted({whole.place(n)[0] for n in left})


# The end


@given(simulations(), st.integers(0, 6 * TICK))
def test_after_the_close_nothing_is_handed_out_and_what_was_due_stays_queued(simulation, at):
    cursor = simulation.cursor
    handed = len(simulation.run(until=at).taken_at)
    due = bisect_right(moments_of(cursor.arrivals), at)
    queued = due - handed - cursor.dropped - cursor.expired
    cursor.close(at)
    assert len(simulation.run().taken_at) == cursor.taken == handed
    assert cursor.is_exhausted
    assert cursor.next_due() is None
    assert cursor.queued(at) == cursor.queued(10**9) == queued
    assert cursor.due(10**9) == due


def test_a_second_close_changes_nothing():
    cursor = Cursor(arrivals(4, 1, TICK, "even", 0), QUEUE, 1)
    cursor.close(300)
    cursor.close(900)
    assert cursor.due(TICK) == 2


def test_a_close_after_the_last_exec_is_none():
    cursor = backlog_of(1, 1)
    assert list(cursor.take(0, 1)) == [0]
    assert cursor.is_exhausted
    cursor.close(5)
    assert cursor.closed_at is None


# What a user waits for


def test_a_stall_shows_in_response_and_lag_and_not_only_in_the_few_execs_that_had_it():
    """100/s on 5 slots for 10 s; after 4 s, every slot stalls once for 2 s."""
    due = arrivals(100, 10, SECOND, "even", 0)
    random, recorder = Random(1), Recorder()
    lengths = [random.randrange(4 * MS, 6 * MS) for _ in range(due.total)]
    lengths[400:405] = [2 * SECOND] * 5
    started = Slots(Cursor(due, QUEUE, 5), 5, lengths.__getitem__).run().started
    for n, start in started.items():
        recorder.lag.record(start - due.due_ns(n))
        recorder.service.record(lengths[n])
        recorder.response.record(start + lengths[n] - due.due_ns(n))

    assert recorder.response.count == 1_000
    assert recorder.response.percentiles(99) == pytest.approx((1.9 * SECOND,), rel=0.05)
    assert recorder.lag.percentiles(99) == pytest.approx((1.9 * SECOND,), rel=0.05)
    assert recorder.lag.percentiles(50) == (0,)
    service_p50, service_p99 = recorder.service.percentiles(50, 99)
    assert service_p50 == pytest.approx(5 * MS, rel=0.05)
    assert service_p99 < 7 * MS


# The warm-up


@given(simulations(most=st.integers(1, 8)), st.integers(0, 50), st.integers(0, 8 * TICK))
def test_what_was_measured_and_the_warm_up_are_the_whole(simulation, warm_end, until):
    cursor = simulation.cursor
    cursor.warm_end = warm_end
    moments = moments_of(cursor.arrivals)

    def watch(now):
        whole, warm = cursor.tally(now), cursor.tally_warmup(now)
        measured = whole.without(warm)
        assert [one + other for one, other in zip(warm, measured, strict=True)] == list(whole)
        assert min(*warm, *measured, warm.queued, measured.queued) >= 0
        assert warm.queued + measured.queued == whole.queued
        at = now if cursor.closed_at is None else min(now, cursor.closed_at)
        assert warm.due == bisect_right(moments, at, hi=min(warm_end, len(moments)))
        taken = [n for n, _ in simulation.taken_at]
        assert warm.taken == sum(n < warm_end for n in taken)
        assert measured.taken == sum(n >= warm_end for n in taken)

    simulation.watch = watch
    simulation.run(until=until)
    cursor.close(until)
    watch(until)
    simulation.run()
    watch(until)


@given(simulations(most=st.integers(1, 8)), st.integers(0, 50))
def test_at_the_end_every_exec_of_the_warm_up_is_accounted_for_apart(simulation, warm_end):
    cursor = simulation.cursor
    cursor.warm_end = warm_end
    simulation.run()
    warm = cursor.tally_warmup(simulation.now)
    assert warm.due == min(warm_end, cursor.arrivals.total)
    assert warm.queued == 0
    lost = warm.due - sum(n < warm_end for n in simulation.started)
    assert warm.dropped + warm.expired == lost
    if cursor.overrun.kind != "drop":
        assert warm.dropped == 0
    if cursor.overrun.kind != "late":
        assert warm.expired == 0


def test_a_batch_over_the_end_of_the_warm_up_counts_on_both_sides():
    cursor = Cursor(arrivals(10, 1, 0, "even", 0), QUEUE, 1, warm_end=4)
    assert len(list(cursor.take(0, 1))) == 10
    assert (cursor.tally_warmup(0).taken, cursor.tally(0).taken) == (4, 10)


def test_a_burst_over_the_end_of_the_warm_up_is_dropped_on_both_sides():
    cursor = Cursor(arrivals(10, 1, 0, "even", 0), DROP, 4, warm_end=4)
    assert list(batches(cursor, idle=2)) == [[0], [1]]
    assert cursor.tally_warmup(0) == (4, 2, 2, 0)
    assert cursor.tally(0) == (10, 2, 8, 0)


def test_what_expires_over_the_end_of_the_warm_up_counts_on_both_sides():
    cursor = Cursor(arrivals(10, 1, 0, "even", 0), LATE, 1, warm_end=4)
    assert cursor.take(LATE.limit_ns + 1, 1) is None
    assert cursor.tally_warmup(1_000) == (4, 0, 0, 4)
    assert cursor.tally(1_000) == (10, 0, 0, 10)


def test_without_a_warm_up_nothing_is_of_it():
    cursor = backlog_of(10, 1)
    list(batches(cursor))
    assert cursor.tally_warmup(0) == Tally() == (0, 0, 0, 0)
