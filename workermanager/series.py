"""How a run went, second by second: what happened between two looks at its figures.

A window's figures are the difference of two cumulative ones, so windows add up to the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from workermanager.quantiles import Durations

if TYPE_CHECKING:
    from workermanager.histogram import Histogram
    from workermanager.telemetry import Figures, StepFigures

__all__ = ["Series", "StepWindow", "Window"]

MOST_WINDOWS: Final = 3_600
_MOST_STEPS: Final = 50
_SHORTEST_NS: Final = 500_000_000
_COUNTS: Final = ("due", "ok", "failed", "dropped", "expired", "interrupted")


class StepWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One step in one window. ``service`` counts every attempt that ended in it."""

    failed: int
    retried: int
    timed_out: int = 0
    service: Durations


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in the ``seconds`` that ended ``at_s`` after the run began.

    ``running`` and ``queued`` are as they stood at its end, all other counts are of what fell
    into it. ``rate`` is how many execs ended in a second. A window of the warm-up has the figures
    of the warm-up, any other none of it.
    """

    at_s: float
    seconds: float
    is_warmup: bool
    due: int
    ok: int
    failed: int
    dropped: int
    expired: int
    interrupted: int
    running: int
    queued: int
    rate: float
    response: Durations
    lag: Durations
    service: Durations
    steps: dict[str, StepWindow]


_Base: TypeAlias = "tuple[Figures | None, int]"
"""The figures that a window begins with (None: nothing yet), and when it does."""


class Series:
    """The windows of a run, in order, in bounded memory.

    Past ``most`` windows, neighbours are merged in pairs, and from then on a window is twice as
    long: counts add up, of percentiles the larger one is kept, of means the weighted one.
    """

    def __init__(self, most: int = MOST_WINDOWS) -> None:
        self.windows: list[Window] = []
        self.every = 1  # how many looks make a window
        self._most = most
        self._looks = 0
        self._before: Figures | None = None
        self._base: _Base = (None, 0)  # of the latest window
        self._base_before: _Base = (None, 0)  # of the one before it

    def look(self, figures: Figures, *, is_warmup: bool = False, is_last: bool = False) -> None:
        """Take cumulative figures; a window ends at every look, or once in every so many.

        Where the warm-up ends, figures begin anew at 0, so that look must be the first that is not
        ``is_warmup``.
        """
        self._looks += 1
        if self._looks % self.every and not is_last:
            return
        before = self._before
        windows = self.windows
        if before is not None and windows and windows[-1].is_warmup and not is_warmup:
            before = None  # the warm-up's figures are none of ours
        begun_ns = self._before.elapsed_ns if self._before else 0
        if figures.elapsed_ns <= begun_ns:
            return
        if is_last and before and figures.elapsed_ns - begun_ns < _SHORTEST_NS:
            windows = windows[:-1]  # too short to say anything by itself
            before, begun_ns = self._base
        # A new list: whoever reads the old one meanwhile may go on.
        self.windows = [*windows, _window(before, figures, begun_ns, is_warmup=is_warmup)]
        self._base_before = self._base
        self._base, self._before = (before, begun_ns), figures
        if len(self.windows) >= self._most:
            self._merge_neighbours()

    def _merge_neighbours(self) -> None:
        latest = self.windows[-1]
        self.windows = _halve(self.windows)
        self.every *= 2
        if self.windows[-1] is not latest:  # it begins where its neighbour did
            self._base = self._base_before


def _window(before: Figures | None, now: Figures, begun_ns: int, *, is_warmup: bool) -> Window:
    seconds = (now.elapsed_ns - begun_ns) / 1e9
    counts = {name: now.counts[name] - (before.counts[name] if before else 0) for name in _COUNTS}
    names = list(now.steps)[:_MOST_STEPS]
    return Window(
        at_s=round(now.elapsed_ns / 1e9, 3),
        seconds=round(seconds, 3),
        is_warmup=is_warmup,
        running=now.counts["running"],
        queued=now.counts["queued"],
        rate=round((counts["ok"] + counts["failed"]) / seconds, 3),
        response=_since(now.response, before.response if before else None),
        lag=_since(now.lag, before.lag if before else None),
        service=_since(now.service, before.service if before else None),
        steps={
            name: _step(now.steps[name], before.steps.get(name) if before else None)
            for name in names
        },
        **counts,
    )


def _since(now: Histogram, before: Histogram | None) -> Durations:
    return Durations.of(now if before is None else now.since(before))


def _step(now: StepFigures, before: StepFigures | None) -> StepWindow:
    return StepWindow(
        failed=now.failed - (before.failed if before else 0),
        retried=now.retried - (before.retried if before else 0),
        timed_out=now.timed_out - (before.timed_out if before else 0),
        service=_since(now.service, before.service if before else None),
    )


def _halve(windows: list[Window]) -> list[Window]:
    halved: list[Window] = []
    rest = iter(windows)
    for first in rest:
        second = next(rest, None)
        if second is None or first.is_warmup != second.is_warmup:
            halved += [first] if second is None else [first, second]
        else:
            halved.append(_merge(first, second))
    return halved


def _merge(first: Window, second: Window) -> Window:
    seconds = first.seconds + second.seconds
    names = {**first.steps, **second.steps}
    return Window(
        at_s=second.at_s,
        seconds=round(seconds, 3),
        is_warmup=first.is_warmup,
        running=second.running,
        queued=second.queued,
        rate=round((first.rate * first.seconds + second.rate * second.seconds) / seconds, 3),
        response=_worse(first.response, second.response),
        lag=_worse(first.lag, second.lag),
        service=_worse(first.service, second.service),
        steps={name: _merge_step(first.steps.get(name), second.steps.get(name)) for name in names},
        **{name: getattr(first, name) + getattr(second, name) for name in _COUNTS},
    )


def _merge_step(first: StepWindow | None, second: StepWindow | None) -> StepWindow:
    if first is None or second is None:
        only = first or second
        assert only is not None  # noqa: S101 - for the type checker
        return only
    return StepWindow(
        failed=first.failed + second.failed,
        retried=first.retried + second.retried,
        timed_out=first.timed_out + second.timed_out,
        service=_worse(first.service, second.service),
    )


def _worse(first: Durations, second: Durations) -> Durations:
    count = first.count + second.count
    if not count:
        return first
    mean = (first.mean_ms * first.count + second.mean_ms * second.count) / count
    return Durations(
        count=count,
        mean_ms=round(mean, 4),
        **{
            name: max(getattr(first, name), getattr(second, name))
            for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")
        },
    )
