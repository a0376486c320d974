"""Alarms: who is told that a deadline has passed, and when."""

import threading
import time

import pytest

from workermanager.alarms import NEVER, Alarms

MILLISECOND = 1_000_000


class One:
    """Notes when it was told; ``answers`` is what it says, one after the other, and then True."""

    def __init__(self, answers=()):
        self.deadline_ns = NEVER
        self.told = []
        self.answers = list(answers)
        self.has_answered = threading.Event()

    def expire(self, now):
        self.told.append(now)
        if self.answers and not self.answers.pop(0):
            return False
        self.deadline_ns = NEVER
        self.has_answered.set()
        return True


class Crashing:
    deadline_ns = NEVER

    def expire(self, now):
        raise RuntimeError("can't start new thread")


@pytest.fixture
def crashes():
    return []


@pytest.fixture
def alarms(crashes):
    made = Alarms(time.monotonic_ns, crashes.append)
    yield made
    made.close()


def soon(milliseconds=2):
    return time.monotonic_ns() + milliseconds * MILLISECOND


def test_one_is_told_once_and_not_before_its_deadline(alarms):
    one = One()
    alarms.add(one)
    deadline = soon()
    alarms.set(one, deadline)
    assert one.has_answered.wait(30)
    alarms.close()
    (told,) = one.told
    assert told > deadline


def test_an_earlier_deadline_that_is_set_later_is_told_first(alarms):
    late, early = One(), One()
    alarms.add(late)
    alarms.add(early)
    alarms.set(late, soon(3_600_000))
    alarms.set(early, soon())
    assert early.has_answered.wait(30)
    assert not late.told


def test_one_that_is_busy_is_told_again(alarms):
    one = One(answers=[False, False])
    alarms.add(one)
    alarms.set(one, soon())
    assert one.has_answered.wait(30)
    assert len(one.told) == 3


def test_one_that_was_removed_is_not_told(alarms):
    gone, there = One(), One()
    alarms.add(gone)
    alarms.add(there)
    alarms.set(gone, soon(20))
    alarms.remove(gone)
    alarms.set(there, soon(20))
    assert there.has_answered.wait(30)
    assert not gone.told


def test_a_deadline_may_be_anybodys(alarms):
    rung = threading.Semaphore(0)
    alarms.call_at(soon(), rung.release)
    assert rung.acquire(timeout=30)


def test_what_goes_wrong_with_telling_one_is_told_to_the_owner(alarms, crashes):
    one = Crashing()
    alarms.add(one)
    alarms.set(one, soon())
    alarms._thread.join(30)
    assert [str(crash) for crash in crashes] == ["can't start new thread"]
