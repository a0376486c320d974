"""Deadlines: what is late has no effect, whoever is stuck is replaced, and the owner is named."""

import sqlite3
import threading

import pytest
from loguru import logger
from sqlalchemy import Column, Integer, MetaData, Table, Text

from instrumentation.composing import chain, compensate, each, finally_, group, on_error
from instrumentation.errors import Cancelled, InvalidStep, StepError, TimedOut
from instrumentation.steps import Retry, Step
from workermanager import Instrumentation, Limit, Worker
from workermanager.cancelling import Context

SOON = 0.02
NEVER_MIND = 3_600

schema = MetaData()
notes = Table("notes", schema, Column("id", Integer, primary_key=True), Column("text", Text))


class Deaf:
    """A step that hears of no deadline: it goes on until it is let, and then does ``late``."""

    def __init__(self):
        self.may_leave = threading.Event()
        self.entered = threading.Semaphore(0)
        self.threads = []
        self.contexts = []
        self.late = None
        self.refused = []

    def __call__(self, ctx, params):
        self.threads.append(threading.current_thread())
        self.contexts.append(ctx)
        self.entered.release()
        assert self.may_leave.wait(30)
        if self.late is None:
            return None
        try:
            return self.late(ctx, params)
        except Cancelled as cancelled:
            self.refused.append(cancelled)
            raise

    def leave(self):
        self.may_leave.set()
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(30)
                assert not thread.is_alive()


@pytest.fixture
def deaf():
    step = Deaf()
    yield step
    step.leave()


@pytest.fixture
def told():
    """An event: the engine has warned that nothing more is begun."""
    heard = threading.Event()

    def hear(message):
        if "is begun until" in message:
            heard.set()

    logger.enable("workermanager")
    number = logger.add(hear, level="WARNING", filter="workermanager")
    yield heard
    logger.remove(number)
    logger.disable("workermanager")


class Ends:
    """What came of each exec."""

    def __init__(self):
        self.results = {}

    def __call__(self, result):
        self.results[result.n] = result

    @property
    def only(self):
        (result,) = self.results.values()
        return result


@pytest.fixture
def ends():
    return Ends()


def worker(chain, execs=1, **settings):
    whole = Instrumentation(func_dispatcher=chain, func_name="root")
    settings = {"threads": 1, "seed": 1, **settings}
    return Worker(whole, execs_per_tick=execs, ticks=1, tick_duration=0, **settings)


def adds_up(report):
    counts = dict(report.counts)
    return counts.pop("due") == sum(counts.values())


def listen(ctx, params):
    ctx.sleep(NEVER_MIND)


def noting(log, text):
    def note(ctx, params):
        log.append((text, ctx.error))

    return note


def texts(log):
    return [text for text, _error in log]


def fail(ctx, params):
    raise ValueError("wrong")


# What is late


def test_a_late_result_is_ignored_and_late_rows_and_params_are_not_seen(deaf, ends, tmp_path):
    def come_late(ctx, params):
        params["late"] = "changed in place"
        ctx.insert(notes, {"text": "late"})
        return {"late": "returned"}

    def note_in_time(ctx, params):
        ctx.insert(notes, {"text": "in time"})

    deaf.late = come_late
    path = tmp_path / "notes.db"
    report = worker(
        on_error(Step(deaf, timeout=SOON), note_in_time),
        database=f"sqlite:///{path}",
        schema=schema,
        on_result=ends,
    ).run()
    deaf.leave()
    assert report.counts["ok"] == 1
    assert "late" not in ends.only.params
    assert len(deaf.refused) == 1
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT text FROM notes").fetchall() == [("in time",)]
    connection.close()


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("owner", ["step", "chain", "exec"])
def test_what_ends_after_a_deadline_is_overlooked_though_its_thread_was_not_given_up(
    owner, how, ends
):
    def end_late(ctx, params):
        while ctx.remaining:
            pass
        params["late"] = True
        if how == "raises":
            raise ValueError("because of the deadline")

    step = Step(end_late, name="late", timeout=SOON if owner == "step" else None)
    whole = chain(step, name="inner", timeout=SOON if owner == "chain" else None)
    exec_timeout = SOON if owner == "exec" else None
    report = worker(whole, exec_timeout=exec_timeout, on_result=ends).run()
    assert report.counts["failed"] == 1
    path = {"step": "root/1/inner/1/late", "chain": "root/1/inner", "exec": "root"}[owner]
    assert ends.only.error.path == path
    assert isinstance(ends.only.error.cause, TimedOut)
    assert "late" not in ends.only.params


@pytest.mark.parametrize("timeout", [None, NEVER_MIND])
def test_a_clean_up_sees_what_a_step_wrote_before_it_failed_with_and_without_a_deadline(timeout):
    seen = []

    def open_and_fail(ctx, params):
        params["connection"] = "open"
        raise ValueError("wrong")

    def close(ctx, params):
        seen.append(params.get("connection"))

    worker([Step(open_and_fail, timeout=timeout), finally_(close)]).run()
    assert seen == ["open"]


# Whoever is stuck


def test_one_thread_goes_on_with_the_next_execs_while_it_is_stuck(deaf, calls):
    def first_is_deaf(ctx, params):
        return deaf(ctx, params) if ctx.n == 0 else calls(ctx, params)

    report = worker(Step(first_is_deaf, timeout=0.2), execs=50).run()
    assert (report.counts["ok"], report.counts["failed"]) == (49, 1)
    assert calls.sorted == list(range(1, 50))


def test_no_more_execs_are_begun_while_too_many_threads_are_stuck(deaf, told, ends):
    run = worker(Step(deaf, timeout=0.2), execs=5, on_result=ends).start()
    assert told.wait(30)
    assert len(deaf.threads) == 2
    deaf.may_leave.set()
    report = run.finish()
    assert (report.counts["failed"], report.counts["ok"]) == (2, 3)


def test_no_more_members_are_begun_while_too_many_threads_are_stuck(deaf, told, ends):
    step = Step(deaf, timeout=SOON)
    fan = each(step, over=lambda _params: range(50), most=2, errors="collect", into="came")
    run = worker(fan, on_result=ends).start()
    assert told.wait(30)
    begun = len(deaf.threads)
    deaf.may_leave.set()
    report = run.finish()
    assert report.counts["ok"] == 1
    assert 2 <= begun <= 4
    assert sum(isinstance(one, StepError) for one in ends.only.params["came"]) >= 2
    assert len(deaf.threads) == 50


def test_a_stop_now_ends_a_run_that_waits_for_a_stuck_thread(deaf, told):
    run = worker(Step(deaf, timeout=SOON), execs=5).start()
    assert told.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert report.counts["failed"] == 2
    assert report.counts["interrupted"] == 3
    assert adds_up(report)


def test_a_run_ends_and_says_so_if_no_thread_can_take_the_place_of_a_stuck_one(deaf, monkeypatch):
    start = threading.Thread.start

    def start_no_more(thread):
        if deaf.threads:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_no_more)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        worker(Step(deaf, timeout=SOON)).run()


# Whose deadline it was


def error_of(chain, **settings):
    ends = Ends()
    report = worker(chain, on_result=ends, **settings).run()
    assert report.counts["failed"] == 1
    return ends.only.error


@pytest.mark.parametrize(
    ("chain_of", "path"),
    [
        (lambda: Step(listen, timeout=SOON), "root/1/listen"),
        (lambda: chain(listen, name="inner", timeout=SOON), "root/1/inner"),
        (lambda: chain(listen, timeout=SOON), "root/1/chain"),
        (lambda: group(listen, timeout=SOON), "root/1/group"),
        (lambda: each(listen, over=lambda _params: [1], timeout=SOON), "root/1/each"),
        (lambda: chain(Step(listen, timeout=9), name="inner", timeout=SOON), "root/1/inner"),
        (lambda: chain(Step(listen, timeout=SOON), name="a", timeout=9), "root/1/a/1/listen"),
        (lambda: group(chain(listen, name="b", timeout=SOON), timeout=9), "root/1/group/1/b"),
        (lambda: group(chain(listen, name="b", timeout=9), timeout=SOON), "root/1/group"),
    ],
)
def test_the_earlier_deadline_holds_and_its_owner_is_named(chain_of, path):
    error = error_of(chain_of())
    assert error.path == path
    assert isinstance(error.cause, TimedOut)
    assert error.cause.seconds == SOON


@pytest.mark.parametrize("which", ["exec_timeout", "tick_timeout"])
def test_an_exec_and_a_tick_have_deadlines_that_name_the_chain(which):
    error = error_of(chain(Step(listen, timeout=9), timeout=9), **{which: SOON})
    assert (error.path, error.attempt) == ("root", 1)
    assert which.removesuffix("_timeout") in str(error.cause)


def test_the_deadline_of_an_exec_counts_from_its_start_and_that_of_a_tick_from_the_ticks():
    now, remaining = [], []

    def look(ctx, params):
        remaining.append(ctx.remaining)
        now.append(ctx.scope.clock.now())

    for which in ("exec_timeout", "tick_timeout"):
        worker(look, execs=2, **{which: 100}).run()
    ends = [at + left * 1e9 for at, left in zip(now, remaining, strict=True)]
    assert ends[1] - ends[0] >= now[1] - now[0] - 1e6
    assert ends[3] - ends[2] < 1e6 or ends[3] - ends[2] < (now[3] - now[2]) / 2


def test_what_remains_is_the_time_to_the_earliest_deadline():
    seen = []

    def look(ctx, params):
        seen.append(ctx.remaining)

    worker(look).run()
    worker(chain(look, Step(look, timeout=50), timeout=100), exec_timeout=200).run()
    assert seen[0] is None
    assert 50 < seen[1] <= 100
    assert 0 < seen[2] <= 50


# Recovering, and cleaning up


def test_on_error_recovers_from_the_deadline_of_a_step_in_it_but_not_of_one_around_it(calls):
    recovered = on_error(Step(listen, timeout=SOON), calls, when=TimedOut)
    assert worker(recovered).run().counts["ok"] == 1
    assert len(calls.seen) == 1
    error = error_of(chain(on_error(listen, calls), name="around", timeout=SOON))
    assert error.path == "root/1/around"
    assert len(calls.seen) == 1


@pytest.mark.parametrize("is_deaf", [True, False])
def test_undos_and_finals_run_after_a_timeout(is_deaf, deaf):
    log = []
    slow = deaf if is_deaf else listen
    parts = [
        compensate(noting(log, "a"), noting(log, "undo a")),
        compensate(noting(log, "b"), noting(log, "undo b")),
        slow,
        finally_(noting(log, "final")),
    ]
    error_of(chain(*parts, timeout=SOON))
    assert texts(log) == ["a", "b", "undo b", "undo a", "final"]
    assert all(isinstance(error.cause, TimedOut) for _text, error in log[2:])


def test_undos_and_finals_run_after_a_stop_now_and_may_take_their_time():
    log, entered = [], threading.Event()

    def wait(ctx, params):
        entered.set()
        ctx.sleep(NEVER_MIND)

    def undo(ctx, params):
        assert not ctx.cancelled
        assert ctx.remaining is None
        ctx.sleep(0.001)
        log.append(("undo", ctx.error))

    whole = [compensate(noting(log, "a"), undo), wait, finally_(noting(log, "final"))]
    run = worker(whole, exec_timeout=NEVER_MIND).start()
    assert entered.wait(30)
    run.stop(now=True)
    report = run.finish()
    assert report.counts["interrupted"] == 1
    assert texts(log) == ["a", "undo", "final"]
    assert all(isinstance(error, Cancelled) for _text, error in log[1:])


def test_one_that_leaves_by_itself_does_not_keep_the_other_clean_ups_from_running():
    log = []

    def leave(ctx, params):
        raise Cancelled("by itself")

    undone = [compensate(noting(log, "a"), noting(log, "undo a")), compensate(fail_not, leave)]
    error = error_of([*undone, fail, finally_(leave), finally_(noting(log, "final"))])
    assert texts(log) == ["a", "undo a", "final"]
    assert isinstance(error.cause, ValueError)
    assert len(error.__notes__) == 2


def fail_not(ctx, params):
    pass


def test_the_failure_of_a_clean_up_after_a_deadline_is_noted_on_the_error_of_its_owner():
    error = error_of(chain(compensate(fail_not, fail), listen, timeout=SOON))
    assert isinstance(error.cause, TimedOut)
    assert any("wrong" in note for note in error.__notes__)


# Retries


def test_a_step_that_left_at_its_deadline_is_tried_again():
    attempts = []

    def slow_at_first(ctx, params):
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            ctx.sleep(NEVER_MIND)

    step = Step(slow_at_first, timeout=SOON, retry=Retry(attempts=2, base=0))
    report = worker(step).run()
    assert attempts == [1, 2]
    assert report.counts["ok"] == 1


@pytest.mark.parametrize(("when", "attempts"), [(None, 1), (lambda _error: True, 2)])
def test_a_step_that_may_run_yet_is_tried_again_only_when_told(when, attempts, deaf):
    error = error_of(Step(deaf, timeout=SOON, retry=Retry(attempts=2, base=0, when=when)))
    assert error.attempt == len(deaf.threads) == attempts
    assert error.cause.still_running


# Limits


def is_free(limit):
    with Context(timeout=SOON) as context, limit.held(context):
        return True


def test_a_limit_is_left_by_whoever_comes_back_late(deaf):
    limit = Limit("late", 1)
    error_of(Step(deaf, timeout=SOON, limit=limit))
    with Context(timeout=SOON) as context, pytest.raises(Cancelled):
        limit.enter(context)
    deaf.leave()
    assert is_free(limit)


def test_a_limit_is_left_once_by_one_that_was_called_off_and_then_came_back_late(deaf):
    limit = Limit("called off and late", 1)

    def fail_beside(ctx, params):
        assert deaf.entered.acquire(timeout=30)
        raise ValueError("beside")

    error = error_of(group(Step(deaf, timeout=0.1, limit=limit), fail_beside))
    assert isinstance(error.cause, ValueError)
    with Context(timeout=SOON) as context, pytest.raises(Cancelled):
        limit.enter(context)
    deaf.leave()
    assert is_free(limit)


def test_a_limit_is_left_by_one_whose_group_was_called_off_because_another_is_stuck(deaf):
    limit = Limit("beside one that is stuck", 1)

    def look_now_and_then(ctx, params):
        while not (ctx.scope.parent.cancelled and ctx.scope.parent._cause):
            threading.Event().wait(0.001)
        ctx.check()

    error_of(group(deaf, Step(look_now_and_then, limit=limit), timeout=SOON))
    deaf.leave()
    assert is_free(limit)


def test_a_limit_is_left_by_one_that_raises_the_timeout_of_something_else():
    limit = Limit("of something else", 1)

    def raise_it(ctx, params):
        raise TimedOut("elsewhere", 1.0, still_running=True)

    error_of(Step(raise_it, limit=limit))
    assert is_free(limit)


# Contexts around


def test_a_worker_in_a_step_with_a_deadline_is_stopped_with_it():
    reports, has_ended = [], threading.Event()

    def outer(ctx, params):
        run = worker(listen, execs=3).start()
        reports.append(run.finish())
        has_ended.set()
        run.raise_for_stop(reports[0])

    error = error_of(Step(outer, timeout=SOON))
    assert isinstance(error.cause, TimedOut)
    assert has_ended.wait(30)
    assert reports[0].counts["interrupted"] == 3
    assert adds_up(reports[0])


def test_a_source_context_that_is_cancelled_ends_the_run_and_its_cause_is_kept():
    entered, seen = threading.Event(), []
    source = Context()

    def wait(ctx, params):
        entered.set()
        try:
            ctx.sleep(NEVER_MIND)
        except Cancelled as cancelled:
            seen.append(cancelled.cause)
            raise

    run = worker(wait, execs=3, source_context=source).start()
    assert entered.wait(30)
    source.cancel("enough")
    report = run.finish()
    assert seen == ["enough"]
    assert report.counts["interrupted"] == 3


def test_the_cause_is_kept_through_a_group_that_has_not_begun():
    seen = []
    source = Context()

    def cancel(ctx, params):
        source.cancel("enough")

    def tell(ctx, params):
        seen.append(ctx.error.cause)

    worker(
        [group(chain(cancel, group(fail_not)), most=1), finally_(tell)], source_context=source
    ).run()
    worker(
        [group(cancel, fail_not, most=1), finally_(tell)], source_context=(source := Context())
    ).run()
    assert seen == ["enough", "enough"]


@pytest.mark.parametrize("is_composed", [True, False])
def test_a_source_context_with_a_deadline_ends_the_run(is_composed):
    source = Context(timeout=SOON)
    step = chain(listen, name="inner") if is_composed else listen
    report = worker(step, execs=3, source_context=source).run()
    assert report.counts["interrupted"] == 3
    assert adds_up(report)


def test_a_source_context_with_a_deadline_ends_a_run_that_has_nothing_to_do_yet(calls):
    with Context(timeout=SOON) as source:
        endless = Worker(calls, execs_per_tick=1, tick_duration=NEVER_MIND, source_context=source)
        report = endless.run()
    assert report.outcome == "interrupted"
    assert report.counts["ok"] == len(calls.seen) <= 1
    assert adds_up(report)


def test_a_deadline_further_out_that_called_off_a_step_is_not_taken_for_the_steps_own(calls):
    entered, source = threading.Event(), Context()

    def wait(ctx, params):
        entered.set()
        ctx.sleep(NEVER_MIND)

    run = worker(on_error(Step(wait, timeout=NEVER_MIND), calls), source_context=source).start()
    assert entered.wait(30)
    source.cancel(TimedOut("something further out", 1.0))
    report = run.finish()
    assert report.counts["interrupted"] == 1
    assert not calls.seen


# What grows


def test_a_next_step_that_cannot_be_called_fails_its_exec_and_not_the_run():
    def grow(ctx, params):
        return Step(lambda one: one)

    error = error_of(grow)
    assert error.path == "root/2/<lambda>"
    assert isinstance(error.cause, InvalidStep)
