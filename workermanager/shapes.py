"""The shape of a run's load, as values: constant rates, ramps and ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeAlias

from instrumentation.errors import InvalidConfig
from workermanager.durations import Duration, parse_duration
from workermanager.rates import Frequency, parse_rate

__all__ = ["MOST_EXECS", "Ramp", "Rate", "Shape", "Ticks"]

MOST_EXECS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Rate:
    """A constant rate, for a ``duration``, or until ``count`` execs: whichever ends first.

    Without either it goes on until the run is stopped. ``rate`` is text (``"100/s"``, ``"1/h"``)
    or execs per second; 0 is a pause. ``per_ns`` and ``duration_ns`` are what that comes to.

    Raises:
        InvalidConfig: something that cannot work.
    """

    rate: Frequency = field(compare=False)
    duration: Duration | None = field(default=None, compare=False)
    count: int | None = None
    per_ns: Fraction = field(init=False, repr=False)
    duration_ns: int | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set(self, "per_ns", parse_rate(self.rate, "Rate(rate=…)"))
        _set(self, "duration_ns", _parse_length(self.duration, "Rate(duration=…)"))
        if self.count is not None:
            _check_whole(self.count, "Rate(count=…)")
        if not self.per_ns and (self.duration is None or self.count is not None):
            raise InvalidConfig("Rate(rate=…): 0/s is a pause: it needs a duration and no count")


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that goes in a straight line from ``start`` to ``end``, in ``duration``.

    Both are text (``"100/s"``) or execs per second. ``start_per_ns``, ``end_per_ns`` and
    ``duration_ns`` are what that comes to.

    Raises:
        InvalidConfig: something that cannot work.
    """

    start: Frequency = field(compare=False)
    end: Frequency = field(compare=False)
    duration: Duration = field(compare=False)
    start_per_ns: Fraction = field(init=False, repr=False)
    end_per_ns: Fraction = field(init=False, repr=False)
    duration_ns: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set(self, "start_per_ns", parse_rate(self.start, "Ramp(start=…)"))
        _set(self, "end_per_ns", parse_rate(self.end, "Ramp(end=…)"))
        _set(self, "duration_ns", _parse_length(self.duration, "Ramp(duration=…)"))
        if self.duration is None:
            raise InvalidConfig("Ramp(duration=…): None is not a duration; write 500ms, 1s, 1m30s")


@dataclass(frozen=True, slots=True)
class Ticks:
    """A number of ``execs`` for every tick, or a list with one for each, spread evenly over it.

    ``ticks`` is how many ticks, where ``execs`` is a number; without it they go on until the run
    is stopped. ``tick_ns`` is what ``tick_duration`` comes to; with 0, everything is due at once.

    Raises:
        InvalidConfig: something that cannot work.
    """

    execs: int | Sequence[int]
    tick_duration: Duration = field(default="1s", compare=False)
    ticks: int | None = None
    tick_ns: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set(self, "tick_ns", parse_duration(self.tick_duration, "Ticks(tick_duration=…)"))
        if self.ticks is not None:
            _check_whole(self.ticks, "Ticks(ticks=…)")
        if isinstance(self.execs, Sequence) and not isinstance(self.execs, str | bytes):
            self._settle_list(tuple(self.execs))
        else:
            _check_whole(self.execs, "Ticks(execs=…)")
            if self.ticks is None and not self.tick_ns:
                raise InvalidConfig(
                    "Ticks(tick_duration=…): 0 needs a number of ticks, or the run would never end"
                )

    def _settle_list(self, execs: tuple[int, ...]) -> None:
        for tick, count in enumerate(execs):
            _check_whole(count, f"Ticks(execs=…), tick {tick}", least=0)
        if not execs:
            raise InvalidConfig("Ticks(execs=…): the list is empty")
        if self.ticks not in {None, len(execs)}:
            raise InvalidConfig(
                f"Ticks(ticks=…): {self.ticks}, but execs lists {len(execs)} of them"
            )
        _set(self, "execs", execs)
        _set(self, "ticks", len(execs))


Shape: TypeAlias = Rate | Ramp | Ticks | Sequence[Rate | Ramp | Ticks] | str
"""One of them, a sequence of them one after the other, or the text of a rate line."""


def _set(shape: Rate | Ramp | Ticks, name: str, value: object) -> None:
    object.__setattr__(shape, name, value)


def _check_whole(value: object, name: str, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_EXECS:
        raise InvalidConfig(f"{name}: {value!r} is no whole number from {least} to 2^62")


def _parse_length(duration: Duration | None, name: str) -> int | None:
    length = None if duration is None else parse_duration(duration, name)
    if length == 0:
        raise InvalidConfig(f"{name}: {duration!r} is out of range: it must be more than 0")
    return length
