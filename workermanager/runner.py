"""Runs execs on one thread: clones the params, walks the chain, times, records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from instrumentation.errors import Cancelled, StepError
from instrumentation.execution import Exec, Outcome, Result, RunContext
from instrumentation.params import TaskParams
from instrumentation.steps import Link, follow
from workermanager.retrying import Retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from instrumentation.errors import WorkerManagerError
    from instrumentation.steps import Step, StepFunction
    from workermanager.clock import Arrivals
    from workermanager.handoff import Handoff
    from workermanager.telemetry import Phases, Recorder, StepFigures

__all__ = ["Job", "Landing", "Runner", "Trace", "Tracer"]

_MILLISECOND_NS: Final = 1_000_000


class Trace(Protocol):
    """Follows one exec."""

    def step(self, path: str) -> AbstractContextManager[None]:
        """Follow a step, while it runs."""
        ...

    def end(self, error: BaseException | None, ended_ns: int) -> None:
        """The exec's chain has ended."""
        ...


class Tracer(Protocol):
    """Chooses the execs that are followed."""

    def begin(self, ctx: Exec, due_ns: int, started_ns: int) -> Trace | None:
        """Follow an exec; None for most, for which this must cost next to nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What all threads of a run share and none changes.

    ``now`` is the monotonic clock in nanoseconds, ``began`` its reading at the run's start.
    ``land`` hands an exec with rows to the writer, ``note`` tells it of one without, where a ledger
    wants to know. ``late_ns`` is the overrun limit, if any.
    ``on_failure`` hears of every failed exec; ``stop`` ends the run, as a first signal does.
    """

    context: RunContext
    arrivals: Arrivals
    links: tuple[Link, ...]
    arguments: Mapping[str, Any]
    root: str
    now: Callable[[], int]
    began: int
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


class _Bound(NamedTuple):
    """A link as one thread runs it: ``record`` takes the time of each call of ``fn``."""

    fn: StepFunction
    path: str
    record: Callable[[int], None]
    name: str
    figures: StepFigures


_HotLink: TypeAlias = "tuple[StepFunction, str, Callable[[int], None], _Bound]"


class Runner:
    """Runs execs on one thread, one at a time, and records what came of each.

    ``current`` is the exec that runs; ``stopper`` is what a step raised to leave the run
    (SystemExit, KeyboardInterrupt).
    """

    def __init__(self, job: Job, phases: Phases) -> None:
        self.current: Exec | None = None
        self.stopper: BaseException | None = None
        self._job = job
        self._context = job.context
        self._began = job.began
        self._now = job.now
        self._due_ns = job.arrivals.due_ns
        self._place = job.arrivals.place
        self._late_ns = job.late_ns
        self._phases = phases
        self._tracer = job.tracer
        self._trace: Trace | None = None
        self._template: dict[str, Any] = {}
        self._template_tick = -1
        self._record_into(phases.of(0))

    def _record_into(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._record_lag = recorder.lag.record
        self._record_service = recorder.service.record
        self._record_response = recorder.response.record
        self._links = [self._bind(link) for link in self._job.links]
        # Exact tuples: the interpreter unpacks a NamedTuple the slow way, 80 ns a step.
        self._hot = [(link.fn, link.path, link.record, link) for link in self._links]

    def serve(self, handoff: Handoff, slot: int) -> None:
        """Take and run execs until there are no more."""
        now, pace = self._job.now, None
        run = self._run_in_phase if self._phases.warm_end else self._run
        while (batch := handoff.take(slot, pace)) is not None:
            begun, done = now(), 0
            for n in batch:
                if handoff.is_closed:
                    self._phases.of(n).interrupted += 1
                    continue
                run(n)
                done += 1
            pace = _MILLISECOND_NS * done // (now() - begun + 1)

    def _run_in_phase(self, n: int) -> None:
        """Run an exec of a run with a warm-up: it records apart."""
        recorder = self._phases.of(n)
        if recorder is not self._recorder:
            self._record_into(recorder)
        self._run(n)

    def _run(self, n: int) -> None:
        due = self._began + self._due_ns(n)
        started = self._now()
        if self._late_ns is not None and started - due > self._late_ns:
            self._recorder.expired += 1
            return
        tick, place = self._place(n)
        if tick != self._template_tick:
            self._enter(tick)
        params = TaskParams(self._template)
        params["current_exec"] = place
        ctx = self.current = Exec(self._context, n, tick, place)
        self._record_lag(started - due)
        try:
            if self._tracer is None:
                ended = self._walk(ctx, params, started, self._hot)
            else:
                ended = self._walk_traced(self._tracer, ctx, params, due, started)
        except StepError as error:
            self._fail(Landing(ctx, params, due, started), error)
        except Exception:
            raise  # ours: it crashes the pool and surfaces in the caller
        except BaseException as stopper:  # noqa: BLE001 - Cancelled, or a step that wants out
            self._recorder.interrupted += 1
            if not isinstance(stopper, Cancelled):
                self.stopper = stopper
                self._job.stop()
        else:
            self._succeed(ctx, params, due, started, ended)
        self.current = None

    def _walk_traced(
        self, tracer: Tracer, ctx: Exec, params: TaskParams, due: int, begun: int
    ) -> int:
        """Run every link of an exec that may be one of those that are followed."""
        trace = self._trace = tracer.begin(ctx, due, begun)
        if trace is None:
            return self._walk(ctx, params, begun, self._hot)
        hot = [
            (_follow(trace, fn, path), path, record, link) for fn, path, record, link in self._hot
        ]
        try:
            ended = self._walk(ctx, params, begun, hot)
        except BaseException as error:
            trace.end(None if isinstance(error, Cancelled) else error, self._now())
            raise
        trace.end(None, ended)
        return ended

    def _walk(self, ctx: Exec, params: TaskParams, begun: int, hot: list[_HotLink]) -> int:
        """Run every link; give the moment the last one ended.

        Whatever happens in here is paid by every step, so a step's end is read from the clock
        once and serves as the next one's beginning: 0.1 µs of ours counts as the step's.
        """
        now, context = self._now, self._context
        for fn, path, record, link in hot:
            if context.cancelled:
                raise Cancelled
            ctx.path = path
            try:
                returned = fn(ctx, params)
            except Exception as error:
                record(now() - begun)
                raise _failure(link, ctx, error) from error
            ended = now()
            record(ended - begun)
            begun = ended
            if returned is not None and returned is not params:
                begun = self._grow(link, returned, ctx, params)
        return begun

    def _grow(self, link: _Bound, returned: object, ctx: Exec, params: TaskParams) -> int:
        """Merge what a step returned, and run the steps it returned until none returns more."""
        pending: list[Step] = []
        while True:
            try:
                pending.extend(reversed(follow(returned, params, link.name)))
                if not pending:
                    return self._now()
                ctx.check()
                step = pending.pop()
                ctx.grown += 1
                place = len(self._links) + ctx.grown
                ctx.path = f"{self._job.root}/{place}/{step.name}"
                link = self._bind(Link(step.fn, step.name, ctx.path, step.retry))
                fn = link.fn if self._trace is None else _follow(self._trace, link.fn, ctx.path)
                begun = self._job.now()
                try:
                    returned = fn(ctx, params)
                except Exception:
                    link.record(self._job.now() - begun)
                    raise
                link.record(self._job.now() - begun)
            except Exception as error:
                raise _failure(link, ctx, error) from error

    def _succeed(self, ctx: Exec, params: TaskParams, due: int, started: int, ended: int) -> None:
        job = self._job
        self._record_service(ended - started)
        if ctx.rows is not None and job.land is not None:
            job.land(Landing(ctx, params, due, started))
            return
        self._record_response(ended - due)
        self._recorder.ok += 1
        if job.note is not None:
            job.note(ctx.n)
        if job.on_result is not None:
            job.on_result(job.result(Landing(ctx, params, due, started), Outcome.OK, None, ended))

    def _fail(self, landing: Landing, error: StepError) -> None:
        job, recorder = self._job, self._recorder
        ended = job.now()
        recorder.service.record(ended - landing.started)
        recorder.response.record(ended - landing.due)
        recorder.failed += 1
        job.on_failure(recorder, landing.ctx, error)
        if job.on_result is not None:
            job.on_result(job.result(landing, Outcome.FAILED, error, ended))

    def _enter(self, tick: int) -> None:
        ticks = self._job.arrivals.ticks
        self._template = {
            **self._job.arguments,
            "current_tick": tick,
            "ticks_left": None if ticks is None else ticks - tick,
            "current_exec": 0,  # set for each exec; its place is kept here, so no clone resizes
        }
        self._template_tick = tick

    def _bind(self, link: Link) -> _Bound:
        figures = self._recorder.step(link.name)
        if link.retry is None:
            return _Bound(link.fn, link.path, figures.service.record, link.name, figures)
        retrying = Retrying(link.fn, link.retry, figures, self._job.now)
        return _Bound(retrying, link.path, _recorded_already, link.name, figures)


def _failure(link: _Bound, ctx: Exec, error: Exception) -> StepError:
    link.figures.failed += 1
    return StepError(link.path, ctx.attempt, error, link.name)


def _follow(trace: Trace, fn: StepFunction, path: str) -> StepFunction:
    def follow_step(ctx: Exec, params: TaskParams, /) -> Any:
        with trace.step(path):
            return fn(ctx, params)

    return follow_step


def _recorded_already(_nanoseconds: int) -> None:
    """Retrying records each attempt itself."""
