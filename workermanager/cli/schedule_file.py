"""Reads schedules from a TOML file: ``[schedules.NAME]`` tables, and how the scheduler runs."""

from __future__ import annotations

import shlex
import sys
import tomllib
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from instrumentation.commands import Command
from instrumentation.errors import InvalidConfig
from workermanager.cli.declaring import POLICIES, TIMES, declare
from workermanager.cli.loading import load
from workermanager.cli.target import adapt
from workermanager.durations import parse_duration
from workermanager.timetables.moments import find_zone

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workermanager.cli.declaring import Declared
    from workermanager.worker import Worker

__all__ = ["Declaration", "SchedulerSettings", "declare_target", "read_schedules"]

_TOP: Final = ("schedules", "store", "threads", "tz", "drain")
_OF_ONE: Final = ("run", "command", "params", *TIMES, *POLICIES)


class SchedulerSettings(NamedTuple):
    """How a scheduler is to run; None where nothing is said."""

    store: str | None = None
    threads: int | None = None
    drain: Any = None


class Declaration(NamedTuple):
    """All that one process is to run on timetables, and how."""

    schedules: tuple[Declared, ...]
    settings: SchedulerSettings


def read_schedules(path: Path, env_file: Path | None) -> Declaration:
    """Every schedule of a file, its targets imported and all of it checked.

    Raises:
        InvalidConfig: something in it cannot be; the message names the file and the place.
    """
    try:
        return _read(_parse(path), path.parent, env_file)
    except InvalidConfig as error:
        raise InvalidConfig(f"{path}: {error}") from error


def declare_target(
    target: str,
    name: str | None,
    assignments: Sequence[str],
    env_file: Path | None,
    settings: Mapping[str, Any],
) -> Declaration:
    """The one schedule of a target, with the settings that a command line gives.

    Raises:
        InvalidConfig: the target or a setting will not do.
        click.UsageError: an assignment is none.
    """
    place, _, own_name = target.rpartition(":")
    if not place or not own_name:
        raise InvalidConfig(
            f"target {target!r}: wanted module:name, path/file.py:name, or a .toml file"
        )
    worker = _load(target, env_file, assignments)
    declared = declare(own_name if name is None else name, worker, target, settings)
    return Declaration((declared,), SchedulerSettings())


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"cannot be read: {error.strerror}") from None
    except RecursionError:
        raise InvalidConfig("is no TOML: nested too deeply") from None
    except ValueError as error:
        raise InvalidConfig(f"is no TOML: {error}") from None


def _read(document: Mapping[str, Any], folder: Path, env_file: Path | None) -> Declaration:
    _check_keys(document, _TOP)
    settings = _read_settings(document)
    tables = document.get("schedules")
    if not tables or not isinstance(tables, dict):
        raise InvalidConfig("there is no schedule in it; write [schedules.NAME] above each")
    declared = []
    for name, table in tables.items():
        try:
            declared.append(_read_one(name, table, document.get("tz"), folder, env_file))
        except InvalidConfig as error:
            raise InvalidConfig(f"schedules.{name}: {error}") from error
    return Declaration(tuple(declared), settings)


def _read_settings(document: Mapping[str, Any]) -> SchedulerSettings:
    settings = SchedulerSettings(*(document.get(name) for name in SchedulerSettings._fields))
    if settings.store is not None:
        _check_type(settings.store, str, "store", "the URL of a database")
    threads: object = settings.threads
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InvalidConfig(f"threads: {threads!r}: wanted a whole number of 1 or more")
    if settings.drain is not None:
        parse_duration(settings.drain, "drain")
    if "tz" in document:
        find_zone(document["tz"], "tz")
    return settings


def _read_one(
    name: str, table: object, tz: str | None, folder: Path, env_file: Path | None
) -> Declared:
    if not isinstance(table, dict):
        raise InvalidConfig(f"{table!r}: wanted a table: [schedules.{name}]")
    _check_keys(table, _OF_ONE)
    if ("run" in table) == ("command" in table):
        raise InvalidConfig('what? give either run = "path/file.py:worker" or command = ["ls"]')
    settings = {"tz": tz, **{key: table[key] for key in (*TIMES, *POLICIES) if key in table}}
    if "command" in table:
        command = _read_command(table)
        return declare(name, command, shlex.join(table["command"]), settings)
    _check_type(table["run"], str, "run", "path/file.py:name or module:name")
    return declare(name, _read_worker(table, folder, env_file), table["run"], settings)


def _read_command(table: Mapping[str, Any]) -> Command:
    if "params" in table:
        raise InvalidConfig("params go with run; a command has its arguments in its own list")
    argv = table["command"]
    if not isinstance(argv, list) or not argv or not all(isinstance(one, str) for one in argv):
        raise InvalidConfig('command: wanted a list of texts: ["sh", "-c", "…"]')
    return Command(*argv)


def _read_worker(table: Mapping[str, Any], folder: Path, env_file: Path | None) -> Worker:
    params = table.get("params", {})
    _check_type(params, dict, "params", "a table")
    place, _, name = table["run"].rpartition(":")
    if not place or not name:
        raise InvalidConfig(f"run: {table['run']!r}: wanted path/file.py:name or module:name")
    if place.endswith(".py") or "/" in place:
        place = str(folder / place)
    elif str(folder.resolve()) not in sys.path:  # modules beside the file
        sys.path.insert(0, str(folder.resolve()))
    return adapt(_load(f"{place}:{name}", env_file), {}, params)


def _load(target: str, env_file: Path | None, assignments: Sequence[str] = ()) -> Worker:
    """A target as ``run`` has it; where there is no ``.env``, fires need not look for one."""
    worker = load(target, env_file, assignments, {}).worker
    return worker if (env_file or Path(".env")).exists() else replace(worker, env_file=None)


def _check_type(value: object, kind: type, name: str, wanted: str) -> None:
    if not isinstance(value, kind):
        raise InvalidConfig(f"{name}: {value!r}: wanted {wanted}")


def _check_keys(table: Mapping[str, Any], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise InvalidConfig(f"{key!r} is unknown; {hint}")
