"""The threads that fires run on: each takes the next one, and one that is stuck is replaced."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from instrumentation.errors import InvalidConfig
from workermanager.handoff import Bell
from workermanager.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Crew"]


class Crew:
    """``size`` threads, from `start` to `close`; ``on_crash`` hears of a bug of ours in one."""

    def __init__(self, size: int, on_crash: Callable[[], None]) -> None:
        self.size = size
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._has_left = Bell()
        self._local = threading.local()
        self._pool = Pool("schedule", size, self._work, on_crash, self._has_left)

    @property
    def crash(self) -> BaseException | None:
        """What went wrong with a thread."""
        return self._pool.crash

    @property
    def stuck(self) -> int:
        """How many threads were given up and have not come back."""
        return self._pool.stuck

    @property
    def is_here(self) -> bool:
        """True on its own threads."""
        return getattr(self._local, "is_here", False)

    def start(self) -> None:
        """Start the threads.

        Raises:
            InvalidConfig: the system has not so many.
        """
        try:
            self._pool.start()
        except RuntimeError as error:
            raise InvalidConfig(f"threads: {self.size} are too many here: {error}") from None
        self._pool.open()

    def submit(self, task: Callable[[], None]) -> None:
        """Have the next free thread do it."""
        self._tasks.put(task)

    def replace(self, stuck: threading.Thread, first: Callable[[], None]) -> None:
        """Have another thread do ``first``, and then take the place of one that is stuck."""

        def work() -> None:
            self._local.is_here = True
            first()
            self._work(0)

        self._pool.replace(stuck, work)

    def close(self, seconds: float | None = None) -> bool:
        """Send the threads home and wait for them, but not for stuck ones; False if some stay."""
        for _ in range(self.size):
            self._tasks.put(None)
        return self._pool.join(seconds)

    def _work(self, _slot: int) -> None:
        self._local.is_here = True
        while (task := self._tasks.get()) is not None:
            task()
