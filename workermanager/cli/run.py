"""``workermanager run``: every exec on its tick, then a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from workermanager.cli.conduct import conduct
from workermanager.cli.loading import load, origin_of
from workermanager.cli.options import force_option, output_options, panels, plan_options
from workermanager.cli.outputs import Output
from workermanager.cli.target import read_params

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]


@click.command("run")
@panels
@plan_options()
@force_option
@click.option("--resume", metavar="RUN_ID", help="Finish that run instead of starting a new one.")
@click.option("--run-id", metavar="ID", help="The run's id in reports and in the ledger.")
@click.option(
    "--no-ledger", is_flag=True, help="Keep no record in the database: the run cannot be resumed."
)
@output_options
def command(
    target: str,
    env_file: Path | None,
    params_file: Path | None,
    assignments: tuple[str, ...],
    resume: str | None,
    run_id: str | None,
    *,
    no_ledger: bool,
    force: bool,
    **flags: Any,
) -> int:
    """Run TARGET: every exec on its tick, then a summary of what came of each.

    TARGET is module:name or path/file.py:name: a Worker, a chain, a step, or a
    function that returns one.

    Ctrl-C, SIGTERM or SIGHUP takes no new arrivals and lets the running execs end; a second one
    does not wait for them. The report is written in every case.

    With a database, the run can be finished later, whatever ended it: `workermanager resume`.

    Exit codes: 0 passed, 1 some exec failed, 2 usage, 99 a threshold was broken, 104 the target,
    the configuration or the database will not do, 105 stopped from outside before the end.
    """
    output = Output.take_from(flags)
    assignments = read_params(params_file, assignments)
    if resume is None and force:
        raise click.UsageError("--force goes with --resume")
    if resume is not None and no_ledger:
        raise click.UsageError("--resume needs the ledger that --no-ledger does without")
    if resume is not None and run_id is not None:
        raise click.UsageError("--run-id names a new run, --resume one that is there: not both")
    flags["run_id"] = run_id
    flags["ledger"] = False if no_ledger else None
    loaded = load(target, env_file, assignments, flags, resume=resume)
    return conduct(
        lambda: loaded.worker.prepare(
            resume=resume, force=force, origin=origin_of(target, assignments)
        ),
        output,
        loaded.config,
    )
