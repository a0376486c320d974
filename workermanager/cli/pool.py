"""``workermanager pool``: tasks in as JSON, one result for each out as JSON."""

from __future__ import annotations

from typing import Any

import rich_click as click

from workermanager.cli.pool_request import PoolRequest
from workermanager.cli.pooling import conduct

__all__ = ["command"]

_PANELS = {  # of --help, in this order
    "Tasks and results": "--infile --outfile --as-completed --results --compat --dry-run",
    "How they run": "--max-threads --timeout --retries --grace --max-output --halt --keep-going",
    "To go on after an end": "--journal --resume --rerun-failed",
    "While it runs": "--bar --verbose --help",
}


def _panels(command: Any) -> Any:
    for name, flags in reversed(_PANELS.items()):
        command = click.option_panel(name, options=flags.split())(command)
    return command


@click.command("pool")
@_panels
@click.argument("tasks", metavar="[TASKS_JSON]", required=False)
@click.option(
    "-i",
    "--infile",
    metavar="FILE",
    help="Tasks from a file instead: a JSON array, NDJSON, or TOML; - is standard input; "
    "flow.py:name is the Python form.",
)
@click.option("-o", "--outfile", metavar="FILE", help="Results to a file instead.")
@click.option("--as-completed", is_flag=True, help="Each result as it ends, one a line (NDJSON).")
@click.option(
    "--results", metavar="DIR", help="Also keep each task's stdout, stderr and result there."
)
@click.option(
    "--compat", is_flag=True, help="Read, write and exit as go-workerpool does, but lose nothing."
)
@click.option("--dry-run", is_flag=True, help="Check the tasks and print what would run.")
@click.option(
    "-t",
    "--max-threads",
    "--max_threads",
    "max_threads",
    metavar="N|auto",
    default="2",
    help="How many run at once (2); auto: as many as there are CPUs.",
)
@click.option("--timeout", metavar="TIME", help="How long an attempt may take: 30s, 1m30s.")
@click.option("--retries", metavar="N", default="0", help="Further attempts of one that fails.")
@click.option(
    "--grace",
    metavar="TIME",
    default="5s",
    help="From SIGTERM to SIGKILL for what has to end (5s).",
)
@click.option(
    "--max-output", metavar="SIZE", default="256MB", help="Kept of each stream of a task (256MB)."
)
@click.option(
    "--halt",
    metavar="WHEN",
    help="Give up after failures: soon,fail=1 (what runs may end), now,fail=10%.",
)
@click.option("--keep-going", is_flag=True, help="Run all, whatever fails (the default).")
@click.option("--journal", metavar="FILE", help="Keep there what began and what came of it.")
@click.option("--resume", is_flag=True, help="Go on with the journal: what has ended is not run.")
@click.option("--rerun-failed", is_flag=True, help="With --resume: run again what was not ok.")
@click.option("--bar", is_flag=True, help="Show progress and the time that is left.")
@click.option("-v", "--verbose", is_flag=True, help="Say what begins and ends, on standard error.")
def command(**flags: Any) -> int:
    """Run processes in parallel; every task gets its result, whatever happens.

    TASKS_JSON is an array of {"identifier", "command", "args"}; each may also have cwd, env,
    stdin, timeout, retries, and after: the identifiers of tasks that must have ended ok before
    it begins (with "always": true, have ended). No shell reads commands or arguments.

    Results are an array in the order of the tasks, the only thing on standard output. Ctrl-C,
    SIGTERM or SIGHUP starts nothing more, ends what runs (SIGTERM, after a grace SIGKILL), and
    writes every result; a second one does not wait for the grace.

    Exit codes: 0 all ok, 1 some task was not, 2 usage or bad tasks, 3 results could not be
    written, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM. With --compat: 0 whatever the
    tasks did, 1 for bad tasks or results that could not be written.
    """
    return conduct(PoolRequest(**flags))
