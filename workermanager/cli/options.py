"""The flags that run and check share, and what they come to together with the environment."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.cli.target import load_worker, parse_params
from workermanager.config import Config, Environment, parse_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.worker import Worker

__all__ = ["load", "log_options", "plan_options"]

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


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the target, and every flag that shapes the plan."""
    for name, metavar, text in reversed(_FLAGS):
        command = _option(name, metavar, text)(command)
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
    return click.argument("target", metavar="TARGET")(command)


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of the log."""
    for name, metavar, text in reversed(_LOG_FLAGS):
        command = _option(name, metavar, text)(command)
    return command


def load(
    target: str, env_file: Path | None, assignments: tuple[str, ...], flags: dict[str, Any]
) -> tuple[Worker, Config]:
    """The Worker to run: flags over the environment over ``.env`` over what the target declares.

    Raises:
        InvalidConfig: the environment or the target will not do.
        click.UsageError: a --set is no assignment.
    """
    env_file = env_file or Path(".env")
    config = Config.load(Environment(env_file).values)
    try:
        params = parse_params(assignments)
    except InvalidConfig as error:
        raise click.UsageError(str(error)) from None
    settings = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if field.name not in ("log_level", "log_format")
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    flags = {name: value for name, value in flags.items() if value is not None}
    if isinstance(flags.get("execs_per_tick"), tuple):
        settings.pop("ticks", None)  # a list says itself how many ticks there are
    return load_worker(target, {**settings, **flags, "env_file": env_file}, params), config
