"""Threads with an owner: started together, joined together, and a crash in one is everyone's."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.handoff import Bell

__all__ = ["Pool"]


class Pool:
    """A number of threads that each run ``work(slot)`` once, to its end.

    The threads see the context variables of whoever starts the pool. If work raises, ``crash``
    holds the first exception and ``on_crash`` is called, in that thread. ``bell`` rings when the
    last thread has left. The threads are daemons: one that never comes back cannot keep the
    program alive once its owner gave it up.
    """

    def __init__(
        self,
        name: str,
        size: int,
        work: Callable[[int], None],
        on_crash: Callable[[], None],
        bell: Bell,
    ) -> None:
        self.crash: BaseException | None = None
        self._work = work
        self._on_crash = on_crash
        self._bell = bell
        self._lock = threading.Lock()
        self._inside = size
        self._gate = threading.Event()
        self._threads = [
            threading.Thread(
                target=copy_context().run,
                args=(self._main, slot),
                name=f"{name}-{slot}",
                daemon=True,
            )
            for slot in range(size)
        ]

    def start(self) -> None:
        """Start every thread; none works before `open`. If one cannot start, none will work.

        Raises:
            RuntimeError: the system has no more threads to give.
        """
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:
            self._work = _nothing
            self._gate.set()
            raise

    def open(self) -> None:
        """Let the threads work."""
        self._gate.set()

    @property
    def is_empty(self) -> bool:
        """True when every thread has left."""
        return self._inside == 0

    def join(self, seconds: float | None = None) -> bool:
        """Wait until every thread has ended; False if some had not after so long."""
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _main(self, slot: int) -> None:
        self._gate.wait()
        try:
            self._work(slot)
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the owner
            with self._lock:
                self.crash = self.crash or crash
            self._on_crash()
        finally:
            with self._lock:
                self._inside -= 1
            if self._inside == 0:
                self._bell.ring()


def _nothing(_slot: int) -> None:
    """The work of a pool that could not start."""
