from enum import StrEnum

import pytest

from instrumentation.errors import InvalidConfig
from workermanager.processes.fields import FIELDS, read_task
from workermanager.processes.task import Task

A = {"identifier": "a", "command": "true"}


class Name(StrEnum):
    RESIZE = "resize"


def refused(value, **how):
    with pytest.raises(InvalidConfig) as caught:
        read_task(value, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_field_is_read():
    value = {
        "identifier": "résumé",
        "command": "convert",
        "args": ["-x", ""],
        "cwd": "/tmp",
        "env": {"A": "1", "PATH": None},
        "stdin": "in\n",
        "timeout": "1m30s",
        "retries": 3,
        "after": ["b", "c"],
        "always": True,
    }
    assert read_task(value) == Task(
        "résumé",
        "convert",
        ("-x", ""),
        "/tmp",
        {"A": "1", "PATH": None},
        "in\n",
        90.0,
        3,
        ("b", "c"),
        always=True,
    )


def test_the_fields_are_those_of_a_task_in_its_order():
    assert Task._fields == FIELDS


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "identifier"])
def test_null_is_as_good_as_absent(name):
    assert read_task({**A, name: None}) == read_task({k: v for k, v in A.items() if k != name})


def test_what_only_the_start_can_tell_is_not_refused():
    assert read_task({"identifier": "a"}).command == ""
    task = read_task(
        {"identifier": "a", "command": "\0", "args": ["\0"], "cwd": "\0", "env": {"A\0": "\0"}}
    )
    assert (task.command, task.args, task.cwd, task.env) == ("\0", ("\0",), "\0", {"A\0": "\0"})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"arg": []}, "unknown field 'arg': did you mean 'args'?"),
        ({"Command": "x"}, "unknown field 'Command': did you mean 'command'?"),
        ({"xyz": 1}, f"unknown field 'xyz': there are {', '.join(FIELDS)}"),
        ({"\n\ud800": 1}, f"unknown field '\\n\\ud800': there are {', '.join(FIELDS)}"),
        ({"identifier": None}, "identifier: wanted text that names the task, found none"),
        ({"identifier": ""}, "identifier: wanted text that names the task, found none"),
        ({"identifier": 5}, "identifier: wanted text, found 5"),
        ({"command": ["true"]}, "command: wanted text, found an array"),
        ({"args": "x"}, "args: wanted an array of texts, found 'x'"),
        ({"args": ["a", 7]}, "args[1]: wanted text, found 7"),
        ({"args": [None]}, "args[0]: wanted text, found null"),
        ({"cwd": False}, "cwd: wanted text, found false"),
        ({"env": ["A=1"]}, "env: wanted an object of texts, found an array"),
        ({"env": {"A": 1.5}}, "env['A']: wanted text, found 1.5"),
        ({"env": {"": "x"}}, "env: '' cannot be the name of a variable"),
        ({"env": {"A=B": "x"}}, "env: 'A=B' cannot be the name of a variable"),
        ({"stdin": {}}, "stdin: wanted text, found an object"),
        ({"retries": -1}, "retries: wanted 0 or more, found -1"),
        ({"retries": 1.0}, "retries: wanted a whole number, found 1.0"),
        ({"retries": True}, "retries: wanted a whole number, found true"),
        ({"after": "b"}, "after: wanted an array of texts, found 'b'"),
        ({"after": ["b", 1]}, "after[1]: wanted text, found 1"),
        ({"after": ["b"], "always": 1}, "always: wanted true or false, found 1"),
        ({"always": True}, "always: it is about the tasks in 'after', and there are none"),
        ({"cwd": 7, "x": 1}, "cwd: wanted text, found 7"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wanted(fields, complaint):
    assert refused({**A, **fields}) == complaint


@pytest.mark.parametrize(
    ("written", "seconds"), [(5, 5.0), (0.25, 0.25), ("1m30s", 90.0), ("500ms", 0.5), ("2", 2.0)]
)
def test_a_timeout_is_in_seconds_or_as_people_write_it(written, seconds):
    assert read_task({**A, "timeout": written}).timeout == seconds


@pytest.mark.parametrize(
    "written",
    [
        *(0, -1, 0.0, 1e-12, 1e300, float("inf"), float("nan")),
        *("0s", "-1s", "soon", "", "9" * 70 + "d", "9" * 10_000, True, [], {}),
    ],
)
def test_what_is_no_timeout_is_refused_by_name(written):
    complaint = refused({**A, "timeout": written})
    assert complaint.startswith("timeout: ")
    assert len(complaint) < 250


@pytest.mark.parametrize("value", [None, 5, "a", [], True])
def test_a_task_is_an_object(value):
    assert refused(value).startswith("wanted an object, found ")


@pytest.mark.parametrize(
    "fields",
    [
        {"identifier": "\ud800"},
        {"command": "a\udfff"},
        {"args": ["\udc80"]},
        {"cwd": "\ud800"},
        {"env": {"A": "\ud800"}},
        {"env": {"\ud800": "A"}},
        {"stdin": "\ud800 " * 10_000},
        {"after": ["\ud800"]},
    ],
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_is(fields):
    complaint = refused({**A, **fields})
    assert complaint.startswith(next(iter(fields)))
    assert "half of a surrogate pair" in complaint
    assert complaint.isascii() or "…" in complaint


def test_numbers_that_python_would_not_write_are_refused_as_others_are():
    endless = 10**5_000  # hexadecimal in TOML
    assert refused({**A, "cwd": endless}) == f"cwd: wanted text, found {hex(endless)[:79]}…"
    assert refused({**A, "retries": endless}).startswith("retries: wanted 0 or more, found 0x")
    assert refused({**A, "timeout": endless}).startswith("timeout: wanted more than 0")


def test_long_values_are_shown_in_part():
    long = "x" * 1_000_000
    assert len(refused({**A, long: 1})) < 250
    assert len(refused({**A, "retries": long})) < 250
    assert len(refused({**A, "env": {long: 1}})) < 250


def test_a_member_of_an_enumeration_is_the_text_it_stands_for():
    task = read_task({"identifier": Name.RESIZE, "command": Name.RESIZE})
    assert type(task.identifier) is str
    assert hash(task.identifier) == hash("resize")


@pytest.mark.parametrize(
    ("value", "task"),
    [
        (None, Task("", "")),
        ({}, Task("", "")),
        ({"identifier": None, "command": None, "args": None}, Task("", "")),
        ({"IDENTIFIER": "a", "Command": "x", "aRgs": ["1"]}, Task("a", "x", ("1",))),
        ({"identifier": "", "command": "x", "args": ["a", None]}, Task("", "x", ("a", ""))),
        ({"command": "x", "timeout": "later", "env": 5, "after": [1]}, Task("", "x")),
    ],
)
def test_leniently_a_task_is_what_the_original_takes(value, task):
    assert read_task(value, is_lenient=True) == task


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (5, "wanted an object, found 5"),
        ([], "wanted an object, found an array"),
        ({"Identifier": 5}, "identifier: wanted text, found 5"),
        ({"ARGS": [7]}, "args[0]: wanted text, found 7"),
        ({"args": "x"}, "args: wanted an array of texts, found 'x'"),
    ],
)
def test_leniently_other_types_are_still_refused(value, complaint):
    assert refused(value, is_lenient=True) == complaint
