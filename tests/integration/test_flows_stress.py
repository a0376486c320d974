"""Random pipelines against a reference of a few lines, in every way that they can end."""

import asyncio
import random
import threading
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workermanager import SKIP, Cancelled, Context, Pipeline, PipelineFailed, Retry

PIPELINES = 2_000


@dataclass(frozen=True)
class Plan:
    """A stage that does to an item what the item says: skip it, fail, fail at first, or pass."""

    place: int
    skips: frozenset[int] = frozenset()
    fails: frozenset[int] = frozenset()
    workers: int = 1
    buffer: int | None = None
    is_async: bool = False
    is_timed: bool = False
    buries: bool = True

    def outcome(self, item):
        if item in self.skips:
            return SKIP
        if item in self.fails:
            raise ValueError(self.place, item)
        return item

    def fn(self):
        if not self.is_async:
            return self.outcome

        async def work(item):
            await asyncio.sleep(0)
            return self.outcome(item)

        return work

    def settings(self, letters):
        chosen = {"workers": self.workers, "name": f"stage{self.place}"}
        if self.buffer is not None:
            chosen["buffer"] = self.buffer
        if self.is_timed:
            chosen["timeout"] = 30
        if self.buries:
            chosen["dead_letters"] = letters
        if self.place == 1:
            chosen["retry"] = Retry(attempts=2, base=0)
        return chosen


def build(source, plans, letters, *, ordered):
    pipeline = Pipeline(source, ordered=ordered)
    for plan in plans:
        pipeline = pipeline.stage(plan.fn(), **plan.settings(letters))
    return pipeline


def reference(items, plans):
    """What comes out, what is filtered, and the dead letters, one item after the other."""
    out, filtered, dead = [], 0, Counter()
    for item in items:
        for plan in plans:
            try:
                if plan.outcome(item) is SKIP:
                    filtered += 1
                    break
            except ValueError:
                dead[item] += 1
                break
        else:
            out.append(item)
    return out, filtered, dead


numbers = st.frozensets(st.integers(0, 29), max_size=6)


def plans(*, buries):
    one = st.builds(
        Plan,
        place=st.just(0),
        skips=numbers,
        fails=numbers,
        workers=st.integers(1, 8),
        buffer=st.none() | st.integers(1, 4),
        is_async=st.booleans(),
        is_timed=st.integers(0, 9).map(lambda n: n == 0),
        buries=st.just(buries),
    )
    return st.lists(one, min_size=1, max_size=4).map(
        lambda found: [Plan(**{**vars(plan), "place": n}) for n, plan in enumerate(found)]
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(plans=plans(buries=True), size=st.integers(0, 30), ordered=st.booleans())
def test_a_pipeline_does_what_a_loop_does(plans, size, ordered):
    letters = []
    flow = build(range(size), plans, letters, ordered=ordered).start()
    found = list(flow)
    expected, filtered, dead = reference(range(size), plans)
    keeps_order = ordered or all(plan.workers == 1 for plan in plans)
    assert found == expected if keeps_order else Counter(found) == Counter(expected)
    assert Counter(letter.item for letter in letters) == dead
    report = flow.report
    assert (report.read, report.delivered) == (size, len(expected))
    assert (report.filtered, report.failed, report.cancelled) == (filtered, dead.total(), 0)


def random_plans(rng):
    return [
        Plan(
            place,
            frozenset(rng.sample(range(60), rng.choice([0, 0, 5]))),
            frozenset(rng.sample(range(60), rng.choice([0, 0, 0, 1, 3]))),
            rng.randint(1, 8),
            rng.choice([None, 1, 1, 2, 5]),
            is_async=rng.random() < 0.15,
            is_timed=rng.random() < 0.05,
            buries=rng.random() < 0.5,
        )
        for place in range(rng.randint(1, 3))
    ]


class Source:
    """So many numbers; it may fail at the end, or call its pipeline off on the way."""

    def __init__(self, rng, context):
        self.size = rng.choice([0, 1, 20, 60])
        self.fails = rng.random() < 0.1
        self.cancels_at = rng.randrange(60) if rng.random() < 0.15 else None
        self.context = context
        self.is_open = False

    def __call__(self):
        self.is_open = True
        try:
            for number in range(self.size):
                if number == self.cancels_at:
                    threading.Thread(target=self.context.cancel).start()
                yield number
            if self.fails:
                raise OSError("source")
        finally:
            self.is_open = False


def end_somehow(rng, pipeline, context):
    """Run it in one of the ways there are; what came out, and its report."""
    way = rng.choice(["run", "iterate", "leave", "close", "async"])
    flow = pipeline.start(context=context)
    found = []
    if way == "run":
        flow.wait()
    elif way == "iterate":
        found.extend(flow)
    elif way == "leave":
        left_at = rng.randrange(40)
        for place, item in enumerate(flow):
            found.append(item)
            if place == left_at:
                break
    elif way == "close":
        with flow:
            pass
    else:
        asyncio.run(collect(flow, found))
    return way, found, flow


async def collect(flow, found):
    async for item in flow:
        found.append(item)


@pytest.mark.parametrize("seed", range(4))
def test_random_pipelines_end_in_bounded_time_with_every_item_accounted_for(seed):
    rng = random.Random(seed)
    endings = Counter()
    for _ in range(PIPELINES // 4):
        context = Context()
        source, letters, plans = Source(rng, context), [], random_plans(rng)
        ordered = rng.random() < 0.3
        pipeline = build(source, plans, letters, ordered=ordered)
        way, found, report = "failed", [], None
        try:
            way, found, flow = end_somehow(rng, pipeline, context)
            report = flow.report
        except PipelineFailed as failed:
            report = failed.report
        except Cancelled:
            way = "cancelled"
        endings[way] += 1
        assert not source.is_open
        if report is not None:
            ended = report.delivered + report.filtered + report.failed + report.cancelled
            assert report.read == ended
        expected, _filtered, _dead = reference(range(source.size), plans)
        assert not Counter(found) - Counter(expected)
        if way == "iterate":
            assert Counter(found) == Counter(expected)
            assert found == expected or not (ordered or all(one.workers == 1 for one in plans))
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()  # those that cancelled
    assert endings.keys() == {"run", "iterate", "leave", "close", "async", "failed", "cancelled"}
