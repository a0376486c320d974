"""A chain that stands ready: each fire of its schedule is one exec of it, on the crew's thread."""

import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from loguru import logger

from instrumentation.errors import Cancelled, CommandFailed, StepError, TimedOut
from tests.kit.firing import DUE, SECOND, Due
from workermanager import (
    Command,
    Instrumentation,
    InvalidConfig,
    Limit,
    Retry,
    Step,
    Worker,
    branch,
    compensate,
    each,
    finally_,
    group,
    on_error,
)
from workermanager.cancelling import Context
from workermanager.scheduler.standing import Standing
from workermanager.scheduler.wholes import Whole


def nothing(ctx, params):
    pass


async def nothing_async(ctx, params):
    pass


class Gate:
    """A step that says which execs are in it, and keeps them until it is opened."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.is_open = threading.Event()

    def __call__(self, ctx, params):
        self.entered.release()
        self.is_open.wait()


class Sleeper:
    """A step that heeds its context, and says when it has begun."""

    def __init__(self):
        self.begun = threading.Semaphore(0)

    def __call__(self, ctx, params):
        self.begun.release()
        ctx.sleep(3_600)


# What stands


@pytest.mark.parametrize(
    "what",
    [
        nothing,
        Step(nothing, name="named", retry=Retry(attempts=3)),
        [nothing, nothing],
        group(nothing, nothing),
        Command("true"),
        Instrumentation(func_dispatcher=nothing, task_arguments={"a": 1}),
        Worker(nothing),
        Worker(nothing, seed=7, exec_timeout="1s", threads=4, tags={"a": "b"}),
        Worker(nothing, execs_per_tick=1, ticks=1, tick_duration=0, grace="1s"),
    ],
)
def test_one_exec_stands_ready(what, firing):
    job = firing.job(what)
    assert isinstance(job, Standing)
    assert firing.fire(job) is None


@pytest.mark.parametrize(
    "what",
    [
        nothing_async,
        [nothing, nothing_async],
        Worker(nothing, ticks=2, tick_duration=0),
        Worker(nothing, callback=nothing),
        Worker(nothing, thresholds=["failed<1%"]),
        Worker(nothing, tick_timeout="5s"),
        Worker(nothing, on_result=lambda result: None),
        Worker(nothing, source_context=Context()),
        Worker(nothing, spread="poisson", tick_duration="1ms", seed=7),
        Worker(nothing, epoch=datetime(2020, 1, 1, tzinfo=UTC)),
        Worker(nothing, database="sqlite://"),
    ],
)
def test_anything_else_is_a_whole_run(what, firing):
    assert isinstance(firing.job(what), Whole)


@pytest.mark.parametrize("what", [5, [], "step", None, lambda: None, object()])
def test_what_cannot_be_run_is_refused_when_it_is_added(what, firing):
    with pytest.raises(InvalidConfig):
        firing.job(what)


def test_two_limits_of_one_name_are_refused(firing):
    steps = [Step(nothing, limit=Limit("api", most=most)) for most in (1, 2)]
    with pytest.raises(InvalidConfig, match="api"):
        firing.job(steps)


def test_a_plain_chain_starts_no_thread(firing):
    before = threading.active_count()
    assert firing.fire(firing.job([nothing, nothing])) is None
    assert threading.active_count() == before


# Who it is


def test_its_moment_is_when_it_was_due_and_its_key_says_which_one(firing):
    seen = []

    def note(ctx, params):
        seen.append((ctx.now, ctx.key, ctx.run.id, dict(params)))

    job = firing.job(Instrumentation(func_dispatcher=note, task_arguments={"user": "ada"}))
    for due in (DUE, DUE + 250_000_000):
        assert firing.fire(job, due) is None
    params = {"user": "ada", "current_tick": 0, "ticks_left": 1, "current_exec": 0}
    at = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert seen == [
        (at, f"nightly:{DUE // 1_000}", "nightly", params),
        (at.replace(microsecond=250_000), f"nightly:{DUE // 1_000 + 250_000}", "nightly", params),
    ]


def test_a_worker_with_a_seed_is_told_when_its_fire_was_due_as_well(firing):
    seen = []
    job = firing.job(Worker(lambda ctx, params: seen.append((ctx.now, ctx.run.seed)), seed=7))
    assert firing.fire(job) is None
    assert seen == [(datetime(2026, 3, 29, 1, tzinfo=UTC), 7)]


def test_draws_repeat_with_the_fire_and_differ_among_fires_and_schedules(firing):
    drawn = []

    def draw(ctx, params):
        drawn.append((ctx.random.random(), ctx.uuid(), ctx.uuid7(), ctx.unique("a")))

    jobs = [firing.job(draw), firing.job(draw), firing.job(draw, "hourly")]
    for job in jobs:
        for due in (DUE, DUE + SECOND):
            assert firing.fire(job, due) is None
    assert drawn[:2] == drawn[2:4]
    for kind in zip(drawn[0], drawn[1], drawn[4], drawn[5], strict=True):
        assert len(set(kind)) == 4


def test_no_fire_sees_the_params_of_another(firing):
    sizes = []

    def grow(ctx, params):
        sizes.append(len(params))
        return {f"new{ctx.n}": 1}

    job = firing.job(grow)
    for second in range(3):
        assert firing.fire(job, DUE + second * SECOND) is None
    assert sizes == [3, 3, 3]


# What comes of it


def test_a_step_that_fails_fails_its_fire_and_no_other(firing):
    def fail(ctx, params):
        if ctx.now.second == 1:
            raise ValueError("bad name")

    job = firing.job(Step(fail, name="add_user"))
    came = [firing.fire(job, DUE + second * SECOND) for second in range(3)]
    assert [type(error) for error in came] == [type(None), StepError, type(None)]
    assert str(came[1]) == "step add_user/1/add_user failed: ValueError: bad name"


def test_the_first_failure_of_a_kind_is_logged(firing):
    def fail(ctx, params):
        raise ValueError("bad name")

    told = []
    logger.enable("workermanager")
    number = logger.add(lambda message: told.append(message.record["message"]), level="ERROR")
    try:
        job = firing.job(fail)
        for second in range(3):
            assert firing.fire(job, DUE + second * SECOND) is not None
    finally:
        logger.remove(number)
        logger.disable("workermanager")
    assert told == ["failed (first of its kind): ValueError: bad name"]


def test_a_step_is_tried_again(firing):
    attempts = []

    def fail_twice(ctx, params):
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise OSError

    job = firing.job(Step(fail_twice, retry=Retry(attempts=3, base=0.001)))
    assert firing.fire(job) is None
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_step_that_wants_to_leave_is_told_of_and_not_raised(kind, firing):
    def leave(ctx, params):
        raise kind

    assert type(firing.fire(firing.job(leave))) is kind


def test_parts_of_all_kinds_mean_what_they_mean_in_a_run(firing):
    seen = []

    def note(what):
        def step(ctx, params):
            seen.append(what)
            return {what: len(params.get("items", ()))}

        return Step(step, name=what)

    def fail(ctx, params):
        raise ValueError

    def grow(ctx, params):
        return note("grown")

    chain = [
        compensate(note("made"), note("unmade")),
        branch(lambda ctx, params: True, note("yes"), note("no")),
        on_error(Step(fail, name="fails"), note("recovered")),
        grow,
        each(note("item"), over="items", most=1),
        Step(fail, name="fails_for_good"),
        finally_(note("at_last")),
    ]
    job = firing.job(Instrumentation(func_dispatcher=chain, task_arguments={"items": [1, 2]}))
    error = firing.fire(job)
    assert isinstance(error, StepError)
    assert error.step == "fails_for_good"
    assert seen == ["made", "yes", "recovered", "grown", "item", "item", "unmade", "at_last"]


def test_members_of_a_group_run_at_the_same_time_and_are_merged(firing):
    meeting, merged = threading.Barrier(4), []

    def meet(name):
        def step(ctx, params):
            meeting.wait()
            return {name: ctx.n}

        return Step(step, name=name)

    def collect(ctx, params):
        merged.append([params[name] for name in "abcd"])

    job = firing.job([group(*map(meet, "abcd")), collect])
    assert firing.fire(job) is None
    assert firing.fire(job, DUE + SECOND) is None
    assert merged == [[DUE // 1_000] * 4, [(DUE + SECOND) // 1_000] * 4]


def test_threads_that_help_are_shared_by_all_schedules(firing):
    def pair():
        meeting = threading.Barrier(2)

        def meet(ctx, params):
            meeting.wait()

        return group(meet, meet)

    before = threading.active_count()
    for number in range(20):
        assert firing.fire(firing.job(pair(), f"schedule-{number}")) is None
    assert threading.active_count() - before <= 2


def test_middleware_is_around_every_step_those_that_join_included(firing):
    passed = []

    def note(call_next, ctx):
        passed.append(ctx.path)
        return call_next()

    def grow(ctx, params):
        return nothing

    assert firing.fire(firing.job(Worker(grow, middleware=[note]))) is None
    assert passed == ["grow/1/grow", "grow/2/nothing"]


def test_an_async_step_that_joins_a_chain_is_awaited(firing):
    seen = []

    async def joined(ctx, params):
        seen.append(ctx.n)

    job = firing.job(lambda ctx, params: Step(joined))
    for second in range(3):
        assert firing.fire(job, DUE + second * SECOND) is None
    assert seen == [(DUE + second * SECOND) // 1_000 for second in range(3)]


def test_a_limit_holds_for_all_fires_together(firing):
    inside, most = [], []

    def step(ctx, params):
        inside.append(ctx.n)
        most.append(len(inside))
        time.sleep(0.001)
        inside.pop()

    job = firing.job(Step(step, limit=Limit("two", most=2)))
    came = [firing.begin(job, DUE + number * SECOND) for number in range(20)]
    assert [one.wait() for one in came] == [None] * 20
    assert max(most) <= 2


def test_a_worker_that_a_step_runs_is_part_of_its_fire(firing):
    inner = []

    def draw(ctx, params):
        inner.append((ctx.key, ctx.random.random(), ctx.now))

    def outer(ctx, params):
        assert Worker(draw, ticks=2, tick_duration=0, threads=1).run().outcome == "passed"

    for _ in range(2):  # the fire is run again, in another process as it were
        assert firing.fire(firing.job(outer)) is None
    assert inner[:2] == inner[2:]
    assert inner[0][0].startswith("nightly.")


# Calling off


def test_one_fire_of_several_is_called_off(firing):
    sleeper = Sleeper()
    job = firing.job(sleeper)
    came = [firing.begin(job, DUE + number * SECOND) for number in range(3)]
    for _ in came:
        sleeper.begun.acquire()
    came[1].scope.cancel("the next one is due")
    error = came[1].wait()
    assert isinstance(error, Cancelled)
    assert error.cause == "the next one is due"
    assert not came[0].told
    assert not came[2].told
    for one in (came[0], came[2]):
        one.scope.cancel()
        assert isinstance(one.wait(), Cancelled)


def test_a_fire_that_was_called_off_before_runs_no_step(firing, calls):
    scope, told = Context(), []
    scope.cancel()
    firing.job(calls).run(Due(), scope, lambda *came: told.append(came))
    ((error, report),) = told
    assert isinstance(error, Cancelled)
    assert report is None
    assert not calls.seen


def test_what_was_done_is_undone_when_a_fire_is_called_off(firing):
    sleeper, undone = Sleeper(), []
    undo = compensate(nothing, lambda ctx, params: undone.append(ctx.n))
    came = firing.begin(firing.job([undo, sleeper]))
    sleeper.begun.acquire()
    came.scope.cancel()
    assert isinstance(came.wait(), Cancelled)
    assert undone == [DUE // 1_000]


def test_a_worker_that_a_step_runs_is_called_off_with_its_fire(firing):
    sleeper = Sleeper()

    def outer(ctx, params):
        Worker(sleeper, ticks=2, tick_duration=0).run()

    came = firing.begin(firing.job(outer))
    sleeper.begun.acquire()
    came.scope.cancel()
    assert isinstance(came.wait(), Cancelled)


@pytest.fixture
def begun(tmp_path):
    """A pipe by which a child says that it runs: whoever reads it waits for that."""
    path = tmp_path / "begun"
    os.mkfifo(path)
    return path


def test_a_command_ends_with_its_fire(firing, begun):
    came = firing.begin(firing.job(Command("sh", "-c", f"echo on > {begun}; exec sleep 3600")))
    assert begun.read_text() == "on\n"
    came.scope.cancel()
    assert isinstance(came.wait(), Cancelled)


def test_no_command_outlives_its_job_where_its_fire_is_left_behind(firing, begun):
    heeds_nothing = f"trap '' TERM; echo $$ > {begun}; while :; do sleep 0.1; done"
    job = firing.job(Command("sh", "-c", heeds_nothing))
    came = firing.begin(job)
    child = int(begun.read_text())
    came.scope.cancel()
    job.close(is_left_behind=True)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert isinstance(came.wait(), Cancelled)


def test_a_command_that_fails_fails_its_fire(firing):
    error = firing.fire(firing.job(Command("false")))
    assert isinstance(error.cause, CommandFailed)
    assert error.cause.exit_code == 1


# Taking too long


def test_a_fire_that_takes_too_long_and_heeds_it_fails_on_its_own_thread(firing):
    came = firing.begin(firing.job(Worker(Sleeper(), exec_timeout="20ms")))
    error = came.wait()
    assert isinstance(error.cause, TimedOut)
    assert str(error.cause) == "a fire of nightly took longer than 20ms"
    assert came.told_on is came.thread
    assert not firing.replaced


def test_nothing_is_kept_of_a_fire_that_is_over(firing):
    job = firing.job(Worker(nothing, exec_timeout="1m"))
    came = firing.begin(job)
    assert came.wait() is None
    came.thread.join()
    assert not firing.backing.alarms._watched
    assert not came.scope._children


@pytest.mark.parametrize("of", ["exec", "step"])
def test_a_fire_that_is_stuck_fails_on_time_and_its_thread_is_replaced(of, firing):
    gate, cleaned = Gate(), []

    def clean_up(ctx, params):
        cleaned.append(threading.current_thread())

    stuck = Step(gate, timeout=0.02) if of == "step" else gate
    chain = [stuck, finally_(clean_up)]
    job = firing.job(Worker(chain, exec_timeout="20ms") if of == "exec" else chain)
    came = firing.begin(job)
    error = came.wait()
    assert isinstance(error.cause, TimedOut)
    assert error.cause.still_running
    assert firing.replaced == [came.thread]
    assert came.thread.is_alive()
    assert cleaned == [came.told_on]
    assert came.told_on is not came.thread
    gate.is_open.set()
    came.thread.join()
    assert firing.came_back == [came.thread]
    assert len(came.told) == 1


def test_the_thread_that_took_over_may_be_stuck_as_well(firing):
    gate = Gate()
    stuck, handler = (Step(gate, timeout=0.02, name=name) for name in ("stuck", "handler"))
    came = firing.begin(firing.job(on_error(stuck, handler)))
    error = came.wait()
    assert isinstance(error.cause, TimedOut)
    assert error.step == "handler"
    assert len(set(firing.replaced)) == 2
    gate.is_open.set()


def test_other_fires_go_on_beside_one_that_is_stuck(firing):
    gate = Gate()

    def step(ctx, params):
        if ctx.now.second == 0:
            gate(ctx, params)

    job = firing.job(Step(step, timeout=0.02))
    stuck = firing.begin(job)
    gate.entered.acquire()
    for second in range(1, 10):
        assert firing.fire(job, DUE + second * SECOND) is None
    assert isinstance(stuck.wait().cause, TimedOut)
    gate.is_open.set()


def test_a_helper_that_is_stuck_is_replaced_and_its_fire_fails_on_time(firing):
    gate, both = Gate(), threading.Barrier(2)

    def member(ctx, params):
        both.wait()
        gate(ctx, params)

    came = firing.begin(firing.job(group(member, member, timeout=0.02)))
    error = came.wait()
    assert isinstance(error.cause, TimedOut)
    assert firing.backing.helpers.stuck + len(firing.replaced) == 2
    gate.is_open.set()


def test_what_a_stuck_thread_does_later_belongs_to_no_fire(firing):
    gate, nested = Gate(), []

    def step(ctx, params):
        gate(ctx, params)

    came = firing.begin(firing.job(Step(step, timeout=0.02)))
    came.wait()
    gate.is_open.set()
    came.thread.join()
    firing.fire(firing.job(nothing))
    Worker(lambda ctx, params: nested.append(ctx.run.is_nested)).run()
    assert nested == [False]


# Many at once


def test_eight_threads_run_a_thousand_fires_each_and_each_fire_is_one_exec(firing, calls):
    job, told = firing.job([calls, nothing]), Counter()
    begin = threading.Barrier(8)
    lock = threading.Lock()

    def done(error, report):
        with lock:
            told[error] += 1

    def run(thread):
        begin.wait()
        for number in range(1_000):
            due = DUE + (thread * 1_000 + number) * 1_000
            job.run(Due(due), Context(), done)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {None: 8_000}
    assert calls.sorted == [DUE // 1_000 + number for number in range(8_000)]


def test_a_name_that_no_run_can_have_is_made_fit_and_told_from_others(firing):
    seen = []

    def note(ctx, params):
        seen.append(ctx.run.id)

    names = ["every 5 min/ü", "every-5-min-ü", "x" * 80, "x" * 81, "fit_one.2"]
    for name in names:
        assert firing.fire(firing.job(note, name)) is None
    assert len(set(seen)) == 5
    assert seen[-1] == "fit_one.2"
    assert all(len(one) <= 64 and one.isascii() and " " not in one for one in seen)
