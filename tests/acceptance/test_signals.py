"""Ctrl-C and SIGTERM drain, a second one stops at once; the report is written in every case."""

import json
import signal

import pytest

ENDLESS = ("--execs-per-tick", 2, "--tick-duration", "10ms", "--threads", 2, "--json", "r.json")


def ended(process, tmp_path):
    _, errors = process.communicate(timeout=50)
    report = json.loads((tmp_path / "r.json").read_text())
    counts = report["counts"]
    assert counts["due"] == sum(counts.values()) - counts["due"]
    assert report["run"]["outcome"] == "interrupted"
    assert process.returncode == 105, errors
    return counts


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_running_execs_end(first, start, tmp_path):
    process = start("until_allowed", "--set", f"allow={tmp_path / 'allow'}", *ENDLESS)
    process.send_signal(first)
    (tmp_path / "allow").touch()
    counts = ended(process, tmp_path)
    assert counts["ok"] >= 1
    assert counts["failed"] == 0


@pytest.mark.parametrize("target", ["waits", "is_deaf"])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once(target, second, start, tmp_path):
    process = start(target, *ENDLESS)
    process.send_signal(signal.SIGTERM)
    for line in process.stderr:  # two signals that are pending at a time are one
        if line.startswith("stopping: "):
            break
    process.send_signal(second)
    counts = ended(process, tmp_path)
    assert counts["ok"] == 0
    assert counts["interrupted"] == counts["due"]


def test_when_the_grace_is_over_it_stops(start, tmp_path):
    process = start("waits", "--grace", "10ms", *ENDLESS)
    process.send_signal(signal.SIGTERM)
    assert ended(process, tmp_path)["ok"] == 0
