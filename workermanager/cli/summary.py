"""Reports and lists for people, on standard output."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from workermanager.cli.layout import cut_inside
from workermanager.cli.standing import in_unit
from workermanager.durations import format_duration
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from workermanager.history import PastRun
    from workermanager.quantiles import Durations
    from workermanager.record import RunRecord
    from workermanager.report import DatabaseReport, Report

__all__ = ["VERDICTS", "make_console", "make_table", "named", "show", "show_past_runs", "show_runs"]

VERDICTS: Final = {"passed": "bold green", "failed": "bold red", "interrupted": "bold yellow"}
_FIGURES: Final = {
    "mean": "mean_ms",
    "p50": "p50_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "max": "max_ms",
}
_LONGEST_NAME: Final = 40
_ENDLESS: Final = 100_000
# What is given up, one after the other, for a table to fit a terminal: the ends of names, then
# columns. Never digits or units of a figure.
_TIMES_THAT_FIT: Final = (
    *((40, ()), (26, ()), (26, ("mean",)), (26, ("mean", "p99.9"))),
    *((16, ("mean", "p99.9")), (16, ("mean", "p99.9", "p50")), (12, ("mean", "p99.9", "p50"))),
)
_RUNS_THAT_FIT: Final = (
    *((40, ()), (20, ()), (20, ("started",)), (20, ("started", "duration"))),
    *((16, ("started", "duration", "tags")), (12, ("started", "duration", "tags", "failed"))),
)
_RECORDS_THAT_FIT: Final = ((40, ()), (20, ()), (16, ("started",)), (12, ("started", "state")))


def show(
    report: Report, in_database: Mapping[str, int] | None = None, *, on_stderr: bool = False
) -> None:
    """Print the summary: the verdict, the accounting line, times, rows, and errors."""
    console = make_console(on_stderr=on_stderr)
    console.print(_headline(report))
    console.print(Text(report.accounting))
    console.print(_fit(console, _TIMES_THAT_FIT, partial(_times, report)))
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


def named(name: str, width: int = _LONGEST_NAME) -> str:
    """A name on one line, of which the beginning and the end are shown if it is long."""
    return cut_inside(one_line(name), width)


def _fit(
    console: Console,
    attempts: Sequence[tuple[int, Collection[str]]],
    make: Callable[[int, Collection[str]], Table],
) -> Table:
    """The first table that fits, of those with names so wide and without such columns."""
    endless = console.options.update(width=_ENDLESS)
    tables = (make(width, without) for width, without in attempts)
    for table in tables:
        if Measurement.get(console, endless, table).maximum <= console.width:
            return table
    return make(*attempts[-1])


def _headline(report: Report) -> Text:
    run = report.run
    rate = f" ({report.rate:,.0f}/s)" if report.rate else ""
    facts = f" in {run.duration_s:,.3g} s{rate}, run {run.id}, seed {run.seed}"
    return Text.assemble((run.outcome, VERDICTS[run.outcome]), f"  {one_line(run.name)}{facts}")


def _times(report: Report, width: int, without: Collection[str]) -> Table:
    figures = [name for name in _FIGURES if name not in without]
    table = make_table("", *figures, "count")
    for name in ("response", "lag", "service"):
        times = getattr(report, name)
        table.add_row(name, *_cells(times, figures), f"{times.count:,}")
    for name, step in report.steps.items():
        counts = {"failed": step.failed, "retried": step.retried, "timed out": step.timed_out}
        troubles = [f"{count:,} {trouble}" for trouble, count in counts.items() if count]
        count = ", ".join((f"{step.ok:,} ok", *troubles))
        table.add_row(Text(f"  {named(name, width)}"), *_cells(step.service, figures), count)
    return table


def _cells(durations: Durations, figures: Sequence[str]) -> list[str]:
    if not durations.count:
        return ["-"] * len(figures)
    return [format_duration(round(getattr(durations, _FIGURES[name]) * 1e6)) for name in figures]


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
        table.add_row(Text(named(name)), *cells)
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
    console = make_console()
    if not records:
        console.print("no run yet")
        return
    console.print(_fit(console, _RECORDS_THAT_FIT, partial(_records, records)))


def _records(records: list[RunRecord], width: int, without: Collection[str]) -> Table:
    rows: list[dict[str, str | Text]] = [
        {
            "run": record.id,
            "name": Text(named(record.name, width)),
            "state": record.state,
            "durable": f"{len(record.durable):,} of "
            + ("no end" if record.planned is None else f"{record.planned:,}"),
            "started": record.started_at,
            "last commit": record.last_commit or "-",
        }
        for record in records
    ]
    return _make_rows(rows, without)


def show_past_runs(runs: list[PastRun]) -> None:
    """Print the runs of the history."""
    console = make_console()
    console.print(_fit(console, _RUNS_THAT_FIT, partial(_past_runs, runs)))


def _past_runs(runs: list[PastRun], width: int, without: Collection[str]) -> Table:
    rows: list[dict[str, str | Text]] = [
        {
            "run": run.id,
            "name": Text(named(run.name, width)),
            "outcome": Text(run.outcome, style=VERDICTS.get(run.outcome, "")),
            "started": run.started_at.partition(".")[0],
            "duration": format_duration(round(run.duration_s * 1e9)),
            "rate": f"{run.rate:,.0f}/s" if run.rate >= 10 else f"{run.rate:.3g}/s",  # noqa: PLR2004 - 0.5/s
            "p99": format_duration(round(run.p99_ms * 1e6)) if run.p99_ms else "-",
            "failed": Text(f"{failed:,}", style="red" if failed else ""),
            "tags": Text(named(" ".join(f"{name}={text}" for name, text in run.tags.items()))),
        }
        for run in runs
        for failed in (run.counts.get("failed", 0),)
    ]
    return _make_rows(rows, without)


def _make_rows(rows: Sequence[Mapping[str, str | Text]], without: Collection[str]) -> Table:
    """A table of rows that all have the same columns; tags are text, all others to the right."""
    titles = [title for title in rows[0] if title not in without]
    table = make_table(*[title for title in titles if title != "tags"])
    if "tags" in titles:
        table.add_column("tags")
    for row in rows:
        table.add_row(*(row[title] for title in titles))
    return table


def _errors(report: Report) -> Table:
    table = Table("failed step", "error", "count", "first one", box=SIMPLE_HEAD)
    for kind in report.errors:
        table.add_row(
            Text(named(kind.step)), Text(kind.type), f"{kind.count:,}", Text(kind.example)
        )
    return table


def make_table(first: str, *others: str) -> Table:
    """A table whose first column names what the others, to the right, have figures of."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
