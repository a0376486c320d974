"""Many child processes at once, minded by one thread: their output, their time, their end."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from workermanager.processes.capture import Capture
from workermanager.processes.launching import CannotStart, Launcher, open_stdin
from workermanager.processes.polling import Poll
from workermanager.processes.task import EXIT_TIMEOUT

if TYPE_CHECKING:
    from instrumentation.invocations import Invocation

__all__ = ["DESCRIPTORS", "CannotStart", "Child", "Children"]

DESCRIPTORS: Final = 4
"""How many file descriptors a child takes of us: two pipes, its standard input, its own."""

_PIECE: Final = 1 << 16  # what a pipe holds
_DRAIN_NS: Final = 1_000_000_000
_LOOK_EVERY_NS: Final = 10_000_000  # where a child's end cannot be waited for
_TAKEN: Final = 255


class Child:
    """One child process. After its end: what it wrote, and how it ended.

    ``exit_code`` is 128 + ``signal`` where a signal ended it, and 124 if it ``has_timed_out``;
    ``was_stopped`` says that it was told to end before it did, for that reason or another;
    ``reason`` what else is to be said. Times are nanoseconds.
    """

    __slots__ = (
        "_begun_ns",
        "_due_ns",
        "_is_ending",
        "_is_killed",
        "_open",
        "_pidfd",
        "duration_ns",
        "exit_code",
        "has_exited",
        "has_timed_out",
        "pid",
        "reason",
        "signal",
        "stderr",
        "stdout",
        "was_stopped",
    )

    def __init__(self, pid: int, pidfd: int, limit: int, begun_ns: int) -> None:
        self.pid = pid
        self.stdout = Capture(limit)
        self.stderr = Capture(limit)
        self.exit_code = 0
        self.signal: int | None = None
        self.has_exited = False
        self.has_timed_out = False
        self.was_stopped = False
        self.duration_ns = 0
        self.reason = ""
        self._pidfd = pidfd
        self._open: dict[int, Capture] = {}
        self._begun_ns = begun_ns
        self._due_ns: int | None = None
        self._is_ending = False
        self._is_killed = False

    def close(self) -> None:
        """Give up what it wrote."""
        self.stdout.close()
        self.stderr.close()


class Children:
    """Starts children, and waits for all of them at once.

    All is to be called from one thread, except `wake`. ``limit`` is how many bytes are kept of each
    stream; ``grace_ns`` how long a group that was told to end (SIGTERM) is waited for before it is
    made to (SIGKILL).

    Raises:
        OSError: there are no descriptors for it at the moment.
    """

    def __init__(self, *, limit: int, grace_ns: int) -> None:
        self._launcher = Launcher()
        self._limit = limit
        self._grace_ns = grace_ns
        self._now = time.monotonic_ns
        self._running: dict[int, Child] = {}
        self._unwatched: set[Child] = set()
        self._agenda: list[tuple[int, int, Child]] = []
        self._entries = count()
        self._ended: list[Child] = []
        self._minded: dict[int, Child] = {}  # by the descriptors that tell of them
        own: list[int] = []
        try:
            own += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            own.append(_open_null())
            self._poll = Poll()
        except OSError:
            _close(own)
            raise
        self._woken, self._waker, self._null = own
        self._poll.add(self._woken)

    def __len__(self) -> int:
        return len(self._running)

    # Starting

    def start(self, invocation: Invocation, timeout_ns: int | None = None) -> Child:
        """Start a child, leader of a session and a group of its own.

        Raises:
            CannotStart: it cannot be executed.
            OSError: there is no room for it at the moment.
        """
        own: list[int] = []  # what is ours to close if something fails
        given: list[int] = []  # the child's ends
        try:
            for _ in range(2):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                own.append(reading)
                given.append(writing)
            stdin = self._null
            if invocation.stdin is not None:
                stdin = open_stdin(invocation.stdin)
                given.append(stdin)
            begun = self._now()
            pid = self._launcher.launch(invocation, stdin, given[0], given[1])
        except BaseException:
            _close(own)
            raise
        finally:
            _close(given)
        return self._mind(Child(pid, _open_pidfd(pid), self._limit, begun), own, timeout_ns)

    def _mind(self, child: Child, streams: list[int], timeout_ns: int | None) -> Child:
        self._running[child.pid] = child
        if child._pidfd < 0:
            self._unwatched.add(child)
        else:
            self._minded[child._pidfd] = child
            self._poll.add(child._pidfd)
        for stream, capture in zip(streams, (child.stdout, child.stderr), strict=True):
            child._open[stream] = capture
            self._minded[stream] = child
            self._poll.add(stream)
        if timeout_ns is not None:
            self._set_due(child, child._begun_ns + timeout_ns)
        return child

    # Waiting

    def wait(self, timeout_ns: int | None = None) -> list[Child]:
        """Those that have ended, as soon as there is one.

        There is none if the time is over, somebody called `wake`, or no child is running.
        """
        until = None if timeout_ns is None else self._now() + timeout_ns
        while not self._ended and (self._running or until is not None):
            if self._look(self._patience(until)) or (until is not None and self._now() >= until):
                break
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        """Let `wait` return, now or when it is next called; from any thread or signal handler."""
        with suppress(OSError):  # it is full of such calls, or nobody waits any more
            os.write(self._waker, b"\0")

    def _patience(self, until: int | None) -> float | None:
        moments = [until] if until is not None else []
        if self._agenda:
            moments.append(self._agenda[0][0])
        if self._unwatched:
            moments.append(self._now() + _LOOK_EVERY_NS)
        return max(0, min(moments) - self._now()) / 1e9 if moments else None

    def _look(self, seconds: float | None) -> bool:
        """Wait for something, and do what it asks for; True if we were woken."""
        is_woken = False
        for descriptor, event in self._poll.wait(seconds):
            child = self._minded.get(descriptor)
            if descriptor == self._woken:
                is_woken = bool(os.read(self._woken, _PIECE))
            elif child is None:
                continue  # closed a moment ago, by the child's end
            elif descriptor == child._pidfd:
                self._note_exit(child)
            else:
                self._read(child, descriptor, has_data=bool(event & select.POLLIN))
        for child in [child for child in self._unwatched if _has_exited(child.pid)]:
            self._note_exit(child)
        self._keep_time()
        return is_woken

    def _read(self, child: Child, stream: int, *, has_data: bool) -> None:
        """Take what there is: to read does not block, because nobody else reads the pipe."""
        data = os.read(stream, _PIECE) if has_data else b""
        if data:
            child._open[stream].take(data)
            return
        self._close_stream(child, stream)
        if child.has_exited and not child._open:
            self._end(child)

    def _note_exit(self, child: Child) -> None:
        """The child is no more; what it has started may still hold its streams."""
        if child.has_exited:
            return
        child.has_exited = True
        child.duration_ns = self._now() - child._begun_ns
        self._unwatched.discard(child)
        if child._pidfd >= 0:
            self._forget(child._pidfd)
        if not child._open:
            self._end(child)
        elif not child._is_ending or child._is_killed:
            self._set_due(child, self._now() + _DRAIN_NS)

    def _close_stream(self, child: Child, stream: int) -> None:
        self._forget(stream)
        del child._open[stream]

    def _forget(self, descriptor: int) -> None:
        self._poll.remove(descriptor)
        os.close(descriptor)
        del self._minded[descriptor]

    # Ending

    def stop(self, child: Child) -> None:
        """Tell its group to end, and make it end if it has not after the grace; not again."""
        if not child._is_ending and child.pid in self._running:
            self._call_off(child)
            _signal(child, signal.SIGTERM)
            _signal(child, signal.SIGCONT)  # one that stands still hears nothing
            self._set_due(child, self._now() + self._grace_ns)

    def kill(self, child: Child) -> None:
        """Make its group end at once."""
        if child.pid in self._running:
            self._call_off(child)
            child._is_killed = True
            _signal(child, signal.SIGKILL)
            self._set_due(child, self._now() + _DRAIN_NS if child.has_exited else None)

    def _call_off(self, child: Child) -> None:
        child._is_ending = True
        child.was_stopped = child.was_stopped or not child.has_exited

    def close(self) -> None:
        """Make all end that still run, wait for that, and give up every descriptor."""
        for child in [*self._running.values()]:
            self.kill(child)
        while self._running:
            self.wait()
        self._poll.close()
        waker, self._waker = self._waker, -1  # a late signal must not write to another's
        _close([self._woken, waker, self._null])

    def _keep_time(self) -> None:
        now = self._now()
        while self._agenda and self._agenda[0][0] <= now:
            due, _, child = heappop(self._agenda)
            if child._due_ns == due:
                child._due_ns = None
                self._act(child)

    def _act(self, child: Child) -> None:
        """Its time is over: to run, to end by itself, or to let go of its streams."""
        if child._is_ending and not child._is_killed:
            self.kill(child)
        elif child.has_exited:
            child.reason = "something that it started held its output open after its end"
            for stream in [*child._open]:
                self._close_stream(child, stream)
            self._end(child)
        else:
            child.has_timed_out = True
            self.stop(child)

    def _end(self, child: Child) -> None:
        """It has exited, and its streams are closed: take its exit status."""
        child._due_ns = None
        if child._is_ending:  # nothing of its group is left behind; its id is not free yet
            _signal(child, signal.SIGKILL)
        try:
            _, status = os.waitpid(child.pid, 0)
        except ChildProcessError:
            child.exit_code = _TAKEN
            child.reason = "its exit status is lost: somebody else has waited for it"
        else:
            code = os.waitstatus_to_exitcode(status)
            child.signal = -code if code < 0 else None
            child.exit_code = code if code >= 0 else 128 - code
        if child.has_timed_out:
            child.exit_code = EXIT_TIMEOUT
        del self._running[child.pid]
        self._ended.append(child)

    def _set_due(self, child: Child, due: int | None) -> None:
        child._due_ns = due
        if due is not None:
            heappush(self._agenda, (due, next(self._entries), child))


def _signal(child: Child, number: int) -> None:
    """To its whole group. Its id cannot be another's: the child is waited for only at its end."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _open_pidfd(pid: int) -> int:
    """What tells of a process's end, or -1: not every system has it, and descriptors run out."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _has_exited(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _open_null() -> int:
    """Nothing to read; and 0, 1 and 2 are taken by something, so that no pipe of ours is."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:  # noqa: PLR2004 - standard error
        descriptor = os.open(os.devnull, os.O_RDWR)
    return descriptor


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
