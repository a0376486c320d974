"""What happened, in figures: each thread records for itself, and a reader merges.

Telemetry counts and times; what is run is called Instrumentation and lives elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from workermanager.histogram import Histogram
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DatabaseFigures",
    "ErrorFigures",
    "Figures",
    "Phases",
    "Recorder",
    "StepFigures",
    "merge",
]

_MOST_NAMES: Final = 1_000
_MOST_ERRORS: Final = 100
_OTHERS: Final = "(others)"


@dataclass(slots=True)
class StepFigures:
    """One step: ``service`` has every attempt, ``failed`` counts last ones, ``retried`` others.

    ``timed_out`` counts those of both that took too long.
    """

    service: Histogram = field(default_factory=Histogram)
    failed: int = 0
    retried: int = 0
    timed_out: int = 0

    @property
    def ok(self) -> int:
        """Attempts that succeeded."""
        return self.service.count - self.failed - self.retried


@dataclass(slots=True)
class ErrorFigures:
    """One kind of error: where, what type, how often, and the first one's text and path."""

    step: str
    type: str
    count: int
    example: str
    path: str = ""


class Recorder:
    """What one thread saw. Only that thread writes to it, so nothing is locked."""

    __slots__ = (
        "errors",
        "expired",
        "failed",
        "interrupted",
        "lag",
        "ok",
        "response",
        "service",
        "steps",
    )

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0
        self.expired = 0
        self.interrupted = 0
        self.lag = Histogram()
        self.service = Histogram()
        self.response = Histogram()
        self.steps: dict[str, StepFigures] = {}
        self.errors: dict[tuple[str, str], ErrorFigures] = {}

    def step(self, name: str) -> StepFigures:
        """The figures of a step; past a thousand names, those of all others together."""
        figures = self.steps.get(name)
        if figures is None:
            if len(self.steps) >= _MOST_NAMES:
                name = _OTHERS
            figures = self.steps.setdefault(name, StepFigures())
        return figures

    def error(self, step: str, kind: str, text: str, path: str = "") -> None:
        """Count an error of a step; the first text and path of each kind are kept."""
        key = (step, kind)
        if key not in self.errors and len(self.errors) >= _MOST_ERRORS:
            key = (_OTHERS, _OTHERS)
        seen = self.errors.get(key)
        if seen is not None:
            seen.count += 1
        else:
            self.errors[key] = ErrorFigures(*key, count=1, example=one_line(text), path=path)


class Phases:
    """What one thread saw, the warm-up apart: that are the execs before ``warm_end``."""

    __slots__ = ("measured", "warm_end", "warmup")

    def __init__(self, warm_end: int = 0) -> None:
        self.warm_end = warm_end
        self.measured = Recorder()
        self.warmup = Recorder()

    def of(self, n: int) -> Recorder:
        """The recorder for exec n."""
        return self.warmup if n < self.warm_end else self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFigures:
    """What a database was asked to do.

    ``transactions`` counts every attempt, ``commits`` those that were acknowledged, ``retries``
    the attempts that had to be made again, by error code; ``halved`` counts batches that were
    split to find a bad row, ``found`` rows, by table, that were there already.
    """

    transactions: int
    commits: int
    retries: dict[str, int]
    halved: int
    found: dict[str, int]


@dataclass(slots=True)
class Figures:
    """What happened so far, merged from all threads.

    ``counts`` has due, running, queued and every outcome, and always adds up. ``rows`` counts
    the durable rows of each table. ``database`` is None for a run without one of its own.
    ``warmup`` has the counts of the warm-up, whose execs are in nothing else here but rows and
    database; None for a run without one.
    """

    counts: dict[str, int]
    elapsed_ns: int
    tick: int
    lag: Histogram
    service: Histogram
    response: Histogram
    steps: dict[str, StepFigures]
    errors: list[ErrorFigures]
    rows: dict[str, int]
    database: DatabaseFigures | None
    warmup: dict[str, int] | None = None


def merge(recorders: Iterable[Recorder]) -> dict[str, Any]:
    """The histograms, steps and errors of all threads, as keyword arguments for `Figures`."""
    recorders = list(recorders)
    names = dict.fromkeys(name for one in recorders for name in list(one.steps))
    return {
        "lag": Histogram().merge(one.lag for one in recorders),
        "service": Histogram().merge(one.service for one in recorders),
        "response": Histogram().merge(one.response for one in recorders),
        "steps": {name: _merge_step(name, recorders) for name in names},
        "errors": _merge_errors(recorders),
    }


def _merge_step(name: str, recorders: list[Recorder]) -> StepFigures:
    ours = [one.steps[name] for one in recorders if name in one.steps]
    return StepFigures(
        service=Histogram().merge(step.service for step in ours),
        failed=sum(step.failed for step in ours),
        retried=sum(step.retried for step in ours),
        timed_out=sum(step.timed_out for step in ours),
    )


def _merge_errors(recorders: list[Recorder]) -> list[ErrorFigures]:
    merged: dict[tuple[str, str], ErrorFigures] = {}
    for recorder in recorders:
        for kind, seen in list(recorder.errors.items()):
            if kind in merged:
                merged[kind].count += seen.count
            else:
                merged[kind] = replace(seen)
    return sorted(merged.values(), key=lambda kind: -kind.count)
