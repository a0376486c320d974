"""Reports and lists for people, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.quantiles import Durations
    from workermanager.record import RunRecord
    from workermanager.report import DatabaseReport, Report

__all__ = ["show", "show_runs"]

_VERDICTS = {"passed": "bold green", "failed": "bold red", "interrupted": "bold yellow"}
_COLUMNS = ("mean", "p50", "p95", "p99", "p99.9", "max")


def show(
    report: Report, in_database: Mapping[str, int] | None = None, *, on_stderr: bool = False
) -> None:
    """Print the summary: the verdict, the accounting line, times, rows, and errors."""
    console = _console(on_stderr=on_stderr)
    console.print(_headline(report))
    console.print(Text(report.accounting))
    console.print(_times(report))
    if report.rows:
        console.print(_rows(report, in_database or {}))
    if report.database is not None:
        console.print(Text(_database(report.database)))
    if report.errors:
        console.print(_errors(report))


def _console(*, on_stderr: bool = False) -> Console:
    console = Console(highlight=False, stderr=on_stderr)
    if console.is_terminal:
        return console
    return Console(highlight=False, stderr=on_stderr, width=110)


def _headline(report: Report) -> Text:
    run = report.run
    rate = f" ({report.rate:,.0f}/s)" if report.rate else ""
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


def _rows(report: Report, in_database: Mapping[str, int]) -> Table:
    found = report.database.found if report.database else {}
    columns = ["rows written"]
    columns += ["found there"] if found else []
    columns += ["rows in the database"] if in_database else []
    table = _table("table", *columns)
    for name, count in {**dict.fromkeys(found, 0), **report.rows}.items():
        cells = [f"{count:,}"]
        cells += [f"{found.get(name, 0):,}"] if found else []
        cells += [f"{in_database[name]:,}"] if name in in_database else []
        table.add_row(Text(name), *cells)
    return table


def _database(database: DatabaseReport) -> str:
    facts = [f"{database.commits:,} commits"]
    facts += [f"{count:,} tried again ({code})" for code, count in database.retries.items()]
    facts += [f"{database.halved:,} batches halved"] if database.halved else []
    return "database: " + ", ".join(facts)


def show_runs(records: list[RunRecord]) -> None:
    """Print the runs of a ledger."""
    table = _table("run", "name", "state", "durable", "started", "last commit")
    for record in records:
        planned = "no end" if record.planned is None else f"{record.planned:,}"
        table.add_row(
            record.id,
            Text(record.name),
            record.state,
            f"{len(record.durable):,} of {planned}",
            record.started_at,
            record.last_commit or "-",
        )
    _console().print(table)


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
