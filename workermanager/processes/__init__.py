"""Process pools: tasks in, one result for each out, whatever happens. They know no Worker."""

from __future__ import annotations

__all__: list[str] = []
