"""Chains of Commands as tasks of a pool."""

import pytest

from instrumentation import (
    Command,
    Instrumentation,
    InvalidConfig,
    Retry,
    Step,
    branch,
    chain,
    each,
    finally_,
    group,
    param,
)
from workermanager.limits import Limit
from workermanager.processes.task import Task
from workermanager.processes.workflow import tasks_of


def step(name, **more):
    return Step(Command("echo", name), name=name, **more)


def joins(flow):
    """What each task comes after, and whether it runs in any case."""
    return {
        task.identifier: (*task.after, "always") if task.always else task.after
        for task in tasks_of(flow, "flow")
    }


def test_one_command_is_one_task():
    assert tasks_of(Command("echo", "a"), "flow") == [Task("echo", "echo", ("a",))]


def test_a_list_is_one_after_the_other():
    assert joins([step("a"), step("b"), step("c")]) == {"a": (), "b": ("a",), "c": ("b",)}


def test_after_a_group_all_of_it_is_waited_for():
    flow = chain(step("a"), group(step("b"), chain(step("c"), step("d"))), step("e"))
    assert joins(flow) == {"a": (), "b": ("a",), "c": ("a",), "d": ("c",), "e": ("b", "d")}


def test_groups_in_a_row_wait_for_each_other():
    flow = chain(group(step("a"), step("b")), group(step("c"), step("d")))
    assert joins(flow) == {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b")}


def test_finally_runs_in_any_case_and_what_follows_in_it_does_not():
    flow = chain(step("a"), finally_(chain(step("b"), step("c"))))
    assert joins(flow) == {"a": (), "b": ("a", "always"), "c": ("b",)}


def test_a_finally_of_an_inner_chain_is_part_of_what_is_waited_for():
    flow = chain(chain(step("a"), finally_(step("b"))), step("c"))
    assert joins(flow) == {"a": (), "b": ("a", "always"), "c": ("a", "b")}


def test_a_finally_of_a_chain_that_begins_in_any_case_is_one_of_the_pool():
    flow = chain(step("a"), finally_(chain(step("b"), finally_(step("c")))))
    assert joins(flow) == {"a": (), "b": ("a", "always"), "c": ("b", "always")}


def test_names_that_come_twice_are_told_apart():
    names = [task.identifier for task in tasks_of([Command("sh"), Command("sh")], "flow")]
    assert len({*names}) == 2


def test_all_that_a_command_has_the_task_has():
    command = Command("cat", "-", cwd="/", env={"A": "1", "B": None}, stdin="x", timeout=2.5)
    (task,) = tasks_of(Step(command, name="it", retry=Retry(attempts=3)), "flow")
    assert task == Task(
        "it", "cat", ("-",), "/", {"A": "1", "B": None}, "x", timeout=2.5, retries=2
    )


def test_params_are_those_of_the_chain():
    flow = Instrumentation(
        func_dispatcher=Command("echo", param("x")), task_arguments={"x": ["a", "b"]}
    )
    (task,) = tasks_of(flow, "flow")
    assert task.args == ("a", "b")


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        (chain(step("a"), lambda ctx, params: None), "it is no Command"),
        (Command("echo", param("x")), "a task has the chain's own arguments only"),
        (each(step("a"), over="items"), "one after the other or at once: no more"),
        (branch(lambda ctx, params: True, step("a")), "one after the other or at once: no more"),
        (group(step("a"), step("b"), most=1), "timeout, most and into of a group"),
        (group(step("a"), step("b"), errors="collect", into="x"), "timeout, most and into"),
        (chain(step("a"), timeout=3), "one after the other or at once: no more"),
        (step("a", timeout=3), "a Step's timeout"),
        (step("a", limit=Limit("of this test", 2)), "a limit"),
        (Command("grep", "x", ok=(0, 1)), "other exit codes"),
        (Command("date", into="now"), "into and parse"),
        (step("a", retry=Retry(when=lambda error: False)), "neither when nor deadline"),
        (step("a", retry=Retry(deadline=3)), "neither when nor deadline"),
        (chain(step("a"), chain(step("b"), finally_(step("c")))), "if its chain never began"),
        (
            chain(step("a"), group(chain(step("b"), finally_(step("c"))))),
            "if its chain never began",
        ),
    ],
)
def test_what_no_task_can_do_is_refused_by_name(flow, said):
    with pytest.raises(InvalidConfig, match=said) as refusal:
        tasks_of(flow, "flow.py:flow")
    assert str(refusal.value).startswith("flow.py:flow: step ")
