"""The user's database: the only door to SQLAlchemy. Imported only by runs that have one."""

from __future__ import annotations

__all__: list[str] = []
