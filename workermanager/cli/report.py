"""``workermanager report``: a saved JSON report, as a run's summary shows it."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from workermanager.cli.summary import show
from workermanager.report import load_report

__all__ = ["command"]


@click.command("report")
@click.argument("path", metavar="REPORT_JSON", type=click.Path(path_type=Path))
def command(path: Path) -> int:
    """Show a JSON report that `workermanager run --json` saved."""
    show(load_report(path))
    return 0
