"""Runs the commands of a run: each on the thread of its step, and none longer than its step."""

from __future__ import annotations

import atexit
import threading
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from loguru import logger

from instrumentation.errors import Cancelled, CommandFailed, TimedOut
from instrumentation.invocations import Completed
from workermanager.cancelling import Context, refuse_on_loop
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from instrumentation.execution import Exec
    from instrumentation.invocations import Invocation
    from workermanager.processes.children import Child

__all__ = ["Commands"]

_GRACE_NS: Final = 5_000_000_000
_HURRY_NS: Final = 500_000_000  # after "stop now": a run is left behind a second after it
_CLOSE_S: Final = 2.0
_SCARCE_NS: Final = 5_000_000_000
_TRY_AGAIN_S: Final = 0.05
_NOT_EXECUTABLE: Final = 126
_OVER: Final = "the run is over"


class Commands:
    """The child processes of one run; called for each, as `instrumentation.engine.Execute`.

    When its step is called off, or the step's deadline has passed, a child is told to end (SIGTERM
    to its session), and made to (SIGKILL) after a grace. ``scope`` is the run's; ``around``
    has the commands of the run that this one is nested in. No child outlives `close`.
    """

    def __init__(self, scope: Context, around: Commands | None = None) -> None:
        self._scope = scope
        self._around = around
        self._is_over = False
        self._is_registered = False
        self._watches: set[_Watch] = set()
        self._changed = threading.Condition()

    def __call__(
        self, ctx: Exec, invocation: Invocation, timeout: float | None, max_output: int, /
    ) -> Completed:
        """Run a child to its end.

        Raises:
            CommandFailed: it cannot be started.
            TimedOut: it took too long, and its session is no more.
            Cancelled: the step was called off, and its session is no more.
            InvalidConfig: an async step calls it, and the event loop would stand still.
        """
        refuse_on_loop("a Command", "it as a step of its own")
        scope = ctx.scope if isinstance(ctx.scope, Context) else self._scope
        begun = time.monotonic_ns()
        while True:
            scope.check()
            try:
                with _Watch(self, scope, max_output) as watch:
                    return watch.run(invocation, timeout)
            except _NoRoom as error:
                if not self._watches and time.monotonic_ns() - begun > _SCARCE_NS:
                    raise _not_started(invocation, _NOT_EXECUTABLE, str(error)) from None
            scope.sleep(_TRY_AGAIN_S)  # those that run give back what they have

    def enter(self, watch: _Watch) -> None:
        """Have one more child to end at `close`, here and further out.

        Raises:
            Cancelled: the run is over.
        """
        for commands in self._outwards():
            with commands._changed:
                if commands._is_over:
                    raise Cancelled(_OVER)
                commands._watches.add(watch)
                if not commands._is_registered:
                    commands._is_registered = True
                    atexit.register(commands._close_at_exit)

    def leave(self, watch: _Watch) -> None:
        """It has ended."""
        for commands in self._outwards():
            with commands._changed:
                commands._watches.discard(watch)
                commands._changed.notify_all()

    def _outwards(self) -> Iterator[Commands]:
        commands: Commands | None = self
        while commands is not None:
            yield commands
            commands = commands._around

    def close(self, *, is_left_behind: bool) -> None:
        """Make all children end: those of steps that took too long, or of a run left behind.

        In the latter nothing is started any more; else their threads are waited for as well.
        """
        with self._changed:
            if self._is_registered:
                self._is_registered = False
                atexit.unregister(self._close_at_exit)
            self._is_over = is_left_behind
            watches = [*self._watches]
            for watch in watches:
                watch.end()
            if not self._changed.wait_for(lambda: not self._watches, _CLOSE_S):
                logger.error("commands that were killed have not ended: {}", len(self._watches))
        if not is_left_behind:
            for watch in watches:
                watch.thread.join(_CLOSE_S)

    def _close_at_exit(self) -> None:
        """Nobody has waited for the end of the run, and the program ends."""
        self.close(is_left_behind=True)


class _NoRoom(Exception):
    """The machine has no room for another process, or for its output, at the moment."""


class _Watch:
    """Minds one child, on the thread of its step, until it has ended."""

    def __init__(self, commands: Commands, scope: Context, limit: int) -> None:
        from workermanager.processes.children import Children  # noqa: PLC0415 - few runs have any

        self.thread = threading.current_thread()
        self._commands = commands
        self._scope = scope
        self._child: Child | None = None
        self._kill_at: int | None = None
        self._is_unwanted = False
        self._is_over = False
        self._lock = threading.RLock()  # a signal handler may cancel in the midst of a cancel
        self._forget: list[Callable[[], None]] = []
        try:
            self._children = Children(limit=limit, grace_ns=_GRACE_NS)
        except OSError as error:
            raise _NoRoom(error.strerror) from None

    def __enter__(self) -> Self:
        try:
            self._commands.enter(self)
        except Cancelled:
            self._close()
            raise
        self._forget = [
            scope.on_cancel(self._wake) for scope in {self._scope, self._commands._scope}
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for forget in self._forget:
            forget()
        with self._lock:
            self._is_over = True
        self._children.close()
        if self._child is not None:
            self._child.close()
        self._commands.leave(self)

    def _wake(self) -> None:
        """Look whether the child may still run; from any thread, or a signal handler."""
        with self._lock:
            if not self._is_over:  # or its descriptor may be another's by now
                self._children.wake()

    def end(self) -> None:
        """Make the child end at once; from another thread."""
        self._is_unwanted = True
        self._wake()

    def run(self, invocation: Invocation, timeout: float | None) -> Completed:
        """Run the child to its end; the errors are those of `Commands`."""
        child = self._child = self._start(invocation, timeout)
        patience = self._scope.remaining
        while not self._children.wait(None if patience is None else round(patience * 1e9)):
            patience = self._look(child)
        if child.was_stopped:
            self._scope.check()
            if self._is_unwanted:
                raise Cancelled(_OVER)
        if child.has_timed_out and timeout is not None:
            allowed = format_duration(round(timeout * 1e9))
            raise TimedOut(f"{_name(invocation)} took longer than {allowed}", timeout)
        stdout, stderr = child.stdout.read(), child.stderr.read()
        is_truncated = child.stdout.lost > 0
        return Completed(child.exit_code, child.signal, stdout, stderr, is_truncated, child.reason)

    def _start(self, invocation: Invocation, timeout: float | None) -> Child:
        from workermanager.processes.launching import SCARCE, CannotStart  # noqa: PLC0415 - as above

        timeout_ns = None if timeout is None else round(timeout * 1e9)
        try:
            return self._children.start(invocation, timeout_ns)
        except CannotStart as cannot:
            raise _not_started(invocation, cannot.exit_code, cannot.reason) from None
        except OSError as error:
            if error.errno in SCARCE:
                raise _NoRoom(error.strerror) from None
            raise _not_started(invocation, _NOT_EXECUTABLE, str(error)) from None

    def _look(self, child: Child) -> float | None:
        """Stop the child if it may not go on; give the seconds until the next look, at most."""
        if self._is_unwanted:
            self._children.kill(child)
            return None
        if not self._scope.cancelled:
            return self._scope.remaining
        self._children.stop(child)
        if not self._commands._scope.cancelled:
            return None
        now = time.monotonic_ns()
        self._kill_at = self._kill_at or now + _HURRY_NS
        if now < self._kill_at:
            return (self._kill_at - now) / 1e9
        self._children.kill(child)
        return None


def _not_started(invocation: Invocation, exit_code: int, reason: str) -> CommandFailed:
    told = f"{_name(invocation)}: not started: {reason}"
    return CommandFailed(told, invocation.command, exit_code)


def _name(invocation: Invocation) -> str:
    return PurePath(invocation.command).name or invocation.command
