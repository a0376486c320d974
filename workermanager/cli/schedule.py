"""``workermanager schedule``: what runs on timetables, and the commands on a store of schedules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from instrumentation.errors import InvalidConfig, WriteError
from workermanager.cli import schedule_control
from workermanager.config import LOG_FORMATS, LOG_LEVELS, Config, Environment
from workermanager.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.cli.schedule_file import Declaration

__all__ = ["command"]

_DEFAULT: Final = "run"
_PANELS: Final = {  # of --help, in this order
    "When, for one TARGET": "--every --cron --at --tz --jitter",
    "What it runs": "--set --name --env-file",
    "What becomes of fires": ("--misfire --overlap --grace --lost --pause-after --pause-for"),
    "The scheduler": "--store --threads --drain --for --fires",
    "While it runs": "--health --json --verbose --quiet --log-level --log-format --help",
}


class _Group(click.RichGroup):
    """A group whose first word may be what is to run, instead of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WriteError as error:  # locked for long, gone, or of another version
            raise InvalidConfig(f"the store will not do: {error}") from error


def _panels(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, flags in reversed(_PANELS.items()):
        command = click.option_panel(name, options=flags.split())(command)
    return command


@click.group("schedule", cls=_Group)
def command() -> None:
    """Run Workers, chains and commands on timetables, and see to every fire of them.

    `workermanager schedule FILE_OR_TARGET` runs the schedules of a TOML file, or one TARGET with
    --every, --cron or --at, until it is stopped; `workermanager schedule run --help` has its flags.
    The other commands work on a store, --store URL or WORKERMANAGER_STORE, whether a process runs
    its schedules just now or not.
    """


@command.command(_DEFAULT)
@_panels
@click.argument("target", metavar="FILE_OR_TARGET")
@click.option("--every", metavar="TIME", help="Due each time it has passed: 500ms, 5m, 1h30m.")
@click.option("--cron", metavar="TEXT", help='Due by the clock: "*/5 * * * *", @daily.')
@click.option("--at", metavar="MOMENT", help="Due once: 2026-12-24T18:00:00+01:00.")
@click.option("--tz", metavar="ZONE", help="Time zone of --cron and --at: Europe/Berlin.")
@click.option("--jitter", metavar="TIME", help="Begin each fire up to so much later.")
@click.option("--name", metavar="NAME", help="What the schedule is called; TARGET's, else.")
@click.option(
    "--set", "assignments", metavar="KEY=VALUE", multiple=True, help="A param; JSON or text."
)
@click.option(
    "--misfire",
    metavar="POLICY",
    help="Of fires that nobody saw when due, run: latest (one for all), skip, all, all(20).",
)
@click.option(
    "--overlap",
    metavar="POLICY",
    help="While one runs, the next: skip, queue-one, queue, cancel-running, allow.",
)
@click.option(
    "--grace", metavar="TIME", help="Skip a fire that could not begin within that (no limit)."
)
@click.option(
    "--lost", metavar="POLICY", help="A run whose process died: report (it failed), rerun."
)
@click.option("--pause-after", type=int, metavar="N", help="Pause after N failures in a row.")
@click.option("--pause-for", metavar="TIME", help="For how long; until it is resumed, else.")
@click.option("--store", metavar="URL", help="Keep schedules and fires in a database.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="How many fires run at once (10)."
)
@click.option(
    "--drain", metavar="TIME", help="How long running fires may go on after a stop (30s)."
)
@click.option("--for", "length", metavar="TIME", help="Stop after that.")
@click.option("--fires", type=click.IntRange(min=1), metavar="N", help="Stop once N fires ran.")
@click.option("--health", metavar="[HOST:]PORT", help="Serve /live, /ready and /health.")
@click.option("--json", "json_path", metavar="PATH", help="Save the report; - prints it.")
@click.option("-v", "--verbose", is_flag=True, help="Log fires that ran on time, too.")
@click.option("--quiet", is_flag=True, help="No summary, and no line when it is ready.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), metavar="LEVEL", help="info, warning…")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), metavar="FORMAT", help="text, json.")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Settings below the environment (.env).",
)
def _run(
    target: str,
    name: str | None,
    assignments: tuple[str, ...],
    store: str | None,
    threads: int | None,
    drain: str | None,
    length: str | None,
    fires: int | None,
    health: str | None,
    json_path: str | None,
    log_level: str | None,
    log_format: str | None,
    env_file: Path | None,
    *,
    verbose: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Run the schedules of FILE_OR_TARGET; the word run may be left out.

    It is a TOML file with a [schedules.NAME] for each, or module:name or path/file.py:name of a
    Worker, a chain or a step with --every, --cron or --at. It ends when no fire is left to come.

    Ctrl-C, SIGTERM or SIGHUP begins nothing more and lets running fires end, as long as --drain
    says; a second one cancels them. Fires that fail, are skipped or late have a line in the log.

    Exit codes: 0 all that ran was ok, 1 some fire failed, 2 usage, 104 the target, a setting or
    the store will not do, 105 stopped with fires unfinished, each of which is named.
    """
    from workermanager.cli.scheduling import Conduct, conduct  # noqa: PLC0415 - what others go without

    config = Config.load(Environment(env_file or Path(".env")).values)
    if drain is not None:
        parse_duration(drain, "--drain")
    for_ns = None if length is None else parse_duration(length, "--for")
    declaration = _declare(target, name, assignments, env_file, settings)
    own = declaration.settings
    declaration = declaration._replace(
        settings=own._replace(
            store=next((url for url in (store, own.store, config.store) if url is not None), None),
            threads=threads or own.threads,
            drain=drain or own.drain or config.grace or "30s",
        )
    )
    how = Conduct(
        log_level=log_level or config.log_level or "info",
        log_format=log_format or config.log_format or "text",
        verbose=verbose,
        quiet=quiet,
        for_ns=for_ns,
        fires=fires,
        health=health,
        json_path=json_path,
    )
    return conduct(declaration, how)


def _declare(
    target: str,
    name: str | None,
    assignments: tuple[str, ...],
    env_file: Path | None,
    settings: dict[str, Any],
) -> Declaration:
    """What is to run: the schedules of a file, or the target with what the flags say of it."""
    from workermanager.cli.schedule_file import declare_target, read_schedules  # noqa: PLC0415

    if not target.endswith(".toml"):
        return declare_target(target, name, assignments, env_file, settings)
    flags = {"name": name, "set": assignments or None, **settings}
    for flag, value in flags.items():
        if value is not None:
            raise click.UsageError(
                f"--{flag.replace('_', '-')} goes with one TARGET: {target} says it for each"
            )
    return read_schedules(Path(target), env_file)


for _control in schedule_control.COMMANDS:
    command.add_command(_control)
