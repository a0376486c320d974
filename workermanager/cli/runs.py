"""``workermanager runs``: the runs that a database has a record of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rich_click as click

from workermanager.cli.loading import find_runs
from workermanager.cli.options import plan_options
from workermanager.cli.summary import show_runs

if TYPE_CHECKING:
    from pathlib import Path

    from workermanager.record import RunRecord

__all__ = ["command"]


@click.command("runs")
@plan_options("database", target=False, params=False)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def command(env_file: Path | None, *, as_json: bool, **flags: Any) -> int:
    """List the runs that a database has a record of, the latest first.

    A run is finished, failed or interrupted; one that is unfinished still runs, or ended without
    being able to say so (killed, out of reach of its database): its last commit tells.
    """
    records = find_runs(env_file, flags["database"])
    if as_json:
        click.echo(json.dumps([_describe(record) for record in records], indent=2))
    else:
        show_runs(records)
    return 0


def _describe(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "durable": len(record.durable),
        "planned": record.planned,
        "started_at": record.started_at,
        "last_commit": record.last_commit,
        "seed": record.seed,
    }
