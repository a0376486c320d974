"""What all jobs of a scheduler share, and what a job is told of a fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from workermanager.alarms import Alarms
from workermanager.cancelling import SYSTEM
from workermanager.crew import Crew

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from threading import Thread

    from workermanager.cancelling import Context
    from workermanager.report import Report

__all__ = ["Backing", "Done", "Fire"]

_MOST_HELPERS: Final = 256
_LOOK_AGAIN_S: Final = 0.2


class Fire(Protocol):
    """One due time of a schedule; ``due`` is nanoseconds since 1970, ``attempt`` counts from 1."""

    @property
    def due(self) -> int:
        """When it was due."""
        ...

    @property
    def attempt(self) -> int:
        """Which attempt it is: above 1, the process of the one before was lost."""
        ...


class Done(Protocol):
    """Hears, one time, what came of a fire; ``report`` is that of a whole run, else None.

    ``error`` is None for one that went well, `Cancelled` for one that was called off, and
    SystemExit or KeyboardInterrupt where a step wants to leave.
    """

    def __call__(self, error: BaseException | None, report: Report | None, /) -> None:
        """It has ended. On the thread that runs it, or, where that is stuck, on another."""
        ...


class Bare:
    """What a shared thread works at: nothing, for each task brings a desk of its own."""

    def close(self) -> None:
        """There is nothing to leave."""


class Backing:
    """Threads that the jobs of a scheduler share, none of which is started before it is needed.

    ``replace`` gives up a thread that is stuck in a fire, and has another do the work that it is
    given and take its place. ``loop``, which runs already, is where async steps go; without one,
    each run has its own. ``on_crash`` hears of a bug of ours, on the thread that it is found on.
    """

    def __init__(
        self,
        replace: Callable[[Thread, Callable[[], None]], None],
        on_crash: Callable[[BaseException], None],
        loop: AbstractEventLoop | None = None,
    ) -> None:
        self.replace = replace
        self.loop = loop
        self.alarms = Alarms(SYSTEM.now, on_crash)
        self.helpers: Crew[Bare] = Crew("schedules", _MOST_HELPERS, Bare, on_crash)

    def wait_for_room(self, scope: Context) -> None:
        """Wait while too many helpers are stuck, at most as long as the scope lives."""
        while self.helpers.stuck > _MOST_HELPERS and not scope.cancelled:
            scope.wait(_LOOK_AGAIN_S)

    def close(self, *, is_left_behind: bool = False) -> None:
        """End the threads, once every job is closed; do not wait for those that are left behind."""
        self.helpers.close(0.0 if is_left_behind else None)
        self.alarms.close()
