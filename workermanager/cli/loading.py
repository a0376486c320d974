"""From a command line, the environment and a ledger to the Worker that is to run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from instrumentation.errors import InvalidConfig
from workermanager.cli.shaping import LOAD, settle
from workermanager.cli.target import adapt, find_worker, parse_params, parse_tags
from workermanager.config import Config, Environment
from workermanager.redaction import hide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workermanager.record import RunRecord
    from workermanager.worker import Worker

__all__ = ["Loaded", "find_runs", "find_target", "load", "origin_of"]


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
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    settings = _settings_of(config)
    worker = find_worker(target)
    loads = [settings]
    if resume is not None:
        url = given.get("database") or settings.get("database") or worker.database
        record = _read_run(url, resume)
        then = _settings_then(record)
        loads = [then]
        settings.update(then)
        assignments = (*(record.origin or {}).get("params", ()), *assignments)
    try:
        params = parse_params(assignments)
        pairs = (*settings.pop("tags", ()), *given.pop("tags", ()))
        given["tags"] = {**worker.tags, **parse_tags(pairs)}
    except InvalidConfig as error:
        raise click.UsageError(str(error)) from None
    load = settle(worker, *loads, given)
    rest = {name: value for name, value in {**settings, **given}.items() if name not in LOAD}
    return Loaded(adapt(worker, {**rest, **load, "env_file": env_file}, params), config)


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
        if field.name not in ("store", "log_level", "log_format", "history")
    }
    return {name: value for name, value in settings.items() if value is not None}


def _settings_then(record: RunRecord) -> dict[str, Any]:
    """The settings that a run was started with, as far as its rows follow from them."""
    facts = record.facts
    execs = facts["execs_per_tick"]
    if execs is None:
        load = {"shape": facts["shape"]}
    elif isinstance(execs, list):
        load = {"execs_per_tick": tuple(execs)}
    else:
        load = {"execs_per_tick": execs, "ticks": facts["ticks"]}  # None: there is no end
    return {
        **load,
        "tick_duration": facts["tick_duration"],
        "spread": facts["spread"],
        "seed": record.seed,
        "epoch": record.epoch,
        "run_id": record.id,
    }
