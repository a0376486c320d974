"""Signals that stop a scheduler while the main thread waits for it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["stopped_by_signals"]

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stoppable(Protocol):
    @property
    def is_stopping(self) -> bool: ...

    def stop(self, *, now: bool = False) -> None: ...


@contextmanager
def stopped_by_signals(scheduler: _Stoppable) -> Iterator[None]:
    """Stop on the first signal and cancel on the second, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        scheduler.stop(now=scheduler.is_stopping)

    # Where one is ignored, as under nohup, it stays so.
    heeded = [one for one in _STOP_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, stop) for one in heeded}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
