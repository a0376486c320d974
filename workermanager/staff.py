"""All threads of a run: those that take execs, those that help them, one that minds deadlines."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from workermanager.alarms import Alarms
from workermanager.commanding import Commands
from workermanager.crew import Crew
from workermanager.errands import Desk
from workermanager.garbage import fewer_collections
from workermanager.looping import LoneLoop, Looper
from workermanager.pool import Pool
from workermanager.runner import Runner, Woven

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.errors import Cancelled
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction
    from workermanager.assignment import Assignment
    from workermanager.books import Books
    from workermanager.cancelling import Context
    from workermanager.errands import Errand
    from workermanager.handoff import Bell, Handoff
    from workermanager.nesting import Place
    from workermanager.plan import Plan
    from workermanager.telemetry import Phases

__all__ = ["Staff"]

_MOST_IN_CREW: Final = 256
_LOOK_AGAIN_S: Final = 0.2


class Staff:
    """The threads of one run, which do what their ``assignment`` says once they are let.

    Where a step of the chain is async, one of them runs an event loop, unless there is a ``loop``
    of the caller's; the others run plain steps. ``enter`` is called on each thread with its desk,
    and in each async step. ``commands`` runs the child processes of its steps; ``around`` runs
    those of the run that this one is nested in. ``crash`` is what went wrong with a thread, a bug
    of ours; ``on_crash`` is called then. ``stopper`` is what a step raised to leave the run
    (SystemExit, KeyboardInterrupt).
    """

    assignment: Assignment

    def __init__(  # noqa: PLR0913, PLR0917 - one place makes it
        self,
        plan: Plan,
        books: Books,
        handoff: Handoff,
        scope: Context,
        enter: Callable[[Place], None],
        on_crash: Callable[[], None],
        bell: Bell,
        around: Commands | None,
    ) -> None:
        self.commands: Commands = Commands(scope, around)
        self._plan = plan
        self._books = books
        self._handoff = handoff
        self._scope = scope
        self._enter = enter
        self._on_crash = on_crash
        self._spare: list[Phases] = []
        self.stopper: BaseException | None = None
        self._own_crash: BaseException | None = None
        self._has_warned = False
        self.alarms = Alarms(scope.clock.now, self._note_crash)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lone_loop: LoneLoop | None = None
        self._lock = Lock()
        takers = 1 if plan.is_async else plan.threads
        work = self._work_on_loop if plan.is_async else self._work
        helpers = plan.threads if plan.is_async else _MOST_IN_CREW
        self.pool = Pool(plan.name, takers, work, on_crash, bell)
        self.crew: Crew[Desk] = Crew(plan.name, helpers, self._open_desk, self._note_crash)

    @property
    def crash(self) -> BaseException | None:
        """What went wrong with a thread."""
        return self.pool.crash or self._own_crash

    @property
    def stuck(self) -> int:
        """How many threads run a step that has timed out."""
        return self.pool.stuck + self.crew.stuck

    def begin(self) -> None:
        """Let the threads work, and end the run at its deadline."""
        if self._scope.deadline_ns is not None:
            self.alarms.call_at(self._scope.deadline_ns, self._call_off)
        self.pool.open()

    def _call_off(self) -> None:
        self._scope.cancel(self._scope.cause or "its time is over")

    def wait_for(self, fn: StepFunction, ctx: Exec, params: TaskParams) -> Any:
        """Run an async step from a thread that waits for it: the chain was to have none."""
        with self._lock:
            if self._lone_loop is None:
                phases = self._books.add_slot()
                self._lone_loop = LoneLoop(self.assignment, phases, self.crew, self._enter)
        return self._lone_loop.wait_for(fn, ctx, params)

    def wait_for_room(self, scope: Context) -> None:
        """Begin no more members while more threads are stuck than the run is to have."""
        if self.stuck > self._plan.threads:
            self._wait_for_room(scope, lambda: scope.cancelled)

    def close(self, *, is_left_behind: bool) -> None:
        """Wait for every thread that is not stuck, or not even for those."""
        self.commands.close(is_left_behind=is_left_behind)
        if not is_left_behind:
            self.pool.join()
        self.crew.close(0.0 if is_left_behind else None)
        if self._lone_loop is not None:
            self._lone_loop.close()
        self.alarms.close()
        if self.stuck:
            logger.warning("steps that timed out and run yet are left behind: {}", self.stuck)

    # On the threads

    def _work(self, slot: int) -> None:
        runner = self._sit_down(slot)
        try:
            runner.serve(self._handoff, slot)
        finally:
            self._get_up(runner)

    def _work_on_loop(self, slot: int) -> None:
        async def serve() -> None:
            looper = Looper(self.assignment, self._books.slots[slot], self.crew, self._enter)
            with fewer_collections():  # thousands of tasks in flight are looked through each time
                await looper.serve(self._handoff, self._plan.in_flight)
            for runner in looper.runners:
                self._get_up(runner)

        if self.loop is None:
            asyncio.run(serve())
        else:
            asyncio.run_coroutine_threadsafe(serve(), self.loop).result()

    def _sit_down(self, slot: int) -> Runner:
        def give_up(desk: Desk, errand: Errand, error: Cancelled) -> None:
            assert isinstance(errand, Woven)  # noqa: S101 - for the type checker
            self.pool.replace(desk.thread, lambda: self._take_over(slot, errand, error))

        runner = Runner(self.assignment, self._books.slots[slot], give_up)
        self._enter(runner)
        return runner

    def _get_up(self, runner: Runner) -> None:
        runner.close()
        self.stopper = self.stopper or runner.stopper

    def _take_over(self, slot: int, woven: Woven, error: Cancelled) -> None:
        """On a new thread: go on where the one of this slot is stuck, then in its place."""
        runner = self._sit_down(slot)
        try:
            runner.take_over(woven, error)
            self._wait_for_room(self._scope, lambda: self._handoff.is_over)
            runner.serve(self._handoff, slot, self._handoff.hands[slot])
        finally:
            self._get_up(runner)

    def _wait_for_room(self, scope: Context, is_over: Callable[[], bool]) -> None:
        while self.stuck > self._plan.threads and not is_over():
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "no more is begun until a step ends that timed out and runs yet: there are {}",
                    self.stuck,
                )
            scope.wait(_LOOK_AGAIN_S)

    def _open_desk(self) -> Desk:
        try:
            phases = self._spare.pop()
        except IndexError:
            phases = self._books.add_slot()

        def give_up(desk: Desk, errand: Errand, error: Cancelled) -> None:
            def resume(other: Desk) -> None:  # which thread is stuck must be known before it ends
                if not errand.fail(error):
                    other.resume(errand, error)

            self._spare.append(phases)  # it is the place of the one that is stuck
            self.crew.replace(desk.thread, resume)

        desk = Desk(self.assignment, phases, give_up)
        self._enter(desk)
        return desk

    def _note_crash(self, crash: BaseException) -> None:
        self._own_crash = self._own_crash or crash
        self._on_crash()
