"""The command line as a user calls it: another process, in an empty folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = Path(__file__).parent / "targets.py"


@pytest.fixture
def environment(tmp_path_factory):
    """This environment without settings that would leak into the tests; a history of its own."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("WORKERMANAGER_")
    }
    state = tmp_path_factory.mktemp("state")
    return {**clean, "COLUMNS": "200", "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state)}


@pytest.fixture
def call(tmp_path, environment):
    """Call ``workermanager ARGS`` and give what it did."""

    def call(*args, env=None, **options):
        return subprocess.run(
            [sys.executable, "-m", "workermanager", *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
            cwd=tmp_path,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            **options,
        )

    return call


@pytest.fixture
def execute(tmp_path, environment):
    """Run a Python program, in which a warning is an error, and give what it did."""

    def execute(program):
        done = subprocess.run(
            [sys.executable, "-W", "error", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done

    return execute


@pytest.fixture
def start(tmp_path, environment):
    """Start ``workermanager run`` of a target that touches a marker; give it once it has."""
    started = []

    def start(target, *args):
        marker = tmp_path / "marker"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "workermanager", "run", f"{TARGETS}:{target}"),
                *("--set", f"marker={marker}", *map(str, args)),
            ],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_every_signal,  # noqa: PLW1509 - it sets dispositions and nothing else
        )
        started.append(process)
        wait_for(marker.exists, process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def hear_every_signal():
    """A shell starts what runs in the background with some ignored, and that is inherited."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(is_so, process):
    """Poll for a condition as long as the process lives."""
    while not is_so():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
