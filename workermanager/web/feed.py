"""What the page hears of a run: its history, each new window, and how it stands, as events.

Server-sent events (WHATWG HTML, section 9.2). While nobody listens, the run is not looked at.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from workermanager.web.view import final_view, plan_view, point, state_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from workermanager.report import Report
    from workermanager.series import Window
    from workermanager.web.view import Watched

__all__ = ["Feed"]

_EVERY_S: Final = 0.4
_FRESH_S: Final = 0.3  # how old the state may be that several listeners share


class Feed:
    """The events of one run, for any number of listeners. Used in one thread, that of its loop."""

    def __init__(self, run: Watched, now: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._now = now
        self._state: tuple[float, bytes] = (float("-inf"), b"")
        self._end: bytes | None = None
        self._is_closed = False
        self._hurry = asyncio.Event()

    def stop(self, *, now: bool) -> None:
        """Tell the run to stop."""
        self._run.stop(now=now)

    def end(self, report: Report) -> None:
        """Tell all listeners how the run ended; nothing follows that."""
        self._end = event("end", final_view(report, self._run.plan.arrivals.total))
        self._hurry.set()

    def close(self) -> None:
        """Let all listeners go."""
        self._is_closed = True
        self._hurry.set()

    async def events(self) -> AsyncIterator[bytes]:
        """All there is, then what is new a few times a second, until the end.

        The state is sent each time, changed or not: that the run still answers is news as well.
        """
        yield event("plan", plan_view(self._run))
        seen = _Seen()
        while True:
            end, is_closed = self._end, self._is_closed
            for news in seen.news(self._run.watch.series.windows):
                yield news
            if end is not None:
                yield end
                return
            if is_closed:
                return
            yield self._look()
            await self._pause()

    def _look(self) -> bytes:
        looked_at, state = self._state
        if self._now() - looked_at >= _FRESH_S:
            state = event("state", state_view(self._run))
            self._state = self._now(), state
        return state

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), _EVERY_S)
        except TimeoutError:
            return


class _Seen:
    """Which windows a listener has."""

    def __init__(self) -> None:
        self._count = 0
        self._last: Window | None = None

    def news(self, windows: list[Window]) -> Iterator[bytes]:
        """What is new to it; all anew if windows that it has were merged."""
        known = self._last
        here = windows[self._count - 1] if 0 < self._count <= len(windows) else None
        is_same = here is known
        fresh = windows[self._count :] if is_same else windows
        if not fresh:
            return
        name = "points" if is_same and self._count else "history"
        yield event(name, [point(window) for window in fresh])
        self._count, self._last = len(windows), windows[-1]


def event(name: str, data: Any) -> bytes:
    """One server-sent event; JSON has no line breaks of its own."""
    return b"event: %b\ndata: %b\n\n" % (
        name.encode(),
        msgspec.json.encode(data, enc_hook=str),
    )
