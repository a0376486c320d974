"""``workermanager run``: what it prints where, what it saves, and its exit codes."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import suppress

import pytest
from conftest import ROOT, TARGETS

LOAD_RUNNER = ROOT / "examples" / "load_runner.py"


def test_the_main_job_seeds_companies_pictures_and_users(call, tmp_path):
    done = call(
        *("run", f"{LOAD_RUNNER}:worker", "--execs-per-tick", "20,30", "--tick-duration", "50ms"),
        *("--set", "users_per_company=2", "--json", "report.json", "--seed", "7"),
    )
    assert done.returncode == 0, done.stderr
    assert "50 due = 50 ok + 0 failed" in done.stdout
    assert "rows in the database" in done.stdout
    assert "report: report.json" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rows"] == {"companies": 50, "profile_pictures": 50, "users": 100}
    assert report["run"]["seed"] == 7
    assert set(report["steps"]) == {"add_companies_step_001", "add_user_step_002"}
    connection = sqlite3.connect(tmp_path / "companies.db")
    joined = connection.execute(
        "SELECT count(*) FROM users JOIN profile_pictures p ON profile_picture_id = p.id "
        "JOIN companies c ON p.company_id = c.id AND users.company_id = c.id"
    ).fetchone()
    connection.close()
    assert joined == (100,)


def test_the_json_report_alone_is_on_standard_output_when_asked(call):
    done = call("run", f"{TARGETS}:factory", "--json", "-", "--seed", 3)
    report = json.loads(done.stdout)
    assert report["schema"] == 1
    assert report["counts"]["ok"] == 5
    assert report["run"]["outcome"] == "passed"
    assert "passed" in done.stderr


def test_quiet_prints_nothing_but_trouble(call):
    done = call("run", f"{TARGETS}:factory", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failed_exec_is_exit_code_1_and_one_line_for_its_kind(call):
    done = call(
        "run", f"{TARGETS}:fails", "--execs-per-tick", 10, "--ticks", 2, "--tick-duration", 0
    )
    assert done.returncode == 1
    assert done.stderr.count("no luck today") == 1
    assert "Traceback" not in done.stderr
    assert "ValueError" in done.stdout


def test_a_traceback_is_there_for_who_asks(call):
    done = call("run", f"{TARGETS}:fails", env={"WORKERMANAGER_LOG_LEVEL": "debug"})
    assert "Traceback" in done.stderr
    assert "targets.py" in done.stderr


def test_log_lines_are_json_when_asked(call):
    done = call("run", f"{TARGETS}:fails", "--quiet", env={"WORKERMANAGER_LOG_FORMAT": "json"})
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["n"], line["step"]) for line in lines] == [
        ("error", "0", "fails/1/fails")
    ]


def test_json_logs_hide_secrets_stay_json_and_have_the_traceback(call):
    settings = {"WORKERMANAGER_LOG_FORMAT": "json", "WORKERMANAGER_LOG_LEVEL": "debug"}
    done = call("run", f"{TARGETS}:logs_a_secret", "--quiet", env=settings)
    assert "canary-5f2e" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    connecting = next(line for line in lines if line["message"].startswith("connecting"))
    assert connecting["password"] == "***"
    assert any("ValueError: as planned" in line.get("exception", "") for line in lines)


def test_secrets_are_shown_nowhere(call, tmp_path):
    done = call(
        *("run", f"{TARGETS}:fails_with_a_secret", "--json", "report.json"),
        env={"WORKERMANAGER_LOG_LEVEL": "trace"},
    )
    shown = done.stdout + done.stderr + (tmp_path / "report.json").read_text()
    assert "cannot reach postgresql://me:***@db" in shown
    assert "canary-5f2e" not in shown


def test_a_step_that_leaves_is_exit_code_105_with_a_report(call, tmp_path):
    done = call(
        *("run", f"{TARGETS}:leaves", "--execs-per-tick", 10, "--ticks", 1, "--tick-duration", 0),
        *("--threads", 1, "--json", "r.json"),
    )
    assert done.returncode == 105
    counts = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert (counts["ok"], counts["interrupted"]) == (3, 7)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hi", "'hi' str"),
        ("5", "5 int"),
        ("1.5", "1.5 float"),
        ('{"a": [1]}', "{'a': [1]} dict"),
        ("", "'' str"),
    ],
)
def test_set_takes_json_or_text(text, shown, call):
    assert (
        call("run", f"{TARGETS}:says", "--set", f"greeting={text}", "--quiet").stdout
        == shown + "\n"
    )


def test_a_flag_wins_over_the_environment_over_env_over_the_target(call, tmp_path):
    (tmp_path / ".env").write_text(
        "WORKERMANAGER_SEED=1\nWORKERMANAGER_EXECS_PER_TICK=7\nGREETING=hi\n"
    )

    def ran(*args, env=None):
        document = call(
            "run", f"{TARGETS}:factory", "--quiet", "--json", "-", *args, env=env
        ).stdout
        report = json.loads(document)
        return report["run"]["seed"], report["counts"]["due"]

    assert ran("--ticks", 1) == (1, 7)
    assert ran("--ticks", 1, env={"WORKERMANAGER_SEED": "2"}) == (2, 7)
    assert ran("--execs-per-tick", "1,1", "--seed", 3, env={"WORKERMANAGER_SEED": "2"}) == (3, 2)
    assert ran("--execs-per-tick", "1,1", env={"WORKERMANAGER_TICKS": "5"}) == (1, 2)
    assert ran("--execs-per-tick", 4) == (1, 8)  # on each of the target's two ticks
    assert (
        call("run", f"{TARGETS}:tells_the_environment", "--ticks", 1, "--quiet").stdout
        == "hi\n" * 7
    )


def test_a_report_can_be_shown_again(call):
    call("run", f"{TARGETS}:factory", "--json", "r.json", "--quiet")
    shown = call("report", "r.json")
    assert shown.returncode == 0
    assert "5 due = 5 ok" in shown.stdout


def test_no_terminal_gets_a_line_a_second_and_no_colour(call):
    done = call(
        "run", f"{TARGETS}:ok", "--execs-per-tick", 20, "--ticks", 6, "--tick-duration", "500ms"
    )
    assert "\x1b" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if " due " in line]
    assert len(lines) >= 1
    assert re.search(r"tick \d/6  \d+ due  \d+ ok", lines[0])


def run_on_a_terminal(command, **options):
    """Everything a program prints on a terminal of its own."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, **options
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux says EIO when the last writer has closed
            while chunk := os.read(ours, 65_536):
                shown += chunk
        os.close(ours)
        return process.wait(), shown.decode()


def test_what_steps_print_to_a_file_goes_there_beside_a_live_table(tmp_path, environment):
    shell = f"{sys.executable} -m workermanager run {TARGETS}:says --set greeting=hi --ticks 5 >out"
    code, _ = run_on_a_terminal(
        ["sh", "-c", shell + " --tick-duration 100ms"],
        cwd=tmp_path,
        env={**environment, "TERM": "xterm-256color"},
    )
    assert code == 0
    assert (tmp_path / "out").read_text().count("'hi' str") == 5


@pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}])
def test_a_terminal_gets_a_live_table(settings, tmp_path, environment):
    command = [sys.executable, "-m", "workermanager", "run", f"{LOAD_RUNNER}:worker"]
    code, shown = run_on_a_terminal(
        [*command, "--execs-per-tick", "5,5,5,5,5,5", "--tick-duration", "300ms"],
        cwd=tmp_path,
        env={**environment, "TERM": "xterm-256color", **settings},
    )
    assert code == 0
    for part in ("tick", "execs", "rate", "response", "lag", "companies", "queued"):
        assert part in shown
    assert "30 due = 30 ok" in shown
    assert ("\x1b[32m" in shown) == (not settings)


def test_an_encoding_without_all_characters_ends_no_run(call, tmp_path):
    env = {"PYTHONIOENCODING": "ascii"}
    done = call("run", f"{TARGETS}:factory", "--json", "r.json", env=env)
    assert done.returncode == 0, done.stderr
    assert "report: r.json" in done.stdout
    done = call("report", "r.json", "--json", env=env)
    assert done.stdout == (tmp_path / "r.json").read_text()


def test_documents_on_standard_output_are_utf_8(tmp_path, environment):
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "workermanager", "run", f"{TARGETS}:factory", "--quiet"),
            *("--tag", "city=Łódź", "--json", "-"),
        ],
        env={**environment, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(printed)["run"]["tags"] == {"city": "Łódź"}


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1"])
def test_a_report_may_go_to_a_pipe(place, call):
    done = call("run", f"{TARGETS}:factory", "--quiet", "--json", place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["ok"] == 5
