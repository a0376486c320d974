"""Threads with an owner: started together, joined together, and a crash in one is everyone's."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.handoff import Bell

__all__ = ["Abandoned", "Pool"]


class Abandoned(BaseException):
    """This thread was given up while it ran a step; another has taken its place."""


class Pool:
    """A number of threads that each run ``work(slot)`` once, to its end.

    The threads see the context variables of whoever starts the pool. If work raises, ``crash``
    holds the first exception and ``on_crash`` is called, in that thread. ``bell`` rings when the
    last thread has left. ``stuck`` counts the threads that were given up and have not come back
    yet. The threads are daemons: one that never comes back cannot keep the program alive.
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
        self.stuck = 0
        self._name = name
        self._replaced = 0
        self._given_up: set[threading.Thread] = set()
        self._work = work
        self._on_crash = on_crash
        self._bell = bell
        self._lock = threading.Lock()
        self._inside = size
        self._gate = threading.Event()
        self._context = copy_context()
        self._threads = [
            self._thread(partial(self._serve, slot), f"{name}-{slot}") for slot in range(size)
        ]

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        target = self._context.copy().run
        return threading.Thread(target=target, args=(self._main, work), name=name, daemon=True)

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

    def replace(self, stuck: threading.Thread, work: Callable[[], None]) -> None:
        """Give up a thread that is stuck, and have another do ``work`` in its place."""
        with self._lock:
            self.stuck += 1
            self._replaced += 1
            self._given_up ^= {stuck}  # unless it is back already
            thread = self._thread(work, f"{self._name}-again-{self._replaced}")
            thread.start()
            self._threads.append(thread)

    @property
    def is_empty(self) -> bool:
        """True when every thread has left."""
        return self._inside == 0

    def join(self, seconds: float | None = None) -> bool:
        """Wait until every thread has ended but stuck ones; False if some had not after so long."""
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in self._living():
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._living())

    def _living(self) -> list[threading.Thread]:
        with self._lock:
            return [thread for thread in self._threads if thread not in self._given_up]

    def _serve(self, slot: int) -> None:
        self._work(slot)

    def _main(self, work: Callable[[], None]) -> None:
        self._gate.wait()
        try:
            work()
        except Abandoned:
            with self._lock:
                self.stuck -= 1
                self._given_up ^= {threading.current_thread()}  # maybe before `replace` says so
                self._threads.remove(threading.current_thread())
            return  # whoever took the place is counted for it
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the owner
            with self._lock:
                self.crash = self.crash or crash
            self._on_crash()
        with self._lock:
            self._inside -= 1
            is_last = self._inside == 0
        if is_last:
            self._bell.ring()


def _nothing(_slot: int) -> None:
    """The work of a pool that could not start."""
