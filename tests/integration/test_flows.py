"""Pipelines that run: bounds, order, errors, leaving early, and the accounts of every ending."""

import asyncio
import contextvars
import signal
import threading
from collections import Counter

import pytest

from workermanager import (
    SKIP,
    Cancelled,
    Context,
    InvalidConfig,
    Pipeline,
    PipelineFailed,
    Retry,
    TimedOut,
)
from workermanager.flows.works import Works

SOON_S = 10  # what is waited for comes at once; a defect takes as long


def same(item):
    return item


def boom_on(*bad):
    def work(item):
        if item in bad:
            raise ValueError(f"bad {item}")
        return item

    return work


class Endless:
    """Numbers without end, counting how many were read."""

    def __init__(self):
        self.read = 0
        self.is_closed = False

    def __call__(self):
        try:
            while True:
                self.read += 1
                yield self.read
        finally:
            self.is_closed = True


def counts(report):
    return report.read, report.delivered, report.filtered, report.failed, report.cancelled


def test_a_pipeline_hands_every_item_through_its_stages_to_its_sink():
    got = []
    report = Pipeline(range(5)).stage(lambda n: n + 1).stage(str).sink(got.append).run()
    assert got == ["1", "2", "3", "4", "5"]
    assert counts(report) == (5, 5, 0, 0, 0)
    assert [stage.name for stage in report.stages] == ["source", "<lambda>", "str", "append"]
    assert str(report).startswith(
        "pipeline: 5 read = 5 delivered + 0 filtered + 0 failed + 0 cancelled in "
    )


def test_an_empty_source_is_a_pipeline_too():
    assert counts(Pipeline([]).stage(same, workers=3).run()) == (0, 0, 0, 0, 0)
    assert list(Pipeline([]).stage(same)) == []


def test_a_source_may_be_a_function_and_the_pipeline_run_again():
    pipeline = Pipeline(lambda: iter([1, 2])).stage(same)
    assert (list(pipeline), list(pipeline)) == ([1, 2], [1, 2])


def test_what_a_stage_skips_is_counted_as_filtered():
    report = Pipeline(range(10)).stage(lambda n: n if n % 2 else SKIP, workers=3).run()
    assert counts(report) == (10, 5, 5, 0, 0)


def test_none_and_false_are_results():
    assert list(Pipeline([None, False, 0]).stage(same)) == [None, False, 0]


@pytest.mark.parametrize(("buffer", "workers"), [(1, 1), (3, 2), (None, 1), (None, 2)])
def test_the_source_is_never_read_further_ahead_than_the_bounds_add_up_to(buffer, workers):
    source = Endless()
    gate, full = threading.Event(), threading.Event()

    def numbers():
        for number in source():
            full.set() if number == bound else None
            yield number

    def wait(item):
        gate.wait(SOON_S)
        return item

    setting = {} if buffer is None else {"buffer": buffer}
    bound = buffer or 2 * workers
    pipeline = Pipeline(numbers).stage(wait, workers=workers, **setting).stage(same)
    with pipeline.start() as flow:
        assert full.wait(SOON_S)
        assert source.read == bound
        gate.set()
    assert flow.report.cancelled + flow.report.delivered == flow.report.read


def test_results_that_nobody_takes_stop_everything_before_them():
    source = Endless()
    results = iter(Pipeline(source).stage(same, buffer=4).stage(same, buffer=4).start())
    assert next(results) == 1
    results.close()
    assert source.read <= 4 + 4 + 2
    assert source.is_closed


def test_a_result_is_there_while_the_one_after_it_is_still_being_made():
    begun, gate = threading.Event(), threading.Event()

    def work(item):
        if item == 2:
            begun.set()
            assert gate.wait(SOON_S)
        return item

    results = iter(Pipeline([1, 2]).stage(work))
    assert next(results) == 1
    assert begun.wait(SOON_S)
    gate.set()
    assert list(results) == [2]


def test_idle_workers_take_over_what_a_slow_item_holds_up():
    gate, handed = threading.Event(), threading.Event()
    done = []

    def source():
        yield from range(100)
        handed.set()

    def work(item):
        if item == 0:
            handed.wait(SOON_S)
            assert gate.wait(SOON_S)
        else:
            done.append(item)
            if len(done) == 99:
                gate.set()
        return item

    report = Pipeline(source).stage(work, workers=2, buffer=100).run()
    assert sorted(done) == [*range(1, 100)]
    assert counts(report) == (100, 100, 0, 0, 0)


def test_ordered_keeps_the_order_of_the_source():
    late = threading.Event()

    def work(item):
        if item == 0:
            assert late.wait(SOON_S)
        elif item == 3:
            late.set()
        return item if item % 5 else SKIP

    found = list(Pipeline(range(50), ordered=True).stage(work, workers=4).stage(same, workers=3))
    assert found == [item for item in range(50) if item % 5]


def test_a_slow_head_keeps_an_ordered_stage_within_its_window():
    head, others = threading.Event(), threading.Event()
    begun = []

    def work(item):
        if item == 0:
            assert head.wait(SOON_S)
            return item
        begun.append(item)
        if len(begun) == 5:
            others.set()
        return item

    pipeline = Pipeline(range(40), ordered=True).stage(work, workers=3, buffer=6)
    with pipeline.start() as flow:
        assert others.wait(SOON_S)
        assert sorted(begun) == [1, 2, 3, 4, 5]
        head.set()
        assert list(flow) == [*range(40)]


def test_the_first_error_ends_it_and_is_the_first_of_the_group():
    source = Endless()
    with pytest.raises(PipelineFailed) as raised:
        Pipeline(source).stage(boom_on(7)).stage(same, workers=2).run()
    assert [str(error) for error in raised.value.exceptions] == ["bad 7"]
    assert source.is_closed
    report = raised.value.report
    assert report.failed == 1
    assert report.read == report.delivered + 1 + report.cancelled
    assert report.errors == raised.value.exceptions


def test_errors_that_follow_come_after_the_first_one():
    both, first = threading.Barrier(2), threading.Event()

    def work(item):
        both.wait(SOON_S)
        if item == 1:
            first.wait(SOON_S)
        raise ValueError(item)

    context = Context()
    context.on_cancel(first.set)
    flow = Pipeline([0, 1]).stage(work, workers=2).start(context=context)
    flow._works.context.on_cancel(first.set)
    with pytest.raises(PipelineFailed) as raised:
        list(flow)
    assert [error.args for error in raised.value.exceptions] == [(0,), (1,)]
    assert counts(flow.report) == (2, 0, 0, 2, 0)


def test_a_failure_can_be_caught_by_its_kind():
    caught = []
    try:
        Pipeline([1]).stage(boom_on(1)).run()
    except* ValueError as group:
        caught.append(group)
    assert caught[0].report.failed == 1


def test_dead_letters_take_what_fails_and_the_rest_goes_on():
    rejected = []
    pipeline = Pipeline(range(10)).stage(boom_on(3, 4), name="pick", dead_letters=rejected)
    assert list(pipeline) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert [(one.item, str(one.error), one.stage, one.attempts) for one in rejected] == [
        (3, "bad 3", "pick", 1),
        (4, "bad 4", "pick", 1),
    ]


def test_dead_letters_of_a_sink_go_to_a_function():
    seen = []
    report = (
        Pipeline(range(4)).sink(boom_on(1), dead_letters=lambda one: seen.append(one.item)).run()
    )
    assert seen == [1]
    assert counts(report) == (4, 3, 0, 1, 0)


def test_dead_letters_that_cannot_be_taken_end_it():
    def refuse(letter):
        raise OSError("full")

    with pytest.raises(PipelineFailed) as raised:
        Pipeline([1]).stage(boom_on(1), dead_letters=refuse).run()
    assert isinstance(raised.value.exceptions[0], OSError)


def test_a_retry_gets_a_failed_item_through():
    tries = Counter()

    def work(item):
        tries[item] += 1
        if tries[item] < 3:
            raise OSError("not yet")
        return item

    report = Pipeline(range(5)).stage(work, workers=2, retry=Retry(attempts=3, base=0)).run()
    assert counts(report) == (5, 5, 0, 0, 0)
    assert set(tries.values()) == {3}


def test_what_retries_cannot_mend_is_a_dead_letter_with_its_attempts():
    rejected = []
    Pipeline([1]).stage(boom_on(1), retry=Retry(attempts=4, base=0), dead_letters=rejected).run()
    assert [(one.item, one.attempts, str(one.error)) for one in rejected] == [(1, 4, "bad 1")]


def test_a_wait_before_a_retry_ends_with_the_pipeline():
    waits = threading.Event()

    def when(error):
        waits.set()
        return 3_600.0

    flow = Pipeline([1]).stage(boom_on(1), retry=Retry(attempts=2, when=when)).start()
    assert waits.wait(SOON_S)
    flow.close()
    assert counts(flow.report) == (1, 0, 0, 0, 1)


class Flaky:
    """An iterator that fails on every third read, and goes on."""

    def __init__(self, end):
        self.reads = 0
        self.end = end

    def __iter__(self):
        return self

    def __next__(self):
        self.reads += 1
        if self.reads > self.end:
            raise StopIteration
        if self.reads % 3 == 0:
            raise OSError(f"read {self.reads}")
        return self.reads


def test_a_source_that_fails_ends_the_pipeline():
    with pytest.raises(PipelineFailed, match=r"3 read = \d delivered") as raised:
        Pipeline(Flaky(10)).stage(same).run()
    assert str(raised.value.exceptions[0]) == "read 3"
    assert raised.value.report.failed == 1


def test_reads_that_fail_can_be_dead_letters():
    rejected = []
    report = Pipeline(Flaky(10), dead_letters=rejected).stage(same).run()
    assert [str(one.error) for one in rejected] == ["read 3", "read 6", "read 9"]
    assert {(one.item, one.stage) for one in rejected} == {(None, "source")}
    assert counts(report) == (10, 7, 0, 3, 0)


def test_reads_that_fail_can_be_tried_again():
    report = Pipeline(Flaky(10), retry=Retry(attempts=2, base=0)).stage(same).run()
    assert counts(report) == (7, 7, 0, 0, 0)


def test_a_generator_cannot_go_on_after_an_error_and_says_so():
    with pytest.raises(PipelineFailed) as raised:
        Pipeline(Endless(), retry=Retry()).stage(same).run()
    assert isinstance(raised.value.exceptions[0], InvalidConfig)
    assert "a generator is over once it has failed" in str(raised.value.exceptions[0])


def test_leaving_the_loop_stops_the_source_and_joins_every_stage():
    source = Endless()
    for item in Pipeline(source).stage(same, workers=3).stage(same):
        if item > 20:
            break
    assert source.is_closed
    assert [one for one in threading.enumerate() if one.name.startswith("pipeline")] == []


def test_a_generator_that_others_hold_on_to_is_closed_too():
    numbers = Endless()()
    for _ in Pipeline(numbers).stage(same):
        break
    assert numbers.gi_frame is None


def test_an_error_in_the_loop_stops_it_too():
    source = Endless()

    def look():
        for _ in Pipeline(source).stage(same):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        look()
    assert source.is_closed


def test_after_a_block_it_is_closed_and_has_its_counts():
    with Pipeline(Endless()).stage(same).start() as flow:
        assert next(iter(flow)) == 1
    report = flow.report
    assert report.delivered == 1
    assert report.read == 1 + report.cancelled
    flow.close()
    assert flow.report is report


def test_its_context_calls_it_off_and_the_cause_is_kept():
    context = Context()
    source = Endless()

    def work(item):
        if item == 5:
            context.cancel("enough")
        return item

    with pytest.raises(Cancelled, match="enough") as raised:
        Pipeline(source).stage(work).run(context=context)
    assert source.is_closed
    assert "delivered" in raised.value.__notes__[0]


def test_a_context_that_is_called_off_already_lets_nothing_begin():
    context = Context()
    context.cancel("too late")
    source = Endless()
    flow = Pipeline(source).stage(same).start(context=context)
    with pytest.raises(Cancelled, match="too late"):
        flow.wait()
    assert source.read == 0
    assert counts(flow.report) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("has_sink", [True, False])
def test_a_deadline_is_obeyed(has_sink):
    pipeline = Pipeline(Endless()).stage(same)
    context = Context(timeout=0.02, name="lunch")
    run = (
        pipeline.sink(same).run
        if has_sink
        else lambda context: Counter(pipeline.start(context=context))
    )
    with pytest.raises(Cancelled, match="lunch took longer than 20ms") as raised:
        run(context=context)
    assert isinstance(raised.value.cause, TimedOut)


def test_what_a_stage_calls_off_is_called_off():
    def work(item):
        raise Cancelled("no more")

    flow = Pipeline([1, 2]).stage(work).start()
    with pytest.raises(Cancelled, match="no more"):
        flow.wait()
    assert counts(flow.report)[1:4] == (0, 0, 0)


def test_what_is_no_exception_is_raised_as_it_is():
    def leave(item):
        raise SystemExit(3)

    with pytest.raises(SystemExit) as raised:
        Pipeline(Endless()).stage(same).sink(leave, workers=2).run()
    assert raised.value.code == 3
    assert " 0 failed" not in raised.value.__notes__[0]  # how many had begun is a matter of luck


def test_ctrl_c_in_the_one_who_waits_stops_and_joins_it():
    source = Endless()
    started = threading.Event()

    def work(item):
        if item == 3:
            started.wait(SOON_S)
            signal.raise_signal(signal.SIGINT)
        return item

    flow = Pipeline(source).stage(work).start()

    def wait():
        started.set()
        flow.wait()

    with pytest.raises(KeyboardInterrupt), flow:  # it may come just before the wait
        wait()
    assert source.is_closed
    assert flow.report.read == flow.report.delivered + flow.report.cancelled


def test_ctrl_c_while_it_begins_leaves_nothing_behind(monkeypatch):
    start = Works.start

    def interrupted(works):
        start(works)
        raise KeyboardInterrupt

    monkeypatch.setattr(Works, "start", interrupted)
    source = Endless()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        Pipeline(source).stage(same).start()
    assert source.is_closed or source.read == 0
    assert "cancelled" in interrupt.value.__notes__[0]


def test_what_takes_too_long_is_an_error_of_its_item_and_no_item_is_missing():
    gate = threading.Event()
    rejected = []

    def work(item):
        if item == 3:
            gate.wait(SOON_S)
        return item

    def reject(letter):
        rejected.append(letter)
        gate.set()

    pipeline = Pipeline(range(20)).stage(work, workers=2, timeout=0.5, dead_letters=reject)
    flow = pipeline.start()
    found = list(flow)
    assert sorted(found) == [item for item in range(20) if item != 3]
    assert [one.item for one in rejected] == [3]
    error = rejected[0].error
    assert isinstance(error, TimedOut)
    assert error.still_running
    assert str(error) == "stage 'work' took longer than 500ms for an item"
    assert counts(flow.report) == (20, 19, 0, 1, 0)


def test_what_is_stuck_at_the_end_is_named():
    gate, inside = threading.Event(), threading.Event()

    def hang(item):
        inside.set()
        gate.wait(SOON_S)

    flow = Pipeline([1, 2], name="p").stage(same).stage(hang).start(grace=0.01)
    assert inside.wait(SOON_S)
    stuck = [one for one in threading.enumerate() if one.name == "p-hang-0"]
    with pytest.raises(PipelineFailed) as raised:
        flow.close()
    gate.set()
    stuck[0].join()
    error = raised.value.exceptions[0]
    assert isinstance(error, TimedOut)
    assert error.still_running
    assert str(error) == "p: still running 10ms after its end: p-hang-0"
    assert flow.report.read == flow.report.cancelled


def test_an_item_s_function_that_never_ends_is_named_at_the_end():
    gate = threading.Event()
    pipeline = Pipeline([1], name="p").stage(
        lambda item: gate.wait(SOON_S), name="hang", timeout=0.01, dead_letters=[]
    )
    with pytest.raises(PipelineFailed, match="1 failed") as raised:
        pipeline.run(grace=0.01)
    stuck = [one for one in threading.enumerate() if one.name == "p-hang-0-call"]
    gate.set()
    stuck[0].join()
    assert "p-hang-0-call" in str(raised.value.exceptions[0])


def test_a_retry_after_a_timeout_gets_a_thread_of_its_own():
    gate = threading.Event()
    tries = []

    def work(item):
        tries.append(item)
        if len(tries) == 1:
            gate.wait(SOON_S)
            return "late"
        gate.set()
        return "second"

    retry = Retry(attempts=2, base=0, when=lambda _: True)
    assert list(Pipeline([1]).stage(work, timeout=0.5, retry=retry)) == ["second"]


def test_a_pipeline_may_run_within_another_one_s_stage():
    def inner(item):
        return sum(Pipeline(range(item)).stage(same))

    assert sorted(Pipeline([3, 4]).stage(inner, workers=2)) == [3, 6]


def test_async_for_gives_the_results_while_the_loop_goes_on():
    async def main():
        return [item async for item in Pipeline(range(5)).stage(lambda n: n * n)]

    assert asyncio.run(main()) == [0, 1, 4, 9, 16]


def test_leaving_an_async_for_stops_the_source():
    source = Endless()

    async def main():
        flow = Pipeline(source).stage(same).start()
        results = aiter(flow)
        async for _ in results:
            break
        await results.aclose()
        return flow.report

    report = asyncio.run(main())
    assert source.is_closed
    assert report.read == 1 + report.cancelled


def test_an_error_comes_out_of_async_for():
    async def main():
        return [item async for item in Pipeline(range(5)).stage(boom_on(3))]

    with pytest.raises(PipelineFailed, match="1 failed"):
        asyncio.run(main())


def test_a_task_that_is_cancelled_takes_its_pipeline_along():
    source = Endless()

    async def main():
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def skip(item):
            loop.call_soon_threadsafe(begun.set) if item == 1 else None
            return SKIP

        async def consume():
            async for _ in Pipeline(source).stage(skip):
                pass

        task = asyncio.create_task(consume())
        await begun.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert source.is_closed


def test_an_iterator_that_nobody_asks_begins_nothing():
    source = Endless()
    results = iter(Pipeline(source).stage(same))
    del results
    assert source.read == 0
    assert [one for one in threading.enumerate() if one.name.startswith("pipeline")] == []


def test_waiting_again_tells_the_same_again():
    flow = Pipeline([1]).stage(boom_on(1)).start()
    with pytest.raises(PipelineFailed) as first:
        flow.wait()
    with pytest.raises(PipelineFailed) as second:
        flow.wait()
    assert first.value is second.value


def test_only_one_loop_reads_its_results():
    with Pipeline(range(10)).stage(same).start() as flow:
        first = iter(flow)
        read = [next(first)]
        with pytest.raises(InvalidConfig, match="pipeline: its results are read by a loop already"):
            next(iter(flow))
        assert [*read, *first] == list(range(10))
    assert flow.report.delivered == 10


def test_what_has_ended_gives_nothing_more():
    flow = Pipeline([1, 2]).stage(same).start()
    assert list(flow) == [1, 2]
    report = flow.report
    assert list(flow) == []
    assert flow.wait() is report


def test_a_source_that_will_not_close_is_an_error():
    def numbers():
        try:
            yield 1
        finally:
            raise OSError("stuck open")

    with pytest.raises(PipelineFailed) as raised:
        Pipeline(numbers).stage(boom_on(1)).run()
    assert {str(error) for error in raised.value.exceptions} <= {"bad 1", "stuck open"}


def test_context_variables_of_the_caller_are_seen_in_every_stage():
    who = contextvars.ContextVar("who")
    who.set("me")

    async def later(item):
        return (*item, who.get())

    found = list(Pipeline([(1,)]).stage(lambda item: (*item, who.get()), timeout=60).stage(later))
    assert found == [(1, "me", "me")]


def test_a_cancel_from_a_signal_handler_ends_it():
    context = Context()
    before = signal.signal(signal.SIGUSR1, lambda *_: context.cancel("a signal"))

    def consume():
        for item in Pipeline(Endless()).stage(same).start(context=context):
            if item == 10:
                signal.raise_signal(signal.SIGUSR1)

    try:
        with pytest.raises(Cancelled, match="a signal"):
            consume()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_ordered_workers_that_are_quick_lose_nothing_of_20_000_items():
    pipeline = Pipeline(range(20_000), ordered=True)
    for _ in range(3):
        pipeline = pipeline.stage(same, workers=4)
    assert list(pipeline) == [*range(20_000)]


def test_workers_that_take_over_from_each_other_lose_nothing_of_20_000_items():
    pipeline = Pipeline(range(20_000))
    for _ in range(3):
        pipeline = pipeline.stage(same, workers=4)
    assert sorted(pipeline) == [*range(20_000)]
