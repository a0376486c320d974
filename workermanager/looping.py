"""Walks driven on an event loop: async steps are awaited, plain ones go to threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from instrumentation.errors import Cancelled
from workermanager.cancelling import Context, is_awaited
from workermanager.errands import Errand
from workermanager.joining import Join
from workermanager.runner import Runner, Woven
from workermanager.strands import Call, Enter, Pause, throwable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instrumentation.engine import Scope
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction
    from workermanager.assignment import Assignment, Helpers
    from workermanager.errands import Desk
    from workermanager.handoff import Handoff
    from workermanager.strands import Strand
    from workermanager.telemetry import Phases

__all__ = ["Awaited", "LoneLoop", "Looper", "Seat", "cancelled_elsewhere"]


class Came(NamedTuple):
    """What came of a step: a pair, because a task cannot hold every kind of exception."""

    returned: object
    error: BaseException | None


class Seat:
    """Which exec an async step works on, as `Desk.current` is for a thread."""

    __slots__ = ("current",)

    def __init__(self, current: Exec | None) -> None:
        self.current = current


class Awaited(Errand):
    """A plain step that a thread is to run, and a task waits for."""

    __slots__ = ("_loop", "_turn", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turn = [True]  # popped by whoever comes first, which is one
        self.future: asyncio.Future[Came] = loop.create_future()

    def begin(self) -> bool:
        """A thread is about to run it: False if it was called off before."""
        try:
            return self._turn.pop()
        except IndexError:
            return False

    def call_off(self, scope: Scope) -> None:
        """Do not run it, unless a thread has begun: that is left to its deadline."""
        if self.begin():
            self._set(Came(None, Cancelled(scope.cause or "it was called off")))

    def fail(self, error: Cancelled) -> bool:
        """The thread is stuck: the task goes on, and no other thread has to."""
        self.settle(None, error)
        return True

    def settle(self, returned: object, error: BaseException | None) -> None:
        """Tell what came of it, from the thread; only what comes first is heard."""
        self._loop.call_soon_threadsafe(self._set, Came(returned, error))

    def _set(self, came: Came) -> None:
        if not self.future.done():
            self.future.set_result(came)


class Looper:
    """Takes execs and runs them on the event loop that it is made on, ``in_flight`` at a time.

    ``enter`` is called, in the context of each async step, with its seat.
    """

    def __init__(
        self,
        assignment: Assignment,
        phases: Phases,
        crew: Helpers,
        enter: Callable[[Seat], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._assignment = assignment
        self._phases = phases
        self._crew = crew
        self._enter = enter
        self._measured = self._make_runner(phases.warm_end)
        self._warming_up = self._make_runner(0) if phases.warm_end else self._measured
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        self._changed = asyncio.Event()

    @property
    def runners(self) -> list[Runner]:
        """What records the execs."""
        return [self._measured, self._warming_up]

    def _make_runner(self, n: int) -> Runner:
        runner = Runner(self._assignment, self._phases, _never)
        runner.record_into(self._phases.of(n))
        return runner

    # Taking execs

    async def serve(self, handoff: Handoff, in_flight: int) -> None:
        """Take and run execs until there are no more."""
        handoff.on_close = lambda: self.loop.call_soon_threadsafe(self._changed.set)
        try:
            while self._crash is None:
                self._changed.clear()
                batch, due_in = handoff.poll(in_flight - len(self._tasks))
                if batch is not None:
                    self._start(batch, handoff)
                    await asyncio.sleep(0)  # those that run must not wait for a long backlog
                elif handoff.is_over:
                    break
                else:
                    await self._wait(due_in)
            while self._tasks:
                await asyncio.wait(set(self._tasks))
        finally:
            handoff.on_close = None
        if self._crash is not None:
            raise self._crash

    async def _wait(self, seconds: float | None) -> None:
        timer = None if seconds is None else self.loop.call_later(seconds, self._changed.set)
        await self._changed.wait()
        if timer is not None:
            timer.cancel()

    def _start(self, batch: Iterator[int], handoff: Handoff) -> None:
        for n in batch:
            if handoff.is_closed:
                self._phases.of(n).interrupted += 1
                continue
            runner = self._warming_up if n < self._phases.warm_end else self._measured
            begun = runner.begin(n)
            if begun is None:
                continue
            tracer = self._assignment.tracer
            trace = None if tracer is None else tracer.begin(begun[0], begun[2], begun[3])
            woven = runner.weave(begun, self._assignment.nodes, trace)
            task = self.loop.create_task(self._run(woven, runner))
            self._tasks.add(task)
            task.add_done_callback(self._end)

    async def _run(self, woven: Woven, runner: Runner) -> None:
        error = await self.drive(woven.stack[0], runner)
        try:
            runner.settle(woven, error)
        except BaseException as crash:  # noqa: BLE001 - ours: it surfaces in the run
            self._crash = self._crash or crash

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    # Driving walks

    async def drive(self, strand: Strand, desk: Desk) -> BaseException | None:
        """Bring a strand to its end; give what it failed with."""
        strand.desk = desk
        sent: object = None
        error: BaseException | None = None
        while True:
            try:
                wanted = strand.walk.send(sent) if error is None else strand.walk.throw(error)
            except StopIteration:
                return None
            except BaseException as failure:  # noqa: BLE001 - it is the strand's outcome
                return failure
            sent = error = None
            try:
                sent = await self._do(wanted, strand, desk)
            except asyncio.CancelledError:
                error = Cancelled("the event loop is being closed")
            except BaseException as failure:  # noqa: BLE001 - it belongs to the walk
                error = throwable(failure)

    async def _do(self, wanted: Any, strand: Strand, desk: Desk) -> object:
        if type(wanted) is Call:
            came = await (
                self._call(wanted, strand, desk)
                if wanted.link.is_async
                else self._call_on_thread(wanted, strand)
            )
            if came.error is not None:
                raise came.error
            return came.returned
        if type(wanted) is Join:
            await self._join(wanted, desk)
            wanted.raise_error()
        elif type(wanted) is Pause:
            await self._pause(wanted.seconds, wanted.scope)
        else:
            assert type(wanted) is Enter  # noqa: S101 - for the type checker
            await wanted.limit.enter_async(wanted.scope)
        return None

    async def _call(self, call: Call, strand: Strand, desk: Desk) -> Came:
        """Await an async step, and record how long it took; not at all, if it was called off."""
        begun = desk.now()
        came = await self.call(call.link.fn, call.ctx, call.params, strand)
        if isinstance(came.error, asyncio.CancelledError):
            call.ctx.check()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return came
            came = Came(None, cancelled_elsewhere(came.error))
        if came.error is None or isinstance(came.error, Exception):
            desk.figures(call.link.name).service.record(desk.now() - begun)
        return came

    async def call(
        self, fn: StepFunction, ctx: Exec, params: TaskParams, strand: Strand | None = None
    ) -> Came:
        """Await an async function in a task of its own, which is cancelled with its scope."""
        seat = Seat(ctx)

        async def run() -> Came:
            self._enter(seat)
            is_awaited.set(True)
            try:
                if strand is not None and strand.trace is not None:
                    with strand.trace.step(ctx.path):
                        return Came(await fn(ctx, params), None)
                return Came(await fn(ctx, params), None)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the step's
                return Came(None, error)
            finally:
                seat.current = None

        task = self.loop.create_task(run(), context=copy_context())
        with _heeding(self.loop, ctx.scope, task.cancel):
            try:
                return await task
            except asyncio.CancelledError as cancelled:  # before it began
                return Came(None, cancelled)

    async def _call_on_thread(self, call: Call, strand: Strand) -> Came:
        awaited = Awaited(self.loop)

        def run(desk: Desk) -> None:
            desk.run_for(awaited, call, strand)

        scope = strand.scope if call.ctx.scope is None else call.ctx.scope
        self._crew.submit(run)
        with _heeding(self.loop, scope, lambda: awaited.call_off(scope)):
            while not awaited.future.done():
                with suppress(asyncio.CancelledError):  # a thread cannot be called off
                    await asyncio.shield(awaited.future)
        return awaited.future.result()

    async def _join(self, join: Join[Strand], desk: Desk) -> None:
        async def run(member: Strand | None) -> None:
            while member is not None:
                join.finish(member, await self.drive(member, desk))
                member = join.take()

        tasks = []
        while (member := join.take()) is not None:
            tasks.append(self.loop.create_task(run(member)))
        for task in tasks:
            await task

    async def _pause(self, seconds: float, scope: Context) -> None:
        waiting: asyncio.Future[None] = self.loop.create_future()

        def wake() -> None:
            if not waiting.done():
                waiting.set_result(None)

        timer = self.loop.call_later(seconds, wake)
        try:
            with _heeding(self.loop, scope, wake):
                await waiting
        finally:
            timer.cancel()
        scope.check()


@contextmanager
def _heeding(
    loop: asyncio.AbstractEventLoop, scope: Scope | None, call_off: Callable[[], object]
) -> Iterator[None]:
    """Call ``call_off`` on the loop when the scope is cancelled, or its deadline passes."""
    if not isinstance(scope, Context):
        yield
        return
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if scope.cancelled:
            call_off()
        elif scope.remaining is not None:
            timer = loop.call_later(scope.remaining, look)

    def hear() -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing runs on it any more
            loop.call_soon_threadsafe(call_off)

    forget = scope.on_cancel(hear)
    look()
    try:
        yield
    finally:
        forget()
        if timer is not None:
            timer.cancel()


def cancelled_elsewhere(cancelled: BaseException) -> Exception:
    """How a step fails that was cancelled, but neither by its run nor by a deadline."""
    told = RuntimeError("what the step awaited was cancelled, and not by its run")
    told.__cause__ = cancelled
    return told


def _never(_desk: Desk, _errand: Errand, _error: Cancelled) -> None:
    """No step of these runs on the loop's thread, so none of them is ever stuck there."""


class LoneLoop:
    """An event loop in a thread, for async steps of chains that were to have none."""

    def __init__(
        self, assignment: Assignment, phases: Phases, crew: Helpers, enter: Callable[[Seat], None]
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="lone-loop", daemon=True)
        self._thread.start()
        self._looper = asyncio.run_coroutine_threadsafe(
            _make_looper(assignment, phases, crew, enter), self._loop
        ).result()

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def wait_for(self, fn: StepFunction, ctx: Exec, params: TaskParams) -> Any:
        """Run an async function there, and wait for it in this thread."""
        calling = self._looper.call(fn, ctx, params)
        came = asyncio.run_coroutine_threadsafe(calling, self._loop).result()
        if isinstance(came.error, asyncio.CancelledError):
            ctx.check()
            raise Cancelled("the async step was cancelled")
        if came.error is not None:
            raise came.error
        return came.returned

    def close(self) -> None:
        """Cancel what runs, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _make_looper(
    assignment: Assignment, phases: Phases, crew: Helpers, enter: Callable[[Seat], None]
) -> Looper:
    return Looper(assignment, phases, crew, enter)
