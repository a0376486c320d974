"""The event loop beside the threads: all async stages of a pipeline, and its async source."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from instrumentation.errors import TimedOut
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["Loop", "LoopBell", "limited"]


class LoopBell:
    """Wakes the one task that waits for it; a ring before the wait is not lost."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it comes; from any thread."""
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for a ring, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class Loop:
    """Runs tasks in one thread, to their end or until they are called off."""

    def __init__(self, jobs: list[Callable[[LoopBell], Coroutine[Any, Any, None]]]) -> None:
        self._jobs = jobs
        self._lock = threading.RLock()  # a signal handler may call things off
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_called_off = False

    def run(self) -> None:
        """Be the thread of the loop."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._tasks = [self._loop.create_task(job(LoopBell())) for job in self._jobs]
            if self._is_called_off:
                self._cancel()
        await asyncio.wait(self._tasks)
        with self._lock:
            self._loop = None
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    def call_off(self) -> None:
        """Cancel every task; from any thread."""
        with self._lock:
            self._is_called_off = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


def limited(
    fn: Callable[[Any], Awaitable[Any]], seconds: float, name: str
) -> Callable[[Any], Awaitable[Any]]:
    """``fn``, cancelled and TimedOut when it takes too long."""

    async def call(item: Any) -> Any:
        try:
            async with asyncio.timeout(seconds) as limit:
                return await fn(item)
        except TimeoutError:
            if not limit.expired():
                raise
        allowed = format_duration(int(seconds * 1e9))
        raise TimedOut(f"{name} took longer than {allowed} for an item", seconds)

    return call
