"""How a run is told to stop, and for how long it is then waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loguru import logger

from instrumentation.errors import Cancelled
from workermanager.cancelling import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.engine import RunContext, Scope
    from workermanager.cancelling import Clock
    from workermanager.handoff import Bell, Handoff
    from workermanager.plan import Plan

__all__ = ["Stopping", "open_scope"]

_CALLED_OFF: Final = "it was called off"
_GIVE_UP_NS: Final = 1_000_000_000  # after "stop now": what has not ended then is left behind


def open_scope(plan: Plan, around: Scope | None, clock: Clock) -> Context:
    """Until when a run may go on: as long as what is around it, and its source context."""
    source = plan.source_context
    timeout = None if source is None else source.remaining
    above = around if isinstance(around, Context) else None
    return Context(above, timeout=timeout, name=f"run {plan.name}", clock=clock)


class Stopping:
    """The stop of one run: whether it was told to, since when, and who is told with it.

    After a stop, running execs may go on for ``grace_ns``; then, or at once with "now", the run's
    ``scope`` is cancelled, with the runs nested in it, and sleeping steps wake; a second later it
    is left behind.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one place makes it
        self,
        context: RunContext,
        scope: Context,
        handoff: Handoff,
        bell: Bell,
        grace_ns: int,
        now: Callable[[], int],
    ) -> None:
        self.is_stopping = False
        self.is_left_behind = False
        self._context = context
        self._scope = scope
        self._handoff = handoff
        self._bell = bell
        self._grace_ns = grace_ns
        self._now = now
        self._since = 0
        self._leave: Callable[[], None] = _nothing

    def stop(self, *, now: bool = False) -> None:
        """Hand out no more; with ``now``, cancel what runs. From any thread, and again."""
        if not self.is_stopping:
            self._since = self._now()
            self.is_stopping = True
            self._handoff.close()
        if now and not self._context.cancelled:
            self._since = self._now()
            cause = self._scope.cause or Cancelled()
            self._context.cause = cause.cause if isinstance(cause, Cancelled) else cause
            self._context.cancelled = True
            self._scope.cancel(cause)
        self._bell.ring()

    def heed(self, source: Context | None) -> None:
        """Stop now when the scope is cancelled from outside, or the source context is."""

        def call_off() -> None:
            if not self.is_stopping:
                logger.warning("run {} is called off: {}", self._context.id, self._scope.cause)
            self.stop(now=True)

        self._scope.on_cancel(call_off)
        if source is not None:
            self._leave = source.on_cancel(lambda: self._scope.cancel(source.cause or _CALLED_OFF))

    def end(self) -> None:
        """The run is over: no cancel concerns it any more."""
        self._scope.release()
        self._leave()

    def wait_for_halt(self, seconds: float) -> bool:
        """Wait so long; True as soon as, or if, the run was told to stop now."""
        return self._scope.wait(seconds)

    def wait(self, has_ended: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until a run has ended, or is left behind; False if not after so long."""
        deadline = None if seconds is None else self._now() + int(seconds * 1e9)
        while not self.is_left_behind and not has_ended():
            patience = self._patience()
            limits = [limit for limit in (deadline, patience) if limit is not None]
            pause = (min(limits) - self._now()) / 1e9 if limits else 3_600.0
            if pause > 0:
                self._bell.wait(pause)
            elif patience is not None and self._now() >= patience:
                self._lose_patience()
            else:
                return False
        self._bell.ring()  # for whoever else waits
        return True

    def _patience(self) -> int | None:
        """Until when running execs may go on after a stop."""
        if not self.is_stopping:
            return None
        return self._since + (_GIVE_UP_NS if self._context.cancelled else self._grace_ns)

    def _lose_patience(self) -> None:
        if self._context.cancelled:
            self.is_left_behind = True
        else:
            self.stop(now=True)


def _nothing() -> None:
    """There is no source context to leave."""
