"""Looks at a run once a second while it goes: its series, its thresholds, and whoever watches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from loguru import logger

from workermanager.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.books import Books
    from workermanager.judging import Judge
    from workermanager.telemetry import Figures

__all__ = ["Watch"]

_EVERY_NS: Final = 1_000_000_000
_LAST_WORDS_S: Final = 10.0


class Watch:
    """Reads a run's books at every whole second, in a thread of its own, and at the end.

    Observers are told what was measured: they hear nothing before the warm-up is over.

    ``elapsed`` tells nanoseconds since the run began, of which the first ``warmup_ns`` are warm-up.
    ``abort`` is called, one time, when a threshold ends the run. An observer that raises is told of
    once and heard no more: what watches a run must not end it.
    """

    def __init__(
        self,
        books: Books,
        judge: Judge,
        elapsed: Callable[[], int],
        warmup_ns: int,
        abort: Callable[[], None],
    ) -> None:
        self.series = Series()
        self.judge = judge
        self.crash: BaseException | None = None
        self.is_warming_up = warmup_ns > 0
        self._observers: list[Callable[[Figures], None]] = []
        self._books = books
        self._elapsed = elapsed
        self._warmup_ns = warmup_ns
        self._abort = abort
        self._has_aborted = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def tell(self, observer: Callable[[Figures], None]) -> None:
        """Have ``observer`` called with the figures so far at every look, the last one included."""
        self._observers = [*self._observers, observer]

    def end(self) -> Figures:
        """Look for the last time, and give what was seen."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_WORDS_S)
        if self.is_warming_up:
            self._end_warmup()
        figures = self._books.read()
        self._look(figures, is_last=True)
        return figures

    def look(self) -> None:
        """Look now: a window of the series ends here."""
        if not self.is_warming_up:
            self._look(self._books.read())
        elif self._elapsed() < self._warmup_ns:
            self.series.look(self._books.read(is_warmup=True), is_warmup=True)
        else:
            self._end_warmup()

    def _end_warmup(self) -> None:
        self.series.look(self._books.read(is_warmup=True), is_warmup=True, is_last=True)
        self.is_warming_up = False

    def _look(self, figures: Figures, *, is_last: bool = False) -> None:
        self.series.look(figures, is_last=is_last)
        self.judge.look(figures, is_last=is_last, may_abort=not self._books.is_closed)
        if self.judge.abortion is not None and not self._has_aborted:
            self._has_aborted = True
            self._abort()
        for observer in self._observers:
            try:
                observer(figures)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                self._observers = [other for other in self._observers if other is not observer]
                logger.error("{} watches no more: {}", observer, error)

    def _main(self) -> None:
        while not self._is_over.wait(max(0, self._next_look() - self._elapsed()) / 1e9):
            try:
                self.look()
            except Exception as crash:  # noqa: BLE001 - it surfaces in the run
                self.crash = crash
                return

    def _next_look(self) -> int:
        """The next whole second, or the warm-up's end before it."""
        elapsed = self._elapsed()
        second = (elapsed // _EVERY_NS + 1) * _EVERY_NS
        return min(second, self._warmup_ns) if elapsed < self._warmup_ns else second
