"""Runs execs on one thread: clones the params, walks the chain, times, records.

A chain of plain steps is walked in a short loop, and anything else is woven: driven as a walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from instrumentation.chains import follow
from instrumentation.errors import Cancelled, StepError
from instrumentation.execution import Exec, Outcome
from instrumentation.params import TaskParams
from workermanager.assignment import Assignment, Landing
from workermanager.cancelling import Context
from workermanager.errands import Desk, Errand, followed
from workermanager.strands import Strand
from workermanager.walking import walk_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instrumentation.nodes import Link
    from instrumentation.steps import StepFunction
    from workermanager.handoff import Handoff
    from workermanager.strands import Trace, Way
    from workermanager.telemetry import Phases, Recorder, StepFigures

__all__ = ["Begun", "Runner", "Woven"]

_MILLISECOND_NS: Final = 1_000_000


class _Bound(NamedTuple):
    """A link as one thread runs it: ``record`` takes the time of each call of ``fn``."""

    fn: StepFunction
    path: str
    record: Callable[[int], None]
    name: str
    figures: StepFigures


Begun: TypeAlias = "tuple[Exec, TaskParams, int, int]"
"""An exec that has started, its params, when it was due and when it started: a Landing, cheaper."""

_HotLink: TypeAlias = "tuple[StepFunction, str, Callable[[int], None], _Bound]"


class Woven(Errand):
    """An exec that is driven as a walk; ``trace`` follows it, if anything does."""

    __slots__ = ("begun", "own", "trace")

    def __init__(
        self, strand: Strand, begun: Begun, trace: Trace | None, own: Context | None
    ) -> None:
        super().__init__(strand)
        self.begun = begun
        self.trace = trace
        self.own = own


class _Composed(Exception):
    """A step of a plain chain returned what comes next."""

    def __init__(self, nodes: list[Way]) -> None:
        super().__init__()
        self.nodes = nodes


class Runner(Desk):
    """Runs execs on one thread, one at a time, and records what came of each.

    ``current`` is the exec that runs; ``stopper`` is what a step raised to leave the run
    (SystemExit, KeyboardInterrupt).
    """

    def __init__(
        self,
        assignment: Assignment,
        phases: Phases,
        give_up: Callable[[Desk, Errand, Cancelled], None],
    ) -> None:
        super().__init__(assignment, phases, give_up)
        self.stopper: BaseException | None = None
        self._context = assignment.context
        self._began = assignment.began
        self._due_ns = assignment.arrivals.due_ns
        self._place = assignment.arrivals.place
        self._late_ns = assignment.late_ns
        self._tracer = assignment.tracer
        self._trace: Trace | None = None
        self._template: dict[str, Any] = {}
        self._template_tick = -1
        self.record_into(phases.of(0))

    def record_into(self, recorder: Recorder) -> None:
        """Record for execs of a phase from now on."""
        super().record_into(recorder)
        for name in self.assignment.names:  # in the order they are declared
            recorder.step(name)
        self._record_lag = recorder.lag.record
        self._record_service = recorder.service.record
        self._record_response = recorder.response.record
        self._links = [self._bind(link) for link in self.assignment.links]
        # Exact tuples: the interpreter unpacks a NamedTuple the slow way, 80 ns a step.
        self._hot = [(link.fn, link.path, link.record, link) for link in self._links]

    def serve(self, handoff: Handoff, slot: int, batch: Iterator[int] | None = None) -> None:
        """Take and run execs until there are no more; those of ``batch`` first."""
        now, pace = self.now, None
        run = self._run_in_phase if self._phases.warm_end else self._run_exec
        while batch is not None or (batch := handoff.take(slot, pace)) is not None:
            begun, done = now(), 0
            for n in batch:
                if handoff.is_closed:
                    self._phases.of(n).interrupted += 1
                    continue
                run(n)
                done += 1
            batch = None
            pace = _MILLISECOND_NS * done // (now() - begun + 1)

    def _run_in_phase(self, n: int) -> None:
        """Run an exec of a run with a warm-up: it records apart."""
        recorder = self._phases.of(n)
        if recorder is not self._recorder:
            self.record_into(recorder)
        self._run_exec(n)

    def _run_exec(self, n: int) -> None:
        begun = self.begin(n)
        if begun is None:
            return
        ctx, params, due, started = begun
        trace = None if self._tracer is None else self._tracer.begin(ctx, due, started)
        if not self.assignment.is_plain:
            self._weave(begun, self.assignment.nodes, trace)
            return
        self.current = ctx
        try:
            ended = self._walk(
                ctx, params, started, self._hot if trace is None else self._follow(trace)
            )
        except _Composed as composed:
            self._weave(begun, composed.nodes, trace)
        except BaseException as error:  # noqa: BLE001 - `fail` tells what it is
            self.fail(begun, trace, error)
        else:
            self.succeed(begun, trace, ended)
        self.current = None

    def begin(self, n: int) -> Begun | None:
        """An exec that starts now; None if it has expired."""
        due = self._began + self._due_ns(n)
        started = self.now()
        if self._late_ns is not None and started - due > self._late_ns:
            self._recorder.expired += 1
            return None
        tick, place = self._place(n)
        if tick != self._template_tick:
            self._enter(tick)
        params = TaskParams(self._template)
        params["current_exec"] = place
        self._record_lag(started - due)
        return Exec(self._context, n, tick, place), params, due, started

    # Plain chains

    def _walk(self, ctx: Exec, params: TaskParams, begun: int, hot: list[_HotLink]) -> int:
        """Run every link; give the moment the last one ended.

        Whatever happens in here is paid by every step, so a step's end is read from the clock
        once and serves as the next one's beginning: 0.1 µs of ours counts as the step's.
        """
        now, context = self.now, self._context
        for fn, path, record, link in hot:
            if context.cancelled:
                ctx.check()
            ctx.path = path
            try:
                returned = fn(ctx, params)
            except Exception as error:
                record(now() - begun)
                raise _failure(link, error) from error
            ended = now()
            record(ended - begun)
            begun = ended
            if returned is not None and returned is not params:
                self._take_up(returned, link, params)
                begun = now()
        return begun

    def _take_up(self, returned: object, link: _Bound, params: TaskParams) -> None:
        """Merge what a step returned; where steps are to come next, the exec is woven from here."""
        try:
            parts = follow(returned, params, link.name)
        except Exception as error:
            raise _failure(link, error) from error
        if parts:
            after = self._links.index(link) + 1
            raise _Composed([*parts, *self.assignment.links[after:]])

    def _follow(self, trace: Trace) -> list[_HotLink]:
        return [
            (followed(trace, path, fn), path, record, link) for fn, path, record, link in self._hot
        ]

    # Woven ones

    def _weave(self, begun: Begun, nodes: Sequence[Way], trace: Trace | None) -> None:
        woven = self.weave(begun, nodes, trace)
        self.settle(woven, self.drive(woven))

    def weave(self, begun: Begun, nodes: Sequence[Way], trace: Trace | None) -> Woven:
        """An exec, or the rest of one, as an errand to drive and then to `settle`."""
        assignment = self.assignment
        ctx, params, _due, started = begun
        own = self._deadline(ctx, started)
        ctx.scope = own or assignment.scope
        root = assignment.root
        strand = Strand(ctx, params, root, root, len(assignment.links), assignment.wrap, trace)
        strand.walk = walk_exec(nodes, strand, own)
        return Woven(strand, begun, trace, own)

    def _deadline(self, ctx: Exec, started: int) -> Context | None:
        """The exec's own deadline, or that of its tick, whichever is earlier."""
        assignment = self.assignment
        root, scope = assignment.root, assignment.scope
        own = None
        if assignment.exec_timeout is not None:
            name = f"exec {ctx.n} of {root}"
            own = Context(scope, timeout=assignment.exec_timeout, since_ns=started, name=name)
        if assignment.tick_timeout is None:
            return own
        tick_began = self._began + ctx.tick * assignment.arrivals.tick_ns
        name = f"tick {ctx.tick} of {root}"
        tick = Context(scope, timeout=assignment.tick_timeout, since_ns=tick_began, name=name)
        if own is None:
            return tick
        is_earlier = (tick.deadline_ns or 0) < (own.deadline_ns or 0)
        (own if is_earlier else tick).release()
        return tick if is_earlier else own

    def settle(self, woven: Woven, error: BaseException | None) -> None:
        """Record how a driven exec ended."""
        self.current = None
        if woven.own is not None:
            woven.own.release()
        if error is None:
            self.succeed(woven.begun, woven.trace, self.now())
        else:
            self.fail(woven.begun, woven.trace, error)

    def take_over(self, woven: Woven, error: Cancelled) -> None:
        """Go on with an exec whose thread was given up."""
        self.settle(woven, self.resume(woven, error))

    # What came of it

    def succeed(self, begun: Begun, trace: Trace | None, ended: int) -> None:
        """The chain of an exec went to its end."""
        assignment = self.assignment
        ctx, _params, due, started = begun
        if trace is not None:
            trace.end(None, ended)
        self._record_service(ended - started)
        if ctx.rows is not None and assignment.land is not None:
            assignment.land(Landing(*begun))
            return
        self._record_response(ended - due)
        self._recorder.ok += 1
        if assignment.note is not None:
            assignment.note(ctx.n)
        if assignment.on_result is not None:
            assignment.on_result(assignment.result(Landing(*begun), Outcome.OK, None, ended))

    def fail(self, begun: Begun, trace: Trace | None, error: BaseException) -> None:
        """An exec failed, or was called off.

        Raises:
            Exception: ``error``, if it is no step's: it crashes the pool and surfaces in the run.
        """
        assignment, recorder, ended = self.assignment, self._recorder, self.now()
        if trace is not None:
            trace.end(None if isinstance(error, Cancelled) else error, ended)
        if not isinstance(error, Exception):  # Cancelled, or a step that wants out
            recorder.interrupted += 1
            if not isinstance(error, Cancelled):
                self.stopper = error
                assignment.stop()
            return
        if not isinstance(error, StepError):
            raise error
        landing = Landing(*begun)
        recorder.service.record(ended - landing.started)
        recorder.response.record(ended - landing.due)
        recorder.failed += 1
        assignment.on_failure(recorder, landing.ctx, error)
        if assignment.on_result is not None:
            assignment.on_result(assignment.result(landing, Outcome.FAILED, error, ended))

    def _enter(self, tick: int) -> None:
        ticks = self.assignment.arrivals.ticks
        self._template = {
            **self.assignment.arguments,
            "current_tick": tick,
            "ticks_left": None if ticks is None else ticks - tick,
            "current_exec": 0,  # set for each exec; its place is kept here, so no clone resizes
        }
        self._template_tick = tick

    def _bind(self, link: Link) -> _Bound:
        figures = self._recorder.step(link.name)
        return _Bound(link.fn, link.path, figures.service.record, link.name, figures)


def _failure(link: _Bound, error: Exception) -> StepError:
    link.figures.failed += 1
    return StepError(link.path, 1, error, link.name)
