"""Reports shown again and compared, from files and from the history."""

import json
from pathlib import Path

import pytest

from tests.kit.reports import PLAN, steady, with_run
from workermanager.history import History

FAILED, USAGE, INVALID = 1, 2, 104
JSON = ("A.json", "B.json")


@pytest.fixture
def folder(tmp_path):
    """Where commands are called, with a baseline, a slower run, and a short one."""
    steady(10, steps={"add_user": 3}).save(tmp_path / "A.json")
    with_run(steady(12, steps={"add_user": 3}), id="run-2").save(tmp_path / "B.json")
    with_run(steady(12, windows=3), id="run-3").save(tmp_path / "short.json")
    return tmp_path


@pytest.fixture
def history(environment):
    return History.open_default(environment)


def refused(done, code, message):
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def row(shown, metric):
    (line,) = (line for line in shown.splitlines() if line.split()[:1] == [metric])
    return " ".join(line.split())


# Two reports


def test_two_reports_are_compared(call, folder):
    done = call("report", *JSON)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert row(done.stdout, "rate") == "rate 100/s 100/s 0 % 0 to 0 % same"
    assert row(done.stdout, "response.p99").startswith("response.p99 9.99ms 12ms +20 % +17")
    assert row(done.stdout, "response.p99").endswith("% worse")
    assert row(done.stdout, "failed") == "failed 0 % 0 % 0 points 0 to 0 points same"
    assert row(done.stdout, "add_user.p50").endswith("same")
    assert "60 windows" in done.stdout
    assert "run run-2" in done.stdout


def test_two_reports_are_compared_as_json(call, folder):
    document = json.loads(call("report", *JSON, "--json").stdout)
    verdicts = {change["metric"]: change["verdict"] for change in document["changes"]}
    assert verdicts["response.p99"] == "worse"
    assert verdicts["rate"] == "same"
    assert document["a"] == {**document["a"], "windows": 60}
    assert document["notes"] == []


@pytest.mark.parametrize("name", ["A.json", "short.json"])
def test_a_report_compared_with_itself_is_the_same(name, call, folder):
    done = call("report", name, name, "--fail-on-regression", "0%")
    assert done.returncode == 0, done.stderr
    assert "one and the same report" in done.stdout
    assert "worse" not in done.stdout
    assert row(done.stdout, "response.p99").endswith("same")


def test_steps_and_plans_that_differ_are_named(call, folder):
    other = steady(10, steps={"[red]new": 1}, facts={"plan": {**PLAN, "threads": 32}})
    other.save(folder / "C.json")
    shown = call("report", "A.json", "C.json").stdout
    assert "only in A: add_user" in shown
    assert "only in B: [red]new" in shown
    assert "note  plan: threads is 16 in A, 32 in B" in shown


# Regressions


@pytest.mark.parametrize("tolerance", ["5%", "5", "19.5 %"])
def test_a_regression_fails_and_is_named(tolerance, call, folder):
    done = call("report", *JSON, "--fail-on-regression", tolerance)
    assert done.returncode == FAILED
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines] == [
        *("response.mean", "response.p50", "response.p95", "response.p99")
    ]
    assert lines[3].startswith(
        "workermanager: response.p99 is worse by more than may be: +20 % (+17"
    )
    assert "response.p99" in done.stdout


def test_what_is_within_the_tolerance_does_not_fail(call, folder):
    done = call("report", *JSON, "--fail-on-regression", "25%")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_faster_run_is_no_regression(call, folder):
    assert call("report", "B.json", "A.json", "--fail-on-regression", "0%").returncode == 0


@pytest.mark.parametrize("names", [("A.json", "short.json"), ("short.json", "A.json")])
def test_too_few_windows_cannot_tell_a_regression(names, call, folder):
    done = call("report", *names, "--fail-on-regression", "5%")
    assert done.returncode == INVALID
    assert done.stderr == (
        "workermanager: cannot tell a regression: short.json has 3 windows, 8 are needed: "
        "run longer\n"
    )
    assert row(done.stdout, "response.p99").endswith("- - unknown")
    assert call("report", *names).returncode == 0


def test_a_step_that_seldom_ran_is_named_and_fails_nothing(call, folder):
    steps = {"add_user": 3, "rare": 1}
    one = steady(10, steps=steps)
    for place, window in enumerate(one.series):
        if place > 3:
            window.steps.pop("rare")
    one.save(folder / "C.json")
    with_run(one, id="run-4").save(folder / "D.json")
    done = call("report", "C.json", "D.json", "--fail-on-regression", "5%")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"workermanager: rare.{figure} is in too few windows to be judged"
        for figure in ("p50", "p95", "p99")
    ]


@pytest.mark.parametrize("text", ["", "0.05", "5 percent", "-5%", "five", "%", "nan"])
def test_what_is_no_percentage_is_refused(text, call, folder):
    done = call("report", *JSON, f"--fail-on-regression={text}")
    refused(done, USAGE, f"--fail-on-regression: {text!r} is no percentage; write 5%, 0.5% or 5")


def test_a_regression_takes_two_reports(call, folder):
    refused(call("report", "A.json", "--fail-on-regression", "5%"), USAGE, "needs two reports")


# From the history


def test_a_run_of_the_history_is_shown_and_compared_by_its_id(call, folder, history):
    history.save(with_run(steady(10), id="20260102T1-aa"))
    history.save(with_run(steady(12), id="20260102T2-bb"))
    assert "run 20260102T1-aa" in call("report", "20260102T1").stdout
    done = call("report", "20260102T1", "20260102T2", "--fail-on-regression", "5%")
    assert done.returncode == FAILED
    done = call("report", "20260102T1-aa", "B.json")
    assert row(done.stdout, "response.p99").endswith("worse")


def test_a_run_of_the_history_can_be_saved_as_json(call, folder, history):
    history.save(steady(10, steps={"add_user": 3}))
    done = call("report", "run-1", "--json")
    assert json.loads(done.stdout) == json.loads((folder / "A.json").read_text())


def test_a_file_comes_before_a_run_of_the_same_name(call, folder, history):
    history.save(with_run(steady(10), id="night"))
    with_run(steady(12), id="of-the-file").save(folder / "night")
    assert "run of-the-file" in call("report", "night").stdout
    (folder / "night").unlink()
    (folder / "night").mkdir()
    assert "run night" in call("report", "night").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch", "run 'nosuch' is not in the history"),
        ("nihgt-1", "did you mean night-1 or night-2?"),
        ("night", "which of night-2, night-1?"),
        ("nosuch.json", "nosuch.json: cannot be read: No such file"),
        ("./nosuch", "nosuch: cannot be read: No such file"),
        ("", "run '' is not in the history"),
    ],
)
def test_a_report_that_is_nowhere_is_told_in_one_line(text, message, call, folder, history):
    for name in ("night-1", "night-2"):
        history.save(with_run(steady(windows=1), id=name))
    refused(call("report", text), INVALID, message)
    refused(call("report", "A.json", text), INVALID, message)


def test_a_history_that_will_not_do_is_told_in_one_line(call, folder, history):
    history.path.parent.mkdir()
    history.path.write_text("no database " * 100)
    refused(call("report", "night"), INVALID, f"run history {history.path}: cannot be read: file")
    assert call("report", "A.json").returncode == 0


def test_a_report_is_shown_though_there_is_no_home(call, folder):
    env = {"XDG_STATE_HOME": "", "HOME": ""}
    assert call("report", "A.json", env=env).returncode == 0
    refused(call("report", "night", env=env), INVALID, "set XDG_STATE_HOME or HOME")


def test_showing_a_report_leaves_no_trace(call, folder, environment):
    call("report", *JSON)
    call("report", "night")
    assert list(Path(environment["XDG_STATE_HOME"]).iterdir()) == []
