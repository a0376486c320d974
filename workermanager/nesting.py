"""Which run a thread works for, so that a Worker started by a step is nested in it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from instrumentation.engine import Scope
    from instrumentation.execution import Exec

__all__ = ["Nesting", "Place", "Workplace"]

RunT = TypeVar("RunT")


class Nesting(NamedTuple, Generic[RunT]):
    """The run that this thread works for, and what a run inside its current exec starts from.

    That is a seed, and until when the step may go on (None: as long as its run).
    """

    run: RunT
    seed: int
    scope: Scope | None


class Place(Protocol):
    """Where an exec is worked on: a thread's desk, or an async step's seat."""

    current: Exec | None


class Workplace(Generic[RunT]):
    """What each thread, and each async step, works on: its run and its place.

    It is a context variable, so what a step starts in a copy of its context belongs to its exec.
    """

    def __init__(self) -> None:
        self._entered: ContextVar[tuple[RunT, Place] | None] = ContextVar("workplace", default=None)

    def enter(self, run: RunT, place: Place) -> None:
        """This thread, or this task, works for the run from now on."""
        self._entered.set((run, place))

    def nesting(self) -> Nesting[RunT] | None:
        """Where a Worker started here would be nested; None outside of any exec.

        Raises:
            InvalidConfig: the exec is in a transaction, which the nested run's rows would wait for.
        """
        entered = self._entered.get()
        if entered is None or (current := entered[1].current) is None:
            return None
        if current.is_transacting:
            raise InvalidConfig("a Worker cannot be started inside ctx.transact")
        return Nesting(entered[0], current.child_seed(), current.scope)
