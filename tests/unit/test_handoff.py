"""Counts at a moment: they add up whatever ends meanwhile, the warm-up apart from the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.accounts import add
from workermanager.clock import arrivals
from workermanager.cursor import Cursor, Overrun
from workermanager.handoff import Ended, Handoff

TICK = 1_000
NOTHING = Ended(0, 0, 0, 0)
QUEUE = Overrun("queue")
OVERRUNS = st.sampled_from([QUEUE, Overrun("drop"), Overrun("late", 300)])


def handoff_of(warm_end, overrun=QUEUE):
    cursor = Cursor(arrivals([6, 6], 2, TICK, "even", 0), overrun, 2, warm_end)
    return Handoff(cursor, lambda: TICK, 2)


def accounted(counts):
    return sum(count for name, count in counts.items() if name != "due")


def take_all(handoff):
    taken = []
    while (batch := handoff.cursor.take(TICK, 2)) is not None:
        taken.extend(batch)
    return taken


def test_without_a_warm_up_there_are_no_counts_of_one():
    reading = handoff_of(0).read(lambda: (NOTHING, NOTHING))
    assert reading.warmup is None
    assert (reading.now, reading.counts["due"], reading.counts["queued"]) == (TICK, 7, 7)


@given(OVERRUNS, st.integers(1, 12), st.data())
def test_the_counts_of_both_phases_add_up_each_by_itself(overrun, warm_end, data):
    handoff = handoff_of(warm_end, overrun)
    taken = take_all(handoff)
    ended = data.draw(st.sets(st.sampled_from(taken))) if taken else set()
    warm = sum(n < warm_end for n in ended)
    failed = data.draw(st.integers(0, warm))
    reading = handoff.read(
        lambda: (Ended(len(ended) - warm, 0, 0, 0), Ended(warm - failed, failed, 0, 0))
    )
    for counts in (reading.counts, reading.warmup):
        assert accounted(counts) == counts["due"]
        assert min(counts.values()) >= 0
    assert (reading.warmup["ok"], reading.warmup["failed"]) == (warm - failed, failed)
    assert reading.warmup["running"] == sum(n < warm_end for n in taken) - warm
    whole = add(reading.counts, reading.warmup)
    assert whole["due"] == handoff.cursor.due(TICK) == 7
    assert whole["running"] == len(taken) - len(ended)


@pytest.mark.parametrize("warm_end", [0, 4, 12])
def test_what_ends_while_the_counts_are_read_still_runs_in_them(warm_end):
    handoff = handoff_of(warm_end)
    before = (NOTHING, NOTHING)

    def ended():
        take_all(handoff)  # handed out, and perhaps ended, after what ended was counted
        return before

    reading = handoff.read(ended)
    whole = add(reading.counts, reading.warmup)
    assert (whole["running"], whole["ok"], whole["queued"]) == (7, 0, 0)
    assert accounted(whole) == whole["due"]


def test_what_expired_at_its_start_and_what_expired_in_line_are_added():
    handoff = handoff_of(2, Overrun("late", 300))
    assert [*handoff.cursor.take(TICK, 2)] == [5]  # due at 0 to 666, 0 to 4 have expired
    reading = handoff.read(lambda: (Ended(0, 0, 0, 1), NOTHING))
    assert (reading.counts["expired"], reading.counts["running"]) == (4, 0)
    assert reading.warmup["expired"] == 2
