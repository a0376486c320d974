"""``workermanager report``: a saved report, as a run's summary; or what changed between two."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.cli.outputs import render_html, render_json
from workermanager.cli.sink import Sink
from workermanager.cli.summary import show
from workermanager.report import EXIT_FAILED, EXIT_OK, load_report

if TYPE_CHECKING:
    from workermanager.comparing import Comparison
    from workermanager.report import Report

__all__ = ["command"]

_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%|(\d+)")


class _Percent(click.ParamType[float]):
    """``5%``, ``0.5%`` or ``5``; 0.05 could be meant as either, so it is none."""

    name = "percent"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,
    ) -> float:
        found = _PERCENT.fullmatch(value.strip())
        if found is None:
            raise click.UsageError(
                f"--fail-on-regression: {value!r} is no percentage; write 5%, 0.5% or 5", ctx
            )
        return float(found[1] or found[2])


@click.command("report")
@click.argument("first", metavar="REPORT")
@click.argument("second", metavar="[REPORT_B]", required=False)
@click.option(
    "--fail-on-regression",
    "tolerance",
    type=_Percent(),
    metavar="PERCENT",
    help="Exit with 1 if a metric is worse by more than this (5%), and not by chance.",
)
@click.option(
    "--html",
    "html_path",
    metavar="PATH",
    help="Save REPORT as one HTML file, with charts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report, or what changed, as JSON.")
def command(
    first: str,
    second: str | None,
    *,
    tolerance: float | None,
    html_path: str | None,
    as_json: bool,
) -> int:
    """Show REPORT, or what changed from REPORT, the baseline, to REPORT_B.

    A REPORT is a file that `workermanager run --json` saved, or the id of a run in the history, or
    the beginning of one: `workermanager runs` lists them.

    A change is that of the mean over the runs' windows (of about a second each), with a 95 %
    interval by a moving-block bootstrap. It is better or worse where the interval is on one side
    of 0, and unknown where a run has fewer than 8 windows. The interval is of the noise within
    these two runs, not of that from one run to the next, which the tolerance is for. By chance
    alone, a metric that did not change is called worse in about one of 40 comparisons.

    With --fail-on-regression, exit codes are: 0 nothing is worse by more than PERCENT and not by
    chance; 1 something is, as standard error says; 104 it cannot be told, for want of windows. A
    share of failed, dropped or expired execs may grow by 0.1 percentage points, whatever PERCENT.
    """
    if second is not None and html_path is not None:
        raise click.UsageError("--html takes one report")
    if second is not None:
        return _compare(first, second, tolerance, as_json=as_json)
    if tolerance is not None:
        raise click.UsageError("--fail-on-regression needs two reports: the baseline, and another")
    report = _read(first)
    if html_path is not None:
        is_saved = Sink("--html", html_path, render_html).save(report)
        return EXIT_OK if is_saved else EXIT_FAILED
    if as_json:
        click.echo(render_json(report).encode(), nl=False)
    else:
        show(report)
    return EXIT_OK


def _read(text: str) -> Report:
    """The report in a file, or of a run in the history."""
    path = Path(text)
    if "/" in text or text.endswith(".json") or path.is_file():
        return load_report(path)
    from workermanager.history import History  # noqa: PLC0415 - SQLite, which a file has no use for

    return History.open_default(os.environ).find(text)


def _compare(first: str, second: str, tolerance: float | None, *, as_json: bool) -> int:
    from workermanager.cli.comparison import show_comparison  # noqa: PLC0415 - one report: no need
    from workermanager.comparing import compare  # noqa: PLC0415 - as above

    comparison = compare(_read(first), _read(second))
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), indent=2))
    else:
        show_comparison(comparison, first, second)
    return EXIT_OK if tolerance is None else _judge(comparison, tolerance, first, second)


def _judge(comparison: Comparison, tolerance: float, first: str, second: str) -> int:
    """The exit code of a comparison that may fail; what fails it is named."""
    from workermanager.cli.comparison import describe_change  # noqa: PLC0415 - as above
    from workermanager.resampling import FEWEST_SAMPLES  # noqa: PLC0415 - as above

    regressions = comparison.regressions(tolerance)
    for change in regressions:
        click.echo(
            f"workermanager: {change.metric} is worse by more than may be: "
            f"{describe_change(change)}",
            err=True,
        )
    if regressions:
        return EXIT_FAILED
    for name, side in ((first, comparison.a), (second, comparison.b)):
        if comparison.unknown and side.windows < FEWEST_SAMPLES:
            raise InvalidConfig(
                f"cannot tell a regression: {name} has {side.windows} windows, "
                f"{FEWEST_SAMPLES} are needed: run longer"
            )
    for change in comparison.unknown:
        if change.step is None:
            raise InvalidConfig(
                f"cannot tell a regression: {change.metric} is in fewer than "
                f"{FEWEST_SAMPLES} windows: run longer"
            )
        click.echo(f"workermanager: {change.metric} is in too few windows to be judged", err=True)
    return EXIT_OK
