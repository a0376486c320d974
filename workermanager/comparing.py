"""Two reports beside each other: what changed between them, and what is only noise.

The samples are a report's windows (`series.Window`), without those of the warm-up, and without a
first or last one that is shorter than half of the median window. A change is the ratio (of shares:
the difference) of B's mean over its windows to A's, where a window weighs as much as it has: its
execs for times, its seconds for the rate, its settled execs for shares. So the change of a
percentile is that of the mean of the windows' percentiles, not that of the percentile over the
whole run, which has no spread to be told from.

Its 95 % interval is that of `resampling`, and for times wider by another 2 %, since each is read
from a histogram to 1 %. It is of these two runs: what differs from one run to the next for reasons
of its own, such as another machine or a colder cache, is in no run's windows. A tolerance is for
that.
"""

from __future__ import annotations

from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from workermanager.redaction import one_line
from workermanager.report import Report, RunFacts  # noqa: TC001 - msgspec looks for the fields' types
from workermanager.resampling import (
    FEWEST_SAMPLES,
    Means,
    Resamples,
    difference_between,
    ratio_between,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.quantiles import Durations
    from workermanager.series import Window

__all__ = ["Change", "Comparison", "Side", "compare"]

_TIME_ERROR: Final = 0.02  # two histograms, each up to 1 % off
_TIME_STEP_MS: Final = 0.0001  # two figures, each rounded to 0.1 µs
_SHARE_TOLERANCE: Final = 0.1  # percentage points
_SHARES: Final = ("failed", "dropped", "expired")
_PERCENTILES: Final = ("p50", "p95", "p99")
_LONGEST_NOTE: Final = 60
# How long a run is, and what it draws, makes it no other experiment.
_MAY_DIFFER: Final = frozenset({"seed", "execs", "ticks", "duration", "grace"})

ChangeVerdict: TypeAlias = Literal["better", "worse", "same", "unknown"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in A and in B, by the name it has in thresholds (``response.p99``, ``failed``).

    ``a`` and ``b`` are of the whole runs, in ``unit`` (ms, /s, or % of the settled execs); None
    where nothing was measured. ``change`` is B's mean over the windows against A's, with ``low``
    and ``high`` the ends of its 95 % interval: in %, or in percentage points where ``unit`` is %.
    An end is None where it has none, since A's mean may be 0; all are where it is 0, and where the
    verdict is ``unknown`` for want of windows. ``same`` means that 0 is within the interval.
    """

    metric: str
    step: str | None
    unit: Literal["ms", "/s", "%"]
    a: float | None
    b: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: ChangeVerdict = "unknown"

    def is_regression(self, tolerance: float) -> bool:
        """Whether it is worse for certain, and by more than the tolerance in %.

        A share is held to 0.1 percentage points, whatever the tolerance: 5 % more of a failure in
        a million execs is none, and of 1 % failures it is one too many already.
        """
        if self.verdict != "worse":
            return False
        limit = _SHARE_TOLERANCE if self.unit == "%" else tolerance
        return self.change is None or abs(self.change) > limit


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs, and how many of its windows were compared."""

    run: RunFacts
    windows: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from ``a``, the baseline, to ``b``.

    ``only_in_a`` and ``only_in_b`` are steps that the other run has not; ``notes`` say what makes
    the comparison doubtful, such as another plan or machine.
    """

    a: Side
    b: Side
    changes: list[Change]
    only_in_a: list[str]
    only_in_b: list[str]
    notes: list[str]

    def regressions(self, tolerance: float) -> list[Change]:
        """What is worse for certain, and by more than the tolerance in %."""
        return [change for change in self.changes if change.is_regression(tolerance)]

    @property
    def unknown(self) -> list[Change]:
        """What cannot be told from noise, for want of windows."""
        return [change for change in self.changes if change.verdict == "unknown"]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain, JSON-ready values."""
        document = msgspec.to_builtins(self)
        assert isinstance(document, dict)  # noqa: S101 - for the type checker: a Struct becomes one
        return document


class _Family(NamedTuple):
    """Metrics whose windows weigh the same; ``sums`` has weight x value, window by window."""

    names: list[str]
    step: str | None
    unit: Literal["ms", "/s", "%"]
    whole: list[float | None]
    weights: list[int]
    sums: list[list[float]]


def compare(a: Report, b: Report) -> Comparison:
    """Compare B with the baseline A; the same two always come to the same."""
    ours, theirs = _usable(a.series), _usable(b.series)
    steps = [name for name in a.steps if name in b.steps]
    resamples = Resamples(len(ours), "a"), Resamples(len(theirs), "b")
    changes = [
        change
        for one, other in zip(_families(a, ours, steps), _families(b, theirs, steps), strict=True)
        for change in _compare_family(one, other, *resamples)
    ]
    notes = _doubts(a, b, ours, theirs)
    if a == b:
        notes = ["A and B are one and the same report"]
        nothing: dict[str, Any] = {"change": 0.0, "low": 0.0, "high": 0.0, "verdict": "same"}
        changes = [msgspec.structs.replace(change, **nothing) for change in changes]
    return Comparison(
        a=Side(run=a.run, windows=len(ours)),
        b=Side(run=b.run, windows=len(theirs)),
        changes=changes,
        only_in_a=[name for name in a.steps if name not in b.steps],
        only_in_b=[name for name in b.steps if name not in a.steps],
        notes=notes,
    )


def _usable(series: Sequence[Window]) -> list[Window]:
    windows = [window for window in series if not window.is_warmup]
    if not windows:
        return windows
    shortest = median(window.seconds for window in windows) / 2
    first = 1 if windows[0].seconds < shortest else 0
    last = -1 if windows[-1].seconds < shortest else None
    return windows[first:last]


# What is compared


def _families(report: Report, windows: Sequence[Window], steps: Sequence[str]) -> list[_Family]:
    """Every metric of a report, in the order in which it is shown.

    A window in which nothing ended counts for the rate, as the stall that it is, and weighs
    nothing in any time.
    """
    response = [window.response for window in windows]
    lag = [window.lag for window in windows]
    return [
        _rate(report, windows),
        _times("response", None, report.response, response, ("mean", *_PERCENTILES)),
        _times("lag", None, report.lag, lag, ("p99",)),
        _shares(report, windows),
        *(
            _times(
                name,
                name,
                report.steps[name].service,
                [_service_of(name, window) for window in windows],
                _PERCENTILES,
            )
            for name in steps
        ),
    ]


def _rate(report: Report, windows: Sequence[Window]) -> _Family:
    return _Family(
        ["rate"],
        None,
        "/s",
        [report.rate if report.run.duration_s > report.run.warmup_s else None],
        [round(window.seconds * 1_000) for window in windows],
        [[1_000 * (window.ok + window.failed) for window in windows]],
    )


def _shares(report: Report, windows: Sequence[Window]) -> _Family:
    due = report.counts["due"]  # all of it settled: the run is over
    return _Family(
        [*_SHARES],
        None,
        "%",
        [100 * report.counts[name] / due if due else None for name in _SHARES],
        [
            window.ok + window.failed + window.dropped + window.expired + window.interrupted
            for window in windows
        ],
        [[100 * getattr(window, name) for window in windows] for name in _SHARES],
    )


def _times(
    name: str,
    step: str | None,
    whole: Durations,
    durations: Sequence[Durations | None],
    figures: Sequence[str],
) -> _Family:
    fields = [f"{figure}_ms" for figure in figures]
    return _Family(
        [f"{name}.{figure}" for figure in figures],
        step,
        "ms",
        [getattr(whole, field) if whole.count else None for field in fields],
        [one.count if one else 0 for one in durations],
        [
            [one.count * getattr(one, field) if one else 0.0 for one in durations]
            for field in fields
        ],
    )


def _service_of(step: str, window: Window) -> Durations | None:
    found = window.steps.get(step)
    return None if found is None else found.service


# How it is compared


def _compare_family(a: _Family, b: _Family, of_a: Resamples, of_b: Resamples) -> list[Change]:
    ours, theirs = of_a.means(a.weights, a.sums), of_b.means(b.weights, b.sums)
    changes = []
    for place, name in enumerate(a.names):
        change = Change(
            metric=name,
            step=a.step,
            unit=a.unit,
            a=_rounded(a.whole[place]),
            b=_rounded(b.whole[place]),
        )
        if ours is not None and theirs is not None:
            change = _judge(change, ours[place], theirs[place])
        changes.append(change)
    return changes


def _judge(change: Change, a: Means, b: Means) -> Change:
    """The change with its interval and what to think of it."""
    is_ratio = change.unit != "%" and a.mean > 0
    error = _TIME_ERROR * a.mean + _TIME_STEP_MS if change.unit == "ms" else 0.0
    interval = (ratio_between if is_ratio else difference_between)(a, b)
    if is_ratio:
        error /= a.mean
    percent = 1 if change.unit == "%" else 100
    low = round(percent * (interval.low - error), 4)
    high = round(percent * (interval.high + error), 4)
    verdict: ChangeVerdict = "same"
    if low > 0 or high < 0:
        verdict = "worse" if (low > 0) == (change.unit != "/s") else "better"
    if not is_ratio and change.unit != "%":  # A's mean is 0: there is no ratio to show
        return msgspec.structs.replace(change, verdict=verdict)
    return msgspec.structs.replace(
        change,
        change=round(percent * interval.estimate, 4),
        low=max(low, -100.0),
        high=None if high == inf else high,
        verdict=verdict,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# What makes it doubtful


def _doubts(a: Report, b: Report, ours: Sequence[Window], theirs: Sequence[Window]) -> list[str]:
    notes = [
        f"{side} was interrupted" if run.outcome == "interrupted" else f"{side} was resumed"
        for side, run in (("A", a.run), ("B", b.run))
        if run.outcome == "interrupted" or run.resumed
    ]
    notes += _differences("plan", a.plan, b.plan)
    notes += _differences("environment", a.environment, b.environment)
    if len(ours) >= FEWEST_SAMPLES and len(theirs) >= FEWEST_SAMPLES:
        long, longer = (median(one.seconds for one in windows) for windows in (ours, theirs))
        if not 2 / 3 < long / longer < 3 / 2:
            notes.append(
                f"A's windows last {long:.3g} s, B's {longer:.3g} s: "
                f"the percentiles of longer windows are larger"
            )
    return notes


def _differences(what: str, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Where two descriptions differ; one that is missing altogether says nothing."""
    if not a or not b:
        return []
    return [
        f"{what}: {name} is {_shown(a.get(name))} in A, {_shown(b.get(name))} in B"
        for name in {**a, **b}
        if name not in _MAY_DIFFER and a.get(name) != b.get(name)
    ]


def _shown(value: object) -> str:
    text = "not given" if value is None else one_line(str(value))
    return text if len(text) <= _LONGEST_NOTE else text[: _LONGEST_NOTE - 1] + "…"
