"""One task of a process pool, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from instrumentation.invocations import Invocation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.processes.capture import Capture

__all__ = [
    "EXIT_NOT_EXECUTABLE",
    "EXIT_NOT_FOUND",
    "EXIT_NOT_RUN",
    "EXIT_TIMEOUT",
    "Status",
    "Task",
    "TaskResult",
]

EXIT_TIMEOUT: Final = 124  # as timeout(1) has it, and the others as env(1) and POSIX shells
EXIT_NOT_RUN: Final = 125
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127


class Status(StrEnum):
    """How a task ended: the closed set that every count of a pool is made of.

    ``ok`` and ``failed`` are by its exit code, ``signaled`` by a signal that was not the pool's.
    ``not_started``: it could not be executed. ``cancelled``: the pool was stopped before its end.
    ``skipped``: something that it comes after was not ok.
    """

    OK = "ok"
    FAILED = "failed"
    SIGNALED = "signaled"
    TIMEOUT = "timeout"
    NOT_STARTED = "not_started"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Task(NamedTuple):
    """A program to run once, and what to know its result by.

    ``timeout`` is in seconds, for each attempt; ``retries`` counts the attempts after the first.
    None leaves either to the pool. ``after`` names the tasks whose end it waits for: it runs if
    all were ok, or, if ``always``, however they ended.
    """

    identifier: str
    command: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str | None] | None = None
    stdin: str | None = None
    timeout: float | None = None
    retries: int | None = None
    after: tuple[str, ...] = ()
    always: bool = False

    @property
    def invocation(self) -> Invocation:
        """What is to be executed."""
        stdin = None if self.stdin is None else self.stdin.encode()
        return Invocation(self.command, self.args, self.cwd, self.env, stdin)


class TaskResult(NamedTuple):
    """What came of a task.

    ``signal`` is what ended its last attempt, if a signal did; ``exit_code`` is 128 + signal then,
    124 after a timeout, 127 and 126 for a command that is not there or cannot be executed, and 125
    for a task that was never begun. ``reason`` says in words what the figures do not, "" if there
    is nothing to say. ``stdout`` and ``stderr`` are of the last attempt; None stands for nothing.
    """

    identifier: str
    status: Status
    exit_code: int
    signal: int | None = None
    stdout: Capture | None = None
    stderr: Capture | None = None
    duration_ns: int = 0
    attempts: int = 0
    reason: str = ""
