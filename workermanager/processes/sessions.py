"""Which processes belong together, as Linux says in /proc; elsewhere nothing is known of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Process", "every_process", "groups_of", "look_up"]

_STATE, _GROUP, _SESSION, _START = 0, 2, 3, 19  # fields 3, 5, 6 and 22, counted behind the name


class Process(NamedTuple):
    """A process that has not ended: its group, its session, and when it began.

    ``start`` is in ticks since the machine was booted.
    """

    pid: int
    group: int
    session: int
    start: int


def look_up(pid: int) -> Process | None:
    """What there is to say of a process; None if it has ended, or nobody knows.

    One that waits for its parent to ask how it ended has ended. See proc_pid_stat(5).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it went, even while it was read
        return None
    if fields[_STATE] in b"ZX":
        return None
    return Process(pid, int(fields[_GROUP]), int(fields[_SESSION]), int(fields[_START]))


def every_process() -> Iterator[Process]:
    """All that there are, some milliseconds long."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in names:
        process = look_up(int(name)) if name.isdigit() else None
        if process is not None:
            yield process


def groups_of(session: int) -> set[int]:
    """The process groups of a session: its leader's, and those that shells and timeout(1) make."""
    return {process.group for process in every_process() if process.session == session}
