"""How a run is told to stop and waited for, on a clock that only the test moves."""

import pytest

from workermanager import cancelling
from workermanager.stopping import Stopping

GRACE_S = 30


class Context:
    cancelled = False


class Handoff:
    closed = 0

    def close(self):
        self.closed += 1


class Bell:
    """A bell whose wait lets time pass: all of it, or up to what happens first."""

    def __init__(self, clock):
        self.clock, self.rings, self.waits, self.plans = clock, 0, [], []

    def ring(self):
        self.rings += 1

    def wait(self, seconds):
        self.waits.append(seconds)
        if self.plans and self.plans[0][0] < seconds:
            after, happens = self.plans.pop(0)
            self.clock.advance(after)
            happens()
            return True
        self.clock.advance(seconds)
        return False


class Stopped:
    def __init__(self, clock):
        self.clock, self.bell = clock, Bell(clock)
        self.context, self.handoff = Context(), Handoff()
        self.scope = cancelling.Context()
        self.stopping = Stopping(
            self.context, self.scope, self.handoff, self.bell, GRACE_S * 1_000_000_000, clock
        )


@pytest.fixture
def stopped(hand_clock):
    return Stopped(hand_clock)


def never():
    return False


def test_a_stop_hands_out_no_more_and_cancels_nothing(stopped):
    stopped.stopping.stop()
    assert stopped.stopping.is_stopping
    assert stopped.handoff.closed == 1
    assert not stopped.context.cancelled
    assert not stopped.stopping.wait_for_halt(0)
    assert stopped.bell.rings == 1


def test_a_stop_now_cancels_and_wakes_sleepers(stopped):
    stopped.stopping.stop(now=True)
    assert stopped.handoff.closed == 1
    assert stopped.context.cancelled
    assert stopped.stopping.wait_for_halt(3_600)


def test_stopping_again_changes_nothing_but_now(stopped):
    for now in (False, False, True, True, False):
        stopped.stopping.stop(now=now)
    assert stopped.handoff.closed == 1
    assert stopped.context.cancelled


def test_a_wait_ends_with_the_run(stopped, hand_clock):
    ended = []
    stopped.bell.plans.append((5, lambda: ended.append(True)))
    assert stopped.stopping.wait(lambda: bool(ended), None)
    assert hand_clock.now_ns == 6_000_000_000
    assert stopped.bell.rings == 1  # for whoever else waits


@pytest.mark.parametrize("seconds", [0, 0.5, 7])
def test_a_wait_for_so_long_is_no_longer(stopped, hand_clock, seconds):
    assert not stopped.stopping.wait(never, seconds)
    assert hand_clock.now_ns == pytest.approx(1e9 + seconds * 1e9)


def test_after_the_grace_it_is_stopped_now_and_a_second_later_left_behind(stopped, hand_clock):
    stopped.stopping.stop()
    assert stopped.stopping.wait(never, None)
    assert stopped.stopping.is_left_behind
    assert stopped.context.cancelled
    assert hand_clock.now_ns == 1_000_000_000 + (GRACE_S + 1) * 1_000_000_000


def test_after_stop_now_it_is_left_behind_in_a_second(stopped, hand_clock):
    stopped.stopping.stop(now=True)
    assert stopped.stopping.wait(never, None)
    assert stopped.stopping.is_left_behind
    assert hand_clock.now_ns == 2_000_000_000


def test_stop_now_within_the_grace_begins_the_last_second(stopped, hand_clock):
    stopped.stopping.stop()
    stopped.bell.plans.append((10, lambda: stopped.stopping.stop(now=True)))
    assert stopped.stopping.wait(never, None)
    assert hand_clock.now_ns == 12_000_000_000


def test_a_stop_while_somebody_waits_begins_the_grace_then(stopped, hand_clock):
    stopped.bell.plans.append((100, stopped.stopping.stop))
    assert stopped.stopping.wait(never, None)
    assert hand_clock.now_ns == 1_000_000_000 + (100 + GRACE_S + 1) * 1_000_000_000


def test_a_run_that_ends_within_the_grace_is_not_cancelled(stopped):
    ended = []
    stopped.stopping.stop()
    stopped.bell.plans.append((GRACE_S - 1, lambda: ended.append(True)))
    assert stopped.stopping.wait(lambda: bool(ended), None)
    assert not stopped.context.cancelled
    assert not stopped.stopping.is_left_behind


def test_a_short_wait_within_the_grace_comes_back_and_the_grace_goes_on(stopped, hand_clock):
    stopped.stopping.stop()
    for _ in range(GRACE_S - 1):
        assert not stopped.stopping.wait(never, 1)
    assert not stopped.context.cancelled
    assert stopped.stopping.wait(never, 60)
    assert hand_clock.now_ns == 1_000_000_000 + (GRACE_S + 1) * 1_000_000_000


def test_what_is_nested_in_it_is_called_off_with_stop_now_and_only_then(stopped):
    one, released = cancelling.Context(stopped.scope), cancelling.Context(stopped.scope)
    released.release()
    stopped.stopping.stop()
    assert not one.cancelled
    stopped.stopping.stop(now=True)
    assert (str(one.cause), released.cause) == ("the run was stopped", None)
    assert cancelling.Context(stopped.scope).cancelled
