"""What the flags of ``workermanager schedule`` may not say is told in one line."""

import os
import sys

import pytest

from workermanager.cli import main

USAGE, INVALID = 2, 104

REFUSED = [
    (["targets_of_flags.py:ok"], INVALID, "when? give every, cron or at"),
    (["targets_of_flags.py:ok", "--every", "soon"], INVALID, "every: 'soon' is not a duration"),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--cron", "@daily"],
        INVALID,
        "every and cron: one",
    ),
    (
        ["targets_of_flags.py:ok", "--cron", "61 * * * *"],
        INVALID,
        'cron "61 * * * *": minute: 61 is out of range: it must be from 0 to 59',
    ),
    (["targets_of_flags.py:ok", "--at", "tomorrow"], INVALID, "at: 'tomorrow' is no date and time"),
    (
        ["targets_of_flags.py:ok", "--at", "2026-01-01T00:00"],
        INVALID,
        "has no time zone; write 2026-01-",
    ),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--tz", "Nowhere"],
        INVALID,
        "'Nowhere' is no time zone",
    ),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--misfire", "x"],
        INVALID,
        "misfire: 'x' is unknown",
    ),
    (["targets_of_flags.py:ok", "--every", "5m", "--pause-after", "0"], INVALID, "pause_after: 0"),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--pause-for", "1s"],
        INVALID,
        "pause_for needs pause_aft",
    ),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--drain", "x"],
        INVALID,
        "--drain: 'x' is not a dur",
    ),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--for", "x"],
        INVALID,
        "--for: 'x' is not a duration",
    ),
    (["targets_of_flags.py:ok", "--every", "5m", "--fires", "0"], USAGE, "--fires"),
    (["targets_of_flags.py:ok", "--every", "5m", "--threads", "0"], USAGE, "--threads"),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--set", "x"],
        USAGE,
        "--set 'x': wanted key=value",
    ),
    (
        ["targets_of_flags.py:ok", "--every", "5m", "--json", "/no/such/r.json"],
        USAGE,
        "cannot be written",
    ),
    (["targets_of_flags.py:ok", "--every", "5m", "--store", ""], INVALID, "not a URL"),
    (["targets_of_flags.py:nothing", "--every", "5m"], INVALID, "has no 'nothing'"),
    (["app.py", "--every", "5m"], INVALID, "wanted module:name, path/file.py:name, or a .toml"),
    (["--every", "5m"], USAGE, "FILE_OR_TARGET"),
    (["no.toml"], INVALID, "no.toml: cannot be read: No such file"),
    (["jobs.toml", "--every", "5m"], USAGE, "--every goes with one TARGET: jobs.toml says it"),
    (["jobs.toml", "--pause-after", "5"], USAGE, "--pause-after goes with one TARGET"),
    (["jobs.toml", "--set", "a=1"], USAGE, "--set goes with one TARGET"),
    (["list"], INVALID, "which store? give --store URL or WORKERMANAGER_STORE"),
    (["list", "--store", ""], INVALID, "not a URL"),
    (["history", "-n", "9" * 20, "--store", "sqlite:///s.db"], USAGE, "-n"),
    (["pause", "--store", "sqlite:///s.db"], USAGE, "NAME"),
    (["pause", "x", "--until", "2026-01-01T00:00Z", "--for", "1s"], USAGE, "one of them"),
    (["next", "0"], USAGE, "wanted [N] [FILE_OR_TARGET]"),
    (["next", "2", "a", "b"], USAGE, "wanted [N] [FILE_OR_TARGET]"),
    (["next", "--cron", "* * *"], INVALID, 'cron "* * *"'),
    (["next", "--cron", "@daily", "--store", "sqlite:///s.db"], USAGE, "--store has its own"),
    (["next", "jobs.toml", "--tz", "UTC"], USAGE, "--tz goes with one TARGET"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to be in, with a target and nothing else; no setting leaks in from outside."""
    (tmp_path / "targets_of_flags.py").write_text("def ok(ctx, params):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "targets_of_flags", raising=False)
    for variable in list(os.environ):
        if variable.startswith("WORKERMANAGER_"):
            monkeypatch.delenv(variable)
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Call ``workermanager schedule ARGS``, and give its exit code and what it printed."""

    def call(*args):
        monkeypatch.setattr("sys.argv", ["workermanager", "schedule", *args])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(("args", "code", "message"), REFUSED)
def test_what_will_not_do_is_one_line(args, code, message, call, folder):
    left, printed, told = call(*args)
    assert left == code, told
    assert message in told
    assert len(told.splitlines()) == 1
    assert printed == ""
    assert [path.name for path in folder.iterdir()] == ["targets_of_flags.py"]
