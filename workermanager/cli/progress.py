"""How a run goes, while it goes: a live table on a terminal, one line a second elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from workermanager.durations import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workermanager.run import Run
    from workermanager.telemetry import Figures

__all__ = ["Lines", "Live", "Silence"]


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
        counts = figures.counts
        p50, p99 = figures.response.percentiles(50, 99)
        cells = [f"{figures.elapsed_ns / 1e9:7.1f}s", _tick(run, figures)]
        cells += [f"{counts[name]:,} {name}" for name in _shown(counts)]
        cells += [f"{self._rate.of(figures):,.0f}/s", f"p50 {_time(p50)}", f"p99 {_time(p99)}"]
        cells += [f"{count:,} {table}" for table, count in figures.rows.items()]
        self.write("  ".join(cells) + "\n")


class Live(Silence):
    """A table on standard error, drawn anew four times a second."""

    every_s = 0.25

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
        from rich.live import Live as RichLive  # noqa: PLC0415

        self._rate = _Rate()
        self._console = Console(stderr=True, highlight=False)
        self._live = RichLive(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what steps print to a file belongs there
        )

    def __enter__(self) -> Self:
        """Take over the terminal's last lines."""
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Give them back."""
        self._live.stop()

    def show(self, run: Run) -> None:
        """Draw the table."""
        self._live.update(self._draw(run, run.figures()), refresh=True)

    def write(self, text: str) -> None:
        """Put a log line above the table."""
        self._console.print(text, end="", markup=False, soft_wrap=True)

    def _draw(self, run: Run, figures: Figures) -> RenderableType:
        from rich.box import ROUNDED  # noqa: PLC0415 - as above
        from rich.table import Table  # noqa: PLC0415

        counts = figures.counts
        table = Table(
            box=ROUNDED, show_header=False, title=_title(run, figures), title_justify="left"
        )
        table.add_column(style="dim")
        table.add_column()
        table.add_row("tick", f"{_tick(run, figures)}  {_bar(run, figures)}")
        table.add_row("execs", "  ".join(_count(name, counts[name]) for name in _shown(counts)))
        table.add_row("rate", f"{self._rate.of(figures):,.0f}/s")
        for name in ("response", "lag"):
            p50, p99, largest = getattr(figures, name).percentiles(50, 99, 100)
            table.add_row(name, f"p50 {_time(p50)}  p99 {_time(p99)}  max {_time(largest)}")
        if figures.rows:
            rows = "  ".join(f"{_plain(name)} {count:,}" for name, count in figures.rows.items())
            table.add_row("rows", rows)
        if figures.database is not None and figures.database.retries:
            retries = figures.database.retries.items()
            again = "  ".join(f"{_plain(code)} {count:,}" for code, count in retries)
            table.add_row("database", f"[yellow]tried again[/yellow]  {again}")
        for kind in figures.errors[:3]:
            table.add_row(
                "error", f"[red]{kind.count:,}[/red] {_plain(kind.step)}: {_plain(kind.type)}"
            )
        return table


class _Rate:
    """Execs ended per second, over the last second or a little more."""

    def __init__(self) -> None:
        self._seen = deque([(0, 0)])

    def of(self, figures: Figures) -> float:
        now, ended = figures.elapsed_ns, figures.counts["ok"] + figures.counts["failed"]
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _SECOND_NS:  # noqa: PLR2004 - a span
            self._seen.popleft()
        then, before = self._seen[0]
        return (ended - before) * _SECOND_NS / (now - then) if now > then else 0.0


_SECOND_NS: Final = 1_000_000_000
_ALWAYS: Final = ("due", "ok", "failed", "running", "queued")


def _shown(counts: dict[str, int]) -> list[str]:
    return [*_ALWAYS, *(name for name in counts if name not in _ALWAYS and counts[name])]


def _count(name: str, count: int) -> str:
    colour = {"ok": "green", "failed": "red", "dropped": "yellow", "expired": "yellow"}.get(name)
    text = f"{count:,}" if colour is None or not count else f"[{colour}]{count:,}[/{colour}]"
    return f"{name} {text}"


def _title(run: Run, figures: Figures) -> str:
    state = "stopping (once more stops now)" if run.is_stopping else "running"
    return f"[bold]{_plain(run.plan.name)}[/bold] {state} {figures.elapsed_ns / 1e9:,.1f} s"


def _tick(run: Run, figures: Figures) -> str:
    ticks = run.plan.arrivals.ticks
    return f"tick {figures.tick + 1:,}" + ("" if ticks is None else f"/{ticks:,}")


def _bar(run: Run, figures: Figures) -> str:
    total = run.plan.arrivals.total
    if not total:
        return ""
    counts = figures.counts
    done = counts["due"] - counts["running"] - counts["queued"]
    filled = done * 30 // total
    return f"[green]{'━' * filled}[/green][dim]{'━' * (30 - filled)}[/dim] {100 * done // total} %"


def _time(nanoseconds: float) -> str:
    return format_duration(round(nanoseconds)) if nanoseconds else "-"


def _plain(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415 - only where there is a terminal

    return escape(text)
