"""Processes that an earlier pool started and left behind when it was killed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import Signals

__all__ = ["Leftover", "start_of", "stop_leftovers"]

_LOOK_EVERY_S: Final = 0.02  # they are not our children: nobody tells when they end
_KILLED_WITHIN_S: Final = 1.0
_STATE, _START = 0, 19  # fields 3 and 22 of /proc/PID/stat, counted from behind the name


class Leftover(NamedTuple):
    """An attempt of a task that was begun, and whose end is not known.

    ``since`` is when, in seconds of the epoch. ``pid`` is None if it may not have got so far as to
    run. ``start`` is when the process began, in ticks since the machine was booted; None if that
    is not known, or the machine was booted since.
    """

    identifier: str
    attempt: int
    since: float
    pid: int | None = None
    start: int | None = None

    @property
    def is_alive(self) -> bool:
        """True if that very process runs yet, and not another one that has its number."""
        return self.start is not None and self.pid is not None and start_of(self.pid) == self.start


def start_of(pid: int) -> int | None:
    """When a process began, in ticks since the boot; None if it has ended, or nobody knows.

    As proc_pid_stat(5) has it, so on Linux only.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it went, even while it was read
        return None
    return None if fields[_STATE] in b"ZX" else int(fields[_START])


def stop_leftovers(unfinished: Iterable[Leftover], grace_s: float = 5.0) -> list[Leftover]:
    """Stop the groups of those that are alive, with KILL after the grace; give which they were.

    Raises:
        PermissionError: one of them belongs to another user.
    """
    found = [one for one in unfinished if one.is_alive]
    groups = [one.pid for one in found if one.pid is not None]
    groups = _wait(_signal(groups, SIGTERM), grace_s)
    _wait(_signal(groups, SIGKILL), _KILLED_WITHIN_S)
    return found


def _signal(groups: Iterable[int], signal: Signals | int) -> list[int]:
    """Send a signal; give which groups there are."""
    there = []
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal)
            there.append(group)
    return there


def _wait(groups: list[int], seconds: float) -> list[int]:
    """Wait for groups to end, at most so long; give those that have not."""
    until = time.monotonic() + seconds
    while (groups := _signal(groups, 0)) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    return groups
