"""The commands on a store of schedules: list, next, pause, resume, run-now, history, remove."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.config import Config, Environment
from workermanager.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workermanager.timetables.schedule import Schedule
    from workermanager.timetables.store import Entry, Store

__all__ = ["COMMANDS"]

# Tables, timetables and stores are imported by what shows and opens them: `--help` goes without.


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that name a store, and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")(command)
    command = click.option(
        "--env-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        metavar="FILE",
        help="Settings below the environment (.env).",
    )(command)
    return click.option(
        "--store", metavar="URL", help="Where the schedules are: sqlite:///schedules.db."
    )(command)


def _require(url: str | None, env_file: Path | None) -> str:
    if url is None:
        url = Config.load(Environment(env_file or Path(".env")).values).store
    if url is None:
        raise InvalidConfig("which store? give --store URL or WORKERMANAGER_STORE")
    return url


def _read(url: str | None, env_file: Path | None) -> closing[Store]:
    """A store to look at, of which nothing is created that is not there."""
    from workermanager.scheduler.stores import open_store  # noqa: PLC0415

    return closing(open_store(_require(url, env_file), read_only=True))


@contextmanager
def _change(name: str, url: str | None, env_file: Path | None) -> Iterator[tuple[Store, Entry]]:
    """A store that has a schedule of that name, and the schedule as it stands there.

    Raises:
        InvalidConfig: there is none, and the store stays as it is.
    """
    from workermanager.scheduler.stores import open_store  # noqa: PLC0415
    from workermanager.timetables.store import unknown_schedule  # noqa: PLC0415

    with _read(url, env_file) as store:
        entries = {entry.schedule.name: entry for entry in store.entries(time.time_ns())}
    if name not in entries:
        raise unknown_schedule(name, entries)
    with closing(open_store(_require(url, env_file))) as store:
        yield store, entries[name]


def _print(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


@click.command("list")
@_store_options
def _list(store: str | None, env_file: Path | None, *, as_json: bool) -> int:
    """List the schedules of a store: when they are due, their policies, and how they stand."""
    from workermanager.cli.schedule_tables import describe_entry, show_entries  # noqa: PLC0415

    now = time.time_ns()
    with _read(store, env_file) as opened:
        entries = opened.entries(now)
    if as_json:
        _print([describe_entry(entry, now) for entry in entries])
    else:
        show_entries(entries, now)
    return 0


_MANY: Final = 10


@click.command("next")
@click.argument("words", metavar="[N] [FILE_OR_TARGET]", nargs=-1)
@click.option("--every", metavar="TIME", help="What is due each time it has passed.")
@click.option("--cron", metavar="TEXT", help="What is due by the clock.")
@click.option("--at", metavar="MOMENT", help="What is due once.")
@click.option("--tz", metavar="ZONE", help="Time zone of --cron and --at.")
@_store_options
def _next(
    words: tuple[str, ...],
    store: str | None,
    env_file: Path | None,
    *,
    as_json: bool,
    **times: str | None,
) -> int:
    """Show the next N fires (10): of a store, a TOML file, a TARGET, or --cron by itself.

    Nothing runs. Times are in the schedule's zone, as its clock will show them.
    """
    from workermanager.cli.schedule_tables import look_ahead, show_next  # noqa: PLC0415
    from workermanager.timetables.moments import format_moment  # noqa: PLC0415

    many, target = _read_words(words)
    now = time.time_ns()
    given = {name: text for name, text in times.items() if text is not None}
    if target is None and not given:
        schedules = _schedules_of(store, env_file, now)
    elif store is not None:
        raise click.UsageError("--store has its own schedules: not beside others")
    else:
        schedules = [(one, now) for one in _declared(target, given, env_file, now)]
    coming = list(islice(look_ahead(schedules), many))
    if as_json:
        _print(
            [
                {
                    "schedule": schedule.name,
                    "due": format_moment(due),
                    "planned": format_moment(planned),
                }
                for planned, due, schedule in coming
            ]
        )
    else:
        show_next(coming)
    return 0


def _read_words(words: tuple[str, ...]) -> tuple[int, str | None]:
    """How many fires, and of what."""
    many, rest = _MANY, list(words)
    if rest and rest[0].isdecimal():
        many = int(rest.pop(0))
    if len(rest) > 1 or not many:
        raise click.UsageError("wanted [N] [FILE_OR_TARGET], N a number of 1 or more")
    return many, rest[0] if rest else None


def _schedules_of(
    store: str | None, env_file: Path | None, now: int
) -> Iterable[tuple[Schedule, int]]:
    from workermanager.cli.schedule_tables import since_when  # noqa: PLC0415

    with _read(store, env_file) as opened:
        return [(one.schedule, since_when(one.progress, now)) for one in opened.entries(now)]


def _declared(
    target: str | None, times: dict[str, str], env_file: Path | None, now: int
) -> list[Schedule]:
    """What a file, a target or the flags alone declare, as if it were registered now."""
    from workermanager.cli.declaring import make_timetable  # noqa: PLC0415
    from workermanager.cli.schedule_file import declare_target, read_schedules  # noqa: PLC0415
    from workermanager.timetables.schedule import make_schedule  # noqa: PLC0415

    if target is None:
        schedules = [make_schedule(next(iter(times)), make_timetable(times))]
    elif target.endswith(".toml"):
        if times:
            raise click.UsageError(f"--{next(iter(times))} goes with one TARGET, not with a file")
        schedules = [one.as_schedule() for one in read_schedules(Path(target), env_file).schedules]
    else:
        declared = declare_target(target, None, (), env_file, times).schedules
        schedules = [one.as_schedule() for one in declared]
    return [replace(one, timetable=one.timetable.anchored(now)) for one in schedules]


@click.command("pause")
@click.argument("name")
@click.option("--until", metavar="MOMENT", help="Until then: 2026-12-24T18:00:00+01:00.")
@click.option("--for", "length", metavar="TIME", help="For so long: 30m.")
@_store_options
def _pause(
    name: str,
    until: str | None,
    length: str | None,
    store: str | None,
    env_file: Path | None,
    *,
    as_json: bool,
) -> int:
    """Pause schedule NAME, until it is resumed unless told: what falls due is skipped.

    What runs goes on. A moment without a zone is one of the schedule's.
    """
    from workermanager.cli.declaring import read_moment  # noqa: PLC0415
    from workermanager.cli.schedule_tables import show_moment, zone_of  # noqa: PLC0415
    from workermanager.timetables.moments import (  # noqa: PLC0415
        find_zone,
        format_moment,
        to_moment,
    )
    from workermanager.timetables.schedule import FOREVER  # noqa: PLC0415

    if until is not None and length is not None:
        raise click.UsageError("--until and --for: one of them")
    now = time.time_ns()
    with _change(name, store, env_file) as (opened, entry):
        zone = zone_of(entry.schedule.timetable)
        end = FOREVER
        if length is not None:
            end = min(FOREVER, now + parse_duration(length, "--for"))
        elif until is not None:
            end = to_moment(read_moment(until, "--until", zone or find_zone(None)), "--until")
        if end <= now:
            raise InvalidConfig("a pause that is over is none: wanted a moment to come")
        opened.pause(name, now, end)
    if as_json:
        is_open = end == FOREVER
        _print({"schedule": name, "paused_until": None if is_open else format_moment(end)})
    else:
        shown = "it is resumed" if end == FOREVER else show_moment(end, zone)
        click.echo(f"{name}: paused until {shown}")
    return 0


@click.command("resume")
@click.argument("name")
@_store_options
def _resume(name: str, store: str | None, env_file: Path | None, *, as_json: bool) -> int:
    """End the pause of schedule NAME: what fell due in it stays skipped."""
    with _change(name, store, env_file) as (opened, _entry):
        opened.resume(name, time.time_ns())
    if as_json:
        _print({"schedule": name, "paused_until": None})
    else:
        click.echo(f"{name}: resumed")
    return 0


@click.command("run-now")
@click.argument("name")
@_store_options
def _run_now(name: str, store: str | None, env_file: Path | None, *, as_json: bool) -> int:
    """Have schedule NAME run once more, now, also while it is paused."""
    from workermanager.timetables.moments import format_moment  # noqa: PLC0415

    with _change(name, store, env_file) as (opened, entry):
        fire = opened.request(name, time.time_ns())
    if as_json:
        _print({"schedule": name, "due": format_moment(fire.due), "is_served": entry.is_served})
    elif entry.is_served:
        click.echo(f"{name}: runs as soon as there is room")
    else:
        click.echo(f"{name}: no process is there to run it; the next one to come does")
    return 0


@click.command("history")
@click.argument("name", required=False)
@click.option(
    "-n",
    "most",
    type=click.IntRange(1, 1_000_000_000),
    default=20,
    metavar="N",
    help="How many at most (20).",
)
@_store_options
def _history(
    name: str | None, most: int, store: str | None, env_file: Path | None, *, as_json: bool
) -> int:
    """Show what became of the latest fires, of schedule NAME or of all, the latest first."""
    from workermanager.cli.schedule_tables import (  # noqa: PLC0415
        describe_record,
        show_records,
        zone_of,
    )

    with _read(store, env_file) as opened:
        records = opened.history(name, most)
        entries = opened.entries(time.time_ns())
    if as_json:
        _print([describe_record(record) for record in records])
    else:
        zones = {one.schedule.name: zone_of(one.schedule.timetable) for one in entries}
        show_records(records, zones)
    return 0


@click.command("remove")
@click.argument("name")
@_store_options
def _remove(name: str, store: str | None, env_file: Path | None, *, as_json: bool) -> int:
    """Forget schedule NAME and its history; a process that has it declared enters it again."""
    with _change(name, store, env_file) as (opened, _entry):
        opened.remove(name)
    if as_json:
        _print({"schedule": name, "is_removed": True})
    else:
        click.echo(f"{name}: removed")
    return 0


COMMANDS: Final = (_list, _next, _pause, _resume, _run_now, _history, _remove)
