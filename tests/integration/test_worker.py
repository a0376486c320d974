"""A Worker runs every exec once, passes params on, and accounts for what came of each."""

import contextvars
import threading
from collections import Counter

import pytest

from workermanager import (
    Instrumentation,
    InvalidConfig,
    InvalidStep,
    Outcome,
    Retry,
    Step,
    StepError,
    TaskParams,
    Worker,
    group,
)
from workermanager.run import Run


def now_all(step, execs=10, **settings):
    """A Worker whose execs are all due at once."""
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


def results_of(step, execs=1, **settings):
    results = []
    report = now_all(step, execs, on_result=results.append, **settings).run()
    return report, sorted(results, key=lambda result: result.n)


def test_runs_every_exec_once_and_reports(calls):
    report = Worker(calls, execs_per_tick=[3, 0, 4], tick_duration=0.001).run()
    assert calls.sorted == list(range(7))
    assert report.counts == {
        "due": 7,
        "ok": 7,
        "failed": 0,
        "dropped": 0,
        "expired": 0,
        "interrupted": 0,
        "skipped": 0,
    }
    assert (report.outcome, report.exit_code) == ("passed", 0)
    assert report.response.count == report.lag.count == report.steps["Calls"].ok == 7


def test_an_error_that_has_no_text_fails_its_exec_and_not_the_run():
    class Mute(Exception):
        def __str__(self):
            return self.text

    def step(ctx, params):
        if ctx.n == 1:
            raise Mute

    for chain in (step, group(step, step)):
        assert now_all(chain, 3).run().counts["failed"] == 1


def test_without_execs_and_ticks_it_runs_once(calls):
    assert Worker(calls).run().counts["due"] == 1
    assert calls.seen == [0]


def test_ticks_alone_mean_one_exec_each(calls):
    Worker(calls, ticks=3, tick_duration=0).run()
    assert calls.sorted == [0, 1, 2]


def test_every_exec_knows_its_place():
    _, results = results_of(lambda ctx, params: None, 1)
    places = []
    Worker(
        lambda ctx, params: places.append(
            (params["current_tick"], params["ticks_left"], params["current_exec"], ctx.n)
        ),
        execs_per_tick=[2, 1],
        tick_duration=0,
    ).run()
    assert sorted(places) == [(0, 2, 0, 0), (0, 2, 1, 1), (1, 1, 0, 2)]
    assert results[0].tick == results[0].exec == 0


def test_params_are_cloned_for_each_exec_and_passed_on():
    shared = ["one"]

    def first(ctx, params):
        assert "mine" not in params
        params["mine"] = ctx.n
        return {"merged": ctx.n * 2}

    def second(ctx, params):
        assert (params["mine"], params["merged"]) == (ctx.n, ctx.n * 2)
        assert params["shared"] is shared

    chain = Instrumentation(
        func_dispatcher=first, nested_callback=[second, second], task_arguments={"shared": shared}
    )
    report, results = results_of(chain, 50)
    assert report.counts["ok"] == 50
    assert all(isinstance(result.params, TaskParams) for result in results)
    assert list(report.steps) == ["first", "second", "second#2"]


def test_an_instrumentation_inside_a_chain_brings_its_own_arguments():
    seen = []
    inner = Instrumentation(
        func_dispatcher=lambda ctx, params: seen.append(params["greeting"]),
        task_arguments={"greeting": "hello"},
    )
    now_all([lambda ctx, params: None, inner], 2).run()
    assert seen == ["hello", "hello"]


def test_an_error_fails_its_exec_and_names_the_step():
    after = []

    def second(ctx, params):
        if ctx.n == 1:
            raise ValueError("no luck")

    chain = Instrumentation(
        func_dispatcher=lambda ctx, params: None,
        nested_callback=[second, lambda ctx, params: after.append(ctx.n)],
        func_name="addCompanies",
    )
    report, results = results_of(chain, 3)
    assert sorted(after) == [0, 2]
    assert [result.outcome for result in results] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
    error = results[1].error
    assert isinstance(error, StepError)
    assert (error.path, error.attempt) == ("addCompanies/2/second", 1)
    assert isinstance(error.__cause__, ValueError)
    assert (report.outcome, report.exit_code) == ("failed", 1)
    assert [(kind.step, kind.type, kind.count, kind.example) for kind in report.errors] == [
        ("second", "ValueError", 1, "no luck")
    ]


def test_a_chain_of_100_000_links_grows_as_it_runs():
    def link(ctx, params):
        params["links"] = params.get("links", 0) + 1
        return None if params["links"] == 100_000 else link

    report, results = results_of(link)
    assert results[0].params["links"] == 100_000
    assert report.steps["link"].ok == 100_000


def test_a_returned_step_runs_before_the_rest_with_the_params_returned_beside_it():
    order = []

    def first(ctx, params):
        return {"from": "first"}, [grown, Step(grown, "again")]

    def grown(ctx, params):
        order.append((ctx.path, params["from"]))

    def last(ctx, params):
        order.append((ctx.path, params["from"]))

    now_all(Instrumentation(func_dispatcher=first, nested_callback=last, func_name="c"), 1).run()
    assert order == [("c/3/grown", "first"), ("c/4/again", "first"), ("c/2/last", "first")]


def test_steps_that_grow_in_two_places_of_a_chain_draw_different_values():
    drawn = []

    def grown(ctx, params):
        drawn.append((ctx.path, ctx.uuid()))

    def one(ctx, params):
        return grown

    now_all([one, one], 1).run()
    assert len(set(drawn)) == len({path for path, _ in drawn}) == 2


def test_a_value_no_chain_can_follow_fails_the_exec():
    report, results = results_of(lambda ctx, params: 5)
    assert isinstance(results[0].error.__cause__, InvalidStep)
    assert "returned int" in report.errors[0].example


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"execs_per_tick": -1}, "execs_per_tick: -1"),
        ({"execs_per_tick": []}, "no tick has an exec"),
        ({"execs_per_tick": [0, 0]}, "no tick has an exec"),
        ({"execs_per_tick": [1, "2"]}, "'2' (tick 1)"),
        ({"execs_per_tick": 2.5}, "2.5"),
        ({"ticks": 0}, "ticks: 0"),
        ({"execs_per_tick": 5, "tick_duration": 0}, "never end"),
        ({"execs_per_tick": [5], "ticks": 2}, "lists 1"),
        ({"tick_duration": "soon"}, "'soon' is not a duration"),
        ({"tick_duration": -1}, "tick_duration: -1"),
        ({"spread": "wide"}, "'wide' is unknown"),
        ({"overrun": "panic"}, "'panic' is unknown"),
        ({"threads": 0}, "threads: 0"),
        ({"callback": "x"}, "not a step"),
        ({"overrun": None}, "overrun: None"),
        ({"epoch": "2020"}, "epoch: '2020'"),
        ({"seed": 1.5}, "seed: 1.5"),
        ({"on_result": "x"}, "on_result: 'x'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(settings, message, calls):
    with pytest.raises(InvalidConfig) as refusal:
        Worker(calls, **settings)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_errors_and_figures_call_a_step_by_the_same_name():
    def fails(ctx, params):
        raise ValueError

    def callback(ctx, params):
        raise ValueError

    report = now_all([Step(lambda ctx, params: None, "GET /a/1"), Step(fails, "GET /a/1")], 1).run()
    assert list(report.steps) == ["GET /a/1", "GET /a/1#2"]
    assert report.errors[0].step == "GET /a/1#2"
    report = now_all(callback, 1, callback=callback).run()
    assert (
        {kind.step for kind in report.errors}
        == set(report.steps)
        == {"callback", "callback/callback"}
    )


def test_retries_start_from_the_same_params_and_draws():
    tries = []

    def flaky(ctx, params):
        params["dirt"] = params.get("dirt", 0) + 1
        tries.append(
            (ctx.attempt, params["dirt"], ctx.random.random(), ctx.uuid(), ctx.faker.name())
        )
        if ctx.attempt < 3:
            raise OSError("flaky")

    def after(ctx, params):
        assert ctx.attempt == 1

    report, _ = results_of([Step(flaky, retry=Retry(attempts=5, base=0)), after])
    assert report.outcome == "passed"
    assert [attempt for attempt, *_ in tries] == [1, 2, 3]
    assert len({tuple(drawn) for _, *drawn in tries}) == 1
    figures = report.steps["flaky"]
    assert (figures.ok, figures.retried, figures.failed, figures.service.count) == (1, 2, 0, 3)


def test_a_retry_gives_up_as_its_policy_says():
    def fails(ctx, params):
        raise OSError("down")

    report, results = results_of(Step(fails, retry=Retry(attempts=4, base=0)))
    assert results[0].error.attempt == 4
    assert "on attempt 4" in str(results[0].error)
    assert (report.steps["fails"].retried, report.steps["fails"].failed) == (3, 1)
    _, results = results_of(Step(fails, retry=Retry(attempts=4, when=lambda error: False)))
    assert results[0].error.attempt == 1

    def broken(error):
        raise LookupError("the predicate itself")

    _, results = results_of(Step(fails, retry=Retry(attempts=4, when=broken)))
    assert isinstance(results[0].error.__cause__, LookupError)


def test_the_callback_runs_once_after_the_last_exec_with_the_report(calls):
    heard = []

    def callback(ctx, params):
        heard.append((len(calls.seen), params["report"].counts["ok"]))

    report = now_all(calls, 20, callback=callback).run()
    assert heard == [(20, 20)]
    assert report.steps["callback"].ok == 1
    assert report.counts["due"] == 20


def test_a_failed_callback_fails_the_run(calls):
    def callback(ctx, params):
        raise ValueError("after all")

    report = now_all(calls, callback=callback).run()
    assert (report.outcome, report.exit_code) == ("failed", 1)
    assert report.errors[0].step == "callback"


def test_context_variables_reach_the_pool_threads():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("from the caller")
    seen = Counter()
    now_all(lambda ctx, params: seen.update([variable.get()]), 100, threads=4).run()
    assert seen == {"from the caller": 100}


def test_of_a_burst_two_idle_threads_run_two_and_drop_the_rest():
    together = threading.Barrier(2)

    def step(ctx, params):
        together.wait(30)  # neither thread comes back before both have work

    report = now_all(step, 5, threads=2, overrun="drop").run()
    assert (report.counts["ok"], report.counts["dropped"], report.counts["due"]) == (2, 3, 5)
    assert report.exit_code == 0


def test_an_exec_that_could_not_start_in_time_expires(hand_clock):
    def slow(ctx, params):
        hand_clock.advance(0.4)

    plan = now_all(slow, 5, threads=1, overrun="late:1s").plan()
    report = Run(plan, clock=hand_clock).start().finish()
    assert (report.counts["ok"], report.counts["expired"]) == (3, 2)
    assert report.lag.max_ms == pytest.approx(800, rel=0.01)


def test_the_report_tells_lag_service_and_response_apart(hand_clock):
    plan = now_all(lambda ctx, params: hand_clock.advance(1), 4, threads=1).plan()
    report = Run(plan, clock=hand_clock).start().finish()
    assert report.service.max_ms == report.service.p50_ms == pytest.approx(1_000, rel=0.01)
    assert report.lag.max_ms == pytest.approx(3_000, rel=0.01)
    assert report.response.max_ms == pytest.approx(4_000, rel=0.01)
    assert report.steps["<lambda>"].service.p50_ms == pytest.approx(1_000, rel=0.01)


def test_the_counts_add_up_at_every_moment(calls):
    run = now_all(calls, 50_000, threads=4).start()
    while not run.wait(0):
        counts = dict(run.figures().counts)
        assert counts.pop("due") == sum(counts.values())
        assert min(counts.values()) >= 0
    assert run.finish().counts["ok"] == 50_000


@pytest.mark.parametrize("spread", ["even", "burst", "poisson"])
def test_every_spread_runs_all(spread, calls):
    report = Worker(
        calls, execs_per_tick=40, ticks=3, tick_duration="20ms", spread=spread, seed=1
    ).run()
    assert calls.sorted == list(range(120))
    assert report.counts["ok"] == 120
