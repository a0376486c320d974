"""A worker's process: for functions that compute, which threads could not do at once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import Cancelled, InvalidConfig, TimedOut, WorkerManagerError
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

__all__ = ["ProcessCall", "check_portable"]

_SPAWN: Final = multiprocessing.get_context("spawn")
_HOUR_S: Final = 3_600.0
_LEAVE_S: Final = 1.0  # for a process that was told to leave, before it is killed
# Starting a process looks at all others of this program: not while one is waited for.
_CHILDREN: Final = threading.Lock()


class ProcessCall:
    """Calls a function in a process of its own, which is started with the first item.

    An item costs about 0.1 ms on its way there and back.
    """

    def __init__(self, fn: Callable[[Any], Any], seconds: float | None, name: str) -> None:
        self._fn = fn
        self._seconds = seconds
        self._name = name
        self._lock = threading.RLock()  # between the worker and whoever calls it off
        self._process: SpawnProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._is_called_off = False

    def __call__(self, item: Any) -> Any:
        """What the function returns or raises there.

        Raises:
            TimedOut: it took too long; the process was killed.
            WorkerManagerError: the process died.
            Cancelled: it was called off; the process was killed.
        """
        try:
            pipe = self._pipe or self._start()
            pipe.send(item)
            if not _wait(pipe, self._seconds):
                return self._time_out()
            is_result, answer = pipe.recv()
        except (EOFError, ConnectionError):
            raise self._explain() from None
        if is_result:
            return answer
        raise answer

    def _start(self) -> Connection[Any, Any]:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=serve, args=(theirs, self._fn), name=self._name, daemon=True
        )
        with self._lock:
            if self._is_called_off:
                ours.close()
                theirs.close()
                raise Cancelled("the pipeline was called off")
            with _CHILDREN:
                process.start()
            theirs.close()
            self._process, self._pipe = process, ours
        ours.recv()  # it is ready: its start is no part of an item's time
        return ours

    def _time_out(self) -> Any:
        self._end(wait_s=0)
        seconds = self._seconds or 0.0
        told = f"{self._name} took longer than {format_duration(int(seconds * 1e9))} for an item"
        raise TimedOut(told, seconds)

    def _explain(self) -> BaseException:
        pid = self._process.pid if self._process else None
        code = self._end(wait_s=_LEAVE_S)
        if self._is_called_off:
            return Cancelled("the pipeline was called off")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with {code}"
        return WorkerManagerError(f"{self._name}: process {pid} {how} in the middle of an item")

    def _end(self, wait_s: float) -> int:
        """Close the pipe, wait so long, then kill it; its exit code."""
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if process is None or pipe is None:
            return 0
        pipe.close()
        with _CHILDREN:
            if wait_s:
                process.join(wait_s)
            if process.exitcode is None:
                process.kill()
                process.join()
            code = process.exitcode or 0
            process.close()
        return code

    def call_off(self) -> None:
        """Kill it; the call that waits for it is cancelled. From any thread."""
        with self._lock:
            self._is_called_off = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let the process leave."""
        self._end(wait_s=0 if self._is_called_off else _LEAVE_S)


def _wait(pipe: Connection[Any, Any], seconds: float | None) -> bool:
    """Wait for an answer, however long; a pipe by itself waits for 24 days at most."""
    if seconds is None:
        return pipe.poll(None)
    deadline = time.monotonic() + seconds
    while not pipe.poll(min(seconds, _HOUR_S)):
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return False
    return True


def check_portable(fn: Callable[[Any], Any], name: str) -> None:
    """See that a function can be sent to another process.

    Raises:
        InvalidConfig: it cannot.
    """
    try:
        pickle.dumps(fn)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidConfig(
            f"stage {name!r} cannot be sent to a process ({error}); "
            f"use a function at the top level of a module"
        ) from None


def serve(pipe: Connection[Any, Any], fn: Callable[[Any], Any]) -> None:
    """The life of such a process: answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it to decide on
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pipe.send(None)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - an item that cannot be read here, fails
            _answer(pipe, is_result=False, answer=_told(error))
            continue
        try:
            result = fn(item)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            _answer(pipe, is_result=False, answer=_told(error))
        else:
            _answer(pipe, is_result=True, answer=result)


def _leave_with_parent() -> None:
    """End this process once the one that started it has, be it in the middle of an item."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _told(error: BaseException) -> BaseException:
    """The error, with the traceback that stays behind in this process."""
    error.add_note("".join(traceback.format_exception(error)).rstrip())
    return error


def _answer(pipe: Connection[Any, Any], *, is_result: bool, answer: Any) -> None:
    try:
        sent = pickle.dumps((is_result, answer))
        if not is_result:
            pickle.loads(sent)  # noqa: S301 - our own; some errors can be written, but not read
    except Exception as error:  # noqa: BLE001 - it is told instead
        what = f"{type(answer).__name__}: {answer}" if not is_result else type(answer).__name__
        sent = pickle.dumps((False, WorkerManagerError(f"cannot be sent back: {what} ({error})")))
    try:
        pipe.send_bytes(sent)
    except ConnectionError:
        sys.exit(1)  # nobody listens any more
