"""Thresholds: what a run must keep to, as expressions that are checked before it begins.

``p99<200ms``, ``addUser.p95<50ms``, ``failed<0.1%``, ``dropped==0``, ``rate>=990/s``,
``lag.p99<10ms``, ``p99<200ms over 10s``. A metric is read from the cumulative figures of a run, or
from what was added to them within a window.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration
from workermanager.histogram import Histogram
from workermanager.telemetry import StepFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from workermanager.telemetry import Figures

__all__ = ["Sample", "Threshold", "Verdict", "parse_threshold"]

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_EXPRESSION: Final = re.compile(
    r"\s*(?P<metric>[^<>=!]+?)\s*(?P<comparison><=|>=|==|!=|<|>)\s*"
    r"(?P<number>\d[\d_]*(?:\.\d+)?)\s*(?P<unit>%|/\s*\w+|[a-zµ]*)"
    r"(?:\s+over\s+(?P<window>\S+))?\s*"
)
_METRIC: Final = re.compile(r"(?:(?P<scope>.+)\.)?(?P<name>p\d{1,2}(?:\.\d+)?|p100|[^\W\d]\w*)")
_PERCENTILE: Final = re.compile(r"p(100|\d{1,2}(?:\.\d+)?)")
_NINES: Final = re.compile(r"p99\d+")  # as others, and our reports, write p99.9
_TIMES: Final = ("response", "lag", "service")
_OF_TIMES: Final = ("mean", "max")
_OF_RUN: Final = ("due", "ok", "failed", "dropped", "expired", "interrupted", "retried")
_GAUGES: Final = ("queued", "running")
_OF_STEP: Final = ("ok", "failed", "retried", "timed_out")
_GROWING: Final = ("<", "<=", "==")  # of a count: broken once, broken for good
_UNITS_OF_RATE: Final = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_SHORTEST_NS: Final = 1_000_000_000
_LONGEST_NS: Final = 3_600_000_000_000
_EXAMPLE: Final = "write p99<200ms, addUser.p95<50ms, failed<0.1%, dropped==0 or rate>=990/s"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold with what it was held against.

    ``value`` is in ``unit`` (ms, %, /s, or "" for a count); None where nothing was measured. Of a
    threshold over windows it is the worst window's, which ended ``at_s`` after the run began.
    ``aborted`` says that it ended the run.
    """

    expression: str
    value: float | None
    unit: str
    passed: bool
    at_s: float | None = None
    aborted: bool = False


class Sample(NamedTuple):
    """What a metric is made of, cumulative: durations, or a number with what it is a part of."""

    histogram: Histogram | None
    number: int
    whole: int
    seconds: float

    def since(self, before: Sample) -> Sample:
        """What came after ``before``."""
        histogram = self.histogram
        if histogram is not None and before.histogram is not None:
            histogram = histogram.since(before.histogram)
        return Sample(
            histogram,
            self.number - before.number,
            self.whole - before.whole,
            self.seconds - before.seconds,
        )


@dataclass(frozen=True, slots=True)
class Threshold:
    """A metric, a comparison and a limit, as ``expression`` has it.

    ``scope`` is response, lag, service, rows, or "" for the run, of which ``step`` may be a part;
    ``limit`` is in ``unit``. With ``window_ns`` it holds of every window of that length, and not
    of the whole. ``aborts`` ends the run as soon as it is broken.
    """

    expression: str
    scope: str
    step: str
    name: str
    comparison: str
    limit: float
    unit: str
    window_ns: int | None
    aborts: bool

    @property
    def is_gauge(self) -> bool:
        """True for what is read as it stands, and does not add up."""
        return self.name in _GAUGES and not self.scope and not self.step

    @property
    def judges_failures(self) -> bool:
        """True if it says how many execs of the whole run may fail."""
        is_of_run = not self.scope and not self.step and self.window_ns is None
        return is_of_run and self.name in ("failed", "ok")

    def holds(self, value: float | None) -> bool:
        """Whether the value is within the limit; one that was not measured is not."""
        return value is not None and _COMPARISONS[self.comparison](value, self.limit)

    def is_broken_for_good(self, value: float | None) -> bool:
        """Whether a run that is not over yet can be told to have broken it."""
        if value is None or self.holds(value):
            return False
        if self.unit or self.is_gauge or self.comparison in ("<", "<="):
            return True
        return self.comparison == "==" and value > self.limit

    def worse(self, one: float, other: float) -> float:
        """The one of two values that is nearer to breaking it, or further beyond."""
        if self.comparison in (">", ">="):
            return min(one, other)
        if self.comparison in ("<", "<="):
            return max(one, other)
        return other if self.holds(one) else one

    def read(self, figures: Figures, seconds: float) -> Sample:
        """What the metric is made of so far; ``seconds`` were measured."""
        if self.unit == "ms":
            return Sample(self._durations(figures), 0, 0, seconds)
        if self.scope == "rows":
            seconds = figures.elapsed_ns / 1e9  # those that the warm-up wrote are there as well
        number, whole = self._numbers(figures)
        return Sample(None, number, whole, seconds)

    def value(self, sample: Sample) -> float | None:
        """The metric in ``unit``; None where there is nothing to tell it from."""
        if self.unit == "ms":
            return self._milliseconds(sample.histogram)
        if self.unit == "%":
            return 100 * sample.number / sample.whole if sample.whole else None
        if self.unit == "/s":
            return sample.number / sample.seconds if sample.seconds > 0 else None
        return sample.number

    def _numbers(self, figures: Figures) -> tuple[int, int]:
        """A count, and what it is a part of: all settled execs, or a step's last tries."""
        counts, steps = figures.counts, figures.steps
        settled = counts["due"] - counts["running"] - counts["queued"]
        if self.scope == "rows":
            return figures.rows.get(self.name, 0), 0
        if self.step:
            step = steps.get(self.step, StepFigures())
            ended = step.ok + step.failed
            return (ended if self.name == "rate" else getattr(step, self.name)), ended
        if self.name == "rate":
            return counts["ok"] + counts["failed"], settled
        if self.name == "retried":
            return sum(step.retried for step in steps.values()), settled
        return counts[self.name], settled

    def _durations(self, figures: Figures) -> Histogram:
        if self.scope in _TIMES:
            durations: Histogram = getattr(figures, self.scope)
            return durations
        step = figures.steps.get(self.step)
        return Histogram() if step is None else step.service

    def _milliseconds(self, histogram: Histogram | None) -> float | None:
        if histogram is None or not histogram.count:
            return None
        if self.name == "mean":
            return histogram.mean / 1e6
        percent = 100.0 if self.name == "max" else float(self.name[1:])
        return histogram.percentiles(percent)[0] / 1e6


def parse_threshold(
    text: object,
    steps: Collection[str],
    tables: Collection[str] | None,
    name: str,
    *,
    aborts: bool = False,
) -> Threshold:
    """Read an expression; ``steps`` and ``tables`` are those that a run will have.

    ``tables`` are None where they are not known before. ``name`` is what a refusal calls it.

    Raises:
        InvalidConfig: it cannot be meant; the message says why, and what could be.
    """
    shown = f"{name}: {text!r}"
    if not isinstance(text, str):
        raise InvalidConfig(f"{shown} is no threshold; {_EXAMPLE}")
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise InvalidConfig(f"{shown} is no threshold; {_EXAMPLE}")
    scope, step, metric = _find_metric(found["metric"], steps, tables, shown)
    limit, unit = _find_limit(metric, scope, found["number"], found["unit"], shown)
    window_ns = None if found["window"] is None else parse_duration(found["window"], shown)
    if window_ns is not None and not _SHORTEST_NS <= window_ns <= _LONGEST_NS:
        raise InvalidConfig(f"{shown}: a window is 1s or more, and at most 1h")
    threshold = Threshold(
        expression=" ".join(found[0].split()),
        scope=scope,
        step=step,
        name=metric,
        comparison=found["comparison"],
        limit=limit,
        unit=unit,
        window_ns=window_ns,
        aborts=aborts,
    )
    if threshold.is_gauge and (threshold.comparison not in _GROWING or window_ns is not None):
        raise InvalidConfig(f"{shown}: of {metric} it is the highest that counts: {metric}<100")
    is_growing = not unit and not threshold.is_gauge and window_ns is None
    if aborts and is_growing and threshold.comparison not in _GROWING:
        raise InvalidConfig(
            f"{shown}: a count only grows, so this is known at the end; abort on a rate (ok>=990/s)"
        )
    return threshold


def _find_metric(
    text: str, steps: Collection[str], tables: Collection[str] | None, shown: str
) -> tuple[str, str, str]:
    """The scope, the step and the name of a metric."""
    if text.startswith("rows."):
        table = text.removeprefix("rows.")
        return "rows", "", table if tables is None else _check(table, tables, shown)
    found = _METRIC.fullmatch(text)
    if found is None:
        raise InvalidConfig(f"{shown}: {text!r} is no metric; {_EXAMPLE}")
    scope, name = found["scope"] or "", found["name"]
    if scope in _TIMES or (not scope and _is_time(name)):
        if not _is_time(name):
            raise _unknown(shown, name, ["p50", "p99", "p99.9", *_OF_TIMES])
        return scope or "response", "", name
    if not scope:
        if name in (*steps, *_TIMES) and name not in (*_OF_RUN, *_GAUGES, "rate"):
            raise InvalidConfig(f"{shown}: {name} has several figures; write {name}.p99 or so")
        _check(name, [*_OF_RUN, *_GAUGES, "rate"], shown, more=("p99", *_OF_TIMES, *steps))
        return "", "", name
    if scope.startswith("step:"):  # a step that joins a chain as it runs is not known before
        scope = scope.removeprefix("step:")
    else:
        _check(scope, steps, shown, more=(*_TIMES, "rows"))
    if not _is_time(name):
        _check(name, [*_OF_STEP, "rate"], shown, more=("p99", *_OF_TIMES))
    return "", scope, name


def _is_time(name: str) -> bool:
    return name in _OF_TIMES or _PERCENTILE.fullmatch(name) is not None


def _check(name: str, known: Collection[str], shown: str, more: Collection[str] = ()) -> str:
    if name not in known:
        raise _unknown(shown, name, [*known, *more])
    return name


def _unknown(shown: str, name: str, known: Collection[str]) -> InvalidConfig:
    close = get_close_matches(name, known, n=1)
    if _NINES.fullmatch(name):
        close = [f"{name[:3]}.{name[3:]}"]
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
    return InvalidConfig(f"{shown}: no {name!r}; {hint}")


def _find_limit(metric: str, scope: str, number: str, unit: str, shown: str) -> tuple[float, str]:
    """The limit, and the unit that it and the metric's value are in."""
    digits = number.replace("_", "")
    is_rows = scope == "rows"  # a table may be called as a figure is
    if _is_time(metric) and not is_rows:
        return _find_time(metric, digits, unit, shown), "ms"
    if unit.startswith("/"):
        per = _UNITS_OF_RATE.get(unit[1:].strip())
        if per is None or (metric in _GAUGES and not is_rows):
            raise InvalidConfig(f"{shown}: no rate; write it as in 990/s or 30/min")
        return float(digits) / per, "/s"
    if metric == "rate" and not is_rows:
        raise InvalidConfig(f"{shown}: a rate is so many a second, as in 990/s")
    if unit == "%":
        if is_rows or metric in (*_GAUGES, "due"):
            raise InvalidConfig(f"{shown}: {metric} is no part of anything; write a number")
        return float(digits), "%"
    return _find_count(metric, digits, unit, shown), ""


def _find_time(metric: str, digits: str, unit: str, shown: str) -> float:
    if unit == "%" or unit.startswith("/") or (not unit and float(digits)):
        raise InvalidConfig(f"{shown}: {metric} is a time; write it with a unit, as in 200ms")
    return parse_duration(digits + unit, shown) / 1e6


def _find_count(metric: str, digits: str, unit: str, shown: str) -> int:
    if unit:
        raise InvalidConfig(f"{shown}: {metric} is a count; {unit!r} is no unit of it")
    if not digits.isdigit():
        raise InvalidConfig(f"{shown}: {metric} is a whole number; for a share write {digits}%")
    return int(digits)
