"""Channels: who gets what, who waits, and who is woken."""

import threading

import pytest

from workermanager.flows.channel import MOST, NOT_YET, Channel, Drain


class Bell:
    """Counts its rings."""

    def __init__(self):
        self.rings = 0

    def ring(self):
        self.rings += 1


def make(workers=1, bound=10, **how):
    return Channel(threading.RLock(), workers, bound, **how)


def fill(channel, items):
    for item in items:
        channel.put(item)


def taken(hand):
    return [*hand.items]


def test_one_worker_takes_everything_that_waits():
    channel = make()
    fill(channel, "abc")
    assert taken(channel.take(Bell())) == ["a", "b", "c"]


def test_several_workers_get_their_share_and_take_over_what_is_left():
    channel = make(workers=2)
    first, second, third = Bell(), Bell(), Bell()
    fill(channel, range(8))
    hand = channel.take(first)
    assert next(hand.items) == 0
    assert taken(channel.take(second)) == [4, 5]
    assert taken(channel.take(second)) == [6]
    assert taken(channel.take(second)) == [7]
    rest = channel.take(third)
    assert (taken(rest), rest.begun) == ([1, 2, 3], 3)
    assert (taken(hand), hand.begun) == ([], 1)


@pytest.mark.parametrize("how", [{"singly": True}, {"in_order": True}])
def test_where_items_are_handed_out_one_by_one_nobody_takes_over(how):
    channel = make(workers=2, **how)
    fill(channel, "ab")
    hands = [channel.take(Bell()), channel.take(Bell())]
    assert channel.take(Bell()) is NOT_YET
    assert [(hand.serial, taken(hand)) for hand in hands] == [(1, ["a"]), (2, ["b"])]


def test_in_order_a_quick_worker_gets_more_and_a_slow_one_less():
    channel = make(workers=2, bound=100, in_order=True)
    channel.note_pace(1, 1_000)
    channel.note_pace(2, 2_000)
    fill(channel, range(20))
    assert channel.take(Bell()).size == 4
    channel.note_pace(4, 1_000_000)
    assert channel.take(Bell()).size == 1


def test_attention_is_asked_for_by_who_waits_and_one_is_woken():
    channel = make(workers=2)
    first, second = Bell(), Bell()
    assert not channel.attention
    assert channel.take(first) is NOT_YET
    assert channel.take(second) is NOT_YET
    assert channel.attention
    fill(channel, "ab")
    assert channel.attend()
    assert (first.rings, second.rings) == (1, 0)
    assert not channel.attention
    assert taken(channel.take(first)) == ["a"]
    assert second.rings == 1
    assert taken(channel.take(second)) == ["b"]


def test_who_comes_and_finds_nothing_asks_for_attention_again():
    channel = make()
    bell = Bell()
    assert channel.take(bell) is NOT_YET
    channel.attend()
    assert channel.take(bell) is NOT_YET
    assert channel.attention


def test_room_is_given_as_far_as_there_is_any():
    channel = make(bound=4)
    first, second = Bell(), Bell()
    assert channel.admit(3, first) == 3
    assert channel.admit(3, second) == 1
    assert channel.admit(2, second) == 0
    channel.release(1)
    assert second.rings == 1
    assert channel.admit(2, second) == 1


def test_who_waits_for_room_is_woken_once_a_quarter_is_free():
    channel = make(bound=8)
    bell = Bell()
    assert channel.admit(9, bell) == 8
    channel.release(1)
    assert bell.rings == 0
    channel.release(1)
    assert bell.rings == 1


def test_what_was_taken_before_it_was_let_in_makes_room_for_itself():
    channel = make(bound=2)
    fill(channel, "abc")
    hand = channel.take(Bell())
    assert taken(hand) == ["a", "b", "c"]
    channel.release(3)
    assert channel.admit(3, Bell()) == 3
    assert channel.held == 0


def test_the_bound_follows_the_pace():
    channel = make(workers=2, bound=None)
    assert channel.bound == 4
    for _ in range(20):
        channel.note_pace(100, 1_000)
    assert channel.bound == MOST
    for _ in range(20):
        channel.note_pace(1, 1_000_000_000)
    assert channel.bound == 4


def test_a_bound_that_was_given_stays():
    channel = make(bound=7)
    channel.note_pace(1_000, 1)
    assert channel.bound == 7


def test_after_the_end_the_rest_is_handed_out():
    channel = make()
    waiting = Bell()
    assert channel.take(waiting) is NOT_YET
    channel.put("a")
    channel.end()
    assert waiting.rings == 1
    assert taken(channel.take(waiting)) == ["a"]
    assert channel.take(waiting) is None


def test_a_broken_channel_gives_out_nothing_and_keeps_nobody():
    channel = make(bound=1)
    taker, putter = Bell(), Bell()
    assert channel.take(taker) is NOT_YET
    assert channel.admit(2, putter) == 1
    channel.put("a")
    channel.break_off()
    assert (taker.rings, putter.rings) == (1, 1)
    assert channel.attention
    assert not channel.attend()
    assert channel.take(taker) is None
    assert channel.admit(5, putter) == 5
    assert channel.entered == 1


def test_a_drain_takes_all_until_it_is_called_off():
    drain = Drain()
    drain.put("a")
    assert not drain.attention
    assert drain.admit(1_000, Bell()) == 1_000
    drain.end()
    drain.break_off()
    assert drain.attention
    assert not drain.attend()


def test_what_is_put_in_the_moment_before_the_flag_is_up_is_found(monkeypatch):
    channel = make()
    monkeypatch.setattr(channel, "_take_over", lambda: channel.put("a"))
    hand = channel.take(Bell())
    assert taken(hand) == ["a"]
    assert not channel.attention
