"""What a run puts out besides its summary: files, the history, exports, the live page."""

import csv
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import pytest
from conftest import TARGETS
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.collecting import Collector

TARGET = f"{TARGETS}:instrumentation"
SHORT = ("--rate", "500/s", "--count", "50", "--quiet")


def test_a_run_is_saved_as_json_html_and_csv(call, tmp_path):
    files = ("--json", "r.json", "--html", "r.html", "--csv", "r.csv")
    done = call("run", TARGET, *SHORT[:-1], *files, "--tag", "env=<ci>")
    assert done.returncode == 0, done.stderr
    for name in ("r.json", "r.html", "r.csv"):
        assert f"report: {name}" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["run"]["tags"] == {"env": "<ci>"}
    html = (tmp_path / "r.html").read_text()
    assert report["run"]["id"] in html
    assert "&lt;ci&gt;" in html
    assert "<ci>" not in html
    with (tmp_path / "r.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert sum(int(row["ok"]) for row in rows if row["scope"] == "run") == 50


def test_only_one_report_goes_to_standard_output_and_each_to_a_file_of_its_own(call):
    both = call("run", TARGET, *SHORT, "--json", "-", "--csv", "-")
    assert (both.returncode, both.stdout) == (2, "")
    assert "only one report can go to standard output" in both.stderr
    same = call("run", TARGET, *SHORT, "--json", "r", "--csv", "r")
    assert same.returncode == 2
    assert "two reports cannot go to one file" in same.stderr


def test_a_run_is_kept_in_the_history_unless_told_otherwise(call, tmp_path):
    call("run", TARGET, *SHORT, "--run-id", "kept", "--tag", "env=ci")
    call("run", TARGET, *SHORT, "--run-id", "not-kept", "--no-history")
    call("run", TARGET, *SHORT, "--run-id", "nor-this", env={"WORKERMANAGER_HISTORY": "off"})
    listed = json.loads(call("runs", "--json").stdout)
    assert [(run["id"], run["tags"]) for run in listed] == [("kept", {"env": "ci"})]
    shown = call("report", "kept")
    assert "50 due = 50 ok" in shown.stdout
    saved = call("report", "kept", "--html", "again.html")
    assert (saved.returncode, saved.stderr) == (0, "")
    assert "kept" in (tmp_path / "again.html").read_text()
    assert call("report", "kept", "kept", "--html", "x.html").returncode == 2


def test_a_history_that_cannot_be_written_is_warned_of_and_no_more(call, tmp_path):
    (tmp_path / "no-folder").write_text("")
    done = call("run", TARGET, *SHORT, env={"XDG_STATE_HOME": str(tmp_path / "no-folder")})
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "history" in done.stderr


@pytest.fixture
def start_run(tmp_path, environment):
    """Start a run without end; give it with the address that it tells of."""
    started = []

    def start_run(*flags):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "workermanager", "run", TARGET, "--rate", "200/s"),
                *("--quiet", "--no-history", *flags),
            ],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stderr.readline().split(": ", 1)[1].strip()

    yield start_run
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_prometheus_scrapes_a_run(start_run):
    _, url = start_run("--tag", "env=ci", "--prometheus", "0")
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    (info,) = [one for one in samples if one.name == "workermanager_run_info"]
    assert (info.labels["name"], info.labels["env"]) == ("both", "ci")
    assert {"workermanager_execs_due_total", "workermanager_response_seconds_bucket"} <= {
        one.name for one in samples
    }


def test_the_live_page_is_served_and_its_stop_button_drains(start_run):
    process, url = start_run("--json", "-", "--dashboard", "0")
    assert "both" not in url
    assert "<title>" in urllib.request.urlopen(url, timeout=10).read().decode()
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(url.partition("?")[0], timeout=10)
    origin, token = url.split("/?")
    stop = urllib.request.Request(
        f"{origin}/stop?{token}", method="POST", headers={"Origin": origin}
    )
    assert urllib.request.urlopen(stop, timeout=10).status == 204
    report = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 105
    counts = report["counts"]
    assert counts["due"] == counts["ok"] + counts["interrupted"] > 0


def test_an_address_in_use_is_told_before_anything_runs(call):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("--dashboard", "--prometheus"):
            done = call("run", f"{TARGETS}:fails", "--quiet", f"{flag}={port}")
            assert done.returncode == 104
            assert len(done.stderr.splitlines()) == 1
            assert flag in done.stderr


def test_opentelemetry_gets_metrics_and_spans_of_a_run(call):
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_on"}
        done = call("run", TARGET, *SHORT, "--otel", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert collector.metrics
    names = [span.name for span in collector.spans]
    assert names.count("both") == 50
    assert len(names) == 50 * 3  # the exec, and its two steps


def test_dogstatsd_gets_times_by_step_and_errors(call):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        port = receiver.getsockname()[1]
        done = call("run", f"{TARGETS}:fails", "--quiet", "--statsd", f"127.0.0.1:{port}")
        assert done.returncode == 1
        told = receiver.recv(65_536).decode()
    assert re.search(r"^execution_time:[\d.]+\|h.*\|#.*func_name:fails", told, re.MULTILINE)
    assert re.search(r"^execution_error:1\|c\|#.*func_name:fails", told, re.MULTILINE)


def test_a_run_that_only_broke_a_threshold_is_not_to_be_finished(call):
    flags = ("--database", "sqlite:///t.db", "--rate", "500/s", "--count", "20")
    target = f"{TARGETS}:seeds_things"
    done = call("run", target, *flags, "--threshold", "p99<1ns", "--run-id", "it")
    assert done.returncode == 99
    assert re.search(r"p99<1ns +\S+ +broken", done.stdout)
    assert "to finish it" not in done.stderr
    again = call("resume", "it", "--database", "sqlite:///t.db", "--threshold", "p99<1ns")
    assert again.returncode == 0, again.stderr
