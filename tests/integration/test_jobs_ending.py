"""A job pool that is called off or left: nothing is lost, and no thread stays."""

import queue
import signal
import threading
from itertools import count

import pytest

from tests.kit.pooled import BEYOND, heed, plain, same, wait_for_no_thread, wait_for_threads
from workermanager import Cancelled, Context, Job, WorkerPool


def test_a_cancelled_context_runs_nothing_and_takes_nothing():
    context = Context()
    context.cancel("never mind")
    source = iter(plain(10))
    pool = WorkerPool(4, context=context)

    assert list(pool.generate_from(source)) == []
    assert pool.taken == 0
    assert len(list(source)) == 10
    assert pool.done.is_set()
    with pytest.raises(Cancelled, match="never mind"):
        pool.context.check()


@pytest.mark.parametrize("ordered", [False, True])
def test_after_a_cancel_what_was_taken_has_its_result_and_the_rest_stays_where_it_is(ordered):
    source = iter([Job(number, heed, None) for number in range(100)])
    begun = threading.Barrier(5, timeout=BEYOND)

    def wait_and_heed(context, _):
        begun.wait()
        context.sleep(60)

    jobs = [Job(f"first {number}", wait_and_heed, None) for number in range(4)]
    pool = WorkerPool(4, ordered=ordered)
    results = pool.generate_from(chain_of(jobs, source))
    canceller = threading.Thread(target=lambda: (begun.wait(), pool.cancel("enough")))
    canceller.start()
    read = list(results)
    canceller.join()

    assert len(read) == pool.taken == pool.delivered == 4
    assert {type(result.error) for result in read} == {Cancelled}
    assert {str(result.error) for result in read} == {"enough"}
    assert {result.descriptor for result in read} == {job.descriptor for job in jobs}
    assert len(list(source)) == 100


def chain_of(*sources):
    """As itertools.chain, but not closed at the end."""
    return (job for source in sources for job in source)


def test_a_job_that_ends_well_in_spite_of_a_cancel_keeps_its_value():
    pool = WorkerPool(1)
    job = Job("cancels", lambda _context, value: (pool.cancel(), value)[1], 5)

    assert list(pool.generate_from([job, *plain(3)])) == [(5, None, "cancels")]


def test_a_job_that_was_taken_as_the_cancel_came_is_not_run_and_has_its_result():
    pool = WorkerPool(2)
    ran = []

    def source():
        yield from plain(3)
        pool.cancel(ValueError("why"))
        yield Job("taken", lambda *_: ran.append(1), None)
        yield Job("never", lambda *_: ran.append(1), None)

    results = {result.descriptor: result for result in pool.generate_from(source())}

    assert results.keys() == {0, 1, 2, "taken"}
    assert isinstance(results["taken"].error, Cancelled)
    assert str(results["taken"].error.cause) == "why"
    assert ran == []


def test_a_cancel_sends_the_threads_home_though_nobody_reads():
    pool = WorkerPool(3, ahead=3)
    results = pool.generate_from(plain(1_000))
    first = next(results)

    pool.cancel()
    wait_for_threads()

    assert {first.descriptor, *(result.descriptor for result in results)} == {*range(pool.taken)}


def test_a_cancel_may_come_from_a_signal_handler():
    pool = WorkerPool(2)
    before = signal.signal(signal.SIGUSR1, lambda *_: pool.cancel("a signal"))
    main = threading.main_thread().ident

    def ask_for_it(context, _):
        signal.pthread_kill(main, signal.SIGUSR1)
        context.sleep(60)

    try:
        [result] = pool.generate_from([Job(0, ask_for_it, None)])
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert str(result.error) == "a signal"


def test_a_parent_s_cancel_is_the_pool_s():
    parent = Context()
    job = Job(0, lambda context, _: (parent.cancel("all of it"), context.check()), None)

    [result] = WorkerPool(1, context=parent).generate_from([job, *plain(5)])

    assert isinstance(result.error, Cancelled)
    assert str(result.error) == "all of it"


@pytest.mark.parametrize("ordered", [False, True])
def test_a_reader_that_breaks_out_leaves_no_thread_and_closes_the_source(ordered):
    closed = []

    def source():
        try:
            yield from plain(10_000)
        finally:
            closed.append(threading.current_thread())

    pool = WorkerPool(4, ordered=ordered)
    for result in pool.generate_from(source()):
        if result.descriptor == 20:
            break

    wait_for_no_thread()
    assert len(closed) == 1
    assert pool.done.is_set()
    assert pool.taken == pool.delivered + pool.discarded < 10_000
    assert not pool.context.cancelled


def test_an_iterator_that_can_be_closed_is_closed_at_the_end_too():
    class Closable:
        def __init__(self):
            self.jobs = iter(plain(3))
            self.closed = 0

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.jobs)

        def close(self):
            self.closed += 1

    source = Closable()

    assert len(list(WorkerPool(2).generate_from(source))) == 3
    assert source.closed == 1


def test_an_error_in_the_loop_closes_the_pool_at_the_block_s_end():
    pool = WorkerPool(4)

    def read_and_fail():
        with pool:
            for _ in pool.generate_from(plain(1_000)):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        read_and_fail()
    wait_for_no_thread()  # though the error keeps the generator alive
    assert raised.value.__traceback__ is not None
    assert pool.taken == pool.delivered + pool.discarded
    assert pool.delivered == 1


def test_a_pool_that_nobody_reads_can_be_closed_from_any_thread():
    pool = WorkerPool(3, ahead=3)
    results = pool.generate_from(plain(1_000))
    next(results)

    closer = threading.Thread(target=pool.close)
    closer.start()
    closer.join(BEYOND)

    wait_for_no_thread()
    assert pool.done.is_set()
    assert list(results) == []
    assert pool.taken == 1 + pool.discarded


def test_a_pool_can_be_closed_while_somebody_waits_for_a_result():
    pool = WorkerPool(2)
    begun = threading.Event()
    job = Job("waits", lambda context, _: (begun.set(), context.sleep(60)), None)
    closer = threading.Thread(target=lambda: (begun.wait(BEYOND), pool.close()))
    closer.start()

    read = list(pool.generate_from([job]))
    closer.join()

    assert len(read) == pool.delivered
    assert pool.taken == pool.delivered + pool.discarded == 1


def test_a_closed_pool_runs_nothing_more():
    with WorkerPool(2) as pool:
        assert len(list(pool.generate_from(plain(3)))) == 3
    pool.close()

    assert list(pool.generate_from(plain(3))) == []
    assert pool.done.wait(0)


def test_jobs_may_run_pools_of_their_own():
    def inner(context, count):
        with WorkerPool(2, context=context) as pool:
            return sum(result.value for result in pool.generate_from(plain(count)))

    results = WorkerPool(2, ordered=True).generate_from(
        Job(count, inner, count) for count in range(10)
    )

    assert [result.value for result in results] == [sum(range(count)) for count in range(10)]


def test_a_crash_of_the_pool_itself_is_raised_and_not_swallowed(monkeypatch):
    def crash(job, context):
        raise MemoryError("nothing is left")

    monkeypatch.setattr("workermanager.jobs.crew.run", crash)
    with pytest.raises(MemoryError, match="nothing is left"):
        list(WorkerPool(2, grace=0).generate_from(plain(10)))


def test_a_system_that_has_no_more_threads_is_told_and_the_others_go(monkeypatch):
    starts = count()
    start = threading.Thread.start

    def start_two(thread):
        if next(starts) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    pool = WorkerPool(4)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(pool.generate_from(plain(100)))
    assert pool.done.is_set()
    assert pool.taken == pool.discarded


def test_a_ctrl_c_that_takes_a_result_along_does_not_keep_the_pool_from_ending(monkeypatch):
    class Interrupted(queue.SimpleQueue):
        def get(self, *args, **kwargs):
            found = super().get(*args, **kwargs)
            if found is not None and not interrupts:
                interrupts.append(found)
                raise KeyboardInterrupt
            return found

    interrupts = []
    monkeypatch.setattr("workermanager.jobs.crew.SimpleQueue", Interrupted)
    pool = WorkerPool(2)
    with pytest.raises(KeyboardInterrupt):
        list(pool.generate_from(Job(number, same, number) for number in range(100)))
    assert pool.delivered == pool.waiting == 0
    assert pool.taken == pool.discarded > 0
