"""How a run stands at a moment: what a display shows of it, in words and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workermanager.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.run import Run
    from workermanager.series import Window
    from workermanager.telemetry import Figures
    from workermanager.thresholds import Verdict

__all__ = [
    "Standing",
    "brief",
    "in_unit",
    "is_broken",
    "tick",
    "time",
]

_NOT_YET: Final = ("running", "queued")


class Standing(NamedTuple):
    """A run at a moment. ``counts`` are those of the warm-up while it lasts.

    ``total`` is None for a run without end; ``done`` counts its execs that have ended.
    ``planned_s`` is how long the plan is to take; 0 or None where the plan does not say, as for
    a resumed run, which has what was missed at once.
    """

    name: str
    id: str
    state: str
    is_warming_up: bool
    is_stopping: bool
    elapsed_s: float
    planned_s: float | None
    total: int | None
    done: int
    tick: str
    threads: int
    counts: dict[str, int]
    figures: Figures
    windows: Sequence[Window]
    verdicts: Sequence[Verdict]

    @classmethod
    def of(cls, run: Run, verdicts: Sequence[Verdict] | None = None) -> Standing:
        """See how a run stands; ``verdicts`` are those of a moment ago, if they will do."""
        figures, arrivals = run.figures(), run.plan.arrivals
        during = figures.warmup or {}
        is_warming_up = run.is_warming_up
        end_ns = None if figures.counts["skipped"] else run.plan.end_ns
        return cls(
            name=run.plan.name,
            id=run.id,
            state=_state(run, is_warming_up=is_warming_up),
            is_warming_up=is_warming_up,
            is_stopping=run.is_stopping,
            elapsed_s=figures.elapsed_ns / 1e9,
            planned_s=None if end_ns is None else end_ns / 1e9,
            total=arrivals.total,
            done=_ended(figures.counts) + _ended(during),
            tick=tick(run, figures),
            threads=run.plan.threads,
            counts={**figures.counts, **during} if is_warming_up else figures.counts,
            figures=figures,
            windows=run.watch.series.windows,
            verdicts=run.verdicts() if verdicts is None else verdicts,
        )

    @property
    def share(self) -> float | None:
        """How much of the run is done, from 0 to 1; None where it has no end."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def left_s(self) -> float | None:
        """How long it will take yet: as planned, or as what waits needs at the last rate."""
        if self.total is None or self.is_stopping:
            return None
        rate = self.windows[-1].rate if self.windows else 0.0
        if not self.planned_s:
            return (self.total - self.done) / rate if rate else None
        waiting = self.counts["queued"] / rate if rate else 0.0
        return max(0.0, self.planned_s - self.elapsed_s, waiting)

    @property
    def health(self) -> str:
        """``good``, ``warn`` or ``bad``, at a glance.

        Bad is a threshold that is not kept, or without thresholds an exec that failed.
        """
        if any(is_broken(verdict) for verdict in self.verdicts):
            return "bad"
        if self.counts["failed"]:
            return "warn" if self.verdicts else "bad"
        troubles = ("dropped", "expired", "interrupted")
        return "warn" if any(self.counts.get(name) for name in troubles) else "good"


def is_broken(verdict: Verdict) -> bool:
    """True where a threshold was measured and not kept."""
    return verdict.value is not None and not verdict.passed


def tick(run: Run, figures: Figures) -> str:
    """The tick that is on, and of how many."""
    ticks = run.plan.arrivals.ticks
    return f"tick {figures.tick + 1:,}" + ("" if ticks is None else f"/{ticks:,}")


def in_unit(verdict: Verdict) -> str:
    """The value of a verdict with its unit."""
    if verdict.value is None:
        return "-"
    if verdict.unit == "ms":
        return format_duration(round(verdict.value * 1e6))
    digits = f"{verdict.value:,.0f}" if abs(verdict.value) >= 1_000 else f"{verdict.value:.3g}"  # noqa: PLR2004 - three digits, but never 1e+03
    return digits + verdict.unit


def time(nanoseconds: float) -> str:
    """A duration of a histogram; ``-`` where it has none."""
    return format_duration(round(nanoseconds)) if nanoseconds else "-"


def brief(seconds: float) -> str:
    """A duration to the second, for what changes every second: ``47s``, ``2m05s``, ``1h02m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _state(run: Run, *, is_warming_up: bool) -> str:
    if run.is_stopping:
        return "stopping (once more stops now)"
    return "warming up" if is_warming_up else "running"


def _ended(counts: dict[str, int]) -> int:
    return counts["due"] - sum(counts.get(name, 0) for name in _NOT_YET) if counts else 0
