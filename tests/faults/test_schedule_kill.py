"""Schedulers on one store, killed with -9 at any point: no fire is lost, and none runs twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from tests.kit.scheduled import ROOT
from workermanager import open_store

PERIOD_US = 20_000


class Program:
    """One process of the program; ``kill`` it or ``stop`` it."""

    def __init__(self, url, path, lost):
        command = [sys.executable, "-m", "tests.kit.scheduled", url, str(path), lost]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        self.process.terminate()
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said.decode()


def _lines(path):
    """How often each fire added its line."""
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(tuple(line.split()[:2]) for line in lines)


def _check_store(url):
    """Every due time is in the history, once, and the counts add up; gives the records."""
    store = open_store(url)
    try:
        entries = {entry.schedule.name: entry for entry in store.entries(time.time_ns())}
        records = store.history(most=1_000_000)
    finally:
        store.close()
    for name, entry in entries.items():
        counts = entry.progress.counts
        counts.check()
        own = sorted((one for one in records if one.schedule == name), key=lambda one: one.due)
        assert sum(one.count for one in own) == counts.due - counts.waiting - counts.running
        assert counts.running == 0
        assert all(one.count == 1 for one in own)
        dues = [one.due // 1_000 for one in own]
        assert {b - a for a, b in pairwise(dues)} == {PERIOD_US}, "a fire is missing, or twice"
    return records


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lost", ["report", "rerun"])
def test_killed_anywhere_no_fire_is_lost_and_none_is_doubled(lost, make_url, tmp_path, is_long):
    random = Random(lost)
    url, path = make_url(), tmp_path / "lines"
    for _ in range(20 if is_long else 5):
        program = Program(url, path, lost)
        time.sleep(random.random() * 0.15)  # where in its course it is killed
        program.kill()
    exit_code, said = _run_until_caught_up(url, path, lost)
    assert exit_code in ({0, 1} if lost == "report" else {0}), said
    records, lines = _check_store(url), _lines(path)
    for record in records:
        count = lines[record.schedule, str(record.due // 1_000)]
        if record.state in {"ran", "late"}:
            assert count >= 1
            assert lost == "rerun" or count == 1
        else:
            assert (record.state, lost) == ("failed", "report")
            assert record.reason == "lost: its process ended"
            assert count <= 1  # it may have run to its line
    assert sum(lines.values()) >= len([one for one in records if one.state != "failed"])


def _run_until_caught_up(url, path, lost):
    """Run once more until what was missed has run, then stop."""
    program = Program(url, path, lost)
    store = open_store(url)
    try:
        for _ in range(3_000):
            entries = store.entries(time.time_ns())
            if not any(entry.progress.counts.waiting for entry in entries):
                break
            time.sleep(0.01)
    finally:
        store.close()
    return program.stop()


@pytest.mark.timeout(120)
def test_two_processes_on_one_store_run_each_fire_once(make_url, tmp_path):
    url, path = make_url(), tmp_path / "lines"
    first, second = Program(url, path, "report"), Program(url, path, "report")
    while len(_lines(path)) < 300:
        time.sleep(0.01)
    assert first.stop()[0] == 0
    while len(_lines(path)) < 400:  # the other goes on
        time.sleep(0.01)
    assert second.stop()[0] == 0
    records, lines = _check_store(url), _lines(path)
    assert set(lines.values()) == {1}
    assert {(one.schedule, str(one.due // 1_000)) for one in records} >= set(lines)
    assert {one.state for one in records} <= {"ran", "late"}
    assert len({one.node for one in records}) == 2


@pytest.mark.timeout(120)
def test_of_two_processes_one_is_killed_and_the_other_tells_what_was_lost(make_url, tmp_path):
    url, path = make_url(), tmp_path / "lines"
    first, second = Program(url, path, "rerun"), Program(url, path, "rerun")
    while len(_lines(path)) < 100:
        time.sleep(0.01)
    first.kill()
    seen = len(_lines(path))
    while len(_lines(path)) < seen + 300:
        time.sleep(0.01)
    exit_code, said = second.stop()
    assert exit_code == 0, said
    records, lines = _check_store(url), _lines(path)
    assert {one.state for one in records} <= {"ran", "late"}
    assert all(lines[one.schedule, str(one.due // 1_000)] >= 1 for one in records)
