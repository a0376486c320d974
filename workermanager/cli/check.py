"""``workermanager check``: what a run would do, without doing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from rich.console import Console

from workermanager.cli.loading import load
from workermanager.cli.options import plan_options
from workermanager.cli.target import read_params
from workermanager.cli.tree import draw, is_plain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]

_WITHOUT: Final = {
    "execs": "no end",
    "ticks": "no end",
    "duration": "no end",
    "seed": "drawn for each run",
    "database": "none",
}


@click.command("check")
@plan_options()
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    target: str,
    env_file: Path | None,
    params_file: Path | None,
    assignments: tuple[str, ...],
    *,
    as_json: bool,
    **flags: Any,
) -> int:
    """Check TARGET and show the plan of its run: no exec runs, no database is touched.

    TARGET is module:name or path/file.py:name: a Worker, a chain, a step, or a
    function that returns one.
    """
    assignments = read_params(params_file, assignments)
    worker = load(target, env_file, assignments, flags).worker
    plan = worker.plan().describe()
    if worker.seed is None:
        plan["seed"] = None
    if as_json:
        click.echo(json.dumps(plan, indent=2, default=repr))
        return 0
    chain = plan.pop("chain")
    if not is_plain(chain):
        plan["steps"] = draw(chain, is_ascii=Console().options.ascii_only)
        del plan["retries"]  # the tree has them
    for name, value in plan.items():
        if (value is not None and value not in ({}, [])) or name in _WITHOUT:
            _show(name, value)
    return 0


def _show(name: str, value: object) -> None:
    label = name.replace("_", " ")
    if isinstance(value, dict):
        for number, (key, one) in enumerate(value.items()):
            click.echo(f"{label if number == 0 else '':<15} {key} = {one!r}")
    elif name in ("steps", "thresholds") and isinstance(value, list):
        for number, path in enumerate(value):
            click.echo(f"{label if number == 0 else '':<15} {path}")
    else:
        click.echo(f"{label:<15} {_text(name, value)}")


def _text(name: str, value: object) -> str:
    if value is None:
        return _WITHOUT[name]
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and name != "seed" else str(value)
