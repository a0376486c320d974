"""Real child processes, minded by one thread."""

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from instrumentation.invocations import Invocation
from workermanager.processes import children as module
from workermanager.processes.children import CannotStart, Children

LONG_NS = 60_000_000_000


@pytest.fixture
def open_children():
    made = []

    def make(*, limit=1 << 20, grace_ns=LONG_NS):
        made.append(Children(limit=limit, grace_ns=grace_ns))
        return made[-1]

    before = {*descriptor_names()}
    yield make
    for children in made:
        children.close()
    assert {*descriptor_names()} <= before


def descriptor_names():
    return [path.name for path in Path("/proc/self/fd").iterdir()]


def sh(script, *args, **more):
    return Invocation("sh", ("-c", script, "sh", *args), **more)


def ended(children, count=1):
    found = []
    while len(found) < count:
        found += children.wait(LONG_NS)
    return found


def run(children, invocation, timeout_ns=None):
    children.start(invocation, timeout_ns)
    (child,) = ended(children)
    return child


def begun(child, children, folder):
    """Wait until the child has said that it runs, by making a file."""
    while not (folder / "begun").exists():
        children.wait(1_000_000)
    return child


def open_descriptors():
    for name in descriptor_names():
        with suppress(OSError):  # the one that listed them
            os.fstat(int(name))
            yield int(name)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid):
    """Of a process that is told to end, but is not ours to wait for."""
    while is_alive(pid):
        threading.Event().wait(0.001)


def test_both_streams_and_the_exit_code_are_kept(open_children):
    child = run(open_children(), sh("echo out; echo err >&2; exit 3"))
    assert (child.stdout.read(), child.stderr.read()) == (b"out\n", b"err\n")
    assert (child.exit_code, child.signal, child.was_stopped) == (3, None, False)
    assert child.duration_ns > 0


def test_a_signal_is_told_from_an_exit_code(open_children):
    child = run(open_children(), sh("kill -9 $$"))
    assert (child.exit_code, child.signal, child.was_stopped) == (137, 9, False)


@pytest.mark.parametrize(
    ("invocation", "exit_code", "reason"),
    [
        (Invocation("no-such-program"), 127, "there is no 'no-such-program' in PATH"),
        (Invocation("/no/such"), 127, "there is no /no/such"),
        (Invocation(""), 127, "no command is given"),
        (Invocation("/etc"), 126, "/etc is a directory"),
        (Invocation("/etc/passwd"), 126, "/etc/passwd is not executable"),
        (Invocation("echo", ("a\0b",)), 126, "command, args, cwd or env have a NUL"),
        (Invocation("a\0b"), 126, "command, args, cwd or env have a NUL"),
        (Invocation("true", env={"A=B": "x"}), 126, "command, args, cwd or env have a NUL"),
        (Invocation("true", env={"A": "\ud800"}), 126, "have characters that no program"),
        (Invocation("true", cwd="/no/such"), 126, "cwd '/no/such' is no directory"),
        (Invocation("true", ("x" * 300_000,)), 126, "Argument list too long"),
        (Invocation("true", env={"PATH": "/no/such"}), 127, "there is no 'true' in PATH"),
        (Invocation("true", env={"PATH": "/no/such"}, cwd="/"), 127, "there is no 'true' in PATH"),
    ],
)
def test_what_cannot_be_executed_says_why(open_children, invocation, exit_code, reason):
    with pytest.raises(CannotStart) as refusal:
        open_children().start(invocation)
    assert refusal.value.exit_code == exit_code
    assert reason in refusal.value.reason


def test_scripts_that_cannot_be_read_by_the_kernel_say_why(open_children, tmp_path):
    plain, broken, locked = (tmp_path / name for name in ("plain", "broken", "locked"))
    plain.write_text("echo no first line\n")
    broken.write_text("#!/no/such/interpreter\n")
    locked.write_text("#!/bin/sh\n")
    plain.chmod(0o755)
    broken.chmod(0o755)
    children = open_children()
    for script, said in (
        (plain, "neither a program nor a script"),
        (broken, "an interpreter that is not there"),
        (locked, "is not executable"),
    ):
        with pytest.raises(CannotStart, match=said) as refusal:
            children.start(Invocation(str(script)))
        assert refusal.value.exit_code == 126
    with pytest.raises(CannotStart, match="not executable") as refusal:
        children.start(Invocation("locked", env={"PATH": str(tmp_path)}))
    assert refusal.value.exit_code == 126


def test_directory_environment_and_input_are_the_ones_given(open_children, tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("TAKEN", "1")
    script = 'pwd; echo "$KEPT$NEW${TAKEN-}"; cat'
    environment = {"NEW": "2", "TAKEN": None}
    child = run(open_children(), sh(script, cwd=str(tmp_path), env=environment, stdin=b"read\0me"))
    assert child.stdout.read() == f"{tmp_path}\n12\nread\0me".encode()


def test_long_input_need_not_be_read(open_children):
    children = open_children(limit=1 << 23)
    data = os.urandom(3 << 20)
    child = run(children, Invocation("cat", stdin=data))
    assert child.stdout.read() == data
    child.close()
    assert run(children, Invocation("true", stdin=data)).exit_code == 0


def test_without_input_there_is_nothing_to_read(open_children):
    assert run(open_children(), Invocation("cat")).stdout.size == 0


def test_output_beyond_the_limit_is_read_and_dropped(open_children):
    child = run(open_children(limit=1000), sh("head -c 500000 /dev/zero; echo done >&2"))
    assert (child.stdout.size, child.stdout.lost) == (1000, 499_000)
    assert child.stderr.read() == b"done\n"


def test_long_output_is_whole(open_children):
    script = "import sys; sys.stdout.write('0123456789abcdef' * (1 << 18))"
    child = run(open_children(limit=1 << 30), Invocation(sys.executable, ("-c", script)))
    assert child.stdout.read() == b"0123456789abcdef" * (1 << 18)
    child.close()


def test_each_is_the_leader_of_a_session_of_its_own(open_children):
    child = run(open_children(), sh("ps -o pid=,pgid=,sid= -p $$"))
    assert {*child.stdout.read().split()} == {str(child.pid).encode()}


def test_signals_that_python_ignores_are_not_ignored_by_children(open_children):
    child = run(open_children(), sh("grep SigIgn /proc/self/status"))
    ignored = int(child.stdout.read().split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_no_descriptor_of_ours_reaches_a_child(open_children):
    children = open_children()
    children.start(sh("sleep 60"))
    meant_for_all = {fd for fd in open_descriptors() if os.get_inheritable(fd)}
    for cwd in (None, "/"):
        child = run(children, sh("ls /proc/self/fd", cwd=cwd))
        found = {*map(int, child.stdout.read().split())}
        assert found <= {0, 1, 2, 3, *meant_for_all}  # 3 is the one that ls reads
        assert meant_for_all <= found


def test_one_that_takes_too_long_is_told_to_end(open_children):
    child = run(open_children(), sh("trap 'echo bye; exit 0' TERM; sleep 60 & wait"), 50_000_000)
    assert (child.exit_code, child.has_timed_out) == (124, True)
    assert child.was_stopped


@pytest.mark.parametrize("has_epoll", [True, False])
def test_one_may_take_years(open_children, monkeypatch, has_epoll):
    if not has_epoll:
        monkeypatch.delattr(select, "epoll")
    century_ns = 100 * 365 * 86_400 * 1_000_000_000
    assert run(open_children(), sh("exit 3"), century_ns).exit_code == 3


def test_one_that_does_not_listen_is_made_to_end_with_all_its_group(open_children, tmp_path):
    script = """trap '' TERM
        (sleep 1000 & echo $! > "$1/inner"; wait) & echo $! > "$1/outer"
        while :; do sleep 1000; done"""
    child = run(open_children(grace_ns=50_000_000), sh(script, str(tmp_path)), 300_000_000)
    assert (child.exit_code, child.signal, child.has_timed_out) == (124, 9, True)
    for name in ("inner", "outer"):
        wait_until_gone(int((tmp_path / name).read_text()))


def test_a_stopped_group_may_finish_within_the_grace_after_its_leader(open_children, tmp_path):
    script = """(trap 'sleep 0.2; echo cleaned; exit' TERM
        touch "$1/begun"; sleep 60 >&- 2>&- & wait) & wait"""
    children = open_children()
    child = children.start(sh(script, str(tmp_path)))
    children.stop(begun(child, children, tmp_path))
    (same,) = ended(children)
    assert same is child
    assert child.was_stopped
    assert child.stdout.read() == b"cleaned\n"


def test_a_stopped_one_that_stood_still_ends(open_children, tmp_path):
    children = open_children()
    child = children.start(sh('touch "$1/begun"; kill -STOP $$; sleep 60', str(tmp_path)))
    begun(child, children, tmp_path)
    children.stop(child)
    assert ended(children) == [child]
    assert child.signal == signal.SIGTERM


def test_a_killed_one_ends_at_once(open_children, tmp_path):
    children = open_children()
    child = children.start(sh("trap '' TERM; touch \"$1/begun\"; sleep 60", str(tmp_path)))
    begun(child, children, tmp_path)
    children.stop(child)
    children.kill(child)
    assert ended(children) == [child]
    assert (child.signal, child.was_stopped, child.has_timed_out) == (9, True, False)


def test_output_that_a_grandchild_holds_open_is_waited_for_a_while(open_children, monkeypatch):
    monkeypatch.setattr(module, "_DRAIN_NS", 50_000_000)
    child = run(open_children(), sh("sleep 1000 & echo $!"))
    grandchild = int(child.stdout.read())
    assert (child.exit_code, child.was_stopped) == (0, False)
    assert "held its output open" in child.reason
    assert is_alive(grandchild)  # it was not asked for, but it may be wanted
    os.kill(grandchild, signal.SIGKILL)


def test_a_grandchild_that_soon_lets_go_loses_nothing(open_children):
    child = run(open_children(), sh("(sleep 0.1; echo late) & echo soon"))
    assert child.stdout.read() == b"soon\nlate\n"
    assert child.reason == ""


def test_wait_returns_when_woken_also_before_it_was_called(open_children):
    children = open_children()
    children.start(Invocation("sleep", ("60",)))
    children.wake()
    assert children.wait(LONG_NS) == []
    waker = threading.Timer(0.02, children.wake)
    waker.start()
    assert children.wait(LONG_NS) == []
    waker.join()


def test_wait_returns_after_its_time(open_children):
    children = open_children()
    assert children.wait(1_000_000) == []
    children.start(Invocation("sleep", ("60",)))
    assert children.wait(1_000_000) == []


def test_closing_leaves_nobody_behind():
    children = Children(limit=10, grace_ns=LONG_NS)
    pids = [children.start(sh("trap '' TERM; sleep 60")).pid for _ in range(5)]
    children.close()
    assert not [pid for pid in pids if is_alive(pid)]
    assert len(children) == 0


def test_without_pidfds_children_end_as_well(open_children, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    children = open_children(grace_ns=50_000_000)
    for code in range(4):
        children.start(sh(f"exit {code}"))
    assert {child.exit_code for child in ended(children, 4)} == {0, 1, 2, 3}
    assert run(children, sh("trap '' TERM; sleep 60; sleep 60"), 50_000_000).signal == 9


def test_without_epoll_it_is_poll_that_waits(open_children, monkeypatch):
    monkeypatch.delattr(select, "epoll")
    children = open_children(grace_ns=50_000_000)
    assert run(children, sh("echo out; exit 3")).stdout.read() == b"out\n"
    assert children.wait(1_000_000) == []
    assert run(children, sh("sleep 60"), 1_500_000).has_timed_out


def test_an_exit_status_that_somebody_else_took_is_said_to_be_lost(open_children):
    children = open_children()
    child = children.start(sh("exit 5"))
    os.waitpid(child.pid, 0)
    assert ended(children) == [child]
    assert child.exit_code == 255
    assert "somebody else" in child.reason


def test_many_at_once(open_children):
    children = open_children()
    for number in range(64):
        children.start(sh('echo "$1"; exit "$1"', str(number)))
    found = ended(children, 64)
    assert {child.exit_code for child in found} == {*range(64)}
    assert all(child.stdout.read() == b"%d\n" % child.exit_code for child in found)


def test_with_closed_standard_streams_children_have_theirs():
    script = """
import os
for stream in (0, 1, 2): os.close(stream)
from instrumentation.invocations import Invocation
from workermanager.processes.children import Children
children = Children(limit=100, grace_ns=1)
child = children.start(Invocation("sh", ("-c", "cat; echo out; echo err >&2"), stdin=b"in "))
while not children.wait(): pass
right = (child.stdout.read(), child.stderr.read()) == (b"in out\\n", b"err\\n")
children.close()
os._exit(0 if right else 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
