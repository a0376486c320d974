"""How a process pool goes: a line written over on a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workermanager.cli.charts import draw_bar
from workermanager.cli.witnesses import Bystander
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from workermanager.processes.task import TaskResult

__all__ = ["Bar"]

_EVERY_NS: Final = 100_000_000
_EVERY_WITHOUT_NS: Final = 10_000_000_000
_WIDTH: Final = 30
_SECOND_NS: Final = 1_000_000_000


class Bar(Bystander):
    """Counts what has ended, and says when the rest will have, going by the pace so far.

    ``known`` tasks of ``total`` had their results before the pool began.
    """

    def __init__(
        self,
        total: int,
        known: int,
        stream: TextIO | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._total = total
        self._known = known
        self._now = now
        self._began = self._shown = now()
        self._ended = 0
        self._failed = 0

    def ended(self, _number: int, result: TaskResult) -> None:
        """One more has its result."""
        self._ended += 1
        self._failed += result.status != "ok"
        now = self._now()
        if now - self._shown >= (_EVERY_NS if self._is_terminal else _EVERY_WITHOUT_NS):
            self._shown = now
            self._write(self.line(now))

    def close(self) -> None:
        """Show how it ended."""
        self._write(self.line(self._now()))
        if self._is_terminal:
            self._write_text("\n")

    def line(self, now: int) -> str:
        """The bar, the counts, the pace, and when it will be done."""
        done = self._known + self._ended
        elapsed = max(1, now - self._began)
        full, empty = draw_bar(done / self._total if self._total else 1.0, _WIDTH)
        parts = [f"{full}{empty}", f"{done:,}/{self._total:,}", f"{self._failed:,} not ok"]
        parts.append(f"{self._ended * _SECOND_NS / elapsed:,.1f}/s")
        left = self._total - done
        if left and self._ended:
            rest = round(left * elapsed / self._ended / _SECOND_NS) * _SECOND_NS
            parts.append(f"{format_duration(rest)} left")
        elif not left:
            parts.append(f"in {format_duration(round(elapsed, -6))}")
        return "  ".join(parts)

    def _write(self, line: str) -> None:
        if not self._is_terminal:
            self._write_text(line + "\n")
            return
        with suppress(OSError, ValueError):
            line = line[: os.get_terminal_size(self._stream.fileno()).columns - 1]
        self._write_text(f"\r{line}\x1b[K")

    def _write_text(self, text: str) -> None:
        with suppress(OSError):  # whoever watched is gone: the pool is not
            self._stream.write(text)
            self._stream.flush()
