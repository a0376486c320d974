"""When schedules are due: values that know no Worker, start no thread and read no clock."""

from __future__ import annotations

__all__: list[str] = []
