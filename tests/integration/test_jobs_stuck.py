"""Jobs whose time is up, and threads that do not come back: told, fenced off, replaced, named."""

import threading
from itertools import count

import pytest

from tests.kit.pooled import BEYOND, Hanging, heed, plain, same, wait_for_threads
from workermanager import Cancelled, Job, TimedOut, WorkerPool


@pytest.fixture
def hanging():
    job = Hanging()
    yield job
    job.let_go.set()
    wait_for_threads()


def test_a_job_whose_time_is_up_has_a_result_and_its_late_value_is_nobody_s(hanging):
    pool = WorkerPool(1)
    results = pool.generate_from([Job("slow", hanging, "late", timeout=0.02), *plain(3)])

    slow = next(results)
    assert slow.descriptor == "slow"
    assert slow.value is None
    assert isinstance(slow.error, TimedOut)
    assert slow.error.still_running
    assert str(slow.error) == "job 'slow' took longer than 20ms"
    assert pool.stuck == ("slow",)
    hanging.let_go.set()
    assert [(result.value, result.descriptor) for result in results] == [(0, 0), (1, 1), (2, 2)]
    wait_for_threads()
    assert pool.stuck == ()
    assert pool.taken == pool.delivered == 4


def test_another_thread_takes_the_place_of_a_stuck_one(hanging):
    pool = WorkerPool(1, grace=0)
    jobs = [Job("slow", hanging, None, timeout=0.02), *plain(20)]

    with pytest.warns(RuntimeWarning, match="a job pool ends, and leaves 1 running: 'slow'"):
        results = list(pool.generate_from(jobs))

    assert [result.descriptor for result in results] == ["slow", *range(20)]
    assert pool.stuck == ("slow",)


def test_a_thread_that_comes_back_leaves_if_its_place_is_taken(hanging):
    back = threading.Event()
    pool = WorkerPool(1)

    def source():
        yield Job("slow", hanging, None, timeout=0.02)
        yield Job("next", together, 1)
        assert back.wait(BEYOND)  # holds the thread that asks for more
        yield from plain(3)

    def together(context, value):
        hanging.let_go.set()
        (stuck,) = (one for one in threading.enumerate() if one.name == "job-pool-0")
        stuck.join(BEYOND)
        assert not stuck.is_alive()
        back.set()
        return value

    assert [result.value for result in pool.generate_from(source())] == [None, 1, 0, 1, 2]
    assert pool.stuck == ()


def test_no_more_threads_take_places_than_there_were_and_then_it_ends(hanging):
    jobs = [Job(number, hanging, None, timeout=0.02) for number in range(100)]
    source = iter(jobs)
    pool = WorkerPool(2, grace=0)
    read = []

    with (
        pytest.raises(TimedOut, match="all 4 threads of the job pool hold jobs that do not end"),
        pytest.warns(RuntimeWarning, match="leaves 4 running"),
    ):
        read.extend(pool.generate_from(source))  # keeps what came before the error

    assert sorted(result.descriptor for result in read) == [0, 1, 2, 3]
    assert sorted(pool.stuck) == [0, 1, 2, 3]
    assert len(list(source)) == 96


def test_a_timeout_is_noticed_while_other_results_keep_coming(hanging):
    pool = WorkerPool(2, grace=0, ahead=16)

    def endless():
        yield Job("slow", hanging, None, timeout=0.02)
        for number in count():
            yield Job(number, same, number)

    results = pool.generate_from(endless())
    while (result := next(results)).descriptor != "slow":
        while pool.waiting <= 8:
            hanging.let_go.wait(0.001)  # so that there is always a result to be read at once

    assert result.error.still_running
    with pytest.warns(RuntimeWarning, match="'slow'"):
        pool.close()


def test_a_timeout_wakes_a_reader_that_began_to_wait_before_the_job_began(hanging):
    reading = threading.Event()
    pool = WorkerPool(1)

    def late():
        assert reading.wait(BEYOND)
        yield Job("slow", hanging, None, timeout=0.02)

    results = pool.generate_from(late())
    threading.Timer(0.05, reading.set).start()

    assert next(results).error.still_running  # it has not waited until the job came back
    hanging.let_go.set()
    assert list(results) == []


def test_a_job_that_heeds_its_deadline_has_timed_out_and_holds_nothing_up():
    pool = WorkerPool(1)
    slow, after = pool.generate_from([Job("slow", heed, None, timeout=0.02), *plain(1)])

    assert isinstance(slow.error, TimedOut)
    assert after.value == 0


@pytest.mark.parametrize("error", [None, OSError("the socket timed out")])
def test_what_a_job_does_after_its_deadline_is_a_timeout_however_late_it_is_read(error):
    def overrun(context, _):
        context.wait(60)  # comes back at the deadline
        if error is not None:
            raise error
        return "late"

    [result] = WorkerPool(1).generate_from([Job("late", overrun, None, timeout=0.02)])

    assert result.value is None
    assert isinstance(result.error, TimedOut)
    assert result.error.__cause__ in (error, None)


def test_a_pool_whose_time_is_up_tells_those_that_run_and_takes_no_more(hanging):
    source = iter([Job("hangs", hanging, None), Job("heeds", heed, None), *plain(50)])
    pool = WorkerPool(2, timeout=0.05, grace=0)

    with pytest.warns(RuntimeWarning, match="leaves 1 running: 'hangs'"):
        read = list(pool.generate_from(source))

    assert {result.descriptor for result in read} == {"hangs", "heeds"}
    assert {str(result.error) for result in read} == {"the job pool took longer than 50ms"}
    assert len(list(source)) == 50
    with pytest.raises(Cancelled, match="the job pool took longer than 50ms"):
        pool.context.check()


def test_a_cancelled_job_that_does_not_end_is_named_after_the_grace(hanging):
    pool = WorkerPool(1, grace=0.05)
    threading.Thread(target=lambda: (hanging.begun.acquire(), pool.cancel("enough"))).start()

    with pytest.warns(RuntimeWarning, match="'hangs'"):
        [result] = pool.generate_from([Job("hangs", hanging, None)])

    assert isinstance(result.error, TimedOut)
    assert result.error.still_running
    assert str(result.error) == "job 'hangs' ran on for 50ms after enough"
    assert isinstance(result.error.__cause__, Cancelled)


def test_a_source_that_does_not_come_back_is_named_and_not_waited_for():
    let_go = threading.Event()
    asked = threading.Event()
    closed = threading.Event()

    def silent():
        try:
            asked.set()
            assert let_go.wait(BEYOND)
            yield Job("too late", same, 1)
        finally:
            closed.set()

    pool = WorkerPool(2, grace=0.05)
    threading.Thread(target=lambda: (asked.wait(BEYOND), pool.cancel())).start()
    with pytest.warns(RuntimeWarning, match="leaves 1 running: the source"):
        assert list(pool.generate_from(silent())) == []
    let_go.set()
    wait_for_threads()

    assert closed.is_set()
    assert pool.taken == 0


def test_a_descriptor_that_cannot_be_shown_ends_it_with_an_error_and_not_never():
    class Shy:
        def __repr__(self):
            raise ValueError("no name")

    with pytest.raises(ValueError, match="no name"):
        list(WorkerPool(2).generate_from([Job(Shy(), same, 1, timeout=10), *plain(5)]))
