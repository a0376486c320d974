"""``workermanager check``: what a run would do, without doing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rich_click as click

from workermanager.cli.loading import load
from workermanager.cli.options import plan_options

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("check")
@plan_options()
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    target: str,
    env_file: Path | None,
    assignments: tuple[str, ...],
    *,
    as_json: bool,
    **flags: Any,
) -> int:
    """Check TARGET and show the plan of its run: no exec runs, no database is touched.

    TARGET is module:name or path/file.py:name: a Worker, an Instrumentation, a step, or a
    function that returns one.
    """
    worker = load(target, env_file, assignments, flags).worker
    plan = worker.plan().describe()
    if worker.seed is None:
        plan["seed"] = None
    if as_json:
        click.echo(json.dumps(plan, indent=2, default=repr))
        return 0
    for name, value in plan.items():
        _show(name, value)
    return 0


def _show(name: str, value: object) -> None:
    label = name.replace("_", " ")
    if isinstance(value, dict):
        for number, (key, one) in enumerate(value.items()):
            click.echo(f"{label if number == 0 else '':<15} {key} = {one!r}")
    elif name == "steps" and isinstance(value, list):
        for number, path in enumerate(value):
            click.echo(f"{label if number == 0 else '':<15} {path}")
    else:
        click.echo(f"{label:<15} {_text(name, value)}")


def _text(name: str, value: object) -> str:
    if value is None:
        return {"seed": "drawn for each run", "database": "none"}.get(name, "no end")
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and name != "seed" else str(value)
