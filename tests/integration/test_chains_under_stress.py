"""Ten thousand runs that fail, time out and are called off at random: all end, and add up."""

import faulthandler
import sys
import threading
import time
from collections import Counter
from itertools import count

import pytest

from instrumentation.composing import (
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)
from instrumentation.errors import StepError
from instrumentation.seeds import seeded_random
from instrumentation.steps import Retry, Step
from workermanager import Instrumentation, Limit, Worker
from workermanager.cancelling import Context

RUNS, DRIVERS = 10_000, 8
AT_MOST_S = 120
MOST = 2


@pytest.fixture
def _threads_that_change_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-3)
    yield
    sys.setswitchinterval(before)


class Driver:
    """Makes runs, one after the other, and looks at what came of each."""

    def __init__(self, who):
        self.random = seeded_random("driver", who)
        self.limit = Limit(f"driver {who}", MOST)
        self.tokens = count()
        self.lock = threading.Lock()
        self.inside = 0  # of the limit
        self.most_inside = 0
        self.opened, self.closed = set(), Counter()
        self.fenced = set()  # tokens of steps that ended when their fence was closed
        self.late = []  # threads that were in a step that hears nothing

    # Steps

    def change(self, by):
        with self.lock:
            self.inside += by
            self.most_inside = max(self.most_inside, self.inside)

    def step(self):
        kind = self.random.choice(["ok", "ok", "fail", "nap", "nap", "deaf", "deaf"])
        seconds, is_limited = self.random.uniform(0, 0.012), self.random.random() < 0.5
        token_of = self.tokens

        def act(ctx, params):
            if is_limited:
                self.change(1)
            try:
                return do(ctx, params)
            finally:
                if is_limited:
                    self.change(-1)

        def do(ctx, params):
            token = f"token {next(token_of)}"
            if kind == "fail":
                raise ValueError("wrong")
            if kind == "nap":
                ctx.sleep(seconds)
            elif kind == "deaf":
                self.late.append(threading.current_thread())
                time.sleep(seconds)  # as a step that hears of nothing: its length is the test
            params[token] = "in place"
            if ctx.fence is not None and ctx.fence.is_closed:
                self.fenced.add(token)
            return {token: "returned"}

        retry = Retry(attempts=2, base=0.001) if self.random.random() < 0.2 else None
        limit = self.limit if is_limited else None
        return Step(act, name=kind, retry=retry, limit=limit, timeout=self.timeout())

    def timeout(self):
        return self.random.choice([None, None, None, 0.001, 0.004, 9])

    # Chains

    def part(self, depth=0):
        kinds = ["step"] * 2
        if depth < 2:
            kinds += ["chain", "group", "group", "each", "branch", "on_error", "compensate"]
        kind = self.random.choice(kinds)
        if kind == "step":
            return self.step()
        inner = [self.part(depth + 1) for _ in range(self.random.choice([1, 2]))]
        return getattr(self, kind)(inner)

    def chain(self, inner):
        """Parts between one that opens something and one that closes it."""

        def begin(ctx, params):
            self.opened.add((ctx.run.id, ctx.n, ctx.path.rpartition("/1/begin")[0]))

        def end(ctx, params):
            chain = ctx.path.rpartition("/finally/")[0].rpartition("/")[0]
            self.closed[ctx.run.id, ctx.n, chain] += 1

        return chain(begin, *inner, finally_(end), timeout=self.timeout())

    def together(self):
        is_collecting = self.random.random() < 0.5
        return {
            "errors": "collect" if is_collecting else "raise",
            "into": "came" if is_collecting else None,
            "timeout": self.timeout(),
            "most": self.random.choice([1, 2, 3]),
        }

    def group(self, inner):
        return group(*inner, **self.together())

    def each(self, inner):
        items = range(self.random.choice([0, 1, 3, 6]))
        return each(list(inner), over=lambda _params: items, **self.together())

    def branch(self, inner):
        return branch(lambda ctx, params: ctx.n % 2, inner[0], list(inner))

    def on_error(self, inner):
        return on_error(list(inner), self.step())

    def compensate(self, inner):
        return [compensate(inner[0], self.step()), *inner[1:]] if inner[1:] else inner[0]

    # Runs

    def run(self):
        random, source, ended = self.random, Context(), []
        worker = Worker(
            Instrumentation(func_dispatcher=[self.part()], func_name="root"),
            execs_per_tick=random.choice([1, 2, 4]),
            ticks=1,
            tick_duration=0,
            threads=random.choice([1, 2, 3]),
            seed=random.randrange(1 << 30),
            source_context=source if random.random() < 0.8 else Context(timeout=0.005),
            exec_timeout=random.choice([None, None, 0.003, 0.01]),
            tick_timeout=random.choice([None, None, None, 0.008]),
            on_result=ended.append,
        )
        run = worker.start()
        self.meddle(run, source)
        report = run.finish()
        run.raise_for_stop(report)
        counts = dict(report.counts)
        assert counts.pop("due") == sum(counts.values())
        assert counts["ok"] + counts["failed"] == len(ended)
        for result in ended:
            assert not self.fenced & set(tokens_in(result.params))

    def meddle(self, run, source):
        how = self.random.choice(["", "", "", "stop", "stop now", "cancel"])
        if how:
            run.wait(self.random.uniform(0, 0.004))
        if how == "stop":
            run.stop()
        elif how == "stop now":
            run.stop(now=True)
        elif how == "cancel":
            source.cancel("enough")

    def drive(self, turns):
        for _ in range(turns):
            self.run()
            self.late = [thread for thread in self.late if thread.is_alive()]
        for thread in self.late:
            thread.join(30)
        assert self.opened <= set(self.closed)
        assert set(self.closed.values()) == {1}


def tokens_in(params):
    for key, value in params.items():
        if key.startswith("token"):
            yield key
        if key == "came":
            for one in value:
                if not isinstance(one, StepError):
                    yield from tokens_in(one)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("_threads_that_change_often")
def test_ten_thousand_runs_end_and_add_up_whatever_becomes_of_them():
    crashes, drivers = [], [Driver(who) for who in range(DRIVERS)]

    def drive(driver):
        try:
            driver.drive(RUNS // DRIVERS)
        except BaseException as crash:  # noqa: BLE001 - it is raised by the test
            crashes.append(crash)

    threads = [threading.Thread(target=drive, args=(driver,), daemon=True) for driver in drivers]
    for thread in threads:
        thread.start()
    until = time.monotonic() + AT_MOST_S
    for thread in threads:
        thread.join(max(0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        faulthandler.dump_traceback(all_threads=True)
        pytest.fail(f"no end after {AT_MOST_S} s")
    if crashes:
        raise crashes[0]
    for driver in drivers:
        with Context(timeout=30) as context, driver.limit.weighing(MOST).held(context):
            assert driver.inside == 0
        assert driver.most_inside <= MOST
