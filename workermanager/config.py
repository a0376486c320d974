"""Settings from the environment and ``.env``, into one validated, frozen value.

The only reader of either. Flags win over the environment, the environment over ``.env``, and
``.env`` over what the target declares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from instrumentation.errors import InvalidConfig
from workermanager.clock import SPREADS, Spread
from workermanager.cursor import Overrun
from workermanager.durations import parse_duration
from workermanager.rates import parse_rate
from workermanager.stages import parse_stages

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "PREFIX", "Config", "Environment", "parse_setting"]

PREFIX: Final = "WORKERMANAGER_"
LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
_FOR_TESTS: Final = PREFIX + "TEST_"
_OF_COMMANDS: Final = frozenset({f"{PREFIX}ATTEMPT", f"{PREFIX}KEY", f"{PREFIX}PATH"})
_LONGEST_LIST: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the environment sets; None where it says nothing. Times and rates stay as written."""

    execs_per_tick: int | tuple[int, ...] | None = None
    ticks: int | None = None
    tick_duration: str | None = None
    rate: str | None = None
    duration: str | None = None
    count: int | None = None
    stages: str | None = None
    warmup: str | None = None
    thresholds: tuple[str, ...] | None = None
    abort_on: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    spread: Spread | None = None
    overrun: str | None = None
    threads: int | None = None
    in_flight: int | None = None
    exec_timeout: str | None = None
    tick_timeout: str | None = None
    seed: int | None = None
    database: str | None = None
    store: str | None = None
    grace: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    history: str | None = None

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Config:
        """Read every ``WORKERMANAGER_*`` variable; an empty one counts as not set.

        Those that a command finds its exec in are no settings: it may be a run itself.

        Raises:
            InvalidConfig: an unknown name or a wrong value; the message names the variable.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or variable.startswith(_FOR_TESTS):
                continue
            if variable in _OF_COMMANDS:
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                raise _unknown(variable, known)
            if text:
                values[name] = parse_setting(name, text, variable)
        return cls(**values)


class Environment:
    """The environment over a ``.env`` file; `refresh` reads it again once it changed."""

    def __init__(self, env_file: Path | None) -> None:
        self.path = env_file
        self._stamp = self._read_stamp()
        self.values = self._read()

    def refresh(self) -> bool:
        """Read again if the file changed; True if it did. Costs 2 µs where it did not.

        Raises:
            InvalidConfig: the file is not what it should be; ``values`` stay as they were.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self.values = self._read()
        return True

    def _read_stamp(self) -> tuple[int, int, int] | None:
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)  # noqa: PTH116 - at every tick: half the cost of a Path's
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Mapping[str, str]:
        from_file = {} if self.path is None else _read_env_file(self.path)
        values = MappingProxyType({**from_file, **os.environ})
        Config.load(values)
        return values


def _read_env_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as lines:
            for binding in parse_stream(lines):
                if binding.error:
                    raise InvalidConfig(f"{path}:{binding.original.line}: wanted NAME=value")
        found = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: cannot be read: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


def parse_setting(name: str, text: str, shown: str) -> Any:
    """The value of a setting from its text, the same for flags and variables.

    ``shown`` is what a refusal calls it: ``--threads`` or ``WORKERMANAGER_THREADS``.

    Raises:
        InvalidConfig: the text is no value for it.
    """
    return _PARSERS[name](text.strip(), shown)


def _parse_execs(text: str, shown: str) -> int | tuple[int, ...]:
    if "," not in text:
        return _whole(1)(text, shown)
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > _LONGEST_LIST:
        raise InvalidConfig(f"{shown}: {len(parts)} ticks are too many for a list")
    return tuple(_whole(0)(part.strip(), shown) for part in parts)


def _whole(least: int | None) -> Callable[[str, str], int]:
    def parse(text: str, shown: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise InvalidConfig(f"{shown}: {text!r} is not a whole number") from None
        if least is not None and number < least:
            raise InvalidConfig(f"{shown}: {number} is out of range: it must be {least} or more")
        return number

    return parse


def _one_of(*choices: str) -> Callable[[str, str], str]:
    def parse(text: str, shown: str) -> str:
        if text.lower() not in choices:
            raise InvalidConfig(f"{shown}: {text!r} is unknown; use {', '.join(choices)}")
        return text.lower()

    return parse


def _parse_duration(text: str, shown: str) -> str:
    parse_duration(text, shown)
    return text


def _parse_rate(text: str, shown: str) -> str:
    parse_rate(text, shown)
    return text


def _parse_stages(text: str, shown: str) -> str:
    parse_stages(text, shown)
    return text


def _parse_list(text: str, _shown: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_overrun(text: str, shown: str) -> str:
    Overrun.parse(text, shown)
    return text


def _as_it_is(text: str, _shown: str) -> str:
    return text


_PARSERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "execs_per_tick": _parse_execs,
    "ticks": _whole(1),
    "tick_duration": _parse_duration,
    "rate": _parse_rate,
    "duration": _parse_duration,
    "count": _whole(1),
    "stages": _parse_stages,
    "warmup": _parse_duration,
    "thresholds": _parse_list,
    "abort_on": _parse_list,
    "tags": _parse_list,
    "spread": _one_of(*SPREADS),
    "overrun": _parse_overrun,
    "threads": _whole(1),
    "in_flight": _whole(1),
    "exec_timeout": _parse_duration,
    "tick_timeout": _parse_duration,
    "seed": _whole(None),
    "database": _as_it_is,
    "store": _as_it_is,
    "grace": _parse_duration,
    "log_level": _one_of(*LOG_LEVELS),
    "log_format": _one_of(*LOG_FORMATS),
    "history": _one_of("on", "off"),
}


def _unknown(variable: str, known: set[str]) -> InvalidConfig:
    names = sorted(name.upper() for name in known)
    close = get_close_matches(variable.removeprefix(PREFIX), names, n=1)
    there_are = f"there are, behind {PREFIX}: {', '.join(names)}"
    hint = f"did you mean {PREFIX}{close[0]}?" if close else there_are
    return InvalidConfig(f"{variable} is no setting; {hint}")
