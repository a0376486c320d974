"""A run that was ended before its end is finished by ``resume``; what cannot be resumed is told."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from conftest import ROOT, TARGETS

USAGE, INVALID = 2, 104
DATABASE = ("--database", "sqlite:///things.db")
PLAN = ("--execs-per-tick", "5,5", "--tick-duration", "0", "--seed", "7")
RESUME = ("run", f"{TARGETS}:seeds_things", "--resume", "first")


def read(folder, sql="SELECT id, name FROM things ORDER BY id", name="things.db"):
    with closing(sqlite3.connect(folder / name)) as connection:
        return connection.execute(sql).fetchall()


def tables_of(folder):
    return {name for (name,) in read(folder, "SELECT name FROM sqlite_master WHERE type='table'")}


def refused(done, code, message):
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A database with the finished run ``first`` of ten execs, and one that a program made."""
    folder = tmp_path_factory.mktemp("recorded")
    env = {name: text for name, text in os.environ.items() if "WORKERMANAGER_" not in name}
    run = f"""
import sys
sys.path.insert(0, {str(TARGETS.parent)!r})
from dataclasses import replace
from targets import seeds_things
replace(seeds_things(), database="sqlite:///things.db", run_id="by-a-program", ledger=True).run()
"""
    for command in (
        ["-c", run],
        [
            *("-m", "workermanager", "run", f"{TARGETS}:seeds_things", "--run-id", "first"),
            *("--set", "size=1", "--quiet", *PLAN),
            *("--database", "sqlite:///other.db"),
        ],
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**env, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(recorded, tmp_path):
    """The folder that commands are called in, with the run ``first`` in things.db."""
    shutil.copy(recorded / "other.db", tmp_path / "things.db")
    shutil.copy(recorded / "things.db", tmp_path / "program.db")
    return tmp_path


# Finishing a run


def test_a_run_that_was_stopped_is_finished_by_resume(start, call, tmp_path):
    plan = ("--execs-per-tick", 50, "--ticks", 2, "--tick-duration", 0, "--seed", 7)
    process = start(
        *("holds_on", "--run-id", "night", "--threads", 2, "--grace", "10ms", *plan, *DATABASE),
        *("--set", f"allow={tmp_path / 'allow'}"),
    )
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 105, errors
    assert "to finish it: workermanager resume night --database sqlite:///things.db" in errors

    (run,) = json.loads(call("runs", "--json", *DATABASE).stdout)
    durable = len(read(tmp_path))
    assert 0 < durable < 100
    assert (run["id"], run["state"]) == ("night", "interrupted")
    assert (run["durable"], run["planned"], run["seed"]) == (durable, 100, 7)
    listed = call("runs", *DATABASE).stdout
    assert "night" in listed
    assert "interrupted" in listed

    (tmp_path / "allow").touch()
    done = call("resume", "night", *DATABASE, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["run"]["resumed"] is True
    assert (report["run"]["id"], report["run"]["seed"]) == ("night", 7)
    assert report["counts"]["skipped"] == durable
    assert report["counts"]["ok"] == report["counts"]["due"] == 100 - durable
    assert report["rows"] == {"things": 100 - durable}
    assert json.loads(call("runs", "--json", *DATABASE).stdout)[0]["state"] == "finished"

    undisturbed = call(
        *("run", f"{TARGETS}:holds_on", *plan, "--database", "sqlite:///undisturbed.db"),
        *("--set", f"allow={tmp_path / 'allow'}", "--set", f"marker={tmp_path / 'marker'}"),
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert read(tmp_path) == read(tmp_path, name="undisturbed.db")


def test_resume_runs_the_execs_that_failed_and_no_others(call, tmp_path):
    target = f"{TARGETS}:fails_unless_allowed"
    done = call("run", target, "--run-id", "half", *PLAN, *DATABASE)
    assert done.returncode == 1
    assert "workermanager resume half" in done.stderr
    (tmp_path / "allow").touch()
    done = call("run", target, "--resume", "half", *DATABASE, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert (counts["ok"], counts["skipped"]) == (5, 5)
    assert len(read(tmp_path)) == 10


def test_a_run_that_failed_again_can_be_resumed_again(call, tmp_path):
    target = f"{TARGETS}:fails_unless_allowed"
    call("run", target, "--run-id", "half", *PLAN, *DATABASE)
    assert call("resume", "half", *DATABASE).returncode == 1
    assert json.loads(call("runs", "--json", *DATABASE).stdout)[0]["state"] == "failed"
    (tmp_path / "allow").touch()
    assert call("resume", "half", *DATABASE).returncode == 0


def test_a_finished_run_is_resumed_by_doing_nothing(call, folder):
    before = read(folder)
    done = call("resume", "first", *DATABASE, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "the callback ran" not in done.stdout
    report = json.loads((folder / "r.json").read_text())
    assert (report["counts"]["due"], report["counts"]["skipped"]) == (0, 10)
    assert report["run"]["outcome"] == "passed"
    assert read(folder) == before
    assert json.loads(call("runs", "--json", *DATABASE).stdout)[0]["state"] == "finished"


def test_a_finished_run_breaks_no_threshold_by_doing_nothing(call, folder):
    env = {"WORKERMANAGER_THRESHOLDS": "p99<1h,rate>=1/min,failed<5%"}
    done = call("resume", "first", *DATABASE, env=env)
    assert done.returncode == 0, done.stdout
    assert "broken" not in done.stdout


def test_the_database_may_come_from_the_environment(call, folder):
    env = {"WORKERMANAGER_DATABASE": "sqlite:///things.db"}
    assert "first" in call("runs", env=env).stdout
    assert call("resume", "first", env=env).returncode == 0


def test_what_the_environment_says_of_the_plan_does_not_change_a_resumed_run(call, folder):
    env = {"WORKERMANAGER_SEED": "8", "WORKERMANAGER_EXECS_PER_TICK": "3"}
    done = call("resume", "first", *DATABASE, env=env)
    assert done.returncode == 0, done.stderr


def test_threads_and_such_may_be_others(call, folder):
    done = call("resume", "first", *DATABASE, "--threads", 3, "--grace", "1s")
    assert done.returncode == 0, done.stderr


def test_a_run_of_a_program_is_resumed_with_its_target(call, folder):
    program = ("--database", "sqlite:///program.db")
    done = call("resume", "by-a-program", f"{TARGETS}:seeds_things", *program)
    assert done.returncode == 0, done.stderr


def test_force_overlooks_another_param(call, folder):
    done = call("resume", "first", *DATABASE, "--set", "size=2", "--force")
    assert done.returncode == 0, done.stderr


# Refusals


REFUSED = [
    (["resume", "first"], "which database? give --database URL or WORKERMANAGER_DATABASE"),
    (
        ["resume", "nosuch", *DATABASE],
        "run nosuch is not in this database; workermanager runs lists them",
    ),
    (
        [*RESUME, *DATABASE, "--seed", "8"],
        "run first cannot be resumed: seed is 8, was 7\n",
    ),
    (
        [
            "run",
            f"{TARGETS}:seeds_things",
            "--resume",
            "first",
            *DATABASE,
            "--seed",
            "8",
            "--force",
        ],
        "run first cannot be resumed: seed is 8, was 7\n",
    ),
    (
        [*RESUME, *DATABASE, "--execs-per-tick", "5,6"],
        "run first cannot be resumed: execs_per_tick is 5,6, was 5,5\n",
    ),
    (
        [*RESUME, *DATABASE, "--spread", "burst"],
        "run first cannot be resumed: spread is burst, was even\n",
    ),
    (
        [*RESUME, *DATABASE, "--tick-duration", "1ns"],
        "run first cannot be resumed: tick_duration is 0.000000001s, was 0s\n",
    ),
    (
        ["resume", "first", *DATABASE, "--set", "size=2"],
        "run first cannot be resumed: param size is not what it was; --force resumes it",
    ),
    (
        ["resume", "first", *DATABASE, "--set", "colour=red"],
        "run first cannot be resumed: param colour is new; --force resumes it",
    ),
    (["resume", "first", f"{TARGETS}:fails", *DATABASE], "run first cannot be resumed: step 1 is"),
    (
        ["resume", "by-a-program", "--database", "sqlite:///program.db"],
        "run by-a-program was started by a program: workermanager resume by-a-program TARGET",
    ),
    (
        ["run", f"{TARGETS}:seeds_things", "--run-id", "first", *DATABASE],
        "run first is in this database already; resume it, or use another --run-id",
    ),
    (["resume", "first", "nosuch:target", *DATABASE], "no module 'nosuch'"),
    *(
        (
            ["run", f"{TARGETS}:seeds_things", "--run-id", run_id, *DATABASE],
            "must be 1 to 64 letters, digits, dots, dashes or underscores",
        )
        for run_id in ("", "two words", "x" * 65, "a/b", "x\n")
    ),
]


@pytest.mark.parametrize(("args", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_cannot_be_resumed_is_told_in_one_line_and_changes_nothing(
    args, message, call, folder
):
    before = read(folder), read(folder, "SELECT * FROM workermanager_runs")
    refused(call(*args), INVALID, message)
    assert (read(folder), read(folder, "SELECT * FROM workermanager_runs")) == before


def test_a_new_run_and_one_that_is_there_are_not_both_meant(call, folder):
    target = f"{TARGETS}:seeds_things"
    refused(call("run", target, "--run-id", "x", "--resume", "first", *DATABASE), USAGE, "not both")


@pytest.mark.parametrize(
    "args",
    [
        ["runs"],
        ["resume", "first"],
        ["resume", "first", f"{TARGETS}:seeds_things"],
        [*RESUME],
    ],
)
def test_a_database_file_that_is_not_there_is_not_created(args, call, tmp_path):
    refused(call(*args, *DATABASE), INVALID, "database sqlite:///things.db: there is no such file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [["runs"], ["resume", "first"]])
def test_a_database_without_a_ledger_says_so_and_stays_as_it_is(args, call, tmp_path):
    with closing(sqlite3.connect(tmp_path / "things.db")) as connection:
        connection.execute("CREATE TABLE mine (id)")
    refused(call(*args, *DATABASE), INVALID, "no run is recorded in this database")
    assert tables_of(tmp_path) == {"mine"}


def test_a_target_without_a_database_cannot_be_resumed(call):
    done = call("run", f"{TARGETS}:ok", "--resume", "first")
    refused(done, INVALID, "which database?")


# What is kept


def test_without_a_ledger_nothing_but_the_rows_is_written(call, tmp_path):
    done = call("run", f"{TARGETS}:seeds_things", "--no-ledger", *PLAN, *DATABASE)
    assert done.returncode == 0, done.stderr
    assert tables_of(tmp_path) == {"things"}
    assert len(read(tmp_path)) == 10


def test_a_run_without_a_ledger_offers_no_resume(call):
    target = f"{TARGETS}:fails_unless_allowed"
    done = call("run", target, "--no-ledger", *PLAN, *DATABASE)
    assert done.returncode == 1
    assert "resume" not in done.stderr


@pytest.mark.parametrize("name", ["token", "DB_PASSWORD"])
def test_a_secret_param_is_neither_stored_nor_shown(name, call, tmp_path):
    secret = ("--set", f"{name}=canary-5f2e")
    target = f"{TARGETS}:fails_unless_allowed"
    run = call("run", target, "--run-id", "x", "--json", "r.json", *secret, *PLAN, *DATABASE)
    assert run.returncode == 1, run.stderr
    listed = call("runs", "--json", *DATABASE)
    refusal = call("resume", "x", *DATABASE)
    refused(refusal, INVALID, f"param {name} is missing")
    (tmp_path / "allow").touch()
    resumed = call("resume", "x", *DATABASE, *secret)
    assert resumed.returncode == 0, resumed.stderr
    for done in (run, listed, refusal, resumed):
        assert "canary" not in done.stdout + done.stderr
    files = [path for path in tmp_path.iterdir() if path.name != "allow"]
    assert len(files) >= 2
    for path in files:
        assert b"canary" not in path.read_bytes(), path


@pytest.mark.parametrize(
    "assignment",
    [
        "dsn=postgresql://me:canary-5f2e@db.example/x",
        'config={"password": "canary-5f2e"}',
        "api_key=canary-5f2e",
    ],
)
def test_a_secret_inside_a_param_is_not_stored_either(assignment, call, tmp_path):
    call("run", f"{TARGETS}:fails_unless_allowed", *PLAN, *DATABASE, "--set", assignment)
    assert b"canary" not in (tmp_path / "things.db").read_bytes()


def test_the_deadlines_of_what_is_left_can_be_set(call):
    for flag, value in (("--exec-timeout", "soon"), ("--tick-timeout", "soon"), ("--in-flight", 0)):
        done = call("resume", "first", flag, value)
        assert done.returncode == 2
        assert done.stderr.startswith(f"workermanager: {flag}: ")
