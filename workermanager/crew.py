"""Threads beside those that take execs: they help where one exec does several things at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from workermanager.pool import Abandoned

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Crew"]


class Closable(Protocol):
    """What a thread works at."""

    def close(self) -> None:
        """The thread leaves."""
        ...


DeskT = TypeVar("DeskT", bound=Closable)


class Crew(Generic[DeskT]):
    """At most ``most`` threads, each started when there is work that no idle one takes.

    They see the context variables of whoever made the crew. Each works at a desk of its own, from
    ``open_desk``. A task is called with the desk of the thread that does it. What a task raises is
    a bug of ours: it goes to ``on_crash``. ``stuck`` counts the threads that were given up and have
    not come back yet; while there are more than ``most``, no task is begun.
    """

    def __init__(
        self,
        name: str,
        most: int,
        open_desk: Callable[[], DeskT],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self._name = name
        self._most = most
        self._open_desk = open_desk
        self._on_crash = on_crash
        self._tasks: deque[Callable[[DeskT], None]] = deque()
        self._changed = threading.Condition()
        self._context = copy_context()
        self._idle = 0
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._started = 0
        self.stuck = 0

    def submit(self, task: Callable[[DeskT], None]) -> None:
        """Have a task done as soon as a thread is free.

        Raises:
            RuntimeError: the system has no more threads to give, and there is none here.
        """
        with self._changed:
            self._tasks.append(task)
            if self._idle >= len(self._tasks):
                self._changed.notify()
            elif not self._is_closed:
                try:
                    self._start_if_allowed()
                except RuntimeError:
                    if not self._threads:
                        self._tasks.pop()
                        raise

    def replace(self, stuck: threading.Thread, task: Callable[[DeskT], None]) -> None:
        """Give up a thread that is stuck, and have another do the task and take its place."""
        with self._changed:
            self.stuck += 1
            if stuck in self._threads:
                self._threads.remove(stuck)
            self._start(task)

    def _start_if_allowed(self) -> None:
        if len(self._threads) < self._most and self.stuck <= self._most:
            self._start(None)

    def _start(self, first: Callable[[DeskT], None] | None) -> None:
        self._started += 1
        thread = threading.Thread(
            target=self._context.copy().run,
            args=(self._main, first),
            name=f"{self._name}-crew-{self._started}",
            daemon=True,
        )
        thread.start()
        self._threads.append(thread)

    def close(self, seconds: float | None = None) -> bool:
        """Let the threads end once there are no tasks; False if some had not after so long."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _main(self, first: Callable[[DeskT], None] | None) -> None:
        desk = self._open_desk()
        try:
            if first is not None:
                first(desk)
            while (task := self._next()) is not None:
                task(desk)
        except Abandoned:
            with self._changed:
                self.stuck -= 1
                if self._tasks:
                    self._start_if_allowed()
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the owner
            self._on_crash(crash)
        finally:
            desk.close()
            with self._changed:
                if threading.current_thread() in self._threads:
                    self._threads.remove(threading.current_thread())

    def _next(self) -> Callable[[DeskT], None] | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._tasks:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                if self.stuck > self._most:
                    return None  # whoever comes back starts another
                return self._tasks.popleft()
            finally:
                self._idle -= 1
