"""Which run a thread works for, so that a Worker started by a step is nested in it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from instrumentation.engine import Scope
    from workermanager.errands import Desk

__all__ = ["Nesting", "Workplace"]

RunT = TypeVar("RunT")


class Nesting(NamedTuple, Generic[RunT]):
    """The run that this thread works for, and what a run inside its current exec starts from.

    That is a seed, and until when the step may go on (None: as long as its run).
    """

    run: RunT
    seed: int
    scope: Scope | None


class Workplace(threading.local, Generic[RunT]):
    """What each thread works on: its run and its desk, once it has entered them."""

    def __init__(self) -> None:
        self._run: RunT | None = None
        self._desk: Desk | None = None

    def enter(self, run: RunT, desk: Desk) -> None:
        """This thread works for the run from now on."""
        self._run, self._desk = run, desk

    def nesting(self) -> Nesting[RunT] | None:
        """Where a Worker started on this thread would be nested; None outside of any exec.

        Raises:
            InvalidConfig: the exec is in a transaction, which the nested run's rows would wait for.
        """
        current = None if self._desk is None else self._desk.current
        if self._run is None or current is None:
            return None
        if current.is_transacting:
            raise InvalidConfig("a Worker cannot be started inside ctx.transact")
        return Nesting(self._run, current.child_seed(), current.scope)
