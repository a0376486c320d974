import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from instrumentation.errors import InvalidConfig
from workermanager.processes import leftovers
from workermanager.processes.leftovers import Leftover, start_of, stop_leftovers

OBEYS = 'echo ready; read -r never < "$0"'
IGNORES = "trap '' TERM; " + OBEYS
# The first goes on TERM, what it started only on KILL.
LEAVES_A_CHILD = "(trap '' TERM; echo $$; " + OBEYS + ") & wait"


class Left:
    """A process in a group of its own, reaped by a thread as init would."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid
        self.start = start_of(self.pid)
        self._reaper = threading.Thread(target=self.process.wait)

    def reap(self):
        self._reaper.start()

    def end(self):
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._reaper.ident is None:
            self._reaper.start()
        self._reaper.join()
        self.process.stdout.close()

    @property
    def as_leftover(self):
        return Leftover("a", 1, 0.0, self.pid, self.start)


@pytest.fixture
def leave(tmp_path):
    """Starts a shell script that is ready, and can wait for ever by reading ``$0``."""
    never = str(tmp_path / "never")
    os.mkfifo(never)
    left = []

    def start(script):
        left.append(Left("sh", "-c", script, never))
        while left[-1].process.stdout.readline() != b"ready\n":
            pass
        left[-1].reap()
        return left[-1]

    yield start
    for one in left:
        one.end()


def test_what_runs_yet_is_told_to_end_and_named(leave):
    one, other = leave(OBEYS), leave(OBEYS)
    unfinished = [one.as_leftover, Leftover("b", 1, 0.0), other.as_leftover]
    assert stop_leftovers(unfinished) == [one.as_leftover, other.as_leftover]
    assert [left.process.wait() for left in (one, other)] == [-signal.SIGTERM] * 2


def test_what_does_not_listen_is_killed_after_the_grace(leave):
    one = leave(IGNORES)
    assert stop_leftovers([one.as_leftover], grace_s=0.1) == [one.as_leftover]
    assert one.process.wait() == -signal.SIGKILL


def test_the_whole_group_is_ended(leave):
    one = leave(LEAVES_A_CHILD)
    stop_leftovers([one.as_leftover], grace_s=0.1)
    assert one.process.wait() == -signal.SIGTERM
    assert one.process.stdout.read() == b""  # whoever held it has gone


def test_another_process_that_has_the_number_is_left_alone(leave):
    one = leave(OBEYS)
    stranger = one.as_leftover._replace(start=one.start - 1)
    unknown = one.as_leftover._replace(start=None)
    assert stop_leftovers([stranger, unknown]) == []
    assert one.process.poll() is None


def test_what_is_another_users_is_refused(leave, monkeypatch):
    one = leave(OBEYS)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(leftovers.os, "killpg", refuse)
    with pytest.raises(InvalidConfig, match=f"process {one.pid} of an .* is another user's"):
        stop_leftovers([one.as_leftover])
    monkeypatch.undo()


def test_what_has_ended_is_not_found(leave):
    one = leave("echo ready")
    one.process.wait()
    assert stop_leftovers([one.as_leftover]) == []


def test_a_process_whose_end_nobody_has_asked_for_has_ended():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(process.pid) is None
    process.wait()


def test_a_process_may_be_called_as_it_likes(tmp_path):
    odd = shutil.copy(shutil.which("cat"), tmp_path / ") Z 1 2 (")
    with subprocess.Popen([odd], stdin=subprocess.PIPE) as process:
        before = start_of(os.getpid())
        assert start_of(process.pid) >= before > 0


def test_nobody_knows_of_a_process_that_never_was():
    assert start_of(int(Path("/proc/sys/kernel/pid_max").read_text()) + 1) is None


def test_a_later_process_began_later():
    imports = "import os\nfrom workermanager.processes.leftovers import start_of\n"
    code = imports + "print(start_of(os.getpid()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert int(done.stdout) > start_of(os.getpid())
