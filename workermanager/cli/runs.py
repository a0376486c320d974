"""``workermanager runs``: the latest runs, or those that a database has a record of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import rich_click as click

from workermanager.cli.loading import find_runs
from workermanager.cli.options import plan_options
from workermanager.cli.summary import show_past_runs, show_runs
from workermanager.config import Config, Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.record import RunRecord

__all__ = ["command"]

_LIMIT: Final = 20


@click.command("runs")
@plan_options("database", target=False, params=False)
@click.option("--history", "is_history", is_flag=True, help="The history, whatever else is set.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"How many runs of the history at most ({_LIMIT}).",
)
@click.option(
    "--tag",
    "tags",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only runs of the history with this tag; with all, if there are several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def command(
    env_file: Path | None,
    limit: int | None,
    tags: tuple[str, ...],
    *,
    is_history: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """List the latest runs, or those that a database has a record of, the latest first.

    The history has the reports of your latest runs, whatever they did: `workermanager report
    RUN_ID` shows one, `workermanager report RUN_ID RUN_ID` compares two.

    With --database or WORKERMANAGER_DATABASE, the ledger in that database is listed instead; with
    --history it is not. A run there is finished, failed or interrupted; one that is unfinished
    still runs, or ended without being able to say so (killed, out of reach of its database): its
    last commit tells.
    """
    if is_history and flags["database"]:
        raise click.UsageError("--history and --database name different lists: not both")
    if is_history or not _names_database(env_file, flags["database"]):
        _list_history(limit or _LIMIT, tags, as_json=as_json)
        return 0
    if limit or tags:
        raise click.UsageError("--limit and --tag are for the history, not for a database's runs")
    records = find_runs(env_file, flags["database"])
    if as_json:
        click.echo(json.dumps([_describe(record) for record in records], indent=2))
    else:
        show_runs(records)
    return 0


def _names_database(env_file: Path | None, flag: str | None) -> bool:
    if flag:
        return True
    return bool(Config.load(Environment(env_file or Path(".env")).values).database)


def _list_history(limit: int, tags: Sequence[str], *, as_json: bool) -> None:
    from workermanager.history import History  # noqa: PLC0415 - a ledger has no use for it

    history = History.open_default(os.environ)
    runs = history.list(limit, _parse_tags(tags))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(runs), indent=2))
    elif runs:
        show_past_runs(runs)
    else:
        click.echo(f"no such run in the history {history.path}" if tags else "no run yet")


def _parse_tags(tags: Sequence[str]) -> dict[str, str]:
    parsed = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--tag {tag!r}: wanted KEY=VALUE")
        parsed[name] = value
    return parsed


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
