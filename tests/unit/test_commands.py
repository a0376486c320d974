"""Commands as values: what they ask to be executed, what they refuse, what comes of the output."""

import json
import pickle
import uuid
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.arguments import as_json, param
from instrumentation.chains import Instrumentation
from instrumentation.commands import Command
from instrumentation.errors import CommandFailed, InvalidConfig, ParamError
from instrumentation.invocations import Completed
from instrumentation.params import TaskParams
from instrumentation.signatures import look_at
from instrumentation.steps import Retry, Step


class Colour(Enum):
    RED = "red"
    MIXED = ("red", "blue")


class Size(StrEnum):
    BIG = "big"


class Level(IntEnum):
    HIGH = 3


def args_of(*args, **params):
    return Command("it", *args).invocation(params).args


@pytest.fixture
def ends_with(make_exec):
    """Run a command whose child ends like this; give what it merges."""

    def run(command, **ending):
        def execute(ctx, invocation, timeout, max_output):
            return Completed(**ending)

        return command(make_exec(execute=execute), TaskParams())

    return run


# What is executed


def test_text_is_literal():
    texts = ("{print $1}", "$(touch x)", "{}", "{input}", "%s", "*", "", " a  b ", "'\"\\", "-rf")
    assert args_of(*texts) == texts


def test_a_param_stands_for_its_value_and_for_text_around_it():
    assert args_of("-i", param("x"), param("x", "--size={}px"), x=3) == ("-i", "3", "--size=3px")


def test_braces_that_come_out_of_a_param_or_stand_around_it_are_text():
    assert args_of(param("x", "{a}{}{b}"), x="{}{y}") == ("{a}{}{y}{b}",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        ("", ""),
        (7, "7"),
        (-0.5, "-0.5"),
        (True, "true"),
        (False, "false"),
        (Path("/tmp/a b"), "/tmp/a b"),
        (PurePosixPath("a"), "a"),
        (b"abc", "abc"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Size.BIG, "big"),
        (Level.HIGH, "3"),
    ],
)
def test_values_have_a_text(value, text):
    assert args_of(param("x"), x=value) == (text,)
    assert args_of(param("x", "-{}-"), x=value) == (f"-{text}-",)


def test_a_list_is_several_arguments_or_none():
    assert args_of("a", param("x"), "b", x=["c d", 1, True]) == ("a", "c d", "1", "true", "b")
    assert args_of("a", param("x"), "b", x=("c",)) == ("a", "c", "b")
    assert args_of("a", param("x"), "b", x=[]) == ("a", "b")


@pytest.mark.parametrize(
    "value", [None, {}, {1}, object(), ["a", None], [["a"]], Colour.MIXED, 1j, range(2)]
)
def test_what_has_no_text_is_refused_by_the_names_of_command_and_param(value):
    with pytest.raises(ParamError, match=r"^it: param 'x': wanted text, .*, found \w+$") as refused:
        args_of(param("x"), x=value)
    assert refused.value.key == "x"


@pytest.mark.parametrize("value", ["a\0b", b"a\0b", ["a\0b"], "\ud800"])
def test_what_no_program_can_be_given_is_refused(value):
    with pytest.raises(ParamError, match=r"^it: param 'x': it has (a NUL|characters)"):
        args_of(param("x"), x=value)


def test_a_list_is_no_text():
    for command in (
        Command("it", param("x", "-{}")),
        Command("it", cwd=param("x")),
        Command("it", env={"A": param("x")}),
        Command("it", stdin=param("x")),
    ):
        with pytest.raises(ParamError, match="found list"):
            command.invocation({"x": ["a"]})


def test_a_param_that_is_missing_is_refused_and_those_that_are_there_named():
    with pytest.raises(ParamError, match=r"it: param 'y' is missing; the params are: a, x$"):
        args_of(param("y"), x=1, a=2)


def test_a_name_of_a_file_that_is_no_text_comes_back_as_its_bytes():
    (text,) = args_of(param("x"), x=b"caf\xe9")
    assert text.encode(errors="surrogateescape") == b"caf\xe9"


def test_directory_environment_and_standard_input_are_of_params_too():
    command = Command(
        "it",
        cwd=param("root", "{}/data"),
        env={"A": "1", "B": param("x"), "C": None},
        stdin=param("text"),
    )
    invocation = command.invocation({"root": Path("/srv"), "x": 5, "text": "grüß\0e"})
    assert invocation.cwd == "/srv/data"
    assert invocation.env == {"A": "1", "B": "5", "C": None}
    assert invocation.stdin == "grüß\0e".encode()


def test_bytes_are_standard_input_as_they_are():
    assert Command("it", stdin=param("x")).invocation({"x": b"\xff\0"}).stdin == b"\xff\0"
    with pytest.raises(ParamError, match="in no encoding"):
        Command("it", stdin=param("x")).invocation({"x": "\ud800"})


def test_without_anything_there_is_nothing():
    assert Command("it").invocation({}) == ("it", (), None, None, None)


def test_params_are_standard_input_as_json():
    params = TaskParams(name="Zoë", at=date(2026, 1, 2), n=[1, {"d": Decimal("1.5")}], none=None)
    everything = {"name": "Zoë", "at": "2026-01-02", "n": [1, {"d": "1.5"}], "none": None}
    assert json.loads(Command("it", stdin=as_json()).invocation(params).stdin) == everything
    some = Command("it", stdin=as_json("n", "name")).invocation(params).stdin
    assert some == '{"n": [1, {"d": "1.5"}], "name": "Zoë"}'.encode()


@pytest.mark.parametrize("value", [object(), b"x", {(1,): 2}, float("nan"), "\ud800", {1: {2}}])
def test_what_is_no_json_is_refused_by_name(value):
    with pytest.raises(ParamError, match=r"^it: param 'x': cannot be written as JSON"):
        Command("it", stdin=as_json()).invocation({"a": 1, "x": value})


def test_a_param_for_json_that_is_missing_is_refused():
    with pytest.raises(ParamError, match=r"it: param 'y' is missing; the params are: x$"):
        Command("it", stdin=as_json("y")).invocation({"x": 1})


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_text_arrives_as_it_is(texts):
    params = {f"p{n}": text for n, text in enumerate(texts)}
    assert args_of(*map(param, params), **params) == tuple(texts)
    assert args_of(param("all"), all=texts) == tuple(texts)
    assert args_of(*texts) == tuple(texts)


def test_it_finds_its_exec_in_the_environment_unless_that_says_otherwise(make_exec):
    asked = []

    def execute(ctx, invocation, timeout, max_output):
        asked.append((invocation, timeout, max_output))
        return Completed()

    ctx = make_exec(n=4, path="trip/1/it", execute=execute)
    ctx.attempt = 2
    Command("it", timeout=3, max_output=10)(ctx, TaskParams())
    Command("it", env={"WORKERMANAGER_KEY": "mine", "A": "b"})(ctx, TaskParams())
    identity = {"KEY": "run-1:4", "PATH": "trip/1/it", "ATTEMPT": "2"}
    named = {f"WORKERMANAGER_{name}": value for name, value in identity.items()}
    assert asked[0][0].env == named
    assert asked[0][1:] == (3, 10)
    assert asked[1][0].env == {**named, "WORKERMANAGER_KEY": "mine", "A": "b"}


def test_without_an_engine_it_is_refused(make_exec):
    with pytest.raises(InvalidConfig, match=r"^it: there is no engine here"):
        Command("/bin/it")(make_exec(), TaskParams())


# What comes back


def test_output_that_nobody_wants_is_dropped(ends_with):
    assert ends_with(Command("it"), stdout=b"\xff", is_truncated=True) is None


@pytest.mark.parametrize(
    ("stdout", "text"),
    [(b"", ""), (b"a\n", "a"), (b"a\n\n", "a\n"), (b" a ", " a "), ("ü\r\n".encode(), "ü\r")],
)
def test_output_is_text_without_the_newline_at_its_end(ends_with, stdout, text):
    assert ends_with(Command("it", into="out"), stdout=stdout) == {"out": text}


@pytest.mark.parametrize(
    ("stdout", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb\r\n\n", ["a", "", "b\r", ""]),
        ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc"]),
    ],
)
def test_output_is_lines(ends_with, stdout, lines):
    assert ends_with(Command("it", into="out", parse="lines"), stdout=stdout) == {"out": lines}


def test_output_is_bytes(ends_with):
    command = Command("it", into="out", parse="bytes")
    assert ends_with(command, stdout=b"\xff\n") == {"out": b"\xff\n"}


def test_output_is_json_in_a_param_or_merged(ends_with):
    assert ends_with(Command("it", parse="json"), stdout=b'{"a": [1]}\n') == {"a": [1]}
    assert ends_with(Command("it", into="out", parse="json"), stdout=b"3\n") == {"out": 3}
    assert ends_with(Command("it", into="out", parse="json"), stdout=b"{}") == {"out": {}}


@pytest.mark.parametrize(
    ("settings", "stdout", "told"),
    [
        ({"into": "x"}, b"ab\xff", r"it: its output is not UTF-8, from byte 2 on: parse=\"bytes\""),
        ({"parse": "json"}, b"\xff", "it: its output is not UTF-8"),
        ({"parse": "json"}, b"{", "it: its output is no JSON: "),
        ({"parse": "json"}, b"", "it: its output is no JSON: "),
        ({"parse": "json", "into": "x"}, b"[" * 100_000, "it: its output is no JSON: "),
        ({"parse": "json"}, b"[1]", "it: wrote no JSON object, but a list"),
    ],
)
def test_output_that_nobody_can_read_fails_the_step(ends_with, settings, stdout, told):
    with pytest.raises(CommandFailed, match=told) as failed:
        ends_with(Command("/bin/it", **settings), stdout=stdout, stderr=b"a word")
    assert (failed.value.command, failed.value.exit_code) == ("/bin/it", 0)
    assert failed.value.stderr == "a word"


def test_half_an_output_is_none(ends_with):
    with pytest.raises(CommandFailed, match="not all there: more than max_output=1,000 bytes"):
        ends_with(Command("it", into="x", max_output=1_000), stdout=b"a", is_truncated=True)


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ({"exit_code": 3}, "it: exit code 3"),
        ({"exit_code": 3, "stderr": b"one\ntwo\n\n \n"}, "it: exit code 3: two"),
        ({"exit_code": 3, "stdout": b"out\n"}, "it: exit code 3: out"),
        ({"exit_code": 3, "stdout": b"out", "stderr": b"err"}, "it: exit code 3: err"),
        ({"exit_code": 137, "signal": 9}, "it: signal 9 (SIGKILL)"),
        ({"exit_code": 163, "signal": 35, "stderr": b"x"}, "it: signal 35: x"),
        ({"exit_code": 1, "stderr": b"10%\r20%\r"}, "it: exit code 1: 20%"),
        ({"exit_code": 1, "stderr": b"\x1b[31mred\x07"}, "it: exit code 1:  [31mred "),
        ({"exit_code": 1, "stderr": b"\xff"}, "it: exit code 1: \ufffd"),
        ({"exit_code": 1, "stderr": b"a" * 300}, f"it: exit code 1: {'a' * 199}…"),
    ],
)
def test_a_failure_says_how_it_ended_and_its_last_words(ends_with, ending, told):
    with pytest.raises(CommandFailed) as failed:
        ends_with(Command("bin/it"), **ending)
    assert str(failed.value) == told
    assert failed.value.command == "bin/it"
    assert failed.value.exit_code == ending["exit_code"]
    assert failed.value.signal == ending.get("signal")


def test_a_failure_keeps_the_end_of_what_was_said(ends_with):
    with pytest.raises(CommandFailed) as failed:
        ends_with(Command("it"), exit_code=1, stderr=b"a" * 10_000 + b"b")
    assert failed.value.stderr == "a" * 8_191 + "b"


def test_exit_codes_that_are_ok_are_told(ends_with):
    assert ends_with(Command("grep", ok=(0, 1), into="x"), exit_code=1) == {"x": ""}
    with pytest.raises(CommandFailed, match="exit code 0"):
        ends_with(Command("grep", ok=[1]))
    with pytest.raises(CommandFailed, match="signal 9"):
        ends_with(Command("grep", ok=(0, 137)), exit_code=137, signal=9)


def test_a_failure_survives_the_way_to_another_process():
    sent = CommandFailed("it: exit code 3: why", "bin/it", 3, None, "why")
    received = pickle.loads(pickle.dumps(sent))
    assert str(received) == "it: exit code 3: why"
    assert vars(received) == vars(sent)


# A value, and a step


def test_it_is_a_value():
    first, second = (Command("it", "a", param("x"), env={"A": "b"}) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != Command("it", "a", param("y"), env={"A": "b"})
    assert first != Command("it", "a", param("x"), env={"A": "c"})
    with pytest.raises(FrozenInstanceError):
        first.command = "other"
    with pytest.raises(TypeError):
        first.env["A"] = "c"


def test_what_it_is_made_of_may_change_afterwards():
    env = {"A": "b"}
    command = Command("it", env=env)
    env["A"] = "c"
    assert command.invocation({}).env == {"A": "b"}


def test_its_repr_shows_no_environment_and_no_input():
    assert "secret" not in repr(Command("it", env={"A": "secret"}, stdin="secret"))


def test_it_is_a_plain_step_named_after_its_program():
    command = Command("/usr/bin/convert", param("x"))
    assert look_at(command) == (False, "")
    assert Step(command).name == "convert"
    assert Step(command, "resize", retry=Retry(attempts=3)).name == "resize"
    links = Instrumentation(func_dispatcher=[command, command, Command("/")]).links()
    assert [link.name for link in links] == ["convert", "convert#2", "/"]


def test_a_path_is_a_program_and_an_argument():
    command = Command(Path("bin/it"), Path("a"), cwd=Path("b"))
    assert command.invocation({}) == ("bin/it", ("a",), "b", None, None)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Command(""), "wanted the program"),
        (lambda: Command(param("x")), "wanted the program"),
        (lambda: Command(3), "its program: wanted text"),
        (lambda: Command("a\0"), "its program has a NUL"),
        (lambda: Command("it", 3), r"Command\('it'\): args\[0\]: wanted text, .*, found 3"),
        (lambda: Command("it", "a", None), r"args\[1\]: wanted text, .*, found None"),
        (lambda: Command("it", ["a"]), r"args\[0\]"),
        (lambda: Command("it", "a\0"), r"args\[0\] has a NUL"),
        (lambda: Command("it", "\ud800"), r"args\[0\] has characters"),
        (lambda: Command("it", cwd=3), "cwd: wanted text"),
        (lambda: Command("it", env=["A"]), "env: wanted a mapping, found list"),
        (lambda: Command("it", env={"A=": "b"}), "env: 'A=' is no name"),
        (lambda: Command("it", env={"": "b"}), "env: '' is no name"),
        (lambda: Command("it", env={1: "b"}), "env: 1 is no name"),
        (lambda: Command("it", env={"A": 1}), r"env\['A'\]: wanted text"),
        (lambda: Command("it", stdin=b"x"), "stdin: wanted text"),
        (lambda: Command("it", stdin="\ud800"), "stdin has characters"),
        (lambda: Command("it", into=""), "into='': wanted the name of a param"),
        (lambda: Command("it", into=3), "into=3"),
        (lambda: Command("it", parse="xml"), "parse='xml': use json, lines or bytes"),
        (lambda: Command("it", parse="lines"), 'parse="lines": into="…" must name a param'),
        (lambda: Command("it", parse="bytes"), 'parse="bytes": into="…" must name a param'),
        (lambda: Command("it", ok=0), "ok=0: wanted exit codes"),
        (lambda: Command("it", ok=()), r"ok=\(\)"),
        (lambda: Command("it", ok="01"), "ok='01'"),
        (lambda: Command("it", ok=(256,)), "ok="),
        (lambda: Command("it", ok=(True,)), "ok="),
        (lambda: Command("it", timeout=0), r"timeout=0\): must be seconds, above 0"),
        (lambda: Command("it", max_output=0), "max_output=0: must be bytes, 1 or more"),
        (lambda: Command("it", max_output=1.5), "max_output=1.5"),
        (lambda: param(""), r"param\(''\)"),
        (lambda: param(3), r"param\(3\)"),
        (lambda: param("x", "no place"), r"param\('x', 'no place'\): wanted text with one \{\}"),
        (lambda: param("x", "{}{}"), "one {}"),
        (lambda: as_json(""), r"as_json\(''\)"),
        (lambda: Command.shell(param("x")), "wanted the script as text"),
        (lambda: Command.shell(""), "wanted the script as text"),
        (lambda: Command.shell("-x"), "wanted the script as text"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(make, told):
    with pytest.raises(InvalidConfig, match=told) as refused:
        make()
    assert "\n" not in str(refused.value)


# Shells


def test_a_script_is_text_and_params_are_its_arguments():
    command = Command.shell('sort "$1" | uniq', param("input"), env={"A": param("b")}, timeout=3)
    assert command.invocation({"input": "$(x)", "b": "`y`"}) == (
        "/bin/sh",
        ("-c", 'sort "$1" | uniq', "sh", "$(x)"),
        None,
        {"A": "`y`"},
        None,
    )
    assert command.timeout == 3
    assert command.__name__ == "sh"


X = param("x")


@pytest.mark.parametrize(
    "args",
    [
        ("sh", "-c", X),
        ("/usr/bin/bash", "-c", X),
        ("bash5.2", "-c", X),
        ("dash", "-ec", X, "sh"),
        ("zsh", "-c", "-e", X),
        ("ksh", "-c", "--", X),
        ("sh", "-c", "-", X),
        ("bash", "-o", "pipefail", "-c", X),
        ("bash", "-c", "-o", "pipefail", X),
        ("bash", "-euo", "pipefail", "-c", X),
        ("bash", "+O", "extglob", "-c", X),
        ("bash", "--rcfile", "x", "-c", X),
        ("bash", "--norc", X),
        ("sh", X),
        ("sh", X, "a"),
        ("sh", "-s", X),
        ("sh", param("x", "-c{}")),
        ("env", "sh", "-c", X),
        ("env", "-i", "A=b", "bash", "-c", X),
        ("/usr/bin/timeout", "5", "bash", "-ec", X),
        ("xargs", "sh", "-c", X),
        ("busybox", "sh", "-c", X),
        ("timeout", "-k", "5", "--foreground", X, "nice", "-n", "3", "bash", "-c", X),
        ("sudo", "-u", "bob", "A=1", "flock", "-w", "9", "/tmp/lock", "sh", "-c", X),
    ],
)
def test_a_param_that_a_shell_would_read_as_its_script_is_refused(args):
    with pytest.raises(InvalidConfig, match=r"Command\.shell\(") as refused:
        Command(*args)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("stdin", [X, as_json()])
@pytest.mark.parametrize("args", [("sh",), ("bash", "-x"), ("sh", "-s", "a", X), ("sh", "--", X)])
def test_standard_input_out_of_params_is_no_script_either(args, stdin):
    with pytest.raises(InvalidConfig, match=r"Command\.shell\("):
        Command(*args, stdin=stdin)


@pytest.mark.parametrize(
    "args",
    [
        ("sh", "-c", 'echo "$1"', "sh", X),
        ("sh", "-ec", "x", X),
        ("bash", "-o", "pipefail", "-c", "x", X),
        ("bash", "-c", "--", "x", X),
        ("sh", "script.sh", X),
        ("sh", "--", X, X),
        ("sh", "-s", "a", X),
        ("sh", "-x"),
        ("env", "sh", "script.sh", X),
        ("env", X),
        ("xargs", "-n", "1", "grep", "sh", X),
        ("timeout", "5", "apt", "install", "fish", X),
        ("nice", "-n", X, "tar", "-cf", "x.tar", "sh", X),
        ("useradd", "-s", "bash", "-c", X),
        ("crash", "-c", X),
        ("awk", "{print $1}", X),
    ],
)
def test_what_a_shell_reads_as_text_is_a_param_s(args):
    assert Command(*args).invocation({"x": "y"}).args[-1] in ("y", "-x")


def test_a_script_may_read_params_as_its_input():
    for command in (Command.shell("cat", stdin=X), Command("sh", "script.sh", stdin=as_json())):
        assert b"$(x)" in command.invocation({"x": "$(x)"}).stdin
