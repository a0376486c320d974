"""A step may run a Worker of its own: from a pool thread, without deadlock or lost accounting."""

from collections import Counter

import pytest

from workermanager import Instrumentation, Worker


def with_arguments(step, **arguments):
    return Instrumentation(func_dispatcher=step, task_arguments=arguments)


def once(step, execs=1, **settings):
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


@pytest.mark.parametrize("threads", [1, 8])
def test_a_nested_worker_runs_all_its_execs(threads, calls):
    totals = []

    def outer(ctx, params):
        totals.append(once(calls, 10, threads=threads).run().counts["ok"])

    report = once(outer, 30, threads=threads).run()
    assert report.counts["ok"] == 30
    assert totals == [10] * 30
    assert Counter(calls.seen) == dict.fromkeys(range(10), 30)


def test_ten_levels_deep(calls):
    def go_down(ctx, params):
        level = params["level"] + 1
        if level == 10:
            return calls
        report = once(with_arguments(go_down, level=level), threads=1).run()
        assert report.counts["ok"] == 1
        return None

    report = once(with_arguments(go_down, level=0), threads=1).run()
    assert report.outcome == "passed"
    assert calls.seen == [0]


def test_a_nested_failure_is_the_nested_report_s_alone():
    def inner(ctx, params):
        raise ValueError

    def outer(ctx, params):
        assert once(inner).run().exit_code == 1

    assert once(outer, 3).run().outcome == "passed"


def test_nested_runs_repeat_with_the_seed_and_differ_among_themselves():
    def draws(seed, threads):
        drawn = {}

        def inner(ctx, params):
            drawn[params["who"], params["round"], ctx.n] = ctx.random.random()

        def outer(ctx, params):
            for number in range(2):
                chain = with_arguments(inner, who=ctx.n, round=number)
                once(chain, 3, threads=threads).run()

        once(outer, 4, seed=seed, threads=threads).run()
        return drawn

    assert draws(7, 1) == draws(7, 8)
    assert len(set(draws(7, 1).values())) == 4 * 2 * 3
    assert draws(7, 1) != draws(8, 1)
