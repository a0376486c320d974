"""What the page and the report show of a run, as JSON-ready values; `charts.js` reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from workermanager.quantiles import in_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.clock import Arrivals
    from workermanager.quantiles import Durations
    from workermanager.report import Report
    from workermanager.series import Window
    from workermanager.telemetry import Figures
    from workermanager.thresholds import Verdict
    from workermanager.watching import Watch

__all__ = ["Planned", "Watched", "final_view", "plan_view", "point", "state_view"]

_MOST_STEPS: Final = 50
_NOT_DONE: Final = ("running", "queued")


class Planned(Protocol):
    """What a page shows of a plan."""

    @property
    def name(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def arrivals(self) -> Arrivals: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    def describe(self) -> dict[str, Any]: ...


class Watched(Protocol):
    """What a page needs of a run, which is a `workermanager.run.Run`."""

    watch: Watch

    @property
    def is_stopping(self) -> bool: ...
    @property
    def id(self) -> str: ...
    @property
    def plan(self) -> Planned: ...
    @property
    def is_warming_up(self) -> bool: ...
    def figures(self) -> Figures: ...
    def verdicts(self) -> list[Verdict]: ...
    def stop(self, *, now: bool = False) -> None: ...


def plan_view(run: Watched) -> dict[str, Any]:
    """What does not change as the run goes on."""
    plan = run.plan
    return {
        "id": run.id,
        "name": plan.name,
        "threads": plan.threads,
        "tags": dict(plan.tags),
        "described": plan.describe(),
    }


def point(window: Window) -> dict[str, Any]:
    """A window as the charts want it: a few percentiles; None where nothing was measured."""
    return {
        "at": window.at_s,
        "seconds": window.seconds,
        "warmup": window.is_warmup,
        "due": window.due,
        "ok": window.ok,
        "failed": window.failed,
        "dropped": window.dropped,
        "expired": window.expired,
        "interrupted": window.interrupted,
        "rate": window.rate,
        "response": _percentiles(window.response),
        "lag": _percentiles(window.lag),
        "service": _percentiles(window.service),
        "steps": {
            name: step.service.p95_ms if step.service.count else None
            for name, step in window.steps.items()
        },
    }


def _percentiles(durations: Durations) -> tuple[float, float, float] | None:
    if not durations.count:
        return None
    return durations.p50_ms, durations.p95_ms, durations.p99_ms


def state_view(run: Watched) -> dict[str, Any]:
    """How the run stands now."""
    figures = run.figures()
    # During the warm-up its counts are the ones that move.
    warmup = figures.warmup
    is_warming_up = run.is_warming_up
    counts = warmup if is_warming_up and warmup else figures.counts
    done = _done(figures.counts) + (_done(warmup) if warmup else 0)
    return {
        "state": _state(is_stopping=run.is_stopping, is_warming_up=is_warming_up),
        "elapsed_s": round(figures.elapsed_ns / 1e9, 3),
        "total": run.plan.arrivals.total,
        "done": done,
        "counts": {name: counts.get(name, 0) for name in figures.counts},
        "accounting": _accounting(counts),
        "steps": [
            {
                "name": name,
                "ok": step.ok,
                "failed": step.failed,
                "retried": step.retried,
                "timed_out": step.timed_out,
                **_step_times(step.service.percentiles(50, 95, 99, 100)),
            }
            for name, step in list(figures.steps.items())[:_MOST_STEPS]
        ],
        "errors": [
            {"step": kind.step, "type": kind.type, "count": kind.count, "example": kind.example}
            for kind in figures.errors
        ],
        "rows": figures.rows,
        "thresholds": msgspec.to_builtins(run.verdicts()),
    }


def _state(*, is_stopping: bool, is_warming_up: bool) -> str:
    if is_stopping:
        return "stopping"
    return "warming up" if is_warming_up else "running"


def _done(counts: Mapping[str, int]) -> int:
    """How many execs have their outcome."""
    return counts["due"] - sum(counts.get(name, 0) for name in _NOT_DONE)


def _accounting(counts: Mapping[str, int]) -> str:
    parts = (f"{n:,} {name}" for name, n in counts.items() if name not in ("due", "skipped"))
    return f"{counts['due']:,} due = {' + '.join(parts)}"


def _step_times(percentiles: tuple[float, ...]) -> dict[str, float | None]:
    # The middle of a bucket is above 0, so 0 is what no attempt took: there was none.
    return {
        name: in_ms(nanoseconds) if nanoseconds else None
        for name, nanoseconds in zip(("p50", "p95", "p99", "max"), percentiles, strict=True)
    }


def final_view(report: Report, total: int | None) -> dict[str, Any]:
    """How the run ended, in the form of `state_view` and with the verdict."""
    run = report.run
    return {
        "state": run.outcome,
        "elapsed_s": run.duration_s,
        "total": total,
        "done": _done(report.counts) + (report.warmup or {"due": 0})["due"],
        "counts": report.counts,
        "accounting": report.accounting,
        "steps": [
            {
                "name": name,
                "ok": step.ok,
                "failed": step.failed,
                "retried": step.retried,
                "timed_out": step.timed_out,
                **(_summary(step.service)),
            }
            for name, step in list(report.steps.items())[:_MOST_STEPS]
        ],
        "errors": msgspec.to_builtins(report.errors),
        "rows": report.rows,
        "thresholds": msgspec.to_builtins(report.thresholds),
        "exit_code": report.exit_code,
        "seconds": run.duration_s - run.warmup_s,
        "response_p99": report.response.p99_ms if report.response.count else None,
        "lag_p99": report.lag.p99_ms if report.lag.count else None,
    }


def _summary(durations: Durations) -> dict[str, float | None]:
    if not durations.count:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    return {
        "p50": durations.p50_ms,
        "p95": durations.p95_ms,
        "p99": durations.p99_ms,
        "max": durations.max_ms,
    }
