"""Opens what schedules are kept in: the memory of this process, or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager.scheduler.memory import MemoryStore

if TYPE_CHECKING:
    from workermanager.durations import Duration
    from workermanager.timetables.store import Store

__all__ = ["open_store"]


def open_store(
    url: str | None, *, lease: Duration = "15s", keep: Duration = "30d", read_only: bool = False
) -> Store:
    """The store at ``sqlite:///file.db`` or ``postgresql://…``; None is this process's memory.

    Its methods list, pause, resume, request and remove schedules, whether anybody runs them or not.
    One that is ``read_only`` creates nothing.

    Raises:
        InvalidConfig: it cannot be opened.
    """
    if url is None:
        return MemoryStore()
    from workermanager.database.schedule_store import (  # noqa: PLC0415 - 200 ms of SQLAlchemy
        ScheduleStore,
    )

    return ScheduleStore(url, lease=lease, keep=keep, read_only=read_only)
