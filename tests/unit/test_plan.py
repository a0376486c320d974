import json
from datetime import timedelta

import pytest

from instrumentation.chains import Instrumentation
from instrumentation.errors import InvalidConfig
from instrumentation.steps import Retry, Step
from workermanager.clock import SPREADS
from workermanager.plan import check_execs, check_spread, check_tags, check_threads, plan_once
from workermanager.shapes import Ramp, Rate, Ticks
from workermanager.spans import Spans
from workermanager.worker import Worker

SECOND = 1_000_000_000


def first(ctx, params):
    pass


def second(ctx, params):
    pass


def plan_of(chain=first, **settings):
    return Worker(chain, **{"seed": 7, **settings}).plan()


# Execs and ticks


@pytest.mark.parametrize(
    ("execs", "ticks", "meant"),
    [
        (None, None, (1, 1)),
        (None, 5, (1, 5)),
        (10, None, (10, None)),
        (10, 5, (10, 5)),
        ([10, 0, 40], None, ((10, 0, 40), 3)),
        ((10, 20), 2, ((10, 20), 2)),
        (range(3), None, ((0, 1, 2), 3)),
    ],
)
def test_execs_and_ticks_are_settled_as_they_are_meant(execs, ticks, meant):
    assert check_execs(execs, ticks, SECOND) == meant


@pytest.mark.parametrize(
    ("execs", "ticks", "why"),
    [
        (0, None, r"^execs_per_tick: 0 is out of range: it must be 1 or more"),
        (-1, 5, r"^execs_per_tick: -1 is out of range"),
        (True, None, r"^execs_per_tick: True is no whole number, nor a list"),
        (2.5, None, r"^execs_per_tick: 2\.5 is no whole number, nor a list"),
        ("10", None, r"^execs_per_tick: '10' is no whole number, nor a list"),
        ([1, -2], None, r"^execs_per_tick: -2 \(tick 1\) must be 0 or more"),
        ([1, 2.5], None, r"^execs_per_tick: 2\.5 \(tick 1\)"),
        ([True], None, r"^execs_per_tick: True \(tick 0\)"),
        ([0, 0], None, r"^execs_per_tick: no tick has an exec"),
        ([], None, r"^execs_per_tick: no tick has an exec"),
        ([1, 2], 3, r"^ticks: 3, but execs_per_tick lists 2 of them"),
        (1, 0, r"^ticks: 0 is out of range: it must be 1 or more"),
        (1, -1, r"^ticks: -1 is out of range"),
        (1, True, r"^ticks: True is out of range"),
        (1, "5", r"^ticks: '5' is out of range"),
    ],
)
def test_execs_or_ticks_that_cannot_be_are_named(execs, ticks, why):
    with pytest.raises(InvalidConfig, match=why):
        check_execs(execs, ticks, SECOND)


def test_ticks_of_no_length_need_a_number_of_ticks():
    assert check_execs(10, 5, 0) == (10, 5)
    assert check_execs([10, 20], None, 0) == ((10, 20), 2)
    with pytest.raises(InvalidConfig, match=r"^tick_duration: 0 needs a number of ticks"):
        check_execs(10, None, 0)


@pytest.mark.parametrize("threads", [None, 1, 16, 10_000])
def test_a_number_of_threads_that_can_be_is_kept(threads):
    assert check_threads(threads) == threads


@pytest.mark.parametrize("threads", [0, -1, 10_001, True, 2.5, "8"])
def test_a_number_of_threads_that_cannot_be_is_named(threads):
    with pytest.raises(InvalidConfig, match=rf"^threads: {threads!r} .*from 1 to 10000$"):
        check_threads(threads)


def test_every_spread_there_is_can_be_asked_for():
    for spread in SPREADS:
        check_spread(spread)


@pytest.mark.parametrize("spread", ["wide", "", "Even"])
def test_an_unknown_spread_is_named_with_those_there_are(spread):
    with pytest.raises(InvalidConfig, match=rf"^spread: '{spread}' is unknown; use even, burst, "):
        check_spread(spread)


# Showing it


def test_a_plan_shows_all_that_a_run_will_do():
    chain = Instrumentation(
        func_dispatcher=first,
        nested_callback=[second, Step(second, "again", Retry(attempts=5))],
        task_arguments={"company_id": "1"},
        func_name="addCompanies",
    )
    shown = plan_of(
        chain,
        execs_per_tick=[10, 20],
        tick_duration=timedelta(seconds=90),
        spread="poisson",
        overrun="late:500ms",
        threads=8,
    ).describe()
    assert "attempts=5" in shown.pop("retries")["again"]
    assert shown.pop("chain")["name"] == "addCompanies"
    assert shown == {
        "name": "addCompanies",
        "execs": 30,
        "ticks": 2,
        "execs_per_tick": (10, 20),
        "tick_duration": "90s",
        "duration": "3m",
        "spread": "poisson",
        "overrun": "late:500ms",
        "threads": 8,
        "in_flight": None,
        "exec_timeout": None,
        "tick_timeout": None,
        "warmup": None,
        "thresholds": [],
        "tags": {},
        "seed": 7,
        "database": None,
        "steps": ["addCompanies/1/first", "addCompanies/2/second", "addCompanies/3/again"],
        "params": {"company_id": "1", "current_tick": 0, "ticks_left": 2, "current_exec": 0},
    }


async def third(ctx, params):
    pass


def test_a_plan_tells_the_deadlines_of_its_execs_and_how_many_async_ones_run_at_once():
    told = ("exec_timeout", "tick_timeout", "in_flight")
    shown = plan_of([first, third], exec_timeout=2.5, tick_timeout="1m").describe()
    assert [shown[name] for name in told] == ["2.5s", "60s", 10_000]
    shown = plan_of(third, in_flight=500).describe()
    assert [shown[name] for name in told] == [None, None, 500]
    shown = plan_of(first, in_flight=500).describe()
    assert [shown[name] for name in told] == [None, None, None]


def test_a_plan_without_end_says_so():
    shown = plan_of(execs_per_tick=5).describe()
    assert (shown["execs"], shown["ticks"], shown["duration"]) == (None, None, None)
    assert shown["params"]["ticks_left"] is None


def test_a_shown_plan_has_no_password():
    shown = plan_of(database="postgresql://ada:hunter2@db/shop").describe()
    assert shown["database"] == "postgresql://ada:***@db/shop"


def test_a_shown_plan_is_json():
    shown = plan_of([first, Step(second, retry=Retry(when=bool))], execs_per_tick=[1, 2]).describe()
    assert json.loads(json.dumps(shown))["retries"].keys() == {"second"}


@pytest.mark.parametrize("execs", [5, [3, 4], [0, 0, 2, 1]])
def test_the_params_shown_are_those_of_the_first_exec(execs):
    plan = plan_of(execs_per_tick=execs, ticks=5 if execs == 5 else None)
    tick, place = plan.arrivals.place(0)
    assert plan.sample_params() == {
        "current_tick": tick,
        "ticks_left": plan.arrivals.ticks - tick,
        "current_exec": place,
    }


# The callback's plan


@pytest.fixture
def worker_plan():
    return plan_of(
        execs_per_tick=100, ticks=5, overrun="drop", threads=8, grace="5s", on_result=print
    )


def test_a_callback_runs_once_at_once_on_one_thread(worker_plan):
    once = plan_once(Instrumentation(func_dispatcher=second), worker_plan, {}, "it.callback")
    assert (once.arrivals.total, once.arrivals.due_ns(0)) == (1, 0)
    assert (once.threads, str(once.overrun)) == (1, "queue")
    assert (once.name, [link.name for link in once.links]) == ("second", ["second"])


def test_a_callback_has_no_callback_and_no_results_to_tell(worker_plan):
    once = plan_once(Instrumentation(func_dispatcher=second), worker_plan, {}, "it.callback")
    assert (once.callback, once.on_result) == (None, None)


def test_a_callback_gets_its_own_arguments_and_the_runs(worker_plan):
    chain = Instrumentation(func_dispatcher=second, task_arguments={"to": "ada", "report": "old"})
    once = plan_once(chain, worker_plan, {"report": "new"}, "it.callback")
    assert once.instrumentation.task_arguments == {"to": "ada", "report": "new"}
    assert chain.task_arguments == {"to": "ada", "report": "old"}


def test_a_callback_draws_otherwise_than_the_run_but_the_same_every_time(worker_plan):
    chain = Instrumentation(func_dispatcher=second)
    seeds = {plan_once(chain, worker_plan, {}, "it.callback").seed for _ in range(2)}
    assert len(seeds) == 1
    assert worker_plan.seed not in seeds


def test_a_callback_has_the_grace_and_the_epoch_of_the_run(worker_plan):
    once = plan_once(Instrumentation(func_dispatcher=second), worker_plan, {}, "it.callback")
    assert (once.grace_ns, once.epoch) == (5 * SECOND, worker_plan.epoch)


# The end of a plan


@pytest.mark.parametrize(
    ("settings", "end_ns"),
    [
        ({}, SECOND),
        ({"execs_per_tick": 5, "ticks": 3}, 3 * SECOND),
        ({"execs_per_tick": [5, 0, 0], "tick_duration": "500ms"}, 3 * SECOND // 2),
        ({"execs_per_tick": [5], "tick_duration": 0}, 0),
        ({"execs_per_tick": 5}, None),
        ({"shape": Rate("5/s", "3s")}, 3 * SECOND),
        ({"shape": Rate("5/s")}, None),
        ({"shape": Rate("5/s", count=3)}, None),
        ({"shape": [Rate("5/s", "3s"), Ramp("5/s", 0, "2s")]}, 5 * SECOND),
        ({"shape": Ticks(5, "500ms", 4)}, 2 * SECOND),
    ],
)
def test_a_plan_ends_with_its_ticks_or_its_rate_line(settings, end_ns):
    assert plan_of(**settings).end_ns == end_ns


# The warm-up


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("warmup", ["1ns", "999ms", "1s", "1001ms", "2500ms"])
def test_the_warm_up_has_the_execs_that_are_due_before_its_end(spread, warmup):
    plan = plan_of(execs_per_tick=10, ticks=4, spread=spread, warmup=warmup)
    early = [n for n in range(40) if plan.arrivals.due_ns(n) < plan.warmup_ns]
    assert early == list(range(plan.warm_end))


def test_without_a_warm_up_it_has_no_exec():
    plan = plan_of(execs_per_tick=10, ticks=4)
    assert (plan.warmup_ns, plan.warm_end) == (0, 0)
    assert plan_of(execs_per_tick=10, warmup="1h").warm_end == 36_000


def test_a_warm_up_must_leave_something_of_the_run():
    with pytest.raises(
        InvalidConfig, match=r"^warmup: 1s is all of the run: every exec is due bef"
    ):
        plan_of(execs_per_tick=[10], warmup="1s")
    with pytest.raises(InvalidConfig, match=r"^warmup: 901ms is all of the run"):
        plan_of(execs_per_tick=[10], warmup="901ms")
    assert plan_of(execs_per_tick=[10], warmup="900ms").warm_end == 9


def test_what_is_left_of_a_resumed_run_has_no_warm_up_and_keeps_its_thresholds():
    plan = plan_of(execs_per_tick=10, ticks=4, warmup="2s", thresholds=["p99<1s"], tags={"a": "b"})
    left = plan.without(Spans([(0, 5)]))
    assert (left.warmup_ns, left.warm_end) == (0, 0)
    assert (left.thresholds, left.tags) == (plan.thresholds, {"a": "b"})


def test_a_callback_has_neither_warm_up_nor_thresholds():
    plan = plan_of(shape=Rate("5/s", "3s"), warmup="2s", thresholds=["p99<1s"])
    once = plan_once(Instrumentation(func_dispatcher=second), plan, {}, "it.callback")
    assert (once.warm_end, once.thresholds, once.shape, once.arrivals.total) == (0, (), None, 1)


def test_a_plan_is_described_with_its_load_warm_up_thresholds_and_tags():
    plan = plan_of(
        shape=Ramp("0/s", "10/s", "10s"),
        warmup="2s",
        thresholds=["p99 <  1s"],
        abort_on=["failed==0"],
        tags={"branch": "main"},
    )
    told = json.loads(json.dumps(plan.describe()))
    assert told["shape"] == "0:0/s,10s:10/s"
    assert "execs_per_tick" not in told
    assert (told["execs"], told["duration"], told["warmup"]) == (50, "10s", "2s")
    assert told["thresholds"] == ["p99 < 1s", "failed==0"]
    assert told["tags"] == {"branch": "main"}


# Tags


def test_tags_are_text():
    assert check_tags({"branch": "main", "build": 5, "empty": ""}) == {
        "branch": "main",
        "build": "5",
        "empty": "",
    }


@pytest.mark.parametrize("tags", [["a"], "a=b", None, 5])
def test_tags_that_are_no_dict_are_refused(tags):
    with pytest.raises(InvalidConfig, match=r"^tags: .* is no dict; wanted names with their texts"):
        plan_of(tags=tags)


@pytest.mark.parametrize("name", ["thresholds", "abort_on"])
@pytest.mark.parametrize("given", ["p99<1s", None, 5])
def test_thresholds_that_are_no_list_are_refused(name, given):
    with pytest.raises(InvalidConfig, match=f"^{name}: .* is no list of expressions"):
        plan_of(**{name: given})


@pytest.mark.parametrize("tags", [{"": "x"}, {"a": "x\ny"}, {"a\tb": "x"}, {"a": "\udc80"}])
def test_a_tag_without_a_name_or_on_two_lines_is_refused(tags):
    with pytest.raises(InvalidConfig, match=r"^tags: .*: wanted a name and a text on one line"):
        plan_of(tags=tags)
