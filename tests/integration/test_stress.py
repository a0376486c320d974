"""In the spirit of the original's stress test: thousands of execs, locks, queues and failures."""

import queue
import threading
from collections import Counter

import pytest

from workermanager import Instrumentation, Retry, Step, Worker

EXECS = 6_000


@pytest.mark.parametrize("threads", [1, 8, 64, 512])
def test_every_exec_is_accounted_for_and_none_runs_twice(threads):
    ran, flaky_runs = Counter(), Counter()
    lock = threading.Lock()
    hand_over = queue.Queue(maxsize=threads)
    slots = threading.BoundedSemaphore(3)

    def with_lock(ctx, params):
        with lock:
            ran[ctx.n] += 1

    def through_a_queue(ctx, params):
        hand_over.put(ctx.n)
        params["got"] = hand_over.get()

    def in_a_crowd(ctx, params):
        with slots:
            params["seen"] = sum(range(50))

    def sometimes_fails(ctx, params):
        if ctx.n % 10 == 3:
            raise RuntimeError("as planned")

    def flaky(ctx, params):
        with lock:
            flaky_runs[ctx.n] += 1
        if ctx.n % 7 == 0 and ctx.attempt == 1:
            raise OSError("the first time")

    chain = Instrumentation(
        func_dispatcher=[with_lock, through_a_queue, in_a_crowd],
        nested_callback=[Step(flaky, retry=Retry(attempts=2, base=0)), sometimes_fails],
    )
    results = []
    report = Worker(
        chain,
        execs_per_tick=[EXECS // 2, EXECS // 2],
        tick_duration="50ms",
        threads=threads,
        on_result=results.append,
    ).run()

    assert ran == dict.fromkeys(range(EXECS), 1)
    failed = {n for n in range(EXECS) if n % 10 == 3}
    assert {result.n for result in results if result.error} == failed
    assert sorted(result.n for result in results) == list(range(EXECS))
    assert report.counts["failed"] == len(failed)
    assert report.counts["ok"] == EXECS - len(failed)
    assert report.steps["flaky"].retried == len(range(0, EXECS, 7))
    assert report.steps["flaky"].service.count == sum(flaky_runs.values())


def test_a_million_execs_are_all_accounted_for():
    report = Worker(
        lambda ctx, params: None, execs_per_tick=[1_000_000], tick_duration=0, threads=16
    ).run()
    assert report.counts["ok"] == report.counts["due"] == report.response.count == 1_000_000
