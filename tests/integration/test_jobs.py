"""A job pool: one result for each job, as it is asked for, never further ahead than it may be."""

import threading
from contextvars import ContextVar
from functools import partial

import pytest

from workermanager import InvalidConfig, Job, JobResult, WorkerPool

BEYOND = 10  # seconds in which anything that is going to happen has


def double(context, number):
    return number * 2


def fail(context, error):
    raise error


def doubled(numbers):
    return [Job(number, double, number) for number in numbers]


class Source:
    """An iterator of jobs that notes how it is treated."""

    def __init__(self, jobs):
        self.jobs = iter(jobs)
        self.is_closed = False
        self.threads = set()
        self.overlaps = 0
        self._asked = threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        self.overlaps += not self._asked.acquire(blocking=False)
        self.threads.add(threading.current_thread())
        try:
            return next(self.jobs)
        finally:
            self._asked.release()

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("n", [1, 4])
def test_every_job_has_one_result_with_its_descriptor(n, ordered):
    results = list(WorkerPool(n, ordered=ordered).generate_from(doubled(range(500))))

    assert sorted(results) == [JobResult(2 * number, None, number) for number in range(500)]
    if ordered or n == 1:
        assert [result.descriptor for result in results] == list(range(500))


def test_a_descriptor_may_be_anything():
    descriptor = {"id": 7, "type": [object()]}

    [result] = WorkerPool(1).generate_from([Job(descriptor, double, 4)])

    assert result.descriptor is descriptor
    assert result.value == 8


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_job_raises_is_its_error_and_the_pool_goes_on(kind):
    error = kind("no")
    pool = WorkerPool(1)

    results = list(pool.generate_from([Job("bad", fail, error), *doubled([1])]))

    assert results == [(None, error, "bad"), (2, None, 1)]
    assert pool.delivered == pool.taken == 2


def test_a_job_is_given_the_pool_s_context_and_the_reader_s_context_variables():
    variable = ContextVar("variable", default="none")
    variable.set("mine")
    pool = WorkerPool(1)

    [result] = pool.generate_from([Job(0, lambda context, _: (context, variable.get()), None)])

    context, seen = result.value
    assert context.parent is pool.context
    assert seen == "mine"


def test_as_many_jobs_run_at_once_as_there_are_threads():
    together = threading.Barrier(4, timeout=BEYOND)
    jobs = [Job(number, lambda _, __: together.wait(), None) for number in range(8)]

    assert {result.error for result in WorkerPool(4).generate_from(jobs)} == {None}


def test_a_thread_that_is_free_has_work_as_long_as_there_is_room():
    ended = threading.Event()
    waiting = [Job(number, lambda _, __: ended.wait(BEYOND), None) for number in range(3)]
    jobs = [Job("first", double, 1), *waiting, Job("last", lambda _, __: ended.set(), None)]

    results = list(WorkerPool(4, ahead=4).generate_from(jobs))

    assert {result.value for result in results if result.descriptor in range(3)} == {True}


def test_results_come_as_jobs_end():
    read = threading.Event()
    jobs = [Job("first", lambda _, __: read.wait(BEYOND), None), *doubled([1])]
    results = WorkerPool(2).generate_from(jobs)

    assert next(results).descriptor == 1
    read.set()
    assert next(results) == (True, None, "first")


def test_results_come_in_order_where_that_was_asked_for():
    ended = threading.Event()
    jobs = [
        Job("first", lambda _, __: ended.wait(BEYOND), None),
        Job("second", lambda _, __: ended.set(), None),
    ]

    results = list(WorkerPool(2, ordered=True).generate_from(jobs))

    assert results == [(True, None, "first"), (None, None, "second")]


def test_nothing_is_taken_and_no_thread_is_there_before_somebody_reads():
    before = threading.active_count()
    source = Source(doubled(range(3)))
    pool = WorkerPool(2)
    results = pool.generate_from(source)

    assert (pool.taken, source.threads, threading.active_count()) == (0, set(), before)
    assert len(list(results)) == 3
    assert threading.active_count() == before


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("n", "ahead", "bound"), [(2, None, 32), (3, 5, 5), (4, 1, 1)])
def test_it_reads_exactly_so_far_ahead_and_never_further(n, ahead, bound, ordered):
    waiting = []
    is_full = threading.Event()
    pool = WorkerPool(n, ahead=ahead, ordered=ordered)

    def endless():
        for number in range(20 * bound):
            waiting.append(pool.waiting + 1)  # this one will be taken, too
            if number + 1 == bound:
                is_full.set()
            yield Job(number, double, number)

    results = pool.generate_from(endless())
    if bound > 1:
        next(results)
        assert is_full.wait(BEYOND)
    assert len(list(results)) == 20 * bound - (bound > 1)
    assert max(waiting) == bound


def test_with_no_reader_no_more_than_that_is_taken():
    pool = WorkerPool(2, ahead=6)
    taken = []
    is_full = threading.Event()

    def endless():
        for number in range(1_000):
            taken.append(number)
            if number == 5:
                is_full.set()
            yield Job(number, double, number)

    with pool:
        next(pool.generate_from(endless()))
        assert is_full.wait(BEYOND)
        assert len(taken) <= 7

    assert (pool.taken, pool.delivered, pool.waiting) == (len(taken), 1, 0)


def test_the_source_is_asked_by_one_thread_at_a_time():
    source = Source(doubled(range(5_000)))

    assert len(list(WorkerPool(8).generate_from(source))) == 5_000
    assert source.overlaps == 0
    assert threading.current_thread() not in source.threads


def test_results_are_handed_out_while_the_source_makes_up_its_mind():
    told = threading.Event()

    def hesitant():
        yield Job("first", double, 1)
        assert told.wait(BEYOND)
        yield Job("second", double, 2)

    results = WorkerPool(2).generate_from(hesitant())

    assert next(results).descriptor == "first"
    told.set()
    assert next(results).descriptor == "second"


@pytest.mark.parametrize("ordered", [False, True])
def test_a_source_that_raises_ends_it_after_the_results_of_what_was_taken(ordered):
    raised = threading.Event()

    def broken():
        yield Job("slow", lambda _, __: raised.wait(BEYOND), None)
        yield from doubled(range(10))
        raised.set()
        raise OSError("the source is broken")

    pool = WorkerPool(2, ordered=ordered)
    seen = []
    with pytest.raises(OSError, match="the source is broken"):
        seen.extend(pool.generate_from(broken()))  # keeps what came before the error

    descriptors = [str(result.descriptor) for result in seen]
    assert sorted(descriptors) == sorted(map(str, ["slow", *range(10)]))
    assert pool.done.is_set()


def test_done_only_after_the_last_result_was_read():
    pool = WorkerPool(2)
    assert not pool.done.is_set()

    seen = [pool.done.is_set() for _ in pool.generate_from(doubled(range(50)))]

    assert seen == [False] * 50
    assert pool.done.is_set()
    assert (pool.taken, pool.delivered, pool.waiting, pool.discarded) == (50, 50, 0, 0)


def test_what_was_taken_is_delivered_or_waits_at_every_moment():
    pool = WorkerPool(3, ahead=4)
    for count, _ in enumerate(pool.generate_from(doubled(range(100))), 1):
        assert pool.delivered == count
        assert 0 <= pool.waiting <= 4
    assert pool.taken == pool.delivered == 100


def test_a_pool_can_be_given_one_source_after_the_other_but_not_two_at_once():
    pool = WorkerPool(2)
    assert len(list(pool.generate_from(doubled(range(3))))) == 3
    results = pool.generate_from(doubled(range(3)))
    next(results)
    assert not pool.done.is_set()

    with pytest.raises(InvalidConfig, match="still being read; read them to their end"):
        next(pool.generate_from(doubled([9])))

    results.close()
    assert [result.descriptor for result in pool.generate_from(doubled([9]))] == [9]
    assert pool.taken == pool.delivered + pool.discarded


@pytest.mark.parametrize("item", [None, 5, ("a", double, 1)])
def test_an_item_that_is_no_job_is_refused_in_its_place_and_not_lost(item):
    jobs = [*doubled([1]), item, *doubled([2])]

    one, refused, two = WorkerPool(1).generate_from(jobs)

    assert (one.value, two.value) == (2, 4)
    assert refused.descriptor is item
    assert isinstance(refused.error, InvalidConfig)
    assert "is no job; the source of a job pool must give Job(descriptor" in str(refused.error)


async def sleeping(context, number):
    raise AssertionError("nobody runs this")


@pytest.mark.parametrize("fn", [sleeping, partial(sleeping)])
def test_an_async_function_is_refused(fn):
    [result] = WorkerPool(1).generate_from([Job("async", fn, 1)])

    assert isinstance(result.error, InvalidConfig)
    assert "is async, and was not run: a job pool has threads only" in str(result.error)


def test_what_cannot_work_is_refused_at_once():
    with pytest.raises(InvalidConfig, match=r"Job\('x'\): fn is 5, which cannot be called"):
        Job("x", 5, None)
    with pytest.raises(InvalidConfig, match=r"Job\('x'\): timeout: 'soon' is not a duration"):
        Job("x", double, None, timeout="soon")
    with pytest.raises(InvalidConfig, match="5 cannot be iterated; it takes an iterable of jobs"):
        WorkerPool(1).generate_from(5)


@pytest.mark.parametrize("settings", [{"n": 0}, {"n": -1}, {"n": 1.5}, {"n": True}, {"ahead": 0}])
def test_a_pool_of_no_threads_or_that_may_take_nothing_is_refused(settings):
    [name] = settings
    with pytest.raises(InvalidConfig, match=rf"WorkerPool\({name}=.*whole number of 1 or more"):
        WorkerPool(**{"n": 1, **settings})
