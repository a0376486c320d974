"""How many execs and when: what flags, the environment and the target say of it, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from workermanager.durations import format_duration, parse_duration
from workermanager.shapes import Rate, Ticks
from workermanager.stages import format_stages

if TYPE_CHECKING:
    from workermanager.worker import Worker

__all__ = ["LOAD", "settle"]

_BASES: Final = ("execs_per_tick", "rate", "stages", "shape")
_WHOLE: Final = ("stages", "shape")  # they say for how long as well
_LENGTHS: Final = ("ticks", "duration", "count")
LOAD: Final = (*_BASES, *_LENGTHS)


def settle(worker: Worker, *levels: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Worker that say how many execs there are; a later level wins.

    A level that says how many (``execs_per_tick``, ``rate``, ``stages``) replaces what the levels
    before it say of that, one that says for how long (``ticks``, ``duration``, ``count``) what they
    say of that. Stages and lists say both.

    Raises:
        InvalidConfig: what is said does not go together.
    """
    load = _own(worker)
    for level in levels:
        load = _lay_over(load, {name: level[name] for name in LOAD if name in level})
    tick_durations = (
        level["tick_duration"] for level in reversed(levels) if "tick_duration" in level
    )
    return _as_fields(load, next(tick_durations, worker.tick_duration))


def _lay_over(load: dict[str, Any], level: dict[str, Any]) -> dict[str, Any]:
    bases = [name for name in _BASES if name in level]
    if len(bases) > 1:
        raise InvalidConfig(f"{bases[0]} and {bases[1]} both say how many execs: give one of them")
    if "ticks" in level and "duration" in level:
        raise InvalidConfig("ticks and duration both say how long: give one of them")
    if bases:
        return {**_length_of(load, level, bases[0]), **level}
    if "ticks" in level or "duration" in level:
        load = {name: value for name, value in load.items() if name not in ("ticks", "duration")}
    return {**load, **level}


def _own(worker: Worker) -> dict[str, Any]:
    """What the target says itself."""
    shape = worker.shape
    if isinstance(shape, Rate):
        own: dict[str, Any] = {
            "rate": shape.rate,
            "duration": shape.duration,
            "count": shape.count,
        }
    else:
        own = {"execs_per_tick": worker.execs_per_tick, "ticks": worker.ticks, "shape": shape}
    return {name: value for name, value in own.items() if value is not None}


def _length_of(load: Mapping[str, Any], level: Mapping[str, Any], base: str) -> dict[str, Any]:
    """For how long another number goes on: as before, if nothing is said of that."""
    is_list = isinstance(level.get("execs_per_tick"), tuple)
    if is_list or base in _WHOLE or any(name in level for name in _LENGTHS):
        return {}
    execs = load.get("execs_per_tick")
    if execs is not None and not isinstance(execs, int):
        return {"ticks": len(execs)} if base == "execs_per_tick" else {}
    if any(name in load for name in _WHOLE):
        return {}
    kept = ("ticks", "duration") if base == "execs_per_tick" else ("duration", "count")
    return {name: load[name] for name in kept if name in load}


def _as_fields(load: Mapping[str, Any], tick_duration: Any) -> dict[str, Any]:
    base = next((name for name in _BASES if name in load), "execs_per_tick")
    ticks, duration, count = (load.get(name) for name in _LENGTHS)
    fields: dict[str, Any] = {"execs_per_tick": None, "ticks": None, "shape": None}
    if base == "execs_per_tick":
        if count is not None:
            raise InvalidConfig("count goes with a rate: give rate as well, or ticks instead")
        if duration is not None:
            ticks = _ticks_in(duration, tick_duration)
        return {**fields, "execs_per_tick": load.get("execs_per_tick"), "ticks": ticks}
    if ticks is not None:
        raise InvalidConfig(f"ticks go with execs_per_tick; with {base} give duration or count")
    if base == "rate":
        return {**fields, "shape": Rate(load["rate"], duration, count)}
    return {**fields, "shape": _cut(load[base], duration, count)}


def _ticks_in(duration: Any, tick_duration: Any) -> int:
    length, tick = parse_duration(duration, "duration"), parse_duration(tick_duration, "")
    if not tick or length % tick or not length:
        raise InvalidConfig(
            f"duration: {format_duration(length)} is no whole number of ticks of "
            f"{format_duration(tick)}"
        )
    return length // tick


def _cut(shape: Any, duration: Any, count: int | None) -> Any:
    """A shape of the target's or of stages, ended by a count."""
    if duration is not None:
        raise InvalidConfig("duration: stages and shapes say themselves how long they are")
    if count is None:
        return shape
    if isinstance(shape, Ticks):
        raise InvalidConfig("count goes with a rate: give rate as well, or ticks instead")
    line, _, _ = format_stages(shape).partition(",count=")  # what it may have of its own
    return f"{line},count={count}"
