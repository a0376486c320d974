"""Periodic jobs: what runs on timetables, and who sees to it.

The timetables themselves, and what becomes of each due time, are in `workermanager.timetables`.
"""

from __future__ import annotations

__all__: list[str] = []
