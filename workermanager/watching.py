"""Looks at a run once a second while it goes: its series, and whoever else wants to see."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from loguru import logger

from workermanager.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.telemetry import Figures

__all__ = ["Watch"]

_EVERY_NS: Final = 1_000_000_000
_LAST_WORDS_S: Final = 10.0


class Watch:
    """Takes a run's figures at every whole second, in a thread of its own, and at the end.

    ``read`` gives the figures now, ``elapsed`` nanoseconds since the run began. An observer that
    raises is told of once and heard no more: what watches a run must not end it.
    """

    def __init__(self, read: Callable[[], Figures], elapsed: Callable[[], int]) -> None:
        self.series = Series()
        self.crash: BaseException | None = None
        self._observers: list[Callable[[Figures], None]] = []
        self._read = read
        self._elapsed = elapsed
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def tell(self, observer: Callable[[Figures], None]) -> None:
        """Have ``observer`` called with the figures so far at every look, the last one included."""
        self._observers = [*self._observers, observer]

    def end(self, figures: Figures) -> None:
        """Take the last figures, and look no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_WORDS_S)
        self.look(figures, is_last=True)

    def look(self, figures: Figures, *, is_last: bool = False) -> None:
        """Take figures: a window of the series ends here."""
        self.series.look(figures, is_last=is_last)
        for observer in self._observers:
            try:
                observer(figures)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                self._observers = [other for other in self._observers if other is not observer]
                logger.error("{} watches no more: {}", observer, error)

    def _main(self) -> None:
        due = _EVERY_NS
        while not self._is_over.wait(max(0, due - self._elapsed()) / 1e9):
            try:
                self.look(self._read())
            except Exception as crash:  # noqa: BLE001 - it surfaces in the run
                self.crash = crash
                return
            due = (self._elapsed() // _EVERY_NS + 1) * _EVERY_NS
