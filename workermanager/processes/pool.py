"""A pool at work: tasks begin as there is room, and each gets its result, whatever happens."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from workermanager.processes.children import DESCRIPTORS, CannotStart, Children
from workermanager.processes.launching import SCARCE
from workermanager.processes.schedule import Schedule, Turn
from workermanager.processes.task import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_RUN,
    Status,
    Task,
    TaskResult,
)

if TYPE_CHECKING:
    from workermanager.processes.children import Child
    from workermanager.processes.halting import Halt
    from workermanager.processes.records import Records
    from workermanager.processes.tasks import Tasks

__all__ = ["PoolSettings", "ProcessPool", "Witness", "count_slots"]

_SPARE: Final = 16  # descriptors for the files of outputs that are long
_FIRST_WAIT_NS: Final = 100_000_000
_LONGEST_WAIT_NS: Final = 10_000_000_000
_MOST_TRIES: Final = 50  # where there is no room for a single child: 5 s
_NO_ROOM: Final = "there was no room for its output"
_FAILURES: Final = frozenset({Status.FAILED, Status.SIGNALED, Status.TIMEOUT})


class PoolSettings(NamedTuple):
    """How a pool goes about its tasks. Times are nanoseconds, sizes bytes.

    ``timeout_ns`` and ``retries`` are for tasks that have none of their own; ``grace_ns`` is how
    long a child that was told to end may take; ``max_output`` is kept of each stream.
    """

    slots: int = 2
    timeout_ns: int | None = None
    retries: int = 0
    grace_ns: int = 5_000_000_000
    max_output: int = 256_000_000
    halt: Halt | None = None


class Witness(Protocol):
    """Who hears what a pool does, as it does it."""

    def begun(self, task: Task, attempt: int) -> None:
        """An attempt is about to begin."""
        ...

    def ending(self, result: TaskResult) -> None:
        """A task is about to have its result, for good."""
        ...

    def ended(self, number: int, result: TaskResult) -> None:
        """It has."""
        ...


class _Place(NamedTuple):
    task: Task
    turn: Turn


class ProcessPool:
    """Runs all tasks, minded by one thread; `run` returns when each has its result in ``records``.

    ``counts`` says how many ended how, with those of an earlier run that was resumed. ``shortage``
    names the first task whose output there was no room for.
    """

    def __init__(
        self, tasks: Tasks, records: Records, settings: PoolSettings, witness: Witness
    ) -> None:
        self.counts: Counter[Status] = Counter()
        self.shortage = ""
        self._tasks = tasks
        self._records = records
        self._settings = settings
        self._witness = witness
        self._schedule = Schedule(len(tasks), tasks.after)
        self._children = Children(limit=settings.max_output, grace_ns=settings.grace_ns)
        self._running: dict[Child, _Place] = {}
        self._is_told_to_stop = False
        self._is_told_to_kill = False
        self._failed = 0  # in this run: a resumed one has another chance
        self._attempts: dict[int, int] = {}  # of tasks that are between two
        self._is_stopping = False
        self._is_closed = False
        self._why_closed = ""
        self._tries = 0
        self._retry_at: int | None = None

    def stop(self) -> None:
        """Begin nothing more, and tell what runs to end; from any thread or signal handler."""
        self._is_told_to_stop = True
        self._children.wake()

    def kill(self) -> None:
        """Begin nothing more, and make what runs end at once; from any thread, as well."""
        self._is_told_to_kill = True
        self.stop()

    def run(self) -> None:
        """Run every task to its result.

        Raises:
            OSError: results could not be kept. All children have ended.
        """
        try:
            self._recall()
            while True:
                self._heed_stops()
                self._begin_what_may()
                if not self._running and (self._is_closed or self._due_ns is None):
                    break
                for child in self._children.wait(self._patience()):
                    self._settle(child)
            self._cancel_rest()
        finally:
            self._children.close()

    # What may begin

    def _recall(self) -> None:
        """Tasks that ended in an earlier run."""
        for number in range(len(self._tasks)):
            status = self._records.status(number)
            if status is not None:
                self.counts[status] += 1
                self._schedule.end(number, is_ok=status is Status.OK)

    def _heed_stops(self) -> None:
        if self._is_told_to_stop and not self._is_stopping:
            self._is_stopping = True
            self._close("the pool was stopped", is_now=True)
        if self._is_told_to_kill:
            for child in self._running:
                self._children.kill(child)

    def _close(self, why: str, *, is_now: bool) -> None:
        self._is_closed = True
        self._why_closed = self._why_closed or why
        if is_now:
            for child in self._running:
                self._children.stop(child)

    @property
    def _due_ns(self) -> int | None:
        moments = (self._schedule.next_ns, self._retry_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def _patience(self) -> int | None:
        due = None if self._is_closed else self._due_ns
        return None if due is None else max(0, due - time.monotonic_ns())

    def _begin_what_may(self) -> None:
        now = time.monotonic_ns()
        if self._retry_at is not None and now < self._retry_at:
            return
        self._retry_at = None
        while not self._is_closed and len(self._running) < self._settings.slots:
            turn = self._schedule.take(now)
            if turn is None:
                return
            if self._records.status(turn.number) is None and not self._begin(turn):
                self._schedule.put_back(turn)
                return
            self._heed_stops()  # or as many as there are would begin that cannot be started

    def _begin(self, turn: Turn) -> bool:
        """Begin a task, or give it the result that it has without; False: there is no room."""
        task = self._tasks[turn.number]
        if turn.blocker is not None and not task.always:
            self._skip(task, turn)
            return True
        timeout_ns = self._settings.timeout_ns
        if task.timeout is not None:
            timeout_ns = round(task.timeout * 1e9)
        self._witness.begun(task, turn.attempt)
        self._records.begun(turn.number, task.identifier, turn.attempt)
        try:
            child = self._children.start(task.invocation, timeout_ns)
        except CannotStart as error:
            self._fail_to_start(task, turn, error.exit_code, error.reason)
        except OSError as error:
            if error.errno in SCARCE and self._wait_for_room():
                return False
            self._fail_to_start(task, turn, EXIT_NOT_EXECUTABLE, error.strerror or str(error))
        else:
            self._running[child] = _Place(task, turn)
            self._records.spawned(turn.number, child.pid)
            self._tries = 0
        self._attempts.pop(turn.number, None)
        return True

    def _wait_for_room(self) -> bool:
        """Try again when a child has ended, or after a while; False after the last time."""
        if not self._running:
            self._tries += 1
            self._retry_at = time.monotonic_ns() + _FIRST_WAIT_NS
        else:
            self._retry_at = time.monotonic_ns() + _LONGEST_WAIT_NS
        return self._tries <= _MOST_TRIES

    # What came of it

    def _skip(self, task: Task, turn: Turn) -> None:
        assert turn.blocker is not None  # noqa: S101 - for the type checker
        blocker = self._tasks[turn.blocker].identifier
        status = self._records.status(turn.blocker)
        reason = f"it comes after {blocker!r}, which was {status}"
        self._end(
            turn.number, TaskResult(task.identifier, Status.SKIPPED, EXIT_NOT_RUN, reason=reason)
        )

    def _fail_to_start(self, task: Task, turn: Turn, exit_code: int, reason: str) -> None:
        result = TaskResult(
            task.identifier, Status.NOT_STARTED, exit_code, attempts=turn.attempt, reason=reason
        )
        self._end(turn.number, result)

    def _settle(self, child: Child) -> None:
        """A child has ended: its task is to be tried again, or has its result."""
        task, turn = self._running.pop(child)
        self._retry_at = None
        status = _status_of(child)
        retries = self._settings.retries if task.retries is None else task.retries
        try:
            if status in _FAILURES and turn.attempt <= retries and not self._is_closed:
                self._attempts[turn.number] = turn.attempt
                wait = min(_LONGEST_WAIT_NS, _FIRST_WAIT_NS << min(turn.attempt - 1, 10))
                self._schedule.retry(turn.number, turn.attempt + 1, time.monotonic_ns() + wait)
            else:
                reason = self._why_closed if status is Status.CANCELLED else _reason_of(child)
                result = _result_of(task, turn, child, status, reason)
                self._end(turn.number, result)
                if child.stdout.fault or child.stderr.fault:
                    self._note_shortage(result)
        finally:
            child.close()

    def _end(self, number: int, result: TaskResult) -> None:
        self._witness.ending(result)
        try:
            self._records.ended(number, result)
        except OSError as error:
            result = _without_output(result, error)
            self._records.ended(number, result)
            self._note_shortage(result)
        self.counts[result.status] += 1
        self._schedule.end(number, is_ok=result.status is Status.OK)
        self._witness.ended(number, result)
        if result.status in _FAILURES or result.status is Status.NOT_STARTED:
            self._failed += 1
            halt = self._settings.halt
            if halt is not None and halt.is_reached(self._failed, len(self._tasks)):
                self._close("too many tasks have failed", is_now=halt.is_now)

    def _note_shortage(self, result: TaskResult) -> None:
        self.shortage = self.shortage or f"{result.identifier}: {result.reason}"

    def _cancel_rest(self) -> None:
        """Those that never began, or have no further attempt, because the pool was stopped."""
        for number in range(len(self._tasks)):
            if self._records.status(number) is None:
                result = TaskResult(
                    self._tasks[number].identifier,
                    Status.CANCELLED,
                    EXIT_NOT_RUN,
                    attempts=self._attempts.get(number, 0),
                    reason=self._why_closed,
                )
                self._end(number, result)


def count_slots(wanted: int, tasks: int) -> int:
    """How many children there may be at once: no more than tasks, or than descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return max(1, min(wanted, tasks))
    taken = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0  # which needs /proc
    return max(1, min(wanted, tasks, (soft - taken - _SPARE) // DESCRIPTORS))


def _status_of(child: Child) -> Status:
    if child.has_timed_out:
        return Status.TIMEOUT
    if child.was_stopped:
        return Status.CANCELLED
    if child.signal is not None:
        return Status.SIGNALED
    return Status.OK if child.exit_code == 0 else Status.FAILED


def _reason_of(child: Child) -> str:
    fault = child.stdout.fault or child.stderr.fault
    return child.reason or (f"{_NO_ROOM}: {fault}" if fault else "")


def _without_output(result: TaskResult, error: OSError) -> TaskResult:
    """The result, for which there may be room without what the task wrote.

    Raises:
        OSError: it wrote nothing.
    """
    streams = [stream for stream in (result.stdout, result.stderr) if stream and stream.size]
    if not streams:
        raise error
    for stream in streams:
        stream.give_up()
    return result._replace(reason=f"{_NO_ROOM}: {error}")


def _result_of(task: Task, turn: Turn, child: Child, status: Status, reason: str) -> TaskResult:
    return TaskResult(
        task.identifier,
        status,
        child.exit_code,
        child.signal,
        child.stdout,
        child.stderr,
        child.duration_ns,
        turn.attempt,
        reason,
    )
