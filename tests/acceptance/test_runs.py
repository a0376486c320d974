"""``workermanager runs``: the latest runs; a database's where one is named."""

import json

import pytest
from conftest import TARGETS

from tests.kit.reports import steady, with_run
from workermanager.history import History

USAGE, INVALID = 2, 104


@pytest.fixture
def history(environment):
    return History.open_default(environment)


@pytest.fixture
def runs(history):
    """Three runs of the history; the second one failed."""
    one, failed = steady(windows=9), steady(windows=9, failed=1)
    history.save(with_run(one, id="first", tags={"db": "sqlite", "[b]": "x"}))
    history.save(with_run(failed, id="second", tags={"db": "sqlite"}))
    history.save(with_run(one, id="third"))


@pytest.fixture
def ledger(call):
    """A database with the run ``recorded`` in its ledger."""
    plan = ("--execs-per-tick", 2, "--ticks", 1, "--tick-duration", 0)
    database = ("--database", "sqlite:///things.db")
    done = call("run", f"{TARGETS}:seeds_things", *plan, *database, "--run-id", "recorded")
    assert done.returncode == 0, done.stderr
    return "sqlite:///things.db"


def refused(done, code, message):
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def ids(done):
    assert done.returncode == 0, done.stderr
    return [run["id"] for run in json.loads(done.stdout)]


def test_the_history_is_listed_the_latest_first(call, runs):
    lines = call("runs").stdout.splitlines()
    heads = [line.split()[0] for line in lines if line.strip()]
    assert [head for head in heads if head.isalpha()] == ["run", "third", "second", "first"]
    (second,) = (line.split() for line in lines if "second" in line)
    assert second == [
        *("second", "chain", "failed", "2026-01-02T03:04:05", "9s", "101/s", "9.96ms"),
        *("9", "db=sqlite"),
    ]
    assert any("db=sqlite [b]=x" in line for line in lines)


def test_the_history_as_json_has_what_scripts_need(call, runs):
    latest, failed, _ = json.loads(call("runs", "--json").stdout)
    assert latest == {
        "id": "third",
        "name": "chain",
        "outcome": "passed",
        "started_at": "2026-01-02T03:04:05.678Z",
        "duration_s": 9.0,
        "counts": latest["counts"],
        "rate": 100.0,
        "p99_ms": latest["p99_ms"],
        "tags": {},
        "exit_code": 0,
    }
    assert failed["counts"]["failed"] == 9
    assert failed["exit_code"] == 1


def test_the_list_is_as_long_as_wanted_and_has_the_tags_wanted(call, runs):
    assert ids(call("runs", "--json", "--limit", 2)) == ["third", "second"]
    assert ids(call("runs", "--json", "--tag", "db=sqlite")) == ["second", "first"]
    assert ids(call("runs", "--json", "--tag", "db=sqlite", "--tag", "[b]=x")) == ["first"]
    done = call("runs", "--tag", "db=postgres")
    assert (done.returncode, done.stdout.split()[:3]) == (0, ["no", "such", "run"])


def test_twenty_runs_are_listed_if_nothing_is_said(call, history):
    for n in range(25):
        history.save(with_run(steady(windows=1), id=f"run-{n}"))
    assert ids(call("runs", "--json")) == [f"run-{n}" for n in range(24, 4, -1)]


def test_a_history_without_a_run_says_so(call):
    assert call("runs").stdout == "no run yet\n"
    assert ids(call("runs", "--json")) == []


def test_a_database_that_is_named_is_listed_instead(call, runs, ledger):
    assert ids(call("runs", "--json", "--database", ledger)) == ["recorded"]
    env = {"WORKERMANAGER_DATABASE": ledger}
    assert ids(call("runs", "--json", env=env)) == ["recorded"]
    assert ids(call("runs", "--json", "--history", env=env))[-3:] == ["third", "second", "first"]
    assert "recorded" in call("runs", "--database", ledger).stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--limit", "0"], USAGE, "--limit"),
        (["--limit", "few"], USAGE, "--limit"),
        (["--tag", "db"], USAGE, "--tag 'db': wanted KEY=VALUE"),
        (["--tag", "=x"], USAGE, "--tag '=x': wanted KEY=VALUE"),
        (["--history", "--database", "sqlite:///x.db"], USAGE, "not both"),
        (["--limit", "2", "--database", "sqlite:///x.db"], USAGE, "are for the history"),
        (["--tag", "a=b", "--database", "sqlite:///x.db"], USAGE, "are for the history"),
    ],
)
def test_flags_that_will_not_do(args, code, message, call):
    refused(call("runs", *args), code, message)


def test_a_history_that_will_not_do_is_told_in_one_line(call, history):
    history.path.parent.mkdir()
    history.path.write_text("no database " * 100)
    message = f"run history {history.path}: cannot be read: file is not a database"
    refused(call("runs"), INVALID, message)
    refused(call("runs", "--json"), INVALID, message)
