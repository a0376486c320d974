"""The windows of a run as CSV: tidy rows, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workermanager.quantiles import Durations
    from workermanager.series import StepWindow, Window

__all__ = ["COLUMNS", "write_windows"]

_PLACE: Final = ("at_s", "seconds", "phase", "scope", "name")
_COUNTS: Final = (
    "due",
    "ok",
    "failed",
    "retried",
    "timed_out",
    "dropped",
    "expired",
    "interrupted",
)
_OF_STEPS: Final = ("retried", "timed_out")
_LEVELS: Final = ("running", "queued", "rate")
_FIGURES: Final = {
    "mean": "mean_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p999": "p999_ms",
    "max": "max_ms",
}
_TIMES: Final = tuple(
    f"{kind}_{figure}"
    for kind in ("response", "lag", "service")
    for figure in ("count", *_FIGURES.values())
)
COLUMNS: Final = (*_PLACE, *_COUNTS, *_LEVELS, *_TIMES)
"""The columns in their order; durations are in milliseconds."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets calculate or split


def write_windows(windows: Iterable[Window], stream: TextIO) -> None:
    """Write a header, and for each window a row of the whole run and one of each step.

    A cell is empty where there is no such figure. Open files with ``newline=""`` and UTF-8: the
    lines end as RFC 4180 wants them. A name that a spreadsheet would take for a formula is given
    a ``'`` in front.
    """
    writer = csv.DictWriter(stream, COLUMNS, restval="")
    writer.writeheader()
    for window in windows:
        writer.writerows(_rows(window))


def _rows(window: Window) -> Iterator[dict[str, object]]:
    place: dict[str, object] = {
        "at_s": window.at_s,
        "seconds": window.seconds,
        "phase": "warmup" if window.is_warmup else "run",
    }
    yield {
        **place,
        "scope": "run",
        **{name: getattr(window, name) for name in _COUNTS if name not in _OF_STEPS},
        **{name: getattr(window, name) for name in _LEVELS},
        **_times("response", window.response),
        **_times("lag", window.lag),
        **_times("service", window.service),
    }
    for name, step in window.steps.items():
        yield {**place, "scope": "step", "name": _harmless(name), **_step(step)}


def _step(step: StepWindow) -> dict[str, object]:
    return {
        "ok": step.service.count - step.failed - step.retried,
        "failed": step.failed,
        "retried": step.retried,
        "timed_out": step.timed_out,
        **_times("service", step.service),
    }


def _times(kind: str, durations: Durations) -> dict[str, object]:
    if not durations.count:
        return {f"{kind}_count": 0}
    figures = {f"{kind}_{name}": getattr(durations, name) for name in _FIGURES.values()}
    return {f"{kind}_count": durations.count, **figures}


def _harmless(name: str) -> str:
    """A name from outside that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name
