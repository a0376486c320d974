"""How a run goes, while it goes, where there is no terminal: one line a second, or nothing."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from workermanager.cli.standing import (
    in_unit,
    is_broken,
    tick,
    time,
)
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.run import Run

__all__ = ["Lines", "Silence"]


class Silence:
    """No progress at all."""

    every_s: float = 1.0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""

    def show(self, run: Run) -> None:
        """Show how the run stands."""

    def write(self, text: str) -> None:
        """Put a log line out beside the progress."""
        with suppress(OSError):  # whoever watched is gone: the run is not
            sys.stderr.write(text)
            sys.stderr.flush()


class Lines(Silence):
    """One line a second on standard error."""

    def __init__(self) -> None:
        self._rate = _Rate()

    def show(self, run: Run) -> None:
        """Print a line."""
        figures = run.figures()
        counts = (
            {**figures.counts, **(figures.warmup or {})} if run.is_warming_up else figures.counts
        )
        p50, p99 = figures.response.percentiles(50, 99)
        cells = [f"{figures.elapsed_ns / 1e9:7.1f}s"]
        cells += ["warm-up"] if run.is_warming_up else []
        cells += [tick(run, figures), *(f"{counts[name]:,} {name}" for name in _shown(counts))]
        cells += [
            f"{self._rate.of(figures.elapsed_ns, counts):,.0f}/s",
            f"p50 {time(p50)}",
            f"p99 {time(p99)}",
        ]
        cells += [f"{count:,} {one_line(table)}" for table, count in figures.rows.items()]
        cells += [
            f"FAILS {one_line(verdict.expression)}: {in_unit(verdict)}"
            for verdict in run.verdicts()
            if is_broken(verdict)
        ]
        self.write("  ".join(cells) + "\n")


class _Rate:
    """Execs ended per second, over the last second or a little more."""

    def __init__(self) -> None:
        self._seen = deque([(0, 0)])

    def of(self, now: int, counts: Mapping[str, int]) -> float:
        ended = counts["ok"] + counts["failed"]
        if ended < self._seen[-1][1]:  # the warm-up is over: they begin anew
            self._seen = deque([(self._seen[-1][0], 0)])
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _SECOND_NS:  # noqa: PLR2004 - a span
            self._seen.popleft()
        then, before = self._seen[0]
        return (ended - before) * _SECOND_NS / (now - then) if now > then else 0.0


_SECOND_NS: Final = 1_000_000_000
_ALWAYS: Final = ("due", "ok", "failed", "running", "queued")


def _shown(counts: dict[str, int]) -> list[str]:
    return [*_ALWAYS, *(name for name in counts if name not in _ALWAYS and counts[name])]
