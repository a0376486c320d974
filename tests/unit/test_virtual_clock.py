"""The clock of rehearsals, used by itself."""

import pytest

from instrumentation.errors import Cancelled, InvalidConfig
from workermanager import Context, Limit
from workermanager.cancelling import Flag
from workermanager.testing import VirtualClock


def test_it_begins_at_nothing_and_goes_on_when_told():
    clock = VirtualClock()
    assert (clock.seconds, clock.now()) == (0, 0)
    clock.advance("1m30s")
    clock.advance(0.5)
    assert (clock.seconds, clock.now()) == (90.5, 90_500_000_000)
    assert repr(clock) == "VirtualClock(90.5 s)"


@pytest.mark.parametrize("duration", [-1, "soon", None])
def test_it_does_not_go_back(duration):
    with pytest.raises(InvalidConfig):
        VirtualClock().advance(duration)


def test_a_context_sleeps_on_it_until_its_deadline():
    clock = VirtualClock()
    context = Context(timeout="1h", clock=clock)
    context.sleep(3_599.9)
    assert context.remaining == 0.1
    with pytest.raises(Cancelled, match="took longer than 1h"):
        context.sleep(5)
    assert clock.seconds == 3_600


def test_a_wait_for_what_is_set_takes_no_time():
    clock, flag = VirtualClock(), Flag()
    assert not clock.wait(flag, 5)
    flag.set()
    assert clock.wait(flag, None)
    assert clock.seconds == 5


def test_a_wait_for_ever_is_refused():
    with pytest.raises(RuntimeError, match="wait for ever"):
        Context(clock=VirtualClock()).wait()


def test_a_limit_goes_by_it():
    clock = VirtualClock()
    limit, context = Limit("by hand", "2/s"), Context(clock=clock)
    for _ in range(5):
        limit.enter(context)
    assert clock.seconds == 2
