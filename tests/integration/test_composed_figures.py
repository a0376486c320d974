"""What reports, logs and thresholds say of chains that fan out, recover, undo and time out."""

import threading

import pytest
from loguru import logger

from workermanager import (
    InvalidConfig,
    Limit,
    Step,
    Worker,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)


def ok(ctx, params):
    pass


def fails(ctx, params):
    raise ValueError("no luck")


def fails_as_well(ctx, params):
    raise KeyError("nor here")


@pytest.fixture
def logged():
    """The records that the program logs, debug included."""
    records = []
    sink = logger.add(lambda message: records.append(message.record), level="DEBUG")
    logger.enable("workermanager")
    yield records
    logger.disable("workermanager")
    logger.remove(sink)


def run(*parts, **settings):
    results = []
    report = Worker(chain(*parts), on_result=results.append, **settings).run()
    return report, results


# Where an error happened


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (fails, "ok/2/fails"),
        (group(ok, fails), "ok/2/group/2/fails"),
        (group(ok, chain(ok, fails, name="pay")), "ok/2/group/2/pay/2/fails"),
        (each(fails, over=lambda params: "ab", most=1), "ok/2/each/1/fails"),
        (branch(lambda ctx, params: True, fails), "ok/2/branch/1/fails"),
        (on_error(fails, ok, when=KeyError), "ok/2/on_error/1/fails"),
        (chain(ok, finally_(fails), name="tidy"), "ok/2/tidy/2/finally/1/fails"),
    ],
)
def test_an_error_is_told_with_the_path_where_it_happened(part, path, logged):
    report, (result,) = run(ok, part)
    (kind,) = report.errors
    assert (kind.step, kind.type, kind.count) == ("fails", "ValueError", 1)
    assert kind.path == result.error.path == path
    (line,) = [one for one in logged if one["level"].name == "ERROR"]
    assert line["extra"]["step"] == path
    assert line["message"] == "failed (first of its kind): ValueError: no luck"
    assert [one["extra"]["step"] for one in logged if one["exception"] is not None] == [path]


def test_the_second_step_of_a_name_is_told_by_the_name_of_its_figures():
    report, _ = run(on_error(fails, ok), fails)
    assert [(kind.step, kind.path) for kind in report.errors] == [("fails#2", "fails/2/fails")]
    assert report.steps["fails#2"].failed == 1


def test_an_undo_that_fails_is_an_error_of_its_own_with_its_own_path(logged):
    report, (result,) = run(compensate(ok, fails_as_well), fails)
    assert {kind.path: kind.type for kind in report.errors} == {
        "ok/2/fails": "ValueError",
        "ok/1/compensate/2/fails_as_well": "KeyError",
    }
    places = [one["extra"]["step"] for one in logged if one["level"].name == "ERROR"]
    assert sorted(places) == ["ok/1/compensate/2/fails_as_well", "ok/2/fails"]
    assert result.error.path == "ok/2/fails"


def test_an_exec_that_takes_too_long_is_told_by_the_path_of_what_has_the_deadline():
    def sleeps(ctx, params):
        ctx.sleep(60)

    report, _ = run(chain(ok, sleeps, name="pay", timeout=0.01))
    assert [(one.step, one.type, one.path) for one in report.errors] == [
        ("pay", "TimedOut", "pay/1/pay")
    ]
    assert report.steps["pay"].timed_out == report.steps["pay"].failed == 1


# What an error has come with


def test_what_failed_beside_and_after_an_error_is_in_the_debug_log_and_on_the_result(logged):
    both = threading.Barrier(2)

    def together(fn):
        def meets(ctx, params):
            both.wait(10)
            fn(ctx, params)

        return Step(meets, fn.__name__)

    report, (result,) = run(
        compensate(ok, fails_as_well), group(together(fails), together(fails_as_well))
    )
    beside, after = result.error.__notes__
    assert beside.startswith("beside it failed: step ok/2/group/")
    assert after.startswith("cleaning up failed as well: step ok/1/compensate/2/fails_as_well")
    debug = [one["message"] for one in logged if one["level"].name == "DEBUG"]
    assert {beside, after} <= set(debug)
    assert report.counts["failed"] == 1


# What an exec recovered from


def test_an_error_that_was_recovered_from_is_counted_in_its_step_and_nowhere_else(logged):
    report, (result,) = run(on_error(fails, ok), ok)
    assert (report.outcome, report.exit_code, report.errors) == ("passed", 0, [])
    assert (report.steps["fails"].failed, report.steps["fails"].ok) == (1, 0)
    assert (report.steps["on_error"].failed, report.steps["on_error"].ok) == (0, 1)
    assert result.error is None
    assert not [one for one in logged if one["level"].name == "ERROR"]


def test_a_handler_that_raises_the_error_again_does_not_count_it_twice():
    def gives_up(ctx, params):
        raise ctx.error

    report, _ = run(on_error(fails, gives_up))
    assert [(kind.path, kind.count) for kind in report.errors] == [("fails/1/on_error/1/fails", 1)]


def test_errors_that_are_collected_fail_nothing():
    report, (result,) = run(group(ok, fails, errors="collect", into="all"))
    assert (report.outcome, report.errors) == ("passed", [])
    assert report.steps["fails"].failed == 1
    assert result.params["all"][1].path == "ok/1/group/2/fails"


# Steps that time out


def test_steps_that_time_out_are_counted_and_those_that_run_yet_when_the_run_ends():
    release, begun = threading.Event(), []

    def is_deaf(ctx, params):
        begun.append(threading.current_thread())
        release.wait(60)

    report, _ = run(Step(is_deaf, timeout=0.05), execs_per_tick=[2], threads=2)
    release.set()
    for thread in begun:
        thread.join()
    step = report.steps["is_deaf"]
    assert (step.failed, step.timed_out, report.stuck) == (2, 2, 2)
    assert "(2 stuck: timed out, and running yet)" in report.accounting


def test_a_step_that_listens_times_out_and_is_not_stuck():
    report, _ = run(Step(lambda ctx, params: ctx.sleep(60), "listens", timeout=0.01))
    assert (report.steps["listens"].timed_out, report.stuck) == (1, 0)


# Thresholds


def test_every_part_of_a_chain_can_have_a_threshold_by_the_name_of_its_figures():
    limited = Step(ok, "limited", limit=Limit("a limit of test_composed_figures", 5))
    names = ["group", "each", "pay", "ok", "ok#2", "ok#3", "limited", "limited.limit"]
    report, _ = run(
        group(ok, limited),
        each(ok, over=lambda params: [1, 2, 3]),
        chain(ok, name="pay"),
        thresholds=[f"{name}.p99<1m" for name in names] + ["ok#2.ok>=3", "limited.limit.ok==1"],
    )
    assert report.outcome == "passed"
    values = [verdict.value for verdict in report.thresholds]
    assert all(value > 0 for value in values)
    assert values[-2:] == [3, 1]


def test_a_broken_threshold_on_a_step_inside_a_chain_fails_the_run():
    report, _ = run(on_error(group(ok, fails), ok), thresholds=["fails.failed==0"])
    assert (report.outcome, report.exit_code) == ("failed", 99)


@pytest.mark.parametrize("name", ["groop", "ok.limit", "group.limit", "group.transact"])
def test_a_threshold_on_what_has_no_figures_is_refused(name):
    with pytest.raises(InvalidConfig, match=rf"^threshold: '{name}.p99<1s': no '{name}'"):
        Worker(group(ok), thresholds=[f"{name}.p99<1s"])
