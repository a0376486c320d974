"""``workermanager schedule`` as users call it: every fire told, signals, exit codes, a store."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from conftest import ROOT, TARGETS, hear_every_signal, wait_for

OK, FAILED, USAGE, INVALID, INTERRUPTED = 0, 1, 2, 104, 105


@pytest.fixture
def begin(tmp_path, environment):
    """Start ``workermanager schedule ARGS`` and give the process."""
    begun = []

    def begin(*args):
        process = subprocess.Popen(
            [sys.executable, "-m", "workermanager", "schedule", *map(str, args)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_every_signal,  # noqa: PLW1509 - it sets dispositions and nothing else
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def begin_one(begin, tmp_path):
    """Start a schedule of one target, which is due now, and give it once a fire of it runs."""

    def begin_one(target, *args):
        marker = tmp_path / "marker"
        process = begin(
            *(f"{TARGETS}:{target}", "--at", datetime.now(UTC).isoformat()),
            *("--set", f"marker={marker}", "--json", "r.json", *args),
        )
        wait_for(marker.exists, process)
        return process

    return begin_one


@pytest.fixture
def write(tmp_path):
    """Write a file of schedules, and give its name."""

    def write(text):
        (tmp_path / "jobs.toml").write_text(text)
        return "jobs.toml"

    return write


def read_report(tmp_path):
    """The report, which adds up in all and for each schedule."""
    report = json.loads((tmp_path / "r.json").read_text())
    for counts in (report["counts"], *report["schedules"].values()):
        ended = ("ran", "late", "skipped", "failed", "running", "waiting")
        assert counts["due"] == sum(counts[name] for name in ended)
    return report


# What runs


def test_an_interval_runs_until_so_many_fires_have(call, tmp_path):
    done = call(
        *("schedule", f"{TARGETS}:says", "--every", "20ms", "--fires", 3),
        *("--set", "greeting=hello", "--json", "r.json"),
    )
    assert done.returncode == OK, done.stderr
    assert done.stderr.startswith("ready: 1 schedule, next says at ")
    assert done.stdout.count("'hello' str") >= 3
    counts = read_report(tmp_path)["counts"]
    assert counts["ran"] >= 3
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{counts['due']} due = {counts['ran']} ran + 0 late + ")


def test_a_cron_of_seconds_runs_for_a_time(call, tmp_path):
    done = call(
        *("schedule", f"{TARGETS}:ok", "--cron", "* * * * * *", "--tz", "Europe/Berlin"),
        *("--for", "1.2s", "--json", "r.json", "--name", "ticks"),
    )
    assert done.returncode == OK, done.stderr
    schedules = read_report(tmp_path)["schedules"]
    assert list(schedules) == ["ticks"]
    assert 1 <= schedules["ticks"]["due"] <= 2


def test_a_file_of_moments_ends_when_none_is_left(call, write, tmp_path):
    soon = datetime.now(UTC) + timedelta(milliseconds=700)
    (tmp_path / "beside.py").write_text("def step(ctx, params):\n    print(params['text'])\n")
    name = write(f"""
        threads = 2
        [schedules.past]
        run = "beside.py:step"
        at = 2026-01-01T00:00:00Z
        [schedules.past.params]
        text = "the first"
        [schedules.soon]
        command = ["touch", "made"]
        at = {soon.isoformat()}
        [schedules.never]
        run = "beside:step"
        every = "1h"
        end = 2026-01-01T00:00:00Z
        start = 2025-01-01T00:00:00Z
    """)
    done = call("schedule", name, "--json", "r.json")
    assert done.returncode == OK, done.stderr
    assert "the first" in done.stdout
    assert (tmp_path / "made").exists()
    report = read_report(tmp_path)
    assert report["counts"]["due"] == report["counts"]["ran"] + report["counts"]["late"] == 2
    assert "never" in done.stdout
    assert "past due 2026-01-01T00:00:00" in done.stderr  # it ran late


def test_a_worker_on_a_clock_of_its_own_needs_no_flag(call, tmp_path):
    (tmp_path / "own.py").write_text(
        "from workermanager import CronSchedulerConfig, TypeOfExecution, Worker\n"
        "def step(ctx, params): pass\n"
        "own = CronSchedulerConfig(interval_in_seconds=0.02, type_of_execution="
        "TypeOfExecution.SYNC)\n"
        "worker = Worker(step, cron_scheduler_config=own)\n"
    )
    done = call("schedule", "own.py:worker", "--fires", 2, "--json", "r.json")
    assert done.returncode == OK, done.stderr
    assert read_report(tmp_path)["counts"]["ran"] >= 2


def test_a_fire_that_fails_is_told_and_fails_the_whole(call, tmp_path):
    done = call("schedule", f"{TARGETS}:fails", "--every", "20ms", "--fires", 2, "--json", "-")
    assert done.returncode == FAILED
    assert done.stderr.count("WARNING fails due ") >= 2
    assert "no luck today" in done.stderr
    report = json.loads(done.stdout)
    assert report["counts"]["failed"] == report["counts"]["due"]
    assert " due = 0 ran + " in done.stderr  # the summary makes room for the report


def test_failures_in_a_row_pause_it(call, tmp_path):
    done = call(
        *("schedule", f"{TARGETS}:fails", "--every", "20ms", "--for", "600ms"),
        *("--pause-after", 2, "--json", "r.json"),
    )
    assert done.returncode == FAILED
    report = read_report(tmp_path)
    assert report["counts"]["failed"] == 2
    assert report["schedules"]["fails"]["skips"] == {"paused": report["counts"]["skipped"]}


def test_a_fire_that_is_skipped_is_told(begin, tmp_path):
    process = begin(
        *(f"{TARGETS}:until_allowed", "--every", "20ms", "--fires", 1, "--json", "r.json"),
        *("--set", f"marker={tmp_path / 'marker'}", "--set", f"allow={tmp_path / 'allow'}"),
    )
    for line in process.stderr:
        if "until_allowed: 1 skipped (overlap)" in line:
            break
    (tmp_path / "allow").touch()
    printed, _ = process.communicate(timeout=50)
    assert process.returncode == OK
    report = read_report(tmp_path)
    skipped = report["counts"]["skipped"]
    assert report["schedules"]["until_allowed"]["skips"] == {"overlap": skipped}
    assert f"skipped of until_allowed: {skipped} overlap" in printed


def test_a_step_that_wants_out_ends_it_with_a_report(call, tmp_path):
    (tmp_path / "out.py").write_text("def step(ctx, params):\n    raise SystemExit(3)\n")
    done = call("schedule", "out.py:step", "--every", "20ms", "--json", "r.json")
    assert read_report(tmp_path)["counts"]["due"] >= 1
    assert done.returncode == FAILED
    assert "Traceback" not in done.stderr


def test_quiet_says_nothing(call):
    done = call("schedule", f"{TARGETS}:ok", "--every", "20ms", "--fires", 1, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (OK, "", "")


def test_verbose_tells_what_ran(call):
    done = call("schedule", f"{TARGETS}:ok", "--every", "20ms", "--fires", 1, "-v")
    assert "INFO    ok due " in done.stderr
    assert ": ran for " in done.stderr


# Signals


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_what_runs_end(first, begin_one, tmp_path):
    process = begin_one("until_allowed", "--set", f"allow={tmp_path / 'allow'}")
    process.send_signal(first)
    for line in process.stderr:
        if line == "stopping: what runs may go on for 30s; once more stops now\n":
            break
    (tmp_path / "allow").touch()
    process.communicate(timeout=50)
    assert process.returncode == OK
    assert read_report(tmp_path)["counts"]["failed"] == 0


@pytest.mark.parametrize(
    ("target", "reason"), [("waits", "cancelled: "), ("is_deaf", "left behind")]
)
def test_the_second_signal_cancels_and_names_what_is_unfinished(
    target, reason, begin_one, tmp_path
):
    process = begin_one(target)
    process.send_signal(signal.SIGTERM)
    for line in process.stderr:  # two signals that are pending at a time are one
        if line.startswith("stopping: "):
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=50)
    assert process.returncode == INTERRUPTED
    (unfinished,) = (line for line in told.splitlines() if line.startswith("unfinished: "))
    assert unfinished.startswith(f"unfinished: {target} due 20")
    assert reason in unfinished
    report = read_report(tmp_path)
    assert report["counts"]["failed"] == 1
    assert len(report["unfinished"]) == 1


def test_when_the_drain_is_over_it_cancels(begin_one, tmp_path):
    process = begin_one("waits", "--drain", "10ms")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=50)
    assert process.returncode == INTERRUPTED
    assert "may go on for 10ms" in told
    assert "unfinished: waits due 20" in told


# What will not do

FLAGS_REFUSED = [  # those that a unit test cannot try; the others are in test_schedule_flags.py
    ([f"{TARGETS}:ok", "--every", "5m", "--health", "x"], INVALID, "a port is a number"),
    ([f"{TARGETS}:ok", "--every", "5m", "--store", "nonsense"], INVALID, "not a URL"),
    ([f"{TARGETS}:ok", "--every", "5m", "--fires", "0"], USAGE, "--fires"),
    (["list", "--store", "sqlite:///s.db"], INVALID, "s.db: there is no such file"),
    (["pause", "x", "--store", "sqlite:///s.db"], INVALID, "s.db: there is no such file"),
]


@pytest.mark.parametrize(("args", "code", "message"), FLAGS_REFUSED)
def test_what_will_not_do_is_one_line(args, code, message, call, tmp_path):
    done = call("schedule", *args)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_file_is_checked_as_a_whole_before_anything_starts(call, write, tmp_path):
    name = write("""
        [schedules.good]
        command = ["touch", "made"]
        at = 2026-01-01T00:00:00Z
        [schedules.nightly]
        command = ["touch", "made"]
        cron = "61 * * * *"
    """)
    done = call("schedule", name)
    assert done.returncode == INVALID
    assert done.stderr.startswith(
        'workermanager: jobs.toml: schedules.nightly: cron "61 * * * *": '
    )
    assert not (tmp_path / "made").exists()


def test_help_shows_what_runs_and_the_other_commands(call):
    shown = call("schedule", "--help").stdout
    assert "FILE_OR_TARGET" in shown
    for name in ("list", "next", "pause", "resume", "run-now", "history", "remove"):
        assert f" {name} " in shown
    assert "--every" in call("schedule", "run", "--help").stdout


def test_what_it_does_not_need_is_not_loaded(call):
    args = ("schedule", f"{TARGETS}:ok", "--fires", 1)
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    every = call(*args, "--every", "20ms", env=env).stderr
    cron = call(*args, "--cron", "* * * * * *", env=env).stderr
    assert "workermanager.scheduler.scheduler" in every
    assert not {"apscheduler", "sqlalchemy"} & {
        line.rpartition("|")[2].strip().partition(".")[0] for line in every.splitlines()
    }
    assert "apscheduler" in cron


# What is to come


def test_what_is_next_goes_by_the_zone_s_clock(call):
    in_the_gap = ("--cron", "30 2 * 3 sunL", "--tz", "Europe/Berlin")  # the clock goes to 3:00
    shown = call("schedule", "next", 2, *in_the_gap)
    assert shown.returncode == OK, shown.stderr
    assert shown.stdout.count(" 03:30:00 CEST") == 2
    document = json.loads(call("schedule", "next", 2, *in_the_gap, "--json").stdout)
    assert [fire["due"][10:] for fire in document] == ["T01:30:00.000Z"] * 2
    assert document[0]["due"] < document[1]["due"]


def test_what_is_next_of_a_file_is_in_order_and_runs_nothing(call, write, tmp_path):
    name = write("""
        tz = "UTC"
        [schedules.made]
        command = ["touch", "made"]
        at = 2026-01-01T00:00:00
        [schedules.hourly]
        command = ["touch", "made"]
        cron = "@hourly"
        [schedules.often]
        command = ["touch", "made"]
        every = "25m"
    """)
    document = json.loads(call("schedule", "next", 12, name, "--json").stdout)
    planned = [fire["planned"] for fire in document]
    assert planned == sorted(planned)
    assert len(planned) == 12
    assert {fire["schedule"] for fire in document} == {"hourly", "often"}
    assert not (tmp_path / "made").exists()
    one = json.loads(call("schedule", "next", f"{TARGETS}:ok", "--every", "1h", "--json").stdout)
    assert [fire["schedule"] for fire in one] == ["ok"] * 10
    assert "no fire is to come" in call("schedule", "next", "--at", "2026-01-01T00:00Z").stdout


# A store


SCHEDULES = f"""
store = "sqlite:///s.db"
[schedules.often]
run = "{TARGETS}:ok"
every = "50ms"
misfire = "all(20)"
[schedules.nightly]
run = "{TARGETS}:says"
cron = "30 2 * * *"
tz = "Europe/Berlin"
overlap = "queue-one"
pause_after = 3
[schedules.nightly.params]
greeting = "good night"
"""


@pytest.fixture
def ask(call):
    """Call ``workermanager schedule ARGS`` on the store, and give what it printed as JSON."""

    def ask(*args):
        env = {"WORKERMANAGER_STORE": "sqlite:///s.db"}
        done = call("schedule", *args, "--json", env=env)
        assert done.returncode == OK, done.stderr
        return json.loads(done.stdout)

    return ask


def until(ask, is_so, *args):
    """Ask again and again until the answer is as wanted."""
    limit = time.monotonic() + 40
    while not is_so(answer := ask(*args)):
        assert time.monotonic() < limit, answer
    return answer


def by_name(entries):
    return {entry["name"]: entry for entry in entries}


def test_schedules_are_controlled_while_a_process_runs_them(begin, ask, write):
    process = begin(write(SCHEDULES))
    for line in process.stderr:
        if line.startswith("ready: 2 schedules, next often at "):
            break
    entries = by_name(until(ask, lambda all_of: all_of[1]["counts"]["ran"], "list"))
    assert all(entry["is_served"] for entry in entries.values())
    nightly = entries["nightly"]
    assert nightly["when"] == "cron 30 2 * * * Europe/Berlin"
    assert (nightly["misfire"], nightly["overlap"]) == ("latest", "queue-one")
    assert (nightly["lost"], nightly["pause_after"]) == ("report", 3)
    assert entries["often"]["misfire"] == "all(20)"

    assert ask("pause", "nightly") == {"schedule": "nightly", "paused_until": None}
    nightly = by_name(ask("list"))["nightly"]
    assert nightly["is_paused"]
    assert nightly["next"] is None
    assert ask("run-now", "nightly")["is_served"]
    is_there = lambda records: records and records[0]["state"] == "ran"  # noqa: E731
    (record,) = until(ask, is_there, "history", "nightly")
    assert record["is_manual"]
    assert not ask("resume", "nightly")["paused_until"]
    assert not by_name(ask("list"))["nightly"]["is_paused"]

    over = ask("pause", "often", "--for", "1h")["paused_until"]
    until(ask, lambda records: records[0]["reason"] == "paused", "history", "often", "-n", 1)
    coming = [fire["due"] for fire in ask("next", 5) if fire["schedule"] == "often"]
    assert len(coming) >= 4
    assert min(coming) > over

    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=50)
    assert process.returncode == OK
    assert "'good night' str" in printed
    entries = by_name(ask("list"))
    assert not any(entry["is_served"] for entry in entries.values())
    assert entries["often"]["is_paused"]


def test_schedules_are_controlled_while_no_process_runs_them(call, ask, write):
    done = call("schedule", write(SCHEDULES), "--fires", 2)
    assert done.returncode == OK, done.stderr
    before = by_name(ask("list"))
    store = ("--store", "sqlite:///s.db")
    shown = call("schedule", "list", *store).stdout
    assert "every 50ms" in shown
    assert "no process" in shown
    assert shown.count("nightly") == 2
    history = call("schedule", "history", "often", *store).stdout
    assert history.count("ran") >= 2

    told = call("schedule", "run-now", "nightly", *store).stdout
    assert told == "nightly: no process is there to run it; the next one to come does\n"
    assert by_name(ask("list"))["nightly"]["counts"]["waiting"] == 1
    paused = ask("pause", "often", "--until", "2200-01-01T00:00Z")
    assert paused["paused_until"] == "2200-01-01T00:00:00.000Z"
    in_berlin = ask("pause", "nightly", "--until", "2200-07-01T00:00")
    assert in_berlin["paused_until"] == "2200-06-30T22:00:00.000Z"
    done = call("schedule", "jobs.toml", "--fires", 1)
    assert done.returncode == OK, done.stderr
    assert "'good night' str" in done.stdout
    after = by_name(ask("list"))
    assert sum(after["nightly"]["counts"][state] for state in ("ran", "late")) == 1
    assert after["often"]["counts"]["ran"] == before["often"]["counts"]["ran"]

    assert call("schedule", "resume", "often", *store).stdout == "often: resumed\n"
    assert ask("remove", "often") == {"schedule": "often", "is_removed": True}
    assert list(by_name(ask("list"))) == ["nightly"]
    refused = call("schedule", "remove", "often", *store)
    assert refused.returncode == INVALID
    assert "there is no schedule 'often'; there are: nightly" in refused.stderr
    over = call("schedule", "pause", "nightly", "--until", "2026-01-01T00:00", *store)
    assert over.returncode == INVALID
    assert "wanted a moment to come" in over.stderr


def test_a_store_of_another_version_is_refused_in_one_line(call, tmp_path):
    declared = (f"{TARGETS}:ok", "--every", "1h", "--for", "0", "--store", "sqlite:///s.db")
    assert call("schedule", *declared).returncode == OK
    with closing(sqlite3.connect(tmp_path / "s.db")) as store:
        store.execute(
            "ALTER TABLE workermanager_schedules RENAME COLUMN failures TO failed_of_late"
        )
    for args in (declared, ("list", *declared[-2:]), ("pause", "ok", *declared[-2:])):
        refused = call("schedule", *args)
        assert refused.returncode == INVALID, refused.stderr
        assert refused.stderr.startswith("workermanager: the store will not do: ")
        assert len(refused.stderr.splitlines()) == 1


def test_health_is_served_while_it_runs(begin):
    process = begin(f"{TARGETS}:ok", "--every", "1h", "--health", 0)
    health, ready = process.stderr.readline(), process.stderr.readline()
    assert ready.startswith("ready: 1 schedule, next ok at ")
    url = health.removeprefix("health: ").strip()
    with urllib.request.urlopen(f"{url}/ready", timeout=20) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=50)
    assert process.returncode == OK


def test_the_file_of_the_page_is_one(call, write, tmp_path):
    page = (ROOT / "docs" / "schedules.md").read_text()
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "app.py").write_text("def launch(ctx, params): pass\nworker = launch\n")
    done = call("schedule", "next", 400, write(toml), "--json")
    assert done.returncode == OK, done.stderr
    assert {"nightly", "disk"} <= {fire["schedule"] for fire in json.loads(done.stdout)}
