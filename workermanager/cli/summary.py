"""A report for people, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.report import Durations, Report

__all__ = ["show"]

_VERDICTS = {"passed": "bold green", "failed": "bold red", "interrupted": "bold yellow"}
_COLUMNS = ("mean", "p50", "p95", "p99", "p99.9", "max")


def show(
    report: Report, in_database: Mapping[str, int] | None = None, *, on_stderr: bool = False
) -> None:
    """Print the summary: the verdict, the accounting line, times, rows, and errors."""
    console = Console(highlight=False, stderr=on_stderr)
    if not console.is_terminal:
        console = Console(highlight=False, stderr=on_stderr, width=110)
    console.print(_headline(report))
    console.print(Text(report.accounting))
    console.print(_times(report))
    if report.rows:
        console.print(_rows(report.rows, in_database or {}))
    if report.errors:
        console.print(_errors(report))


def _headline(report: Report) -> Text:
    run = report.run
    ended = report.counts["ok"] + report.counts["failed"]
    rate = f" ({ended / run.duration_s:,.0f}/s)" if run.duration_s else ""
    facts = f" in {run.duration_s:,.3g} s{rate}, run {run.id}, seed {run.seed}"
    return Text.assemble((run.outcome, _VERDICTS[run.outcome]), f"  {run.name}{facts}")


def _times(report: Report) -> Table:
    table = _table("", *_COLUMNS, "count")
    for name in ("response", "lag", "service"):
        table.add_row(name, *_cells(getattr(report, name)), f"{getattr(report, name).count:,}")
    for name, step in report.steps.items():
        troubles = [
            f"{count:,} {trouble}"
            for trouble, count in (("failed", step.failed), ("retried", step.retried))
            if count
        ]
        count = ", ".join((f"{step.ok:,} ok", *troubles))
        table.add_row(Text(f"  {name}"), *_cells(step.service), count)
    return table


def _cells(durations: Durations) -> list[str]:
    if not durations.count:
        return ["-"] * len(_COLUMNS)
    figures = (
        durations.mean_ms,
        durations.p50_ms,
        durations.p95_ms,
        durations.p99_ms,
        durations.p999_ms,
        durations.max_ms,
    )
    return [format_duration(round(figure * 1e6)) for figure in figures]


def _rows(rows: Mapping[str, int], in_database: Mapping[str, int]) -> Table:
    table = _table("table", "rows written", *(["rows in the database"] if in_database else []))
    for name, count in rows.items():
        read_back = [f"{in_database[name]:,}"] if name in in_database else []
        table.add_row(Text(name), f"{count:,}", *read_back)
    return table


def _errors(report: Report) -> Table:
    table = Table("failed step", "error", "count", "first one", box=SIMPLE_HEAD)
    for kind in report.errors:
        table.add_row(Text(kind.step), Text(kind.type), f"{kind.count:,}", Text(kind.example))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
