"""Pipelines that run: items on their way through stages, bounded and accounted for."""

__all__: list[str] = []
