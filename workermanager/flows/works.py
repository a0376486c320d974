"""All that works for one pipeline: channels, crews, threads, processes and an event loop."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from instrumentation.errors import Cancelled
from workermanager.cancelling import Context
from workermanager.flows.channel import Channel, Drain
from workermanager.flows.crew import Crew
from workermanager.flows.feed import Feed
from workermanager.flows.policy import Policy, retrying, retrying_async
from workermanager.flows.report import FlowReport, StageReport
from workermanager.flows.sideline import Sideline
from workermanager.handoff import Bell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from instrumentation.pipelines import Layout, Stage
    from workermanager.flows.loop import LoopBell

__all__ = ["Works"]


class Works:
    """The machinery of a pipeline under way; its owner waits for ``bell``, and joins it.

    The bell rings when the last thread has left, and when all is called off.
    """

    def __init__(self, layout: Layout, context: Context | None, *, has_results: bool) -> None:
        self.context = Context(context, name=layout.name)
        self.bell = Bell()
        self.errors: list[BaseException] = []
        self.lock = threading.RLock()
        self.is_broken_off = False
        self.results: Channel | None = None
        self.delivered = 0
        self._layout = layout
        self._began = time.perf_counter()
        self._inside = 1  # the owner, until all are started
        self._threads: list[threading.Thread] = []
        self._closers: list[Callable[[], None]] = []
        self._channels = [self._make_channel(stage) for stage in layout.stages]
        outlet: Channel | Drain = Drain()
        if has_results:
            outlet = self.results = Channel(self.lock, 1, None)
        self._outlets = [*self._channels, outlet]
        self._feed = self._make_feed()
        self._crews = [self._make_crew(*pair) for pair in enumerate(layout.stages)]
        self._takes_off = self.context.on_cancel(self._break_off)

    def _must_order(self, stage: Stage) -> bool:
        is_sink = self._layout.has_sink and stage is self._layout.stages[-1]
        return self._layout.ordered and stage.workers > 1 and not is_sink

    def _make_channel(self, stage: Stage) -> Channel:
        singly = stage.is_async or stage.processes or stage.timeout is not None
        in_order = self._must_order(stage)
        workers, bound = stage.workers, stage.buffer
        return Channel(self.lock, workers, bound, singly=singly, in_order=in_order)

    def _make_feed(self) -> Feed:
        source, jitter = self._layout.source, f"{self._layout.name}/source"
        policy = Policy("source", source.dead_letters, self.fail)
        return Feed(source, self._channels[0], policy, self.lock, self.context, jitter, self.fail)

    def _make_crew(self, place: int, stage: Stage) -> Crew:
        inlet, outlet = self._channels[place], self._outlets[place + 1]
        policy = Policy(stage.name, stage.dead_letters, self.fail)
        is_ordered = self._must_order(stage)
        return Crew(stage.workers, inlet, outlet, policy, self.lock, is_ordered=is_ordered)

    def start(self) -> None:
        """Start every thread; if one cannot be started, all is called off."""
        jobs: list[Callable[[LoopBell], Coroutine[Any, Any, None]]] = []
        targets: list[tuple[str, Callable[[], None]]] = []
        if self._feed.is_async:
            jobs.append(self._feed.work_async)
        else:
            targets.append(("source", self._feed.work))
        for stage, crew in zip(self._layout.stages, self._crews, strict=True):
            for number in range(stage.workers):
                if stage.is_async:
                    jobs.append(partial(crew.work_async, self._make_async_call(stage, number)))
                else:
                    work = partial(self._work, crew, stage, number)
                    targets.append((f"{stage.name}-{number}", work))
        if jobs:
            from workermanager.flows.loop import Loop  # noqa: PLC0415 - asyncio costs 50 ms

            loop = Loop(jobs)
            self._close_with(loop.call_off)
            targets.append(("loop", loop.run))
        try:
            for name, target in targets:
                self._employ(name, target)
        except RuntimeError as error:  # the system has no more threads to give
            self.fail(error)
        self._leave()

    def _employ(self, name: str, target: Callable[[], None]) -> None:
        """Start a thread that is waited for."""

        def stay() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001 - it surfaces in the owner
                self.fail(error)
            finally:
                self._leave()

        with self.lock:
            self._inside += 1
        try:
            self._spawn(name, stay)
        except RuntimeError:
            self._leave()
            raise

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(
            target=copy_context().run,
            args=(target,),
            name=f"{self._layout.name}-{name}",
            daemon=True,  # one that never comes back cannot keep the program alive
        )
        thread.start()
        with self.lock:
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]

    def _leave(self) -> None:
        with self.lock:
            self._inside -= 1
        if self.has_left:
            self.bell.ring()

    @property
    def has_left(self) -> bool:
        """True once everybody has left, but for functions that took too long."""
        return self._inside == 0

    def _work(self, crew: Crew, stage: Stage, number: int) -> None:
        call: Callable[[Any], Any] = stage.fn
        close: Callable[[], None] | None = None
        where = f"stage {stage.name!r}"
        if stage.processes:
            from workermanager.flows.processes import ProcessCall  # noqa: PLC0415 - it costs 20 ms

            there = call = ProcessCall(stage.fn, stage.timeout, where)
            self._close_with(there.call_off)
            close = there.close
        elif stage.timeout is not None:
            name = f"{stage.name}-{number}-call"
            beside = call = Sideline(
                stage.fn, stage.timeout, where, lambda target: self._spawn(name, target)
            )
            close = beside.close
        if stage.retry is not None:
            call = retrying(call, stage.retry, self._jitter(stage, number), self.context)
        try:
            crew.work(call)
        finally:
            if close is not None:
                close()

    def _make_async_call(self, stage: Stage, number: int) -> Callable[[Any], Awaitable[Any]]:
        call: Callable[[Any], Awaitable[Any]] = stage.fn
        if stage.timeout is not None:
            from workermanager.flows.loop import limited  # noqa: PLC0415 - as above

            call = limited(call, stage.timeout, f"stage {stage.name!r}")
        if stage.retry is not None:
            call = retrying_async(call, stage.retry, self._jitter(stage, number))
        return call

    def _jitter(self, stage: Stage, number: int) -> str:
        return f"{self._layout.name}/{stage.name}/{number}"

    def fail(self, error: BaseException) -> None:
        """End it all because of an error; the first one is the cause. From any thread."""
        if isinstance(error, Cancelled):
            self.context.cancel(error)
            return
        with self.lock:
            self.errors.append(error)
        self.context.cancel(error)

    def call_off(self, cause: BaseException | str) -> None:
        """End it all, from any thread, and again; the first cause is kept."""
        self.context.cancel(cause)

    def _break_off(self) -> None:
        self.is_broken_off = True
        for channel in self._outlets:
            channel.break_off()
        for close in self._closers:
            close()
        self.bell.ring()

    def _close_with(self, closer: Callable[[], None]) -> None:
        """Have something called when all is called off."""
        with self.lock:
            self._closers.append(closer)
            is_late = self.is_broken_off
        if is_late:
            closer()

    def join(self, seconds: float) -> list[str]:
        """Wait until every thread has ended; the names of those that had not after so long."""
        deadline = time.monotonic() + seconds
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            alive[0].join(remaining)  # others may be started meanwhile
        self._takes_off()
        self.context.release()
        return [thread.name for thread in alive]

    def make_report(self, *, has_stuck: bool) -> FlowReport:
        """The figures at the end; ``has_stuck`` where somebody never left.

        What such a thread had in hand is counted as cancelled, as is what still waited.
        """
        with self.lock:
            stages = [self._feed.report(), *self._report_crews(), *self._report_results()]
            errors = tuple(self.errors)
        if has_stuck:
            stages = _as_seen(stages)
        return FlowReport(
            self._layout.name,
            stages[0].entered,
            stages[-1].passed,
            sum(stage.filtered for stage in stages),
            sum(stage.failed for stage in stages),
            sum(stage.cancelled for stage in stages),
            time.perf_counter() - self._began,
            tuple(stages),
            errors,
        )

    def _report_crews(self) -> list[StageReport]:
        named = zip(self._layout.stages, self._crews, strict=True)
        return [crew.report(stage.name) for stage, crew in named]

    def _report_results(self) -> list[StageReport]:
        if self.results is None:
            return []
        counts = (self.results.entered, self.delivered, 0, 0, self.results.held)
        return [StageReport("results", *counts)]


def _as_seen(stages: list[StageReport]) -> list[StageReport]:
    """The figures where somebody has not told his: what came to the next stage has passed."""
    entered = [stage.entered for stage in stages[1:]]
    seen: list[StageReport] = []
    for stage, passed in zip(stages, [*entered, stages[-1].passed], strict=True):
        if not seen:  # the source: what it read, is what it passed and what failed
            seen.append(replace(stage, entered=passed + stage.failed, passed=passed))
            continue
        cancelled = stage.entered - passed - stage.filtered - stage.failed
        seen.append(replace(stage, passed=passed, cancelled=cancelled))
    return seen
