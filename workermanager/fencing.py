"""A fence around a step: once it is closed, nothing of the step has an effect any more."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from instrumentation.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fence"]


class Fence:
    """Stands between a step that may have timed out and what it would change.

    Closing it and passing it exclude each other: a commit that has begun is let through, and the
    step has not timed out before it is over.
    """

    __slots__ = ("_lock", "is_closed")

    def __init__(self) -> None:
        self.is_closed = False
        self._lock = threading.Lock()

    def close(self) -> bool:
        """Let nothing pass from now on; False if something is passing: try again later."""
        if not self._lock.acquire(blocking=False):
            return False
        self.is_closed = True
        self._lock.release()
        return True

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Do what must not be done once the fence is closed, such as a commit.

        Raises:
            Cancelled: it is closed.
        """
        with self._lock:
            if self.is_closed:
                raise Cancelled("the step has timed out: it may change nothing more")
            yield
