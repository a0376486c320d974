"""Processes that an earlier pool started and left behind when it was killed."""

from __future__ import annotations

import os
import time
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Final, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.processes.sessions import every_process, look_up

if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import Signals

__all__ = ["Leftover", "start_of", "stop_leftovers"]

_LOOK_EVERY_S: Final = 0.02  # they are not our children: nobody tells when they end
_KILLED_WITHIN_S: Final = 1.0


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
    process = look_up(pid)
    return None if process is None else process.start


def stop_leftovers(unfinished: Iterable[Leftover], grace_s: float = 5.0) -> list[Leftover]:
    """Stop the sessions of those that are alive, with KILL after the grace; give which they were.

    Raises:
        InvalidConfig: one of them belongs to another user.
    """
    found = [one for one in unfinished if one.is_alive]
    sessions = {one.pid for one in found if one.pid is not None}
    _signal(sessions, SIGTERM)
    _wait_for(sessions, grace_s)
    _signal(sessions, SIGKILL)
    _wait_for(sessions, _KILLED_WITHIN_S)
    return found


def _signal(sessions: set[int], signal: Signals) -> None:
    for group in _living_groups(sessions):
        try:
            os.killpg(group, signal)
        except ProcessLookupError:
            continue
        except PermissionError:
            raise InvalidConfig(
                f"process {group} of an earlier pool runs yet, and is another user's: end it first"
            ) from None


def _wait_for(sessions: set[int], seconds: float) -> None:
    """Wait until all that is in them has ended, at most so long."""
    until = time.monotonic() + seconds
    while _living_groups(sessions) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)


def _living_groups(sessions: set[int]) -> set[int]:
    """Each task leads a session: what it has started is in it, in one group or several."""
    return {one.group for one in every_process() if one.session in sessions} if sessions else set()
