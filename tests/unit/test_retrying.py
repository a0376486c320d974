"""The retry policy (`Retry`), and a step that runs by it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import Cancelled, InvalidConfig, StepError, TimedOut
from instrumentation.execution import Exec
from instrumentation.nodes import Link
from instrumentation.params import TaskParams
from instrumentation.steps import Retry
from workermanager.cancelling import Context
from workermanager.strands import Pause, Strand
from workermanager.telemetry import StepFigures
from workermanager.walking import walk

ERROR = OSError("no route")


def wait(retry, attempt=1, elapsed=0.0, seed=1):
    return retry.wait(attempt, elapsed, ERROR, Random(seed))


# The policy


@given(
    base=st.floats(0, 10),
    cap=st.floats(0, 60),
    attempt=st.integers(1, 10_000),
    seed=st.integers(0, 2**32),
)
def test_a_wait_is_between_nothing_and_the_doubled_base_or_the_cap(base, cap, attempt, seed):
    retry = Retry(attempts=attempt + 1, base=base, cap=cap)
    doubled = base * 2.0 ** min(attempt - 1, 100)
    assert 0 <= wait(retry, attempt, seed=seed) <= min(cap, doubled)


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.1), (2, 0.2), (5, 1.6), (20, 30.0)])
def test_waits_fill_the_whole_range_evenly(attempt, ceiling):
    retry = Retry(attempts=100)
    waits = [wait(retry, attempt, seed=seed) / ceiling for seed in range(1_000)]
    tenths = [sum(tenth <= 10 * one < tenth + 1 for one in waits) for tenth in range(10)]
    assert min(tenths) > 60
    assert max(tenths) < 150


def test_the_last_attempt_is_the_last():
    retry = Retry(attempts=3)
    assert wait(retry, 2) is not None
    assert wait(retry, 3) is None


def test_one_attempt_means_no_retry():
    assert wait(Retry(attempts=1)) is None


def test_when_can_give_up():
    retry = Retry(when=lambda error: not isinstance(error, OSError))
    assert wait(retry) is None


def test_when_can_go_on_with_the_usual_wait():
    assert wait(Retry(when=lambda error: error is ERROR)) == wait(Retry())


@pytest.mark.parametrize(("verdict", "seconds"), [(2.5, 2.5), (3, 3.0), (0, 0.0), (-1, 0.0)])
def test_when_can_say_just_how_long_to_wait(verdict, seconds):
    assert wait(Retry(when=lambda _: verdict, cap=1.0)) == seconds


def test_a_wait_that_would_pass_the_deadline_is_not_begun():
    retry = Retry(deadline=10.0, when=lambda _: 4.0)
    assert wait(retry, elapsed=5.9) == 4.0
    assert wait(retry, elapsed=6.0) is None


def test_attempts_end_before_the_deadline_too():
    assert wait(Retry(attempts=2, deadline=1_000.0), attempt=2) is None


@pytest.mark.parametrize(
    "figures",
    [{"attempts": 0}, {"attempts": -1}, {"deadline": -1}, {"base": -0.1}, {"cap": float("nan")}],
)
def test_a_figure_that_cannot_work_is_named(figures):
    with pytest.raises(InvalidConfig, match=rf"^Retry\({next(iter(figures))}="):
        Retry(**figures)


@pytest.mark.parametrize("when", [OSError, (OSError, ValueError), "OSError"])
def test_an_error_s_type_is_no_function_of_it(when):
    with pytest.raises(InvalidConfig, match=r"^Retry\(when=.*isinstance"):
        Retry(when=when)


# A step that runs by it


class Bench:
    """A step under a policy, with a clock that tells 10 ns for each attempt and the waits slept."""

    def __init__(self, make_run, fn, **policy):
        self.slept = []
        self.step_figures = StepFigures()
        self.ctx = Exec(make_run(), 3, tick=0, exec_=3)
        self.ctx.scope = Context(clock=self)
        self.params = TaskParams(a=1)
        self._now = 0
        self._fn = fn
        retry = Retry(**{"attempts": 3, **policy})
        self.strand = Strand(self.ctx, self.params, "chain", "chain", 1)
        self.strand.desk = self
        link = Link(fn, "step", "chain/1/step", retry)
        self.strand.walk = walk((link,), self.strand)

    def now(self):
        return self._now

    def figures(self, name):
        assert name == "step"
        return self.step_figures

    def run(self):
        """Do what the walk wants until it ends."""
        wanted = next(self.strand.walk, None)
        while wanted is not None:
            try:
                if isinstance(wanted, Pause):
                    wanted.scope.check()
                    self.slept.append(wanted.seconds)
                    self._now += round(wanted.seconds * 1e9)
                else:
                    self._now += 10
                    self.call(wanted)
            except BaseException as error:  # noqa: BLE001 - it belongs to the walk
                wanted = self.strand.walk.throw(error)
            else:
                wanted = next(self.strand.walk, None)

    def call(self, wanted):
        try:
            wanted.link.fn(wanted.ctx, wanted.params)
        except Exception:
            self.step_figures.service.record(10)
            raise
        self.step_figures.service.record(10)


@pytest.fixture
def bench(make_run):
    return lambda fn, **policy: Bench(make_run, fn, **policy)


def fails_before(attempt, seen=None):
    """A step that fails until that attempt, noting what it drew and the params it got."""

    def step(ctx, params):
        if seen is not None:
            seen.append((ctx.random.random(), ctx.uuid(), dict(params)))
        params["dirt"] = ctx.attempt
        ctx.insert("table", {"attempt": ctx.attempt})
        if ctx.attempt < attempt:
            raise OSError(ctx.attempt)

    return step


def test_a_step_that_succeeds_runs_once(bench):
    one = bench(fails_before(1))
    one.run()
    assert (one.slept, one.step_figures.ok, one.step_figures.retried) == ([], 1, 0)


def test_a_failed_step_is_tried_until_it_succeeds(bench):
    one = bench(fails_before(3))
    one.run()
    assert len(one.slept) == 2
    assert (one.step_figures.ok, one.step_figures.retried, one.step_figures.failed) == (1, 2, 0)


def test_the_error_of_the_last_attempt_is_raised_when_the_policy_gives_up(bench):
    one = bench(fails_before(9))
    with pytest.raises(StepError, match="on attempt 3: OSError: 3") as raised:
        one.run()
    assert raised.value.attempt == 3
    assert one.step_figures.retried == 2
    assert one.step_figures.service.count == 3


def test_every_attempt_starts_with_the_same_params_and_draws(bench):
    seen = []
    bench(fails_before(3, seen)).run()
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][2] == {"a": 1}


def test_a_failed_attempt_leaves_no_rows_and_rows_of_earlier_steps_stay(bench):
    one = bench(fails_before(3))
    one.ctx.insert("table", {"earlier": True})
    one.run()
    assert one.ctx.rows == [("table", {"earlier": True}), ("table", {"attempt": 3})]


def test_the_next_step_starts_at_attempt_one_again(bench):
    one = bench(fails_before(3))
    one.run()
    assert one.ctx.attempt == 1


def test_service_has_the_time_of_every_attempt_but_not_of_the_waits(bench):
    one = bench(fails_before(3), when=lambda _: 60.0)
    one.run()
    assert one.slept == [60.0, 60.0]
    assert one.step_figures.service.percentiles(1, 100) == (10, 10)


def test_the_waits_are_the_same_in_every_run_and_differ_between_attempts(bench):
    one, again = bench(fails_before(3)), bench(fails_before(3))
    one.run()
    again.run()
    assert one.slept == again.slept
    assert one.slept[0] != one.slept[1]


def test_the_deadline_counts_waits_and_attempts(bench):
    one = bench(fails_before(9), attempts=9, deadline=10.0, when=lambda _: 4.0)
    with pytest.raises(StepError, match="on attempt 3: OSError: 3"):
        one.run()
    assert one.slept == [4.0, 4.0]


def cancels(ctx, params):
    raise Cancelled


def test_a_cancelled_step_is_never_tried_again(bench):
    one = bench(cancels)
    with pytest.raises(Cancelled):
        one.run()
    assert (one.slept, one.step_figures.retried) == ([], 0)


def test_a_cancelled_attempt_counts_neither_as_ok_nor_as_failed(bench):
    one = bench(cancels)
    with pytest.raises(Cancelled):
        one.run()
    assert (one.step_figures.ok, one.step_figures.failed) == (0, 0)


def test_a_stop_during_a_wait_ends_the_step(bench):
    fails = fails_before(3)

    def stops(ctx, params):
        ctx.scope.cancel("stop")
        fails(ctx, params)

    one = bench(stops)
    with pytest.raises(Cancelled, match="stop"):
        one.run()
    assert (one.slept, one.step_figures.service.count) == ([], 1)


def test_a_step_that_timed_out_and_may_run_yet_is_not_tried_again_unless_told_so():
    running = TimedOut("too long", 1.0, still_running=True)
    ended = TimedOut("too long", 1.0)
    random = Random(1)
    assert Retry().wait(1, 0.0, running, random) is None
    assert Retry().wait(1, 0.0, ended, random) is not None
    assert Retry(when=lambda _: True).wait(1, 0.0, running, random) is not None
