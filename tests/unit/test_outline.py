"""What an outline says of each part of a chain."""

import json

import pytest

from instrumentation.chains import Instrumentation
from instrumentation.commands import Command
from instrumentation.composing import (
    Composition,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)
from instrumentation.steps import Retry, Step
from workermanager.limits import Limit
from workermanager.outline import _KINDS, outline


def add(ctx, params):
    pass


def other(ctx, params):
    pass


async def fetch(ctx, params):
    pass


def of(*parts):
    """The outline of a chain, its parts by their paths below it."""
    told = outline("it", Instrumentation(func_dispatcher=parts, func_name="it").nodes())
    return {one["path"].removeprefix("it/"): one for one in every(told)}


def every(part):
    for one in part["parts"]:
        yield one
        yield from every(one)


def settings_of(part):
    (told, *_) = of(part).values()
    return told["settings"]


def test_a_plain_step_has_a_name_a_place_and_nothing_else():
    told = outline("it", Instrumentation(func_dispatcher=[add], func_name="it").nodes())
    step = {"name": "add", "kind": "step", "path": "it/1/add", "role": "", "settings": {}}
    assert told == {
        "name": "it",
        "kind": "chain",
        "path": "it",
        "role": "",
        "settings": {},
        "parts": [{**step, "parts": []}],
    }


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (fetch, {"async": True}),
        (Step(add, timeout=0.5), {"timeout": "500ms"}),
        (Step(add, retry=Retry(attempts=5)), {"retry": "5 attempts"}),
        (Step(add, retry=Retry(attempts=1, deadline=90)), {"retry": "1 attempt in 90s"}),
        (Step(add, limit=Limit("pay", 5)), {"limit": "pay (5 at once)"}),
        (
            Step(add, limit=Limit("calls", "10/s", burst=3, weight=2)),
            {"limit": "calls (10/s with a burst of 3, weight 2)"},
        ),
    ],
)
def test_what_is_set_for_a_step_is_told(step, settings):
    assert settings_of(step) == settings


def test_a_limit_of_another_s_making_is_told_by_its_name():
    class Turnstile:
        name = "door"

        def enter(self, context):
            pass

        async def enter_async(self, context):
            pass

        def leave(self):
            pass

    assert settings_of(Step(add, limit=Turnstile())) == {"limit": "door"}


@pytest.mark.parametrize(
    ("part", "kind", "settings"),
    [
        (chain(add, name="chain"), "chain", {}),
        (chain(add, name="chain", timeout=2), "chain", {"timeout": "2s"}),
        (group(add), "group", {"errors": "raise"}),
        (
            group(add, other, most=1, errors="collect", into="all", timeout=60),
            "group",
            {"most": 1, "errors": "collect", "into": "all", "timeout": "60s"},
        ),
        (each(add, over="users"), "each", {"over": "users", "item": "item", "most": 16}),
        (each(add, over=other, item="user", most=2), "each", {"over": "other", "item": "user"}),
        (branch(other, add), "branch", {}),
        (on_error(add, other), "on_error", {"when": "Exception"}),
        (
            on_error(add, other, when=(OSError, KeyError)),
            "on_error",
            {"when": "OSError or KeyError"},
        ),
        (compensate(add, other), "compensate", {}),
        (finally_(add), "finally", {}),
    ],
)
def test_what_is_set_for_a_composition_is_told(part, kind, settings):
    told = of(part)[f"1/{kind}"]
    assert (told["kind"], told["name"]) == (kind, kind)
    assert settings.items() <= told["settings"].items()


def test_there_is_a_kind_for_every_composition_there_is():
    there_are = {kind.__name__ for kind in Composition.__subclasses__()}
    assert {kind.__name__ for kind in _KINDS} == there_are


def test_the_members_of_a_composition_say_what_they_are_for():
    told = of(branch(add, add, other), on_error(add, other), compensate(add, other), group(add))
    assert {path: one["role"] for path, one in told.items() if one["role"]} == {
        "1/branch/0/add": "if",
        "1/branch/1/add": "then",
        "1/branch/2/other": "otherwise",
        "2/on_error/2/other": "handler",
        "3/compensate/2/other": "undo",
    }


def test_a_branch_with_one_way_has_two_members():
    assert [one["role"] for one in of(branch(add, other)).values()] == ["", "if", "then"]


def test_names_are_those_of_the_figures():
    told = of(add, add, group(add, group(add)))
    assert {one["name"] for one in told.values()} == {
        *("add", "add#2", "add#3", "add#4", "group", "group#2"),
    }


def test_an_outline_is_json():
    part = group(
        each(Step(add, limit=Limit("pay", 5)), over=lambda params: []), on_error(add, other)
    )
    told = outline("it", Instrumentation(func_dispatcher=part, func_name="it").nodes())
    assert json.loads(json.dumps(told)) == told


def test_a_command_shows_its_program_and_not_its_arguments():
    assert settings_of(Command("/usr/bin/convert", "a secret")) == {"command": "/usr/bin/convert"}
    assert settings_of(Command.shell("a secret", timeout=3)) == {"command": "/bin/sh"}
