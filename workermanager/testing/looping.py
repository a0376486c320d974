"""An event loop in virtual time, for async steps: ``await asyncio.sleep(3_600)`` takes no time."""

from __future__ import annotations

import asyncio
import selectors
from contextvars import copy_context
from math import ulp
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import Cancelled, InvalidConfig
from workermanager.cancelling import Context, is_awaited
from workermanager.looping import cancelled_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction
    from workermanager.testing.agenda import Agenda
    from workermanager.testing.clock import StageClock

__all__ = ["VirtualLoop"]

_PATIENCE_S: Final = 5.0  # for other threads and sockets, which are real


class VirtualLoop:
    """Runs async steps on one event loop, beside what is on an agenda. `close` it."""

    def __init__(self, clock: StageClock, agenda: Agenda) -> None:
        self._agenda = agenda
        self._selector = _Selector(clock, agenda)
        self._runner = asyncio.Runner(loop_factory=lambda: _Loop(self._selector))
        self._running = 0
        self._is_open = False

    def begin(
        self,
        fn: StepFunction,
        ctx: Exec,
        params: TaskParams,
        on_end: Callable[[object, BaseException | None], None],
    ) -> None:
        """Begin an async step, and tell what came of it. It is cancelled with its scope.

        Raises:
            InvalidConfig: another event loop runs in this thread.
        """
        if not self._is_open:
            _refuse_within_another()
            self._is_open = True
        loop = self._runner.get_loop()
        self._running += 1

        async def run() -> None:
            returned: object = None
            error: BaseException | None = None
            is_awaited.set(True)
            try:
                returned = await fn(ctx, params)
            except asyncio.CancelledError as cancelled:
                error = _called_off(ctx) or cancelled_elsewhere(cancelled)
            except BaseException as failure:  # noqa: BLE001 - whatever it is, it is the step's
                error = failure
            end(returned, error)

        def end(returned: object, error: BaseException | None) -> None:
            self._running -= 1
            forget()
            on_end(returned, error)

        task = loop.create_task(run(), context=copy_context())
        forget = self._heed(ctx, lambda: loop.call_soon(task.cancel))

    def _heed(self, ctx: Exec, call_off: Callable[[], object]) -> Callable[[], None]:
        """Call ``call_off`` when the scope is cancelled, or its deadline passes."""
        scope = ctx.scope
        assert isinstance(scope, Context)  # noqa: S101 - for the type checker

        def look() -> None:
            if scope.cancelled:
                call_off()

        if scope.deadline_ns is not None:
            self._agenda.enter(scope.deadline_ns, look)
        return scope.on_cancel(look)

    def go_on(self) -> None:
        """Let async steps run until the next moment on the agenda.

        Raises:
            RuntimeError: they wait for what never comes.
        """
        if self._running:
            self._selector.stop = self._runner.get_loop().stop
            try:
                self._runner.get_loop().run_forever()
            finally:
                self._selector.stop = None

    def close(self) -> None:
        """Cancel what steps have left running, and let go of the loop."""
        self._runner.close()


def _refuse_within_another() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidConfig(
        "rehearsal: async steps run on its own event loop, and another one runs in this thread;"
        " rehearse in a plain function, or with asyncio.to_thread"
    )


def _called_off(ctx: Exec) -> Cancelled | None:
    try:
        ctx.check()
    except Cancelled as cancelled:
        return cancelled
    return None


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self._virtual = selector.clock

    def time(self) -> float:
        return self._virtual.seconds

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncio's own, since Python 3.12
    ) -> None:
        """Wait for threads however long they take: a timeout would pass in no time."""
        del timeout
        await super().shutdown_default_executor()


class _Selector(selectors.DefaultSelector):
    """Puts the clock forward to the next timer when there is no work, unless the agenda is first.

    Then it calls ``stop``, if that is set.
    """

    def __init__(self, clock: StageClock, agenda: Agenda) -> None:
        super().__init__()
        self.clock = clock
        self.stop: Callable[[], None] | None = None
        self._agenda = agenda

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        until = None if timeout is None else self._moment_after(timeout)
        if self.stop is not None and timeout != 0 and self._agenda.has_something_by(until):
            self.stop()
        elif until is not None:
            self.clock.turn_to(until)
        else:
            ready = self._wait_for_others()
        return ready

    def _wait_for_others(self) -> list[Any]:
        ready = super().select(_PATIENCE_S)
        if not ready:
            raise RuntimeError("async steps wait for what never comes")
        return ready

    def _moment_after(self, seconds: float) -> int:
        # After 97 days a float has no nanoseconds left, and a timer would never be quite due.
        unseen = int(ulp(self.clock.seconds) * 1e9)
        return self.clock.now() + round(seconds * 1e9) + unseen
