"""What all threads of a run were told: the chain, the clock, and whom to tell what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from instrumentation.execution import Exec, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from instrumentation.engine import RunContext
    from instrumentation.errors import WorkerManagerError
    from instrumentation.nodes import Link, Node, Wrap
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction
    from workermanager.alarms import Alarms
    from workermanager.cancelling import Context
    from workermanager.clock import Arrivals
    from workermanager.errands import Desk
    from workermanager.strands import Trace
    from workermanager.telemetry import Recorder

__all__ = ["Assignment", "Helpers", "Landing", "Tracer"]


class Helpers(Protocol):
    """Threads beside those that run execs: a `Crew`, or what passes tasks on to one."""

    def submit(self, task: Callable[[Desk], None], /) -> None:
        """Have a task done, at the desk of the thread that does it, as soon as one is free.

        Raises:
            RuntimeError: the system has no more threads to give, and there is none here.
        """
        ...


class Tracer(Protocol):
    """Chooses the execs that are followed."""

    def begin(self, ctx: Exec, due_ns: int, started_ns: int) -> Trace | None:
        """Follow an exec; None for most, for which this must cost next to nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What all threads of a run share and none changes.

    ``now`` is the monotonic clock in nanoseconds, ``began`` its reading at the run's start.
    ``nodes`` are the chain, ``links`` its steps, and ``names`` those of all its parts; where
    ``is_plain``, it is these steps one after the other and nothing else. ``scope`` is until when
    the run may go on; ``exec_timeout`` and ``tick_timeout`` are its execs' deadlines, in seconds
    from their starts and their ticks' starts. ``land`` hands an exec with rows to the writer,
    ``note`` tells it of one without, where a ledger wants to know. ``late_ns`` is the overrun
    limit, if any. ``wrap`` is put around the function of a step that joins the chain. ``wait_for``
    runs an async function from a thread, ``wait_for_room`` waits while too many threads are stuck,
    at most as long as a context lives. ``on_failure`` hears of every failed exec; ``stop`` ends
    the run, as a first signal does.
    """

    context: RunContext
    scope: Context
    arrivals: Arrivals
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    names: tuple[str, ...]
    is_plain: bool
    exec_timeout: float | None
    tick_timeout: float | None
    arguments: Mapping[str, Any]
    root: str
    now: Callable[[], int]
    began: int
    crew: Helpers
    alarms: Alarms
    wait_for: Callable[[StepFunction, Exec, TaskParams], Any]
    wait_for_room: Callable[[Context], None]
    wrap: Wrap | None
    land: Callable[[Landing], None] | None
    note: Callable[[int], None] | None
    late_ns: int | None
    on_result: Callable[[Result], None] | None
    on_failure: Callable[[Recorder, Exec, WorkerManagerError], None]
    stop: Callable[[], None]
    tracer: Tracer | None = None

    def result(
        self, landing: Landing, outcome: Outcome, error: Exception | None, ended: int
    ) -> Result:
        """How an exec ended, as a value, with times since the run began."""
        ctx, began = landing.ctx, self.began
        return Result(
            n=ctx.n,
            tick=ctx.tick,
            exec=ctx.exec,
            outcome=outcome,
            params=landing.params,
            error=error,
            due_ns=landing.due - began,
            started_ns=landing.started - began,
            ended_ns=ended - began,
        )


class Landing(NamedTuple):
    """An exec whose chain has ended and whose outcome is about to be settled."""

    ctx: Exec
    params: TaskParams
    due: int
    started: int
