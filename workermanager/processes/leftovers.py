"""Processes that an earlier pool started and left behind when it was killed."""

from __future__ import annotations

import os
import time
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Final, NamedTuple

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import Signals

__all__ = ["Leftover", "start_of", "stop_leftovers"]

_LOOK_EVERY_S: Final = 0.02  # they are not our children: nobody tells when they end
_KILLED_WITHIN_S: Final = 1.0
_STATE, _GROUP, _START = 0, 2, 19  # fields 3, 5 and 22, counted from behind the name


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
    """When a process began, in ticks since the boot; None if it has ended, or nobody knows."""
    fields = _read_stat(str(pid))
    return int(fields[_START]) if fields else None


def stop_leftovers(unfinished: Iterable[Leftover], grace_s: float = 5.0) -> list[Leftover]:
    """Stop the groups of those that are alive, with KILL after the grace; give which they were.

    Raises:
        InvalidConfig: one of them belongs to another user.
    """
    found = [one for one in unfinished if one.is_alive]
    groups = {one.pid for one in found if one.pid is not None}
    _signal(groups, SIGTERM)
    groups = _wait_for(groups, grace_s)
    _signal(groups, SIGKILL)
    _wait_for(groups, _KILLED_WITHIN_S)
    return found


def _signal(groups: Iterable[int], signal: Signals) -> None:
    for group in groups:
        try:
            os.killpg(group, signal)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise InvalidConfig(
                f"process {group} of an earlier pool runs yet, and is another user's: end it first"
            ) from None


def _wait_for(groups: set[int], seconds: float) -> set[int]:
    """Wait until all of them have ended, at most so long; give those that have not."""
    until = time.monotonic() + seconds
    while (groups := groups & _living_groups()) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    return groups


def _living_groups() -> set[int]:
    stats = (_read_stat(name) for name in os.listdir("/proc") if name.isdigit())
    return {int(fields[_GROUP]) for fields in stats if fields}


def _read_stat(pid: str) -> list[bytes]:
    """What the system says of a process, as in proc_pid_stat(5), on Linux only; [] if it has ended.

    One that waits for its parent to ask how it ended has ended.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it went, even while it was read
        return []
    return [] if fields[_STATE] in b"ZX" else fields
