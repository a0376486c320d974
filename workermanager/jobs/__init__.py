"""Job pools: a stream of jobs on threads, with one result for each. They know no Worker."""

from __future__ import annotations

__all__: list[str] = []
