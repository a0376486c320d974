"""Which run a thread works for, so that a Worker started by a step is nested in it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from workermanager.runner import Runner

__all__ = ["Nesting", "Workplace"]

RunT = TypeVar("RunT")


class Nesting(NamedTuple, Generic[RunT]):
    """The run that this thread works for, and a seed for a run inside its current exec."""

    run: RunT
    seed: int


class Workplace(threading.local, Generic[RunT]):
    """What each thread works on: its run and its runner, once it has entered them."""

    def __init__(self) -> None:
        self._run: RunT | None = None
        self._runner: Runner | None = None

    def enter(self, run: RunT, runner: Runner) -> None:
        """This thread works for the run from now on."""
        self._run, self._runner = run, runner

    def nesting(self) -> Nesting[RunT] | None:
        """Where a Worker started on this thread would be nested; None outside of any exec.

        Raises:
            InvalidConfig: the exec is in a transaction, which the nested run's rows would wait for.
        """
        current = None if self._runner is None else self._runner.current
        if self._run is None or current is None:
            return None
        if current.is_transacting:
            raise InvalidConfig("a Worker cannot be started inside ctx.transact")
        return Nesting(self._run, current.child_seed())
