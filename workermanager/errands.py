"""Walks driven on threads: a step is called by the thread itself, with its deadline looked after.

A thread cannot be ended. So when a step takes too long, its thread is given up: another one goes on
with the walk from where it is, and the late one finds a closed fence and nobody who listens.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from instrumentation.errors import Cancelled, TimedOut
from workermanager.alarms import NEVER
from workermanager.cancelling import Context
from workermanager.joining import Join
from workermanager.pool import Abandoned
from workermanager.strands import Call, Enter, Pause, throwable

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.errors import StepError
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction
    from workermanager.assignment import Assignment
    from workermanager.strands import Strand, Trace
    from workermanager.telemetry import Phases, Recorder, StepFigures

__all__ = ["Desk", "Errand", "followed"]


class Errand:
    """What a thread is to bring to its end: a strand, and above it those that it waits for."""

    __slots__ = ("stack",)

    def __init__(self, *strands: Strand) -> None:
        self.stack = list(strands)

    def fail(self, error: Cancelled) -> bool:  # noqa: ARG002 - others take it
        """Its thread is stuck: False where another has to go on with it."""
        return False

    def begin(self) -> bool:
        """A single step is about to run: False if it was called off before."""
        return True

    def settle(self, returned: object, error: BaseException | None) -> None:
        """Tell whoever waits for a single step what came of it; here nobody does."""


class Desk:
    """Where one thread drives walks: its figures, and the call that it is in.

    ``current`` is the exec it works on, ``give_up`` what becomes of an errand whose thread is
    stuck, ``thread`` whose desk it is: it is to be made there.
    """

    def __init__(
        self,
        assignment: Assignment,
        phases: Phases,
        give_up: Callable[[Desk, Errand, Cancelled], None],
    ) -> None:
        self.current: Exec | None = None
        self.thread = threading.current_thread()
        self.deadline_ns = NEVER
        self.now = assignment.now
        self.assignment = assignment
        self._phases = phases
        self._recorder = phases.measured
        self._give_up = give_up
        self._lock = threading.Lock()
        self._call: Call | None = None
        self._errand: Errand | None = None
        self._is_watched = False

    def figures(self, name: str) -> StepFigures:
        """The figures of a step or a composition, for the exec that is driven."""
        return self._recorder.step(name)

    def note(self, ctx: Exec, error: StepError) -> None:
        """Count an error that does not fail its exec by itself."""
        self.assignment.on_failure(self._recorder, ctx, error)

    def record_into(self, recorder: Recorder) -> None:
        """Record for an exec of another phase from now on."""
        self._recorder = recorder

    def close(self) -> None:
        """The thread leaves."""
        if self._is_watched:
            self.assignment.alarms.remove(self)

    # Driving

    def help(self, join: Join[Strand]) -> None:
        """Run members of a join until there is none to take."""
        stack: list[Strand] = []
        if self._push(join, stack):
            self.record_into(self._phases.of(stack[0].ctx.n))
            self.drive(Errand(stack[0]))

    def run_for(self, errand: Errand, call: Call, strand: Strand) -> None:
        """Run a single step, for whoever waits for it elsewhere."""
        if not errand.begin():
            return
        self.record_into(self._phases.of(call.ctx.n))
        try:
            returned = self._run(call, strand, errand)
        except Abandoned:
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to the walk
            errand.settle(None, error)
        else:
            errand.settle(returned, None)

    def resume(self, errand: Errand, error: Cancelled) -> BaseException | None:
        """Go on with an errand whose thread was given up; gives what `drive` does."""
        self.record_into(self._phases.of(errand.stack[0].ctx.n))
        return self.drive(errand, error)

    def drive(self, errand: Errand, error: BaseException | None = None) -> BaseException | None:
        """Bring an errand to its end; give what its own strand failed with.

        ``error`` is what came of the step that its strand is in, if another thread ran that.

        Raises:
            Abandoned: a step took too long, and another thread drives now.
        """
        stack, sent = errand.stack, None
        while True:
            strand = stack[-1]
            strand.desk = self
            try:
                wanted = strand.walk.send(sent) if error is None else strand.walk.throw(error)
            except StopIteration:
                ended = None
            except BaseException as failure:  # noqa: BLE001 - it is the strand's outcome
                ended = failure
            else:
                sent = error = None
                try:
                    sent = self._do(wanted, strand, errand)
                except Abandoned:
                    raise
                except BaseException as failure:  # noqa: BLE001 - it belongs to the walk
                    error = throwable(failure)
                continue
            sent = error = None
            stack.pop()
            join = strand.join
            if join is None:
                return ended
            join.finish(strand, ended)
            if self._push(join, stack):
                continue
            if not stack:
                return ended
            join.wait()
            error = join.error

    def _do(self, wanted: Any, strand: Strand, errand: Errand) -> object:
        """Do what a walk wants, or put on the stack what has to be done first."""
        if type(wanted) is Call:
            return self._run(wanted, strand, errand)
        if type(wanted) is Join:
            if not self._push(wanted, errand.stack):
                wanted.raise_error()
            elif wanted.most > 1:
                with suppress(RuntimeError):  # no more threads: this one does it all
                    for _ in range(wanted.most - 1):
                        self.assignment.crew.submit(lambda desk: desk.help(wanted))
        elif type(wanted) is Pause:
            wanted.scope.sleep(wanted.seconds)
        else:
            assert type(wanted) is Enter  # noqa: S101 - for the type checker
            wanted.limit.enter(wanted.scope)
        return None

    def _push(self, join: Join[Strand], stack: list[Strand]) -> bool:
        self.assignment.wait_for_room(join.scope)
        member = join.take()
        if member is None:
            return False
        member.join = join
        stack.append(member)
        return True

    # Calling steps

    def _run(self, call: Call, strand: Strand, errand: Errand) -> object:
        """Call a step, and record how long it took; not at all, if it was called off."""
        ctx = self.current = call.ctx
        scope, fn = ctx.scope, self._function(call, strand)
        is_watched = ctx.fence is not None and scope is not None and scope.deadline_ns is not None
        if is_watched:
            self._begin_watch(call, errand)
        returned, error, begun = None, None, self.now()
        try:
            returned = fn(ctx, call.params)
        except BaseException as failure:  # noqa: BLE001 - it is raised below, unless it is too late
            error = failure
        ended = self.now()
        if is_watched:
            self._end_watch(call)
        if error is None or isinstance(error, Exception):
            self.figures(call.link.name).service.record(ended - begun)
        if error is not None:
            raise error
        return returned

    def _function(self, call: Call, strand: Strand) -> StepFunction:
        fn: StepFunction = call.link.fn
        if call.link.is_async:
            fn = self._awaiting(fn)
        if strand.trace is not None:
            fn = followed(strand.trace, call.ctx.path, fn)
        return fn

    def _awaiting(self, fn: StepFunction) -> StepFunction:
        """An async step of a chain that was to have none: the thread waits for it."""
        wait_for = self.assignment.wait_for

        def run_async(ctx: Exec, params: TaskParams, /) -> Any:
            return wait_for(fn, ctx, params)

        return run_async

    def _begin_watch(self, call: Call, errand: Errand) -> None:
        alarms, scope = self.assignment.alarms, call.ctx.scope
        if not self._is_watched:
            self._is_watched = True
            alarms.add(self)
        self._call, self._errand = call, errand
        alarms.set(self, scope.deadline_ns if scope and scope.deadline_ns else NEVER)

    def _end_watch(self, call: Call) -> None:
        with self._lock:
            is_abandoned = self._call is not call
            self._call = self._errand = None
            self.deadline_ns = NEVER
        if is_abandoned:
            if call.link.limit is not None:
                call.link.limit.leave()
            raise Abandoned

    def expire(self, now: int) -> bool:
        """Give this thread up: the step that it runs has taken too long. From another thread.

        False where the step is just committing: it is let through, so come again.
        """
        with self._lock:
            call, errand = self._call, self._errand
            if call is None or errand is None or now < self.deadline_ns:
                return True
            if call.ctx.fence is None or not call.ctx.fence.close():
                return False
            self._call = None
            self.deadline_ns = NEVER
        scope = call.ctx.scope
        assert isinstance(scope, Context)  # noqa: S101 - it was watched for its deadline
        cause = scope.cause
        assert cause is not None  # noqa: S101 - its deadline has passed
        reason = cause.cause if isinstance(cause, Cancelled) else cause
        if isinstance(reason, TimedOut):  # others may have it too, who are not stuck
            reason = TimedOut(str(reason), reason.seconds, still_running=True)
        scope.cancel(reason)
        self._give_up(self, errand, Cancelled(reason))
        return True


def followed(trace: Trace, path: str, fn: StepFunction) -> StepFunction:
    """A step that is followed while it runs."""

    def follow_step(ctx: Exec, params: TaskParams, /) -> Any:
        with trace.step(path):
            return fn(ctx, params)

    return follow_step
