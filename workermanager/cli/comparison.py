"""Comparisons of two reports for people, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from workermanager.cli.summary import VERDICTS, make_console, make_table, named
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from workermanager.comparing import Change, Comparison, Side

__all__ = ["describe_change", "show_comparison"]

_COLOURS: Final = {"better": "green", "worse": "bold red", "unknown": "yellow", "same": ""}
_LEGEND: Final = (
    "A and B are of the whole runs; the change is that of the mean over their windows, with its\n"
    "95 % interval. same: 0 is within it; unknown: fewer than 8 windows to tell it from."
)


def show_comparison(comparison: Comparison, name_a: str, name_b: str) -> None:
    """Print which runs they are, what changed, and what makes that doubtful."""
    console = make_console()
    console.print(_sides(comparison, name_a, name_b))
    console.print(_changes(comparison))
    for names, side in ((comparison.only_in_a, "A"), (comparison.only_in_b, "B")):
        if names:
            console.print(Text(f"only in {side}: {', '.join(map(named, names))}"))
    for note in comparison.notes:
        console.print(Text.assemble(("note", "yellow"), f"  {note}"))
    console.print(Text(_LEGEND, style="dim"))


def describe_change(change: Change) -> str:
    """By how much it changed, with the interval: ``+12.3 % (+8.1 to +16 %)``."""
    if change.change is None:
        return f"from {_value(change.a, change.unit)} to {_value(change.b, change.unit)}"
    unit = _unit(change)
    return f"{_signed(change.change)} {unit} ({_interval(change)} {unit})"


def _sides(comparison: Comparison, name_a: str, name_b: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for letter, side, name in (("A", comparison.a, name_a), ("B", comparison.b, name_b)):
        table.add_row(letter, Text(name), *_facts(side))
    return table


def _facts(side: Side) -> list[Text]:
    run = side.run
    tags = " ".join(f"{name}={value}" for name, value in run.tags.items())
    return [
        Text(run.outcome, style=VERDICTS[run.outcome]),
        Text(f"{named(run.name)}, run {run.id}"),
        Text(run.started_at),
        Text(f"{run.duration_s:,.3g} s, {side.windows:,} windows"),
        Text(tags),
    ]


def _changes(comparison: Comparison) -> Table:
    table = make_table("", "A", "B", "change", "95 % interval", "")
    for change in comparison.changes:
        has_change = change.change is not None
        table.add_row(
            Text(_metric(change)),
            _value(change.a, change.unit),
            _value(change.b, change.unit),
            f"{_signed(change.change)} {_unit(change)}" if change.change is not None else "-",
            f"{_interval(change)} {_unit(change)}" if has_change else "-",
            Text(change.verdict, style=_COLOURS[change.verdict]),
        )
    return table


def _metric(change: Change) -> str:
    if change.step is None:
        return change.metric
    return f"  {named(change.step)}{change.metric.removeprefix(change.step)}"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "ms":
        return format_duration(round(value * 1e6))
    return f"{value:,.4g}{' %' if unit == '%' else unit}"


def _unit(change: Change) -> str:
    return "points" if change.unit == "%" else "%"


def _interval(change: Change) -> str:
    high = "…" if change.high is None else _signed(change.high)
    return f"{_signed(change.low or 0.0)} to {high}"


def _signed(value: float) -> str:
    """Three digits, and the sign of all that is not 0."""
    if not value:
        return "0"
    return f"{value:+.3g}" if abs(value) < 1_000 else f"{value:+,.0f}"  # noqa: PLR2004 - 1e+03
