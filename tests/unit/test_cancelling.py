"""Contexts: a tree of what may be called off."""

import threading

import pytest
from jumping_time import JumpingClock

from instrumentation import Cancelled, InvalidConfig, TimedOut
from workermanager.cancelling import Context


def test_a_cancel_reaches_everything_below_and_nothing_above():
    root = Context()
    middle = Context(root)
    leaf, sibling = Context(middle), Context(root)

    middle.cancel("enough")

    assert (root.cancelled, sibling.cancelled) == (False, False)
    assert str(middle.cause) == str(leaf.cause) == "enough"


def test_the_first_cause_is_kept():
    context = Context()
    first = ValueError("first")

    context.cancel(first)
    context.cancel("second")

    assert context.cause is first
    with pytest.raises(Cancelled) as raised:
        context.check()
    assert raised.value.cause is first


def test_a_child_of_a_cancelled_context_is_cancelled_from_the_start():
    root = Context()
    root.cancel("over")

    assert str(Context(root).cause) == "over"


@pytest.mark.parametrize(("outer", "inner", "sooner"), [(1, 5, "outer"), (5, 1, "inner")])
def test_the_earlier_deadline_holds_and_its_owner_is_named(outer, inner, sooner):
    clock = JumpingClock()
    root = Context(timeout=outer, name="outer", clock=clock)
    child = Context(root, timeout=inner, name="inner")

    assert child.remaining == 1
    clock.ns = 999_999_999
    assert not child.cancelled
    child.check()
    clock.ns = 1_000_000_000

    assert child.cancelled
    assert child.remaining == 0
    assert isinstance(child.cause, TimedOut)
    assert str(child.cause) == f"{sooner} took longer than 1s"
    assert child.cause.seconds == 1
    assert root.cancelled is (sooner == "outer")


def test_a_child_goes_by_its_parents_clock():
    clock = JumpingClock()

    assert Context(Context(clock=clock)).clock is clock


def test_a_sleep_ends_with_the_deadline():
    clock = JumpingClock()
    context = Context(timeout="2s", clock=clock)

    context.sleep(1.5)
    with pytest.raises(Cancelled) as raised:
        context.sleep(1.5)

    assert clock.ns == 2_000_000_000
    assert isinstance(raised.value.cause, TimedOut)


def test_a_cancel_wakes_whoever_sleeps_below():
    root = Context()
    child = Context(root)
    woken = []

    def sleep():
        try:
            child.sleep(60)
        except Cancelled as cancelled:
            woken.append(str(cancelled))

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    root.cancel("wake up")
    sleeper.join(10)

    assert woken == ["wake up"]


def test_listeners_hear_of_a_cancel_once_and_those_who_left_do_not():
    root = Context()
    child = Context(root)
    heard = []
    child.on_cancel(lambda: heard.append("stayed"))
    leave = child.on_cancel(lambda: heard.append("left"))
    leave()

    root.cancel()
    root.cancel()
    child.on_cancel(lambda: heard.append("late"))()

    assert heard == ["stayed", "late"]


def test_a_released_child_is_forgotten():
    root = Context()
    with Context(root) as child:
        pass

    root.cancel()

    assert not child.cancelled
    assert not root._children


def test_a_cancel_of_a_hundred_thousand_levels_does_not_overflow():
    root = deepest = Context()
    for _ in range(100_000):
        deepest = Context(deepest)

    root.cancel("all")

    assert deepest.cancelled
    while deepest.parent is not None:  # or the interpreter's own clean-up recurses
        deepest, deepest.parent = deepest.parent, None


def test_a_context_without_a_deadline_has_nothing_remaining_to_tell():
    context = Context()

    assert (context.remaining, context.cause, context.cancelled) == (None, None, False)


@pytest.mark.parametrize("timeout", ["soon", -1, True])
def test_a_timeout_that_is_no_duration_is_refused(timeout):
    with pytest.raises(InvalidConfig, match="timeout"):
        Context(timeout=timeout)


def test_a_parent_that_is_no_context_is_refused():
    with pytest.raises(InvalidConfig, match=r"Context\(parent='the shop'\): wanted a Context"):
        Context("the shop")


@pytest.mark.parametrize("seconds", ["1s", None, float("nan")])
def test_a_sleep_of_no_number_of_seconds_is_refused(seconds):
    with pytest.raises(InvalidConfig, match=r"sleep\(.*\): wanted seconds, as a number"):
        Context().sleep(seconds)


@pytest.mark.parametrize("cause", [None, 3, ValueError])
def test_a_cause_that_is_neither_text_nor_exception_is_refused_and_calls_nothing_off(cause):
    context = Context()
    with pytest.raises(InvalidConfig, match=r"cancel\(.*\): wanted a text or an exception"):
        context.cancel(cause)
    assert not context.cancelled
