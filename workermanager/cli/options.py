"""The flags that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.config import parse_setting

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["force_option", "output_options", "panels", "plan_options", "threshold_options"]

F = TypeVar("F", bound="Callable[..., Any]")

_FLAGS = (
    ("execs_per_tick", "K | K,K,…", "Execs on every tick, or a list with one number for each."),
    ("ticks", "N", "How many ticks; without it the target's, or else no end."),
    ("tick_duration", "TIME", "How long a tick is: 500ms, 1s, 1m30s; 0 makes all due at once."),
    ("rate", "RATE", "Instead of ticks, a constant rate: 100/s, 90/min, 1/h."),
    ("duration", "TIME", "For how long; without it, as the target says, or no end."),
    ("count", "N", "At a rate: how many execs."),
    ("stages", "TIME:RATE,…", "Points of a rate line: 0:10/s,30s:100/s,60s:100/s."),
    ("warmup", "TIME", "How long the run goes before anything counts."),
    ("spread", "KIND", "even over the tick, burst at its start, or poisson."),
    ("overrun", "POLICY", "When no thread is free: queue, drop, or late:500ms (wait, but expire)."),
    ("threads", "N", "How many execs run at once."),
    ("in_flight", "N", "With async steps: how many execs run at once."),
    ("exec_timeout", "TIME", "How long one exec may take; it fails then."),
    ("tick_timeout", "TIME", "By when execs must have ended, from the start of their tick."),
    ("seed", "N", "Makes everything drawn from ctx repeatable."),
    ("database", "URL", "Where ctx.insert writes, such as sqlite:///companies.db."),
    ("grace", "TIME", "How long running execs may go on after a stop."),
)


_LOG_FLAGS = (
    ("log_level", "LEVEL", "trace, debug, info, warning or error."),
    ("log_format", "FORMAT", "text or json."),
)


_REPORT_FLAGS = (
    ("--json", "json_path", "PATH", "Save the JSON report; - prints it (after what steps print)."),
    ("--html", "html_path", "PATH", "Save the report as one HTML file, with charts."),
    ("--csv", "csv_path", "PATH", "Save the figures of each second, of the run and its steps."),
)
_WATCH_FLAGS = (  # with the value of a flag that is given none
    ("--dashboard", "dashboard", "[HOST:]PORT", "0", "Serve a live page; 0 is a free port."),
    ("--prometheus", "prometheus", "[HOST:]PORT", "9464", "Serve metrics for Prometheus."),
    ("--statsd", "statsd", "HOST:PORT", "", "Send metrics to a DogStatsD; else as DD_… say."),
)


_PANELS = {  # of --help, in this order
    "How many, and when": (
        "--rate --duration --count --stages --execs-per-tick --ticks --tick-duration "
        "--spread --threads --in-flight --overrun --warmup"
    ),
    "What to keep to": "--threshold --abort-on --exec-timeout --tick-timeout --grace",
    "What it works on": "--seed --set --params --tag --env-file",
    "Database": "--database --run-id --resume --force --no-ledger",
    "Reports": "--json --html --csv --no-history",
    "While it runs": (
        "--dashboard --prometheus --otel --statsd --quiet --log-level --log-format --help"
    ),
}


def panels(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show a command's flags in groups; stands above all that give it flags."""
    for name, flags in reversed(_PANELS.items()):
        command = click.option_panel(name, options=flags.split())(command)
    return command


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
                "--params",
                "params_file",
                type=click.Path(path_type=Path, dir_okay=False, exists=True),
                metavar="FILE",
                help="Params for every exec from a JSON or TOML file, below --set.",
            )(command)
        if not names:
            command = threshold_options(command)
        command = click.option(
            "--env-file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            metavar="FILE",
            help="Settings below the environment (.env), read again at tick boundaries.",
        )(command)
        return click.argument("target", metavar="TARGET")(command) if target else command

    return decorate


def threshold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of thresholds and tags."""
    for flag, name, metavar, text in (
        ("--tag", "tags", "NAME=TEXT", "What to know the run by."),
        ("--abort-on", "abort_on", "EXPR", "A threshold that ends the run once it is broken."),
        (
            "--threshold",
            "thresholds",
            "EXPR",
            "What to keep to: p99<200ms, addUser.p95<50ms, failed<0.1%, rate>=990/s over 10s.",
        ),
    ):
        command = click.option(flag, name, metavar=metavar, multiple=True, help=text)(command)
    return command


def force_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flag that overlooks differences."""
    return click.option(
        "--force",
        is_flag=True,
        help="Resume though steps, params, schema or Faker version are not what they were.",
    )(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of `outputs.Output`."""
    for flag, name, metavar, text in reversed(_REPORT_FLAGS):
        command = click.option(flag, name, metavar=metavar, help=text)(command)
    command = click.option("--quiet", is_flag=True, help="No progress and no summary.")(command)
    command = click.option(
        "--no-history", is_flag=True, help="Do not keep the report for `runs` and `report`."
    )(command)
    command = click.option(
        "--otel",
        is_flag=True,
        help="Export metrics and 1 % of execs as spans over OTLP, as OTEL_… variables say.",
    )(command)
    for flag, name, metavar, default, text in reversed(_WATCH_FLAGS):
        command = click.option(
            flag, name, metavar=metavar, is_flag=False, flag_value=default, help=text
        )(command)
    for name, metavar, text in reversed(_LOG_FLAGS):
        command = _option(name, metavar, text)(command)
    return command
