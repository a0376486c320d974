"""kill -9 of a process pool at any point, then --resume: all is run, nothing finished twice."""

import json
import signal
import sys
from pathlib import Path
from random import Random

import pytest

from tests.kit.process_pool import Pool, lines_of, task

LOCKING = str(Path(__file__).parents[1] / "kit/locking.py")
TASKS = 60
FILES = ("-i", "tasks", "--journal", "journal", "-t", 4, "--grace", "20ms", "--as-completed")


class Killed:
    """A pool's tasks in a folder; some of them do not end if there is a gate when they begin."""

    def __init__(self, folder, blocked):
        self._folder = folder
        self._pool = Pool(folder)
        self._gate = folder / "gate"
        self._gate.touch()
        python = (sys.executable, "-I", "-S", LOCKING)
        gates = {number: [str(self._gate)] for number in blocked}
        self.names = [f"task-{number:02}" for number in range(TASKS)]
        (folder / "tasks").write_bytes(
            lines_of(
                task(name, *python, str(folder / name), *gates.get(number, ()))
                for number, name in enumerate(self.names)
            )
        )
        self.acknowledged = set()

    def kill_after(self, count, *args):
        """SIGKILL the pool once it has told of so many more results; none of them may be lost."""
        process = self._pool.start(*FILES, *args)
        before = set(self.acknowledged)
        while len(self.acknowledged - before) < count and (line := process.stdout.readline()):
            self._note(line)
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith(b"\n"):
                self._note(line)
        self._pool.end(process)

    def _note(self, line):
        result = json.loads(line)
        assert result["status"] == "ok", result
        self.acknowledged.add(result["identifier"])

    def resume(self):
        self._gate.unlink()
        return self._pool(*FILES, "--resume")

    def runs(self, name):
        path = self._folder / name
        return path.read_text().split() if path.exists() else []

    def journal(self):
        """What the journal says of each task: it has begun, runs as a process, or has ended."""
        path = self._folder / "journal"
        text = path.read_text() if path.exists() else ""  # killed before it was made
        names, found = {}, {}
        for line in map(json.loads, text[: text.rfind("\n") + 1].splitlines()):
            match line:
                case {"begin": key, "identifier": name}:
                    names[key] = name
                    found[name] = "begun"
                case {"spawn": key}:
                    found[names[key]] = "runs"
                case {"end": key, "result": {"identifier": name}}:
                    assert names[key] == name
                    found[name] = "ended"
        return found

    def close(self):
        self._gate.unlink(missing_ok=True)
        self._pool.close()


@pytest.mark.timeout(600)
def test_killed_anywhere_and_resumed_all_is_run_and_nothing_finished_twice(tmp_path, is_long):
    random = Random("pool")
    for attempt in range(40 if is_long else 3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        blocked = random.sample(range(TASKS), 2)
        killed = Killed(folder, blocked)
        try:
            killed.kill_after(random.randrange(TASKS - 1))
            if attempt % 2:  # one resume is killed too
                killed.kill_after(
                    random.randrange(TASKS - 1 - len(killed.acknowledged)), "--resume"
                )
            check(killed)
        finally:
            killed.close()


def check(killed):
    """Resume; what the journal says has ended is not run, all else is, once, and alone."""
    journal = killed.journal()
    ended = {name for name, state in journal.items() if state == "ended"}
    assert killed.acknowledged <= ended
    before = {name: killed.runs(name) for name in killed.names}
    assert journal.keys() >= {name for name in killed.names if before[name]}
    done = killed.resume()
    assert done.exit_code == 0, done.said
    results = [json.loads(line) for line in done.output.splitlines()]
    assert sorted(one["identifier"] for one in results) == killed.names
    assert {one["status"] for one in results} == {"ok"}
    again = [line.split(": ") for line in done.said.splitlines() if line.endswith("runs again")]
    assert {words[1] for words in again} == journal.keys() - ended
    for name in killed.names:
        since = killed.runs(name)[len(before[name]) :]
        if name in ended:
            assert since == [], name
        elif journal.get(name) == "begun":  # killed before it could write down its process
            assert since, name
        elif journal.get(name) == "runs":  # one left over may come so far first
            assert since in (["ran"], ["ran", "ran"]), name
        else:
            assert since == ["ran"], name


def test_what_a_kill_left_over_is_stopped_before_it_runs_again(tmp_path):
    killed = Killed(tmp_path, blocked=[0, 1])
    try:
        killed.kill_after(TASKS - 2)  # all others
        assert killed.runs("task-00") == killed.runs("task-01") == ["ran"]
        check(killed)
        assert killed.runs("task-00") == killed.runs("task-01") == ["ran", "ran"]
    finally:
        killed.close()
