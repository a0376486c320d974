"""One pipeline under way, as its owner has it: its results, its end, and what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from instrumentation.errors import Cancelled, InvalidConfig, PipelineFailed, TimedOut
from workermanager.durations import format_duration, parse_duration
from workermanager.flows.channel import NOT_YET, Channel, Hand
from workermanager.flows.report import check
from workermanager.flows.works import Works
from workermanager.handoff import Bell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from types import TracebackType
    from typing import Self

    from instrumentation.pipelines import Layout
    from workermanager.cancelling import Context
    from workermanager.durations import Duration
    from workermanager.flows.report import FlowReport

__all__ = ["Flow"]

T = TypeVar("T")

_LONGEST_S: Final = 3_600.0


class Flow(Generic[T]):
    """A pipeline that runs: iterate over it for its results, or `wait` for its end.

    It begins with `begin`, or when the first result is asked for. Called off (by an error, its
    context, `close`, or leaving a loop over it), it reads no more and waits for everything that
    belongs to it, ``grace`` at most. As a context manager it is closed at the block's end.
    ``report`` is None until it has ended.
    """

    def __init__(
        self, layout: Layout, context: Context | None, grace: Duration, *, has_results: bool
    ) -> None:
        """Make everything ready.

        Raises:
            InvalidConfig: ``grace`` is no duration.
        """
        self.report: FlowReport | None = None
        self._ending: BaseException | None = None
        self._has_begun = False
        self._is_read = False
        self._grace_ns = parse_duration(grace, "grace")
        self._name = layout.name
        self._is_complete = False
        self._works = Works(layout, context, has_results=has_results)

    def begin(self) -> None:
        """Start it, once."""
        if not self._has_begun:
            self._has_begun = True
            self._heed_deadline()
            try:
                self._works.start()
            except BaseException as error:  # a Ctrl-C, above all
                self._abort(error)
                raise

    def wait(self) -> FlowReport:
        """Wait for its end; results that nobody takes are dropped.

        Raises:
            PipelineFailed: an error ended it, or something is stuck.
            Cancelled: it was called off; the report's counts are in a note.
            BaseException: what a stage raised that is no Exception, such as SystemExit.
        """
        if self._works.results is not None:
            for _ in self:
                pass
        elif not self._has_ended():
            self.begin()
            try:
                self._wait_for_the_last()
            except BaseException as error:
                self._abort(error)
                raise
            self._conclude()
        assert self.report is not None  # noqa: S101 - for the type checker
        return self.report

    def __iter__(self) -> Generator[T]:
        """Its results, as they come. Leaving the loop closes it; raises what `wait` raises.

        Raises:
            InvalidConfig: its results go to a sink, or to another loop.
        """
        results = self._open_results()
        if self._has_ended():
            return
        self._claim_results()
        self.begin()
        bell = Bell()
        try:
            while (hand := results.take(bell)) is not None:
                if hand is NOT_YET:
                    bell.wait(self._patience())
                else:
                    began = time.perf_counter_ns()
                    try:
                        yield from hand.items
                    finally:
                        self._deliver(results, hand, began)
                self._heed_deadline()
            self._is_complete = not self._works.is_broken_off
            self._wait_for_the_last()
        except GeneratorExit:
            self.close()
            raise
        except BaseException as error:
            self._abort(error)
            raise
        self._conclude()

    async def __aiter__(self) -> AsyncGenerator[T]:
        """The same in a coroutine; the event loop goes on while it waits."""
        import asyncio  # noqa: PLC0415 - 50 ms that most pipelines never need

        from workermanager.flows.loop import LoopBell  # noqa: PLC0415 - as above

        results = self._open_results()
        if self._has_ended():
            return
        self._claim_results()
        self.begin()
        bell = LoopBell()
        try:
            while (hand := results.take(bell)) is not None:
                if hand is NOT_YET:
                    await bell.wait(self._patience())
                else:
                    began = time.perf_counter_ns()
                    try:
                        for item in hand.items:
                            yield item
                    finally:
                        self._deliver(results, hand, began)
                self._heed_deadline()
            self._is_complete = not self._works.is_broken_off
            await asyncio.to_thread(self._wait_for_the_last)
        except GeneratorExit:
            await asyncio.to_thread(self.close)
            raise
        except BaseException as error:
            await asyncio.to_thread(self._abort, error)
            raise
        await asyncio.to_thread(self._conclude)

    def _has_ended(self) -> bool:
        """Whether it has; what ended it early is raised again."""
        if self._ending is not None:
            raise self._ending
        return self.report is not None

    def _open_results(self) -> Channel:
        if self._works.results is None:
            raise InvalidConfig(f"{self._name}: its results go to its sink; use run(), or wait()")
        return self._works.results

    def _claim_results(self) -> None:
        """Be the one who reads; a second one would find an end while results are on their way."""
        if self._is_read:
            raise InvalidConfig(f"{self._name}: its results are read by a loop already; use one")
        self._is_read = True

    def _deliver(self, results: Channel, hand: Hand, began_ns: int) -> None:
        works = self._works
        with works.lock:
            results.note_pace(hand.begun, time.perf_counter_ns() - began_ns)
            results.release(hand.begun)
            works.delivered += hand.begun

    def _patience(self) -> float:
        """How long to wait before the deadline has to be looked at."""
        remaining = self._works.context.remaining
        return _LONGEST_S if remaining is None else min(remaining, _LONGEST_S)

    def _heed_deadline(self) -> None:
        """Call it off once its deadline has passed, which nobody tells of."""
        context = self._works.context
        if not self._works.is_broken_off and context.cancelled:
            self._works.call_off(context.cause or "it was called off")

    def _wait_for_the_last(self) -> None:
        works = self._works
        while not works.has_left and not works.is_broken_off:
            works.bell.wait(self._patience())
            self._heed_deadline()
        if works.results is None:
            self._is_complete = works.has_left and not works.is_broken_off

    def close(self) -> None:
        """Call it off if it runs, and wait for what belongs to it; from its owner, and again.

        Errors that came before are in ``report.errors``.

        Raises:
            PipelineFailed: something is stuck; the message names it.
        """
        if self.report is None:
            self._works.call_off("it was closed")
            stuck = self._settle()
            if stuck is not None:
                raise PipelineFailed(str(self.report), [stuck], self.report)

    def _abort(self, error: BaseException) -> None:
        """End it because of what was raised in its owner, which is not hidden by the end."""
        if self.report is None:
            self._works.call_off(error if isinstance(error, Cancelled) else Cancelled(error))
            stuck = self._settle()
            error.add_note(str(stuck or self.report))

    def _settle(self) -> TimedOut | None:
        """Wait for everything, draw up the report and check it; what is stuck, if something is."""
        seconds = self._grace_ns / 1e9
        left = self._works.join(seconds)
        stuck = None
        if left:
            grace = format_duration(self._grace_ns)
            told = f"{self._name}: still running {grace} after its end: {', '.join(left)}"
            stuck = TimedOut(told, seconds, still_running=True)
            self._works.errors.append(stuck)
        self.report = self._works.make_report(has_stuck=bool(left))
        if not left:
            check(self.report, is_called_off=not self._is_complete)
        return stuck

    def _conclude(self) -> None:
        """Settle, and raise what is to be raised."""
        stuck = self._settle()
        assert self.report is not None  # noqa: S101 - for the type checker
        self._ending = self._find_ending(self.report, stuck)
        if self._ending is not None:
            raise self._ending

    def _find_ending(self, report: FlowReport, stuck: TimedOut | None) -> BaseException | None:
        """What ended it early, caused by what else went wrong."""
        failures = [error for error in report.errors if isinstance(error, Exception)]
        failed = PipelineFailed(str(report), failures, report) if failures else None
        crash = next((error for error in report.errors if error not in failures), None)
        if crash is not None:
            crash.add_note(str(report))
            return _caused(crash, failed)
        cause = self._works.context.cause
        if self._is_complete or cause in failures:
            return failed
        called_off = cause if isinstance(cause, Cancelled) else Cancelled(cause or "it was stopped")
        called_off.add_note(str(report))
        if failed is not None and stuck is not None:
            return _caused(failed, called_off)
        return _caused(called_off, failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abort(error)


def _caused(error: BaseException, cause: BaseException | None) -> BaseException:
    if cause is not None:
        error.__cause__ = cause
    return error
