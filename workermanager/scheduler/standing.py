"""A chain that stands ready: each fire of its schedule is one exec of it, for some microseconds.

A whole run costs a hundred times as much: threads, books, a report. Here all that a run makes is
made once, when the schedule is added, and a fire is a walk that the calling thread drives.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import Cancelled, StepError
from instrumentation.execution import Exec
from instrumentation.params import TaskParams
from workermanager.around import Around, workplace
from workermanager.assignment import Assignment
from workermanager.cancelling import SYSTEM, Context
from workermanager.commanding import Commands
from workermanager.context import make_context
from workermanager.errands import Desk, Errand
from workermanager.failures import Failures
from workermanager.looping import LoneLoop
from workermanager.strands import Strand
from workermanager.telemetry import Phases
from workermanager.walking import walk_exec

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.steps import StepFunction
    from workermanager.nesting import Place
    from workermanager.plan import Plan
    from workermanager.scheduler.backing import Backing, Done, Fire

__all__ = ["Standing", "can_stand"]

_MICROSECOND_NS: Final = 1_000


def can_stand(plan: Plan) -> bool:
    """True if a fire is one exec that needs nothing of a run: no books, no database, no loop."""
    wanted = (plan.database, plan.env_file, plan.source_context, plan.callback, plan.on_result)
    return (
        plan.arrivals.total == 1
        and plan.arrivals.due_ns(0) == 0
        and plan.tick_timeout is None
        and not (plan.is_async or plan.thresholds or plan.warmup_ns)
        and all(one is None for one in wanted)
    )


def _planned_ns(n: int) -> int:
    return n * _MICROSECOND_NS


class _Fired(Errand):
    """One fire as an errand; ``own`` is its own deadline, if it has one."""

    __slots__ = ("ctx", "done", "own")

    def __init__(self, strand: Strand, own: Context | None, done: Done) -> None:
        super().__init__(strand)
        self.ctx = strand.ctx
        self.own = own
        self.done = done


class Standing:
    """Runs a chain once for each fire, on the thread that asks, any number at once.

    ``name`` is the schedule's; the plan has its id and its seed, and 1970 as its epoch. Exec n is
    the fire that was due n microseconds after that, so ``ctx.now`` is when it was due, and
    ``ctx.key`` is the same when it is run again.
    """

    def __init__(self, name: str, plan: Plan, backing: Backing) -> None:
        self.name = name
        self._plan = plan
        self._root = plan.name
        self._places = len(plan.links)
        self._wrap = plan.wrap
        self._params = plan.sample_params()
        self._backing = backing
        scope = Context(name=f"schedule {name}")
        self._commands = Commands(scope)
        self._context = make_context(plan, None, None, scope.sleep)
        self._context.planned_ns = _planned_ns
        self._context.execute = self._commands
        self._around = Around(self._context, scope, self._commands)
        self._assignment = self._assign(scope)
        self._lone_loop: LoneLoop | None = None
        self._lock = Lock()

    def _assign(self, scope: Context) -> Assignment:
        plan = self._plan
        return Assignment(
            context=self._context,
            scope=scope,
            arrivals=plan.arrivals,
            nodes=plan.nodes,
            links=plan.links,
            names=plan.names,
            is_plain=False,
            exec_timeout=plan.exec_timeout,
            tick_timeout=None,
            arguments=plan.instrumentation.task_arguments,
            root=self._root,
            now=SYSTEM.now,
            began=0,
            crew=self,
            alarms=self._backing.alarms,
            wait_for=self._wait_for,
            wait_for_room=self._backing.wait_for_room,
            wrap=self._wrap,
            land=None,
            note=None,
            late_ns=None,
            on_result=None,
            on_failure=Failures().note,
            stop=scope.cancel,
        )

    def run(self, fire: Fire, scope: Context, done: Done) -> None:
        """Run the exec of a fire to its end, and tell ``done``; a cancel of ``scope`` calls it off.

        Raises:
            Abandoned: a step took too long and has come back now; another thread has done the rest.
        """
        ctx = Exec(self._context, fire.due // _MICROSECOND_NS, 0, 0)
        timeout, own = self._plan.exec_timeout, None
        if timeout is not None:
            own = Context(scope, timeout=timeout, name=f"a fire of {self.name}")
        ctx.scope = own or scope
        params, root = TaskParams(self._params), self._root
        strand = Strand(ctx, params, root, root, self._places, self._wrap)
        strand.walk = walk_exec(self._plan.nodes, strand, own)
        fired = _Fired(strand, own, done)
        self._work(self._give_up, lambda desk: self._settle(fired, desk, desk.drive(fired)))

    def _settle(self, fired: _Fired, desk: Desk, error: BaseException | None) -> None:
        if fired.own is not None:
            fired.own.release()
        if isinstance(error, StepError):
            desk.note(fired.ctx, error)
        fired.done(error, None)

    # Threads

    def _work(
        self,
        give_up: Callable[[Desk, Errand, Cancelled], None],
        task: Callable[[Desk], object],
    ) -> None:
        """Do a task at a desk on this thread, which has nothing to do with the chain before."""
        desk = Desk(self._assignment, Phases(), give_up)
        self._enter(desk)
        try:
            task(desk)
        finally:
            desk.current = None
            desk.close()

    def _enter(self, place: Place) -> None:
        workplace.enter(self._around, place)

    def _give_up(self, desk: Desk, errand: Errand, error: Cancelled) -> None:
        """The thread of a fire is stuck: another one goes on with the fire."""
        assert isinstance(errand, _Fired)  # noqa: S101 - for the type checker
        fired = errand

        def go_on(other: Desk) -> None:
            self._settle(fired, other, other.resume(fired, error))

        self._backing.replace(desk.thread, lambda: self._work(self._give_up, go_on))

    def submit(self, task: Callable[[Desk], None]) -> None:
        """Have a helper do a part of a fire."""
        self._backing.helpers.submit(lambda _: self._work(self._give_up_helper, task))

    def _give_up_helper(self, desk: Desk, errand: Errand, error: Cancelled) -> None:
        def go_on(_: object) -> None:
            if not errand.fail(error):
                self._work(self._give_up_helper, lambda other: other.resume(errand, error))

        self._backing.helpers.replace(desk.thread, go_on)

    def _wait_for(self, fn: StepFunction, ctx: Exec, params: TaskParams) -> Any:
        """Run an async step from a thread that waits for it: the chain was to have none."""
        with self._lock:
            if self._lone_loop is None:
                self._lone_loop = LoneLoop(self._assignment, Phases(), self, self._enter)
        return self._lone_loop.wait_for(fn, ctx, params)

    def close(self, *, is_left_behind: bool = False) -> None:
        """No fire comes any more; end the child processes of those that are left behind."""
        self._commands.close(is_left_behind=is_left_behind)
        if self._lone_loop is not None:
            self._lone_loop.close()
