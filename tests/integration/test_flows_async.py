"""Async stages and sources: on one event loop beside the threads, and really cancelled."""

import asyncio
import threading

import pytest

from workermanager import SKIP, Context, Pipeline, PipelineFailed, Retry, TimedOut

SOON_S = 10


def same(item):
    return item


async def double(item):
    await asyncio.sleep(0)
    return 2 * item


class Endless:
    """An async generator without end, counting how many were read."""

    def __init__(self):
        self.read = 0
        self.is_closed = False

    async def numbers(self):
        try:
            while True:
                self.read += 1
                yield self.read
                await asyncio.sleep(0)
        finally:
            self.is_closed = True


def test_async_and_threaded_stages_mix():
    found = Pipeline(range(50)).stage(same).stage(double, workers=8).stage(same, workers=2)
    assert sorted(found) == [2 * item for item in range(50)]


def test_async_stages_keep_the_order_if_asked():
    release = None

    async def work(item):
        nonlocal release
        release = release or asyncio.Event()
        if item == 0:
            await release.wait()
        elif item == 5:
            release.set()
        return item if item % 3 else SKIP

    found = list(Pipeline(range(40), ordered=True).stage(work, workers=10))
    assert found == [item for item in range(40) if item % 3]


def test_thousands_are_under_way_at_once():
    inside = 0

    async def work(item):
        nonlocal inside, everybody
        everybody = everybody or asyncio.Event()
        inside += 1
        if inside == 2_000:
            everybody.set()
        await everybody.wait()
        return item

    everybody = None
    report = Pipeline(range(2_000)).stage(work, workers=2_000).run()
    assert report.delivered == 2_000


def test_an_async_sink_is_awaited():
    got = []

    async def keep(item):
        await asyncio.sleep(0)
        got.append(item)

    assert Pipeline(range(3)).sink(keep).run().delivered == 3
    assert got == [0, 1, 2]


def test_an_async_item_that_takes_too_long_is_cancelled():
    ended, rejected = [], []

    async def work(item):
        try:
            if item == 1:
                await asyncio.sleep(3_600)
        finally:
            ended.append(item)
        return item

    stage = {"timeout": 0.02, "dead_letters": rejected}
    assert list(Pipeline(range(3)).stage(work, **stage)) == [0, 2]
    assert ended == [0, 1, 2]
    assert isinstance(rejected[0].error, TimedOut)
    assert not rejected[0].error.still_running
    assert str(rejected[0].error) == "stage 'work' took longer than 20ms for an item"


def test_a_stage_s_own_timeout_error_stays_its_own():
    async def work(item):
        raise TimeoutError("mine")

    rejected = []
    Pipeline([1]).stage(work, timeout=60, dead_letters=rejected).run()
    assert (type(rejected[0].error), str(rejected[0].error)) == (TimeoutError, "mine")


def test_the_first_error_cancels_async_items():
    cancelled = []
    waits = threading.Event()

    async def wait(item):
        if item == 1:
            await asyncio.to_thread(waits.wait, SOON_S)
            raise ValueError("bad 1")
        try:
            waits.set()
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(PipelineFailed) as raised:
        Pipeline([0, 1]).stage(wait, workers=2).run()
    assert [str(error) for error in raised.value.exceptions] == ["bad 1"]
    assert cancelled == [0]
    report = raised.value.report
    assert (report.read, report.failed, report.cancelled) == (2, 1, 1)


def test_async_items_are_tried_again():
    tries = []

    async def work(item):
        tries.append(item)
        if len(tries) < 3:
            raise OSError("not yet")
        return item

    assert list(Pipeline([7]).stage(work, retry=Retry(attempts=3, base=0))) == [7]
    assert tries == [7, 7, 7]


def test_an_async_source_is_read_on_demand_and_closed():
    source = Endless()
    for _ in Pipeline(source.numbers).stage(same, buffer=3):
        break
    assert source.is_closed
    assert source.read <= 1 + 3 + 2


def test_an_async_source_that_ends_or_fails():
    async def numbers(end):
        for number in range(end):
            yield number
        if end == 5:
            raise OSError("gone")

    assert list(Pipeline(numbers(4)).stage(double)) == [0, 2, 4, 6]
    with pytest.raises(PipelineFailed) as raised:
        Pipeline(numbers(5)).stage(double).run()
    assert str(raised.value.exceptions[0]) == "gone"
    report = raised.value.report
    assert (report.read, report.failed) == (6, 1)


def test_reads_of_an_async_source_can_be_tried_again_or_become_dead_letters():
    class Flaky:
        reads = 0

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.reads += 1
            if self.reads > 6:
                raise StopAsyncIteration
            if self.reads % 2:
                raise OSError(f"read {self.reads}")
            return self.reads

    assert list(Pipeline(Flaky(), retry=Retry(attempts=2, base=0)).stage(same)) == [2, 4, 6]
    rejected = []
    report = Pipeline(Flaky(), dead_letters=rejected).stage(same).run()
    assert [str(one.error) for one in rejected] == ["read 1", "read 3", "read 5"]
    assert (report.read, report.delivered, report.failed) == (6, 3, 3)


def test_a_deadline_cancels_an_async_stage():
    async def work(item):
        await asyncio.sleep(3_600)

    flow = Pipeline(range(5)).stage(work, workers=2).start(context=Context(timeout=0.02))
    with pytest.raises(BaseException, match="took longer than 20ms"):
        flow.wait()
    assert flow.report.cancelled == flow.report.read > 0


def test_a_task_that_will_not_be_cancelled_is_named():
    gate, inside = threading.Event(), threading.Event()

    async def block(item):
        inside.set()
        gate.wait(SOON_S)  # what nobody should do on an event loop

    flow = Pipeline([1], name="p").stage(block).start(grace=0.01)
    assert inside.wait(SOON_S)
    stuck = [one for one in threading.enumerate() if one.name == "p-loop"]
    with pytest.raises(PipelineFailed) as raised:
        flow.close()
    gate.set()
    stuck[0].join()
    assert str(raised.value.exceptions[0]) == "p: still running 10ms after its end: p-loop"
