"""``workermanager resume``: finish a run that was killed, stopped, or that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from workermanager.cli.conduct import conduct
from workermanager.cli.loading import find_target, load
from workermanager.cli.options import force_option, output_options, plan_options, threshold_options
from workermanager.cli.outputs import Output
from workermanager.cli.target import read_params

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command"]

_FLAGS: Final = ("threads", "in_flight", "exec_timeout", "tick_timeout", "grace", "database")


@click.command("resume")
@click.argument("run_id", metavar="RUN_ID")
@click.argument("target", metavar="[TARGET]", required=False)
@plan_options(*_FLAGS, target=False)
@threshold_options
@force_option
@output_options
def command(
    run_id: str,
    target: str | None,
    env_file: Path | None,
    params_file: Path | None,
    assignments: tuple[str, ...],
    *,
    force: bool,
    **flags: Any,
) -> int:
    """Finish the run RUN_ID: run exactly the execs that its database has not as durable.

    What ran is taken from the ledger in the database, TARGET included unless it is given; a param
    that is secret was not kept, so --set it again. No exec is dropped or expires: all are queued.
    The database is then the same as if nothing had ended the run.

    A run whose seed, plan, steps, params, schema or Faker version differ is refused; --force
    overlooks what does not change which exec is which. Exit codes are those of `run`.
    """
    output = Output.take_from(flags)
    assignments = read_params(params_file, assignments)
    target = target or find_target(run_id, env_file, flags["database"])
    loaded = load(target, env_file, assignments, flags, resume=run_id)
    return conduct(
        lambda: loaded.worker.prepare(resume=run_id, force=force),
        output,
        loaded.config,
    )
