"""Waiting for a limit without waiting: what keeps many waiting on one thread."""

import pytest

from instrumentation.errors import Cancelled
from workermanager import Context, Limit
from workermanager.testing import VirtualClock


@pytest.fixture
def context():
    return Context(clock=VirtualClock())


def never():
    raise AssertionError("there is no reason to look again")


def test_who_finds_room_is_in_at_once(context):
    limit = Limit("q1", 1)
    assert list(limit.queue(context, never)) == []
    limit.leave()


def test_who_waits_is_woken_when_there_is_room(context):
    limit, woken = Limit("q2", 1), []
    limit.enter(context)
    line = limit.queue(context, lambda: woken.append(True))
    assert (next(line), woken) == (None, [])
    limit.leave()
    assert woken == [True]
    assert list(line) == []
    with pytest.raises(Cancelled):
        limit.enter(Context(timeout=1, clock=VirtualClock()))


def test_who_waits_for_a_slot_is_told_how_long(context):
    limit = Limit("q3", "1/min")
    limit.enter(context)
    line = limit.queue(context, never)
    assert next(line) == 60
    context.clock.advance(60)
    assert list(line) == []


def test_who_is_called_off_leaves_the_line(context):
    limit, woken = Limit("q4", 1), []
    limit.enter(context)
    scope = Context(context)
    line, behind = limit.queue(scope, lambda: None), limit.queue(context, lambda: woken.append(1))
    assert (next(line), next(behind)) == (None, None)
    scope.cancel()
    with pytest.raises(Cancelled):
        next(line)
    limit.leave()
    assert (list(behind), woken) == ([], [1])


def test_a_line_that_is_closed_is_left(context):
    limit = Limit("q5", 1)
    limit.enter(context)
    line = limit.queue(context, lambda: None)
    next(line)
    line.close()
    limit.leave()
    assert list(limit.queue(context, never)) == []
