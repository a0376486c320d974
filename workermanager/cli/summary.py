"""Reports and lists for people, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workermanager.cli.standing import in_unit
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.history import PastRun
    from workermanager.quantiles import Durations
    from workermanager.record import RunRecord
    from workermanager.report import DatabaseReport, Report

__all__ = ["VERDICTS", "make_console", "make_table", "show", "show_past_runs", "show_runs"]

VERDICTS: Final = {"passed": "bold green", "failed": "bold red", "interrupted": "bold yellow"}
_COLUMNS = ("mean", "p50", "p95", "p99", "p99.9", "max")


def show(
    report: Report, in_database: Mapping[str, int] | None = None, *, on_stderr: bool = False
) -> None:
    """Print the summary: the verdict, the accounting line, times, rows, and errors."""
    console = make_console(on_stderr=on_stderr)
    console.print(_headline(report))
    console.print(Text(report.accounting))
    console.print(_times(report))
    if report.rows:
        console.print(_rows(report, in_database or {}))
    if report.thresholds:
        console.print(_thresholds(report))
    if report.database is not None:
        console.print(Text(_database(report.database)))
    if report.errors:
        console.print(_errors(report))


def make_console(*, on_stderr: bool = False) -> Console:
    """A console as wide as the terminal, or as 110 characters where there is none."""
    console = Console(highlight=False, stderr=on_stderr)
    if console.is_terminal:
        return console
    return Console(highlight=False, stderr=on_stderr, width=110)


def _headline(report: Report) -> Text:
    run = report.run
    rate = f" ({report.rate:,.0f}/s)" if report.rate else ""
    facts = f" in {run.duration_s:,.3g} s{rate}, run {run.id}, seed {run.seed}"
    return Text.assemble((run.outcome, VERDICTS[run.outcome]), f"  {run.name}{facts}")


def _times(report: Report) -> Table:
    table = make_table("", *_COLUMNS, "count")
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
    table = make_table("table", *columns)
    for name, count in {**dict.fromkeys(found, 0), **report.rows}.items():
        cells = [f"{count:,}"]
        cells += [f"{found.get(name, 0):,}"] if found else []
        cells += [f"{in_database[name]:,}"] if name in in_database else []
        table.add_row(Text(name), *cells)
    return table


def _thresholds(report: Report) -> Table:
    table = Table("threshold", box=SIMPLE_HEAD)
    table.add_column("value", justify="right")
    table.add_column("")
    for verdict in report.thresholds:
        kept = Text("kept", "green") if verdict.passed else Text("broken", "bold red")
        if verdict.aborted:
            kept.append(", and ended the run")
        elif verdict.at_s is not None and not verdict.passed:
            kept.append(f", worst at {verdict.at_s:g} s")
        table.add_row(Text(verdict.expression), in_unit(verdict), kept)
    return table


def _database(database: DatabaseReport) -> str:
    facts = [f"{database.commits:,} commits"]
    facts += [f"{count:,} tried again ({code})" for code, count in database.retries.items()]
    facts += [f"{database.halved:,} batches halved"] if database.halved else []
    return "database: " + ", ".join(facts)


def show_runs(records: list[RunRecord]) -> None:
    """Print the runs of a ledger."""
    table = make_table("run", "name", "state", "durable", "started", "last commit")
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
    make_console().print(table)


def show_past_runs(runs: list[PastRun]) -> None:
    """Print the runs of the history."""
    table = make_table("run", "name", "outcome", "started", "duration", "rate", "p99", "failed")
    table.add_column("tags")
    for run in runs:
        failed = run.counts.get("failed", 0)
        table.add_row(
            run.id,
            Text(run.name),
            Text(run.outcome, style=VERDICTS.get(run.outcome, "")),
            run.started_at.partition(".")[0],
            format_duration(round(run.duration_s * 1e9)),
            f"{run.rate:,.0f}/s" if run.rate >= 10 else f"{run.rate:.3g}/s",  # noqa: PLR2004 - 0.5/s
            format_duration(round(run.p99_ms * 1e6)) if run.p99_ms else "-",
            Text(f"{failed:,}", style="red" if failed else ""),
            Text(" ".join(f"{name}={value}" for name, value in run.tags.items())),
        )
    make_console().print(table)


def _errors(report: Report) -> Table:
    table = Table("failed step", "error", "count", "first one", box=SIMPLE_HEAD)
    for kind in report.errors:
        table.add_row(Text(kind.step), Text(kind.type), f"{kind.count:,}", Text(kind.example))
    return table


def make_table(first: str, *others: str) -> Table:
    """A table whose first column names what the others, to the right, have figures of."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
