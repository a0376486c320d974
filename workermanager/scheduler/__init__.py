"""Schedules at work: what waits for due times, runs what is due, and accounts for it."""

from __future__ import annotations

__all__: list[str] = []
