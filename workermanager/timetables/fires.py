"""Fires: each due time of a schedule, what became of it, and how many became what.

Moments are nanoseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from instrumentation.errors import AccountingError

__all__ = ["Counts", "Ending", "Fire", "FireState", "Record", "Skip"]


class FireState(StrEnum):
    """How a fire stands: it waits, it runs, or it has ended in one of four ways."""

    WAITING = "waiting"
    RUNNING = "running"
    RAN = "ran"
    LATE = "late"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Fire:
    """One due time of a schedule that is to run.

    ``planned`` is when it is to begin: ``due``, and the jitter. ``attempt`` counts from 1, more
    where the process of an earlier one died. One that ``is_manual`` was asked for.
    """

    schedule: str
    due: int
    planned: int
    attempt: int = 1
    is_manual: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a fire that ran has ended; ``reason`` says why it failed.

    One that was ``called_off`` says nothing of the job: it is no failure in a row.
    """

    fire: Fire
    state: FireState
    started: int
    ended: int
    reason: str | None = None
    called_off: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Consecutive due times that nothing runs for, from the ``first`` to the ``last``."""

    first: int
    last: int
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry in the history of a schedule: a fire, or ``count`` skipped ones up to ``last``."""

    schedule: str
    due: int
    last: int
    count: int
    planned: int
    state: FireState
    attempt: int = 1
    is_manual: bool = False
    started: int | None = None
    ended: int | None = None
    reason: str | None = None
    node: str | None = None


@dataclass(slots=True)
class Counts:
    """How many fires were due, and how they stand; `check` that it adds up."""

    due: int = 0
    ran: int = 0
    late: int = 0
    skipped: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0

    def add(self, other: Counts) -> None:
        """Add those of another schedule."""
        for field in fields(Counts):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def check(self) -> None:
        """Raise AccountingError unless every fire that was due is accounted for."""
        ended = self.ran + self.late + self.skipped + self.failed
        if self.due != ended + self.running + self.waiting:
            raise AccountingError(f"the fires do not add up: {self}")

    def __getitem__(self, name: str) -> int:
        """A count by its name, as in the report of a run."""
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        parts = [f"{value} {name}" for name, value in self.to_dict().items() if name != "due"]
        return f"{self.due} due = {' + '.join(parts)}"
