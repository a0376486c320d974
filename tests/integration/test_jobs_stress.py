"""Any jobs, ended in any way: as many results as were taken, no deadlock, no thread left."""

import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrumentation.seeds import seeded_random
from workermanager import Job, WorkerPool

POOLS = 2_000


def divide(context, number):
    return 100 // number


numbers = st.lists(st.integers(0, 5) | st.none(), max_size=40)  # 0 fails, None is no job


@given(
    numbers=numbers,
    n=st.integers(1, 5),
    ahead=st.none() | st.integers(1, 10),
    ordered=st.booleans(),
    is_broken=st.booleans(),
    reads=st.none() | st.integers(0, 40),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_results_are_those_of_a_loop(  # noqa: PLR0913 - what hypothesis varies
    *, numbers, n, ahead, ordered, is_broken, reads
):
    def source():
        for place, number in enumerate(numbers):
            yield None if number is None else Job(place, divide, number)
        if is_broken:
            raise OSError("broken")

    pool = WorkerPool(n, ahead=ahead, ordered=ordered)
    results = pool.generate_from(source())
    seen, error = read(results, reads)
    results.close()

    expected = [in_words(place, number) for place, number in enumerate(numbers)]
    told = [in_words_of(result) for result in seen]
    if reads is None or reads > len(numbers):
        assert (type(error) is OSError) == is_broken
        assert told == expected if ordered else sorted(told) == sorted(expected)
    else:
        assert told == expected[: len(told)] if ordered else not minus(told, expected)
    assert pool.delivered == len(seen)
    assert pool.taken == pool.delivered + pool.discarded
    assert pool.waiting == 0


def read(results, most):
    seen = []
    try:
        while most is None or len(seen) < most:
            seen.append(next(results))
    except StopIteration:
        return seen, None
    except OSError as error:
        return seen, error
    return seen, None


def in_words(place, number):
    if number is None:
        return "None: InvalidConfig"
    return f"{place}: " + ("ZeroDivisionError" if number == 0 else str(100 // number))


def in_words_of(result):
    told = result.value if result.error is None else type(result.error).__name__
    return f"{result.descriptor}: {told}"


def minus(some, others):
    left = list(others)
    return [one for one in some if one not in left or left.remove(one)]


class Chaos:
    """A pool and its jobs, of which each does something else; all of it follows from a seed."""

    def __init__(self, seed):
        self.random = seeded_random("chaos", seed)
        self.count = self.random.randrange(40)
        self.way = self.random.choice(("read", "break", "raise", "close", "cancel", "timeout"))
        self.pool = WorkerPool(
            self.random.randint(1, 4),
            ahead=self.random.choice((None, 1, 2, 7)),
            ordered=self.random.random() < 0.5,
            timeout=0.001 if self.way == "timeout" else None,
            grace=30,
        )
        self.breaks_at = self.random.randrange(20)
        self.helper = None

    def source(self):
        breaks_at = self.random.randrange(80)
        for place in range(self.count):
            if place == breaks_at:
                raise OSError("the source")
            yield self.job(place)

    def job(self, place):
        kind = self.random.choice(("value",) * 6 + ("raise", "heed", "timeout", "cancel", "none"))
        if kind == "none":
            return place
        timeout = 0.0005 if kind in {"heed", "timeout"} else None
        return Job(place, getattr(self, "do_" + kind), place, timeout=timeout)

    def do_value(self, context, place):
        return place

    def do_raise(self, context, place):
        raise (ValueError if place % 2 else SystemExit)(place)

    def do_heed(self, context, place):
        context.sleep(30)

    def do_timeout(self, context, place):
        context.wait(30)
        return place

    def do_cancel(self, context, place):
        if place % 5 == 0:
            self.pool.cancel("a job wants it")
        return place

    def run(self):
        """What was read."""
        seen = []
        try:
            with self.pool:
                self.read_into(seen)
        except OSError:
            pass
        if self.helper is not None:
            self.helper.join()
        return seen

    def read_into(self, seen):
        for result in self.pool.generate_from(self.source()):
            seen.append(result)
            if len(seen) == self.breaks_at:
                if self.way == "break":
                    break
                if self.way == "raise":
                    raise OSError("the reader")
                if self.way in {"close", "cancel"}:
                    end = self.pool.close if self.way == "close" else self.pool.cancel
                    self.helper = threading.Thread(target=end)
                    self.helper.start()


@pytest.fixture(params=[5e-3, 1e-5], ids=["usual", "frequent"])
def _switches(request):
    """Threads take turns as they usually do, or so often that races are found."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("_switches")
def test_thousands_of_cancels_timeouts_errors_and_breaks_lose_nothing():
    before = threading.active_count()
    for seed in range(POOLS):
        chaos = Chaos(seed)
        pool, seen = chaos.pool, chaos.run()

        descriptors = [result.descriptor for result in seen]
        assert len(set(descriptors)) == len(descriptors) == pool.delivered, seed
        assert pool.taken == pool.delivered + pool.discarded, seed
        assert set(descriptors) <= set(range(pool.taken)), seed
        for value, error, descriptor in seen:
            assert error is not None or value == descriptor, seed
        assert pool.done.is_set(), seed
        assert threading.active_count() == before, seed
