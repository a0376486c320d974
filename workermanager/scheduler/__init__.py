"""Schedules that run: what a fire runs, when, on which thread, and what came of it."""

from __future__ import annotations

__all__: list[str] = []
