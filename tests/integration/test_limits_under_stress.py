"""Limits while threads and coroutines enter, give up and are called off all at once."""

import asyncio
import sys
import threading
import time
from collections import Counter, deque
from itertools import count

import pytest

from instrumentation import Cancelled
from instrumentation.seeds import seeded_random
from workermanager.cancelling import Context
from workermanager.limits import Limit

MOST = 5
THREADS, COROUTINES, TURNS = 8, 40, 1_500


@pytest.fixture
def _threads_that_change_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Inside:
    """Who is in, and whether that ever was too much."""

    def __init__(self):
        self.lock = threading.Lock()
        self.weight = self.highest = 0
        self.counts = Counter()

    def change(self, weight, what=None):
        with self.lock:
            self.weight += weight
            self.highest = max(self.highest, self.weight)
            self.counts[what] += 1


class Crowd:
    """Threads and coroutines that enter in turns; contexts are called off from another thread."""

    def __init__(self, limit):
        self.limit, self.inside = limit, Inside()
        self.contexts = deque(maxlen=200)  # those that may be called off
        self.is_over = threading.Event()

    def turn(self, random):
        timeout = random.choice([None, None, 0, 0.0005, 0.005])
        context = Context(timeout=timeout)
        if random.random() < 0.7:
            self.contexts.append(context)
        return self.limit.weighing(random.choice([1, 1, 2, 3, 5])), context

    def enter_in_turns(self, who):
        random = seeded_random("thread", who)
        for _ in range(TURNS):
            limit, context = self.turn(random)
            try:
                limit.enter(context)
            except Cancelled:
                self.inside.change(0, "called off")
                continue
            self.inside.change(limit.weight, "in")
            if random.random() < 0.3:
                time.sleep(0)
            self.inside.change(-limit.weight, "out")
            limit.leave()

    async def enter_in_turns_async(self, who):
        random = seeded_random("coroutine", who)
        for _ in range(TURNS // 5):
            limit, context = self.turn(random)
            entering = asyncio.ensure_future(limit.enter_async(context))
            if random.random() < 0.2:
                asyncio.get_running_loop().call_soon(entering.cancel)
            try:
                await entering
            except (Cancelled, asyncio.CancelledError):
                self.inside.change(0, "called off")
                continue
            self.inside.change(limit.weight, "in")
            if random.random() < 0.3:
                await asyncio.sleep(0)
            self.inside.change(-limit.weight, "out")
            limit.leave()

    async def enter_all_async(self):
        await asyncio.gather(*map(self.enter_in_turns_async, range(COROUTINES)))

    def call_off(self):
        random = seeded_random("calling off")
        while not self.is_over.wait(random.random() * 0.002):
            for _ in range(min(len(self.contexts), 5)):
                self.contexts.popleft().cancel("enough")


@pytest.mark.usefixtures("_threads_that_change_often")
def test_a_crowd_never_exceeds_a_limit_and_nobody_is_forgotten():
    limit = Limit("crowd", MOST)
    crowd = Crowd(limit)
    calling_off = threading.Thread(target=crowd.call_off)
    entering = [threading.Thread(target=crowd.enter_in_turns, args=(n,)) for n in range(THREADS)]
    entering.append(threading.Thread(target=asyncio.run, args=(crowd.enter_all_async(),)))

    for thread in [calling_off, *entering]:
        thread.start()
    for thread in entering:  # a wake-up that is lost lets one wait for ever
        thread.join(40)
    stuck = [thread for thread in entering if thread.is_alive()]
    crowd.is_over.set()
    calling_off.join(10)

    counts = crowd.inside.counts
    assert not stuck
    assert crowd.inside.weight == 0
    assert crowd.inside.highest <= MOST
    assert counts["in"] == counts["out"]
    assert counts["in"] + counts["called off"] == THREADS * TURNS + COROUTINES * (TURNS // 5)
    assert counts["called off"] > 50
    assert counts["in"] > 1_000
    for _ in range(MOST):  # and all is free again
        limit.enter(Context(timeout=0.5))


def test_threads_and_coroutines_share_one_rate():
    limit, numbers = Limit("shared rate", "1000/s"), count()
    began = time.monotonic_ns()

    def enter():
        for _ in range(10):
            limit.enter(Context())
            next(numbers)

    async def enter_async():
        for _ in range(10):
            await limit.enter_async(Context())
            next(numbers)

    async def main():
        await asyncio.gather(
            *(asyncio.to_thread(enter) for _ in range(4)), *(enter_async() for _ in range(4))
        )

    asyncio.run(main())
    assert next(numbers) == 80
    assert time.monotonic_ns() - began >= 79_000_000  # never faster than it may be
