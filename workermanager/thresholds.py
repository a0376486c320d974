"""Thresholds: what a run must keep to, as expressions, and whether it did."""

from __future__ import annotations

import msgspec

__all__ = ["Verdict"]


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
