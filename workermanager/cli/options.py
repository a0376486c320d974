"""The flags that commands share, and what they come to together with the environment."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.cli.target import adapt, find_worker, parse_params
from workermanager.config import Config, Environment, parse_setting
from workermanager.redaction import hide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workermanager.record import RunRecord
    from workermanager.worker import Worker

__all__ = [
    "Loaded",
    "find_runs",
    "find_target",
    "force_option",
    "load",
    "origin_of",
    "output_options",
    "plan_options",
]

F = TypeVar("F", bound="Callable[..., Any]")

_FLAGS = (
    ("execs_per_tick", "K | K,K,…", "Execs on every tick, or a list with one number for each."),
    ("ticks", "N", "How many ticks; without it the target's, or else no end."),
    ("tick_duration", "TIME", "How long a tick is: 500ms, 1s, 1m30s; 0 makes all due at once."),
    ("spread", "KIND", "even over the tick, burst at its start, or poisson."),
    ("overrun", "POLICY", "When no thread is free: queue, drop, or late:500ms (wait, but expire)."),
    ("threads", "N", "How many execs run at once."),
    ("seed", "N", "Makes everything drawn from ctx repeatable."),
    ("database", "URL", "Where ctx.insert writes, such as sqlite:///companies.db."),
    ("grace", "TIME", "How long running execs may go on after a stop."),
)


_LOG_FLAGS = (
    ("log_level", "LEVEL", "trace, debug, info, warning or error."),
    ("log_format", "FORMAT", "text or json."),
)


class _Setting(click.ParamType[Any]):
    """A flag whose text is read by the same rule as its environment variable."""

    def __init__(self, name: str, metavar: str) -> None:
        self.name = metavar
        self._setting = name

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,
    ) -> Any:
        flag = "--" + self._setting.replace("_", "-")
        try:
            return parse_setting(self._setting, value, flag)
        except InvalidConfig as error:
            raise click.UsageError(str(error), ctx) from None


def _option(name: str, metavar: str, text: str) -> Callable[[F], F]:
    flag = "--" + name.replace("_", "-")
    return click.option(flag, name, type=_Setting(name, metavar), metavar=metavar, help=text)


def plan_options(
    *names: str, target: bool = True, params: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command the flags that shape the plan: all, or those named; and the target."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, metavar, text in reversed(_FLAGS):
            if not names or name in names:
                command = _option(name, metavar, text)(command)
        if params:
            command = click.option(
                "--set",
                "assignments",
                metavar="KEY=VALUE",
                multiple=True,
                help="A param for every exec; JSON or text.",
            )(command)
        command = click.option(
            "--env-file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            metavar="FILE",
            help="Settings below the environment (.env), read again at tick boundaries.",
        )(command)
        return click.argument("target", metavar="TARGET")(command) if target else command

    return decorate


def force_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flag that overlooks differences."""
    return click.option(
        "--force",
        is_flag=True,
        help="Resume though steps, params, schema or Faker version are not what they were.",
    )(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of the report, the progress and the log."""
    command = click.option("--quiet", is_flag=True, help="No progress and no summary.")(command)
    command = click.option(
        "--json",
        "json_path",
        metavar="PATH",
        help="Save the JSON report; - prints it (after what steps print).",
    )(command)
    for name, metavar, text in reversed(_LOG_FLAGS):
        command = _option(name, metavar, text)(command)
    return command


class Loaded(NamedTuple):
    """What a command line comes to: the Worker to run, and the settings around it."""

    worker: Worker
    config: Config


def load(
    target: str,
    env_file: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    *,
    resume: str | None = None,
) -> Loaded:
    """The Worker to run: flags over the environment over ``.env`` over what the target declares.

    One that ``resume`` names is run as its ledger says, which only flags are above of.

    Raises:
        InvalidConfig: the environment or the target will not do, or there is no such run.
        click.UsageError: a --set is no assignment.
    """
    env_file = env_file or Path(".env")
    config = Config.load(Environment(env_file).values)
    given = {name: value for name, value in flags.items() if value is not None}
    settings = _settings_of(config)
    worker = find_worker(target)
    if resume is not None:
        url = given.get("database") or settings.get("database") or worker.database
        record = _read_run(url, resume)
        settings.update(_settings_then(record))
        assignments = (*(record.origin or {}).get("params", ()), *assignments)
    if isinstance(given.get("execs_per_tick"), tuple):
        settings.pop("ticks", None)  # a list says itself how many ticks there are
    try:
        params = parse_params(assignments)
    except InvalidConfig as error:
        raise click.UsageError(str(error)) from None
    return Loaded(adapt(worker, {**settings, **given, "env_file": env_file}, params), config)


def find_target(run_id: str, env_file: Path | None, database: str | None) -> str:
    """The target that a run was started with on the command line.

    Raises:
        InvalidConfig: no database is named, it has no such run, or a program started the run.
    """
    config = Config.load(Environment(env_file or Path(".env")).values)
    origin = _read_run(database or config.database, run_id).origin
    if origin is None or not isinstance(origin.get("target"), str):
        raise InvalidConfig(
            f"run {run_id} was started by a program: workermanager resume {run_id} TARGET"
        )
    return str(origin["target"])


def find_runs(env_file: Path | None, database: str | None) -> list[RunRecord]:
    """Every run that the ledger of the database has.

    Raises:
        InvalidConfig: no database is named, it cannot be opened, or it has no ledger.
    """
    from workermanager.database.store import read_runs  # noqa: PLC0415 - 200 ms of SQLAlchemy

    config = Config.load(Environment(env_file or Path(".env")).values)
    return read_runs(_require(database or config.database))


def origin_of(target: str, assignments: Sequence[str]) -> dict[str, Any]:
    """What the ledger keeps of a command line; a param with anything secret is left out."""
    pairs = [assignment.partition("=") for assignment in assignments]
    kept = [f"{name}={text}" for name, _, text in pairs if hide(name, text) == text]
    return {"target": target, "params": kept}


def _read_run(url: str | None, run_id: str) -> RunRecord:
    from workermanager.database.store import read_run  # noqa: PLC0415 - 200 ms of SQLAlchemy

    return read_run(_require(url), run_id)


def _require(url: str | None) -> str:
    if url is None:
        raise InvalidConfig("which database? give --database URL or WORKERMANAGER_DATABASE")
    return url


def _settings_of(config: Config) -> dict[str, Any]:
    settings = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if field.name not in ("log_level", "log_format")
    }
    return {name: value for name, value in settings.items() if value is not None}


def _settings_then(record: RunRecord) -> dict[str, Any]:
    """The settings that a run was started with, as far as its rows follow from them."""
    facts = record.facts
    execs = facts["execs_per_tick"]
    return {
        "execs_per_tick": execs if isinstance(execs, int) else tuple(execs),
        "ticks": facts["ticks"],
        "tick_duration": facts["tick_duration"],
        "spread": facts["spread"],
        "seed": record.seed,
        "epoch": record.epoch,
        "run_id": record.id,
    }
