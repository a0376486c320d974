"""A time limit in threads: whose answer it is, and who is left to himself."""

import threading

import pytest

from instrumentation import TimedOut
from workermanager.flows import sideline
from workermanager.flows.sideline import Sideline


@pytest.fixture
def threads():
    started = []
    yield started
    for thread in started:
        thread.join(10)


@pytest.fixture
def make(threads):
    def make(fn, seconds):
        def start(target):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            threads.append(thread)

        return Sideline(fn, seconds, "stage 'x'", start)

    return make


def test_one_thread_answers_item_after_item(make, threads):
    call = make(lambda item: 2 * item, 60)
    assert [call(1), call(2)] == [2, 4]
    call.close()
    assert len(threads) == 1


def test_an_error_is_raised_where_it_is_waited_for(make):
    def fail(item):
        raise SystemExit(item)

    call = make(fail, 60)
    with pytest.raises(SystemExit):
        call(1)
    call.close()


def test_who_takes_too_long_is_left_and_another_thread_comes(make, threads):
    gate = threading.Event()
    call = make(lambda item: gate.wait(10) if item == 1 else item, 0.01)
    with pytest.raises(TimedOut, match="took longer than 10ms for an item"):
        call(1)
    call._seconds = 60
    assert call(2) == 2
    gate.set()
    call.close()
    assert len(threads) == 2


def test_only_so_many_are_left_to_themselves(make, threads):
    gate = threading.Event()
    call = make(lambda _: gate.wait(10), 0.001)
    for _ in range(16):
        with pytest.raises(TimedOut, match="took longer"):
            call(0)
    with pytest.raises(TimedOut, match="16 threads are stuck in it, no more are started"):
        call(0)
    gate.set()
    for thread in threads:
        thread.join(10)
    call._seconds = 60
    assert call(0)
    call.close()


def test_an_answer_in_the_last_moment_counts_and_is_not_taken_for_the_next_one(make, monkeypatch):
    wait, late = sideline._wait, []

    def wait_too_short(bell, seconds):
        if seconds is None or late:
            return wait(bell, seconds)
        late.append(wait(bell, seconds))
        bell.ring()
        return False

    monkeypatch.setattr(sideline, "_wait", wait_too_short)
    gate = threading.Event()

    def work(item):
        if item == 2:
            gate.wait(0.1)  # long enough for an answer that is not its own to be taken
        return item

    call = make(work, 60)
    answers = [call(1), call(2)]
    gate.set()
    call.close()
    assert answers == [1, 2]


def test_a_bell_is_waited_for_longer_than_it_waits_by_itself(monkeypatch):
    class Short:
        def __init__(self, rings_at):
            self.waits = 0
            self.rings_at = rings_at

        def wait(self, seconds):
            self.waits += 1
            return self.waits == self.rings_at

    bell = Short(3)
    assert sideline._wait(bell, 10_000)
    assert bell.waits == 3
    assert not sideline._wait(Short(3), 0)
