"""From what a file or a command line says of a schedule to what runs, when, and its policies."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.timetables.moments import find_zone
from workermanager.timetables.schedule import check_name, make_schedule
from workermanager.timetables.timetable import at, cron, every

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from instrumentation.commands import Command
    from workermanager.timetables.schedule import Schedule
    from workermanager.timetables.timetable import Timetable
    from workermanager.worker import Worker

__all__ = ["POLICIES", "TIMES", "Declared", "declare", "make_timetable", "read_moment"]

TIMES: Final = ("every", "cron", "at", "tz", "start", "end", "jitter", "immediately")
POLICIES: Final = ("misfire", "overlap", "grace", "lost", "pause_after", "pause_for")
_KINDS: Final = ("every", "cron", "at")


class Declared(NamedTuple):
    """One schedule that is to be added: what runs, when, and its policies by name."""

    name: str
    what: Worker | Command
    when: Timetable
    policies: Mapping[str, Any]
    target: str

    def as_schedule(self) -> Schedule:
        """The schedule as a value, to look at."""
        return make_schedule(self.name, self.when, **self.policies)


def declare(
    name: str, what: Worker | Command, target: str, settings: Mapping[str, Any]
) -> Declared:
    """A schedule from its settings: those in `TIMES` and `POLICIES`, None where nothing is said.

    Raises:
        InvalidConfig: one of them cannot be.
    """
    check_name(name)
    given = {key: value for key, value in settings.items() if value is not None}
    times: dict[str, Any] = {key: given[key] for key in TIMES if key in given}
    policies: dict[str, Any] = {key: given[key] for key in POLICIES if key in given}
    declared = Declared(name, what, make_timetable(times, what), policies, target)
    try:
        declared.as_schedule()
    except InvalidConfig as error:  # whoever reads a file or a command line says where
        raise InvalidConfig(str(error).removeprefix(f"schedule {name}: ")) from None
    return declared


def make_timetable(times: Mapping[str, Any], what: Worker | Command | None = None) -> Timetable:
    """When a schedule is due; a Worker may say itself how often, in its ``cron_scheduler_config``.

    A date and time without a zone is one of ``tz``.

    Raises:
        InvalidConfig: nothing says when, or too much does, or in a way that cannot be.
    """
    kinds = [kind for kind in _KINDS if kind in times]
    if len(kinds) > 1:
        raise InvalidConfig(f"{' and '.join(kinds)}: one of them says when")
    if not kinds:
        own = getattr(what, "cron_scheduler_config", None)
        if own is None:
            raise InvalidConfig("when? give every, cron or at")
        often = {"every": own.interval_in_seconds, "immediately": True}  # as `Worker.run` does
        return make_timetable({**often, **times}, what)
    (kind,) = kinds
    _check_fit(kind, times)
    is_local = kind == "cron" or "tz" in times  # cron goes by the machine's clock unless told
    zone = find_zone(times.get("tz"), "tz") if is_local else None
    bounds = {key: read_moment(times[key], key, zone) for key in ("start", "end") if key in times}
    jitter = times.get("jitter", 0)
    if kind == "at":
        return at(read_moment(times["at"], "at", zone), jitter=jitter)
    if kind == "cron":
        return cron(_text(times["cron"], "cron"), tz=zone, jitter=jitter, **bounds)
    immediately = times.get("immediately", False)
    if not isinstance(immediately, bool):
        raise InvalidConfig(f"immediately: {immediately!r}: wanted true or false")
    return every(times["every"], jitter=jitter, immediately=immediately, **bounds)


def read_moment(value: object, name: str, zone: tzinfo | None) -> datetime:
    """A date and time, or its ISO 8601 text; one without a zone is one of ``zone``.

    Raises:
        InvalidConfig: it is none, or there is no zone at all.
    """
    moment = value
    if isinstance(value, str) and ":" in value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = value
    if not isinstance(moment, datetime):
        raise InvalidConfig(
            f"{name}: {str(value)!r} is no date and time; write 2026-12-24T18:00:00+01:00"
        )
    if moment.tzinfo is None and zone is None:
        text = moment.isoformat()
        raise InvalidConfig(
            f"{name}: {text} has no time zone; write {text}+01:00 or so, or give tz"
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _check_fit(kind: str, times: Mapping[str, Any]) -> None:
    """Refuse what says nothing about the kind of timetable it stands beside."""
    wrong = {"every": (), "cron": ("immediately",), "at": ("start", "end", "immediately")}[kind]
    for key in wrong:
        if key in times:
            raise InvalidConfig(f"{key} does not go with {kind}")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidConfig(f"{name}: {value!r}: wanted text")
    return value
