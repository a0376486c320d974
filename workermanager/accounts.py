"""The accounting identity: every exec that was due is accounted for, once.

At every moment ``due = running + queued + ok + failed + dropped + expired + interrupted``; in a
closed account nothing runs or waits any more. What a resumed run skipped, because it was durable
already, is not due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from instrumentation.errors import AccountingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add", "check", "close", "is_cut"]

_UNFINISHED: Final = ("running", "queued")
_NOT_OUTCOMES: Final = ("due", "skipped")


def add(counts: Mapping[str, int], others: Mapping[str, int] | None) -> dict[str, int]:
    """The counts with those of a warm-up, if there was one."""
    return {name: count + (others or {}).get(name, 0) for name, count in counts.items()}


def close(counts: Mapping[str, int]) -> dict[str, int]:
    """The final counts: what never started, or never came back, was interrupted."""
    closed = {name: count for name, count in counts.items() if name not in _UNFINISHED}
    closed["interrupted"] += sum(counts[name] for name in _UNFINISHED)
    return closed


def is_cut(closed: Mapping[str, int], planned: int | None) -> bool:
    """True where a run, its accounts closed, was stopped before each planned exec had its outcome.

    ``planned`` is None for a run without end: only a stop ends it.
    """
    return closed["interrupted"] > 0 or closed["due"] != planned


def check(
    counts: Mapping[str, int], *, planned: int | None, is_stopped: bool, has_left: bool
) -> None:
    """Check the counts at a run's end, before `close`.

    ``planned`` is how many execs the plan has (None: no end), ``is_stopped`` whether the run was
    told to stop, ``has_left`` whether running execs were left behind.

    Raises:
        AccountingError: an exec is missing, or counted twice.
    """
    accounted = sum(count for name, count in counts.items() if name not in _NOT_OUTCOMES)
    if accounted != counts["due"]:
        raise AccountingError(
            f"{counts['due']} execs were due, {accounted} accounted for: {counts}"
        )
    if counts["running"] and not has_left:
        raise AccountingError(f"{counts['running']} execs neither ended nor run: {counts}")
    if is_stopped:
        return
    if counts["queued"] or planned not in (None, counts["due"]):
        raise AccountingError(f"{planned} execs were planned, not all ended: {counts}")
