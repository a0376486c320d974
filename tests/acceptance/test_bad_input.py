"""Bad input gets one line that names what and where, and the documented exit code."""

import pytest
from conftest import TARGETS

USAGE, INVALID = 2, 104

TARGETS_REFUSED = [
    ("nosuch:worker", "no module 'nosuch'"),
    ("nosuch.deeper:worker", "no module 'nosuch.deeper'"),
    ("nosuch.py:worker", "no file nosuch.py"),
    (f"{TARGETS}:nothing", "has no 'nothing'"),
    (f"{TARGETS}", "wanted module:name"),
    (f"{TARGETS}:forty_two", "found <class 'int'>"),
    (f"{TARGETS}:Path", "Path"),
    (f"{TARGETS}:takes_one", "step 'takes_one' takes (params); wanted (ctx, params)"),
    (f"{TARGETS}:is_generator", "step 'is_generator' is a generator"),
    (f"{TARGETS}:broken_factory", "RuntimeError: the factory is broken"),
]

FLAGS_REFUSED = [
    (["--execs-per-tick", "abc"], USAGE, "--execs-per-tick: 'abc' is not a whole number"),
    (["--execs-per-tick", "-5"], USAGE, "--execs-per-tick: -5 is out of range"),
    (["--execs-per-tick", "0"], USAGE, "--execs-per-tick: 0 is out of range"),
    (["--execs-per-tick", "1,two"], USAGE, "--execs-per-tick: 'two'"),
    (["--execs-per-tick", "0,0"], INVALID, "no tick has an exec"),
    (["--ticks", "0"], USAGE, "--ticks: 0 is out of range"),
    (["--tick-duration", "soon"], USAGE, "--tick-duration: 'soon' is not a duration"),
    (["--execs-per-tick", "3", "--tick-duration", "0"], INVALID, "never end"),
    (["--execs-per-tick", "3,4", "--ticks", "3"], INVALID, "lists 2 of them"),
    (["--spread", "wide"], USAGE, "--spread: 'wide' is unknown"),
    (["--overrun", "panic"], USAGE, "--overrun: 'panic' is unknown"),
    (["--overrun", "late:x"], USAGE, "--overrun: 'x' is not a duration"),
    (["--threads", "0"], USAGE, "--threads: 0 is out of range"),
    (["--threads", "1000000"], INVALID, "from 1 to 10000"),
    (["--seed", "pi"], USAGE, "--seed: 'pi'"),
    (["--set", "novalue"], USAGE, "--set 'novalue'"),
    (["--nosuch"], USAGE, "--nosuch"),
    (["--env-file", "nosuch.env"], USAGE, "nosuch.env"),
    (
        ["--json", "/no/such/folder/r.json"],
        USAGE,
        "--json /no/such/folder/r.json: cannot be written",
    ),
    (["--json", "/"], USAGE, "is a directory"),
    (["--database", "nonsense"], INVALID, "not a URL"),
    (["--database", "nosuch://x/y"], INVALID, "no driver"),
    (["--database", "sqlite:////no/such/folder/x.db"], INVALID, "unable to open database file"),
    (["--database", "postgresql://me:pw@127.0.0.1:1/x"], INVALID, "Connection refused"),
]


def refused(done, code, message):
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(("target", "message"), TARGETS_REFUSED)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_target_that_will_not_do(command, target, message, call):
    refused(call(command, target), INVALID, message)


@pytest.mark.parametrize(("flags", "code", "message"), FLAGS_REFUSED)
def test_a_flag_that_will_not_do(flags, code, message, call, tmp_path):
    refused(call("run", f"{TARGETS}:ok", *flags), code, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [([], ""), (["run"], "TARGET"), (["walk"], "walk"), (["report"], "REPORT")],
)
def test_a_command_that_is_none(args, message, call):
    done = call(*args)
    if args:
        refused(done, USAGE, message)
    else:
        assert "Usage" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORKERMANAGER_THREADS", "many", "WORKERMANAGER_THREADS: 'many'"),
        ("WORKERMANAGER_THREAD", "4", "did you mean WORKERMANAGER_THREADS?"),
        ("WORKERMANAGER_LOG_LEVEL", "loud", "WORKERMANAGER_LOG_LEVEL: 'loud'"),
    ],
)
def test_a_variable_that_will_not_do(variable, value, message, call, tmp_path):
    refused(call("run", f"{TARGETS}:ok", env={variable: value}), INVALID, message)
    (tmp_path / ".env").write_text(f"{variable}={value}\n")
    refused(call("run", f"{TARGETS}:ok"), INVALID, message)


def test_an_env_file_that_is_none(call, tmp_path):
    (tmp_path / ".env").write_text("A=1\nwhat is this?\n")
    refused(call("run", f"{TARGETS}:ok"), INVALID, ".env:2: wanted NAME=value")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{}", "not a report"),
        ("{", "not a report"),
        ("[1]", "not a report"),
    ],
)
def test_a_report_that_is_none(content, message, call, tmp_path):
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    refused(call("report", "r.json"), INVALID, message)


def test_a_target_with_a_syntax_error_and_one_that_imports_nothing_real(call, tmp_path):
    (tmp_path / "broken.py").write_text("x = (\n")
    refused(
        call("run", "broken.py:x"), INVALID, "SyntaxError: '(' was never closed (broken.py, line 1)"
    )
    (tmp_path / "lost.py").write_text("\nimport nosuchthing\n")
    refused(call("run", "lost:x"), INVALID, "lost.py:2)")
    refused(call("run", "lost.py:x"), INVALID, "No module named 'nosuchthing'")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    refused(call("run", "leaves.py:x"), INVALID, "SystemExit: 0")
