"""What a scheduler has done: every fire accounted for, by schedule, with the exit code."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from workermanager.histogram import Histogram
from workermanager.quantiles import Durations
from workermanager.timetables.fires import Counts, FireState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workermanager.timetables.fires import Ending, Fire
    from workermanager.timetables.store import Findings

__all__ = ["ScheduleReport", "Tally"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 105


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    """What a scheduler has done since it started; the counts add up at any moment.

    ``counts`` are of all fires, ``schedules`` of each schedule, ``skips`` say why fires were
    skipped, by schedule. ``lateness`` is from when a fire was planned until it began, ``service``
    how long it ran. ``unfinished`` are the fires that a stop has cut short or left behind, and
    ``unsaved`` counts ends that the store would not take.
    """

    counts: Counts
    schedules: Mapping[str, Counts]
    skips: Mapping[str, Mapping[str, int]]
    lateness: Durations
    service: Durations
    unfinished: tuple[str, ...] = ()
    unsaved: int = 0

    @property
    def exit_code(self) -> int:
        """0 if all that ran was ok, 1 if a fire failed, 105 if a stop left one unfinished."""
        if self.unfinished or self.unsaved:
            return EXIT_INTERRUPTED
        return EXIT_FAILED if self.counts.failed else EXIT_OK

    @property
    def accounting(self) -> str:
        """``120 due = 118 ran + …``."""
        return str(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        import msgspec  # noqa: PLC0415 - only who asks pays for it

        return {
            "schema": 1,
            "counts": self.counts.to_dict(),
            "schedules": {
                name: {**counts.to_dict(), "skips": dict(self.skips.get(name, {}))}
                for name, counts in self.schedules.items()
            },
            "lateness": msgspec.to_builtins(self.lateness),
            "service": msgspec.to_builtins(self.service),
            "unfinished": list(self.unfinished),
            "unsaved": self.unsaved,
            "exit_code": self.exit_code,
        }


@dataclass(slots=True)
class Tally:
    """What one scheduler began and what came of it; only its keeper's thread writes."""

    schedules: dict[str, Counts] = field(default_factory=dict)
    skips: dict[str, dict[str, int]] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    unsaved: int = 0
    lateness: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, findings: Findings) -> None:
        """Count what begins, what was skipped, and what was lost elsewhere."""
        with self.lock:
            for fire in findings.starts:
                counts = self._of(fire.schedule)
                counts.due += 1
                counts.running += 1
            for (name, reason), count in findings.skips.items():
                self._skip(name, reason, count)
            for ending in findings.lost:
                counts = self._of(ending.fire.schedule)
                counts.due += 1
                counts.failed += 1

    def end(self, ending: Ending) -> None:
        """Count how a fire that began here has ended."""
        name = ending.state.value
        with self.lock:
            counts = self._of(ending.fire.schedule)
            counts.running -= 1
            setattr(counts, name, getattr(counts, name) + 1)
            self.lateness.record(max(0, ending.started - ending.fire.planned))
            self.service.record(max(0, ending.ended - ending.started))

    def drop(self, name: str, reason: str, count: int) -> None:
        """Count fires that waited, and that nothing will run for."""
        with self.lock:
            self._skip(name, reason, count)

    def abandon(self, fire: Fire, told: str) -> None:
        """Count a fire that was left behind as failed: nobody waits for it any more."""
        with self.lock:
            counts = self._of(fire.schedule)
            counts.running -= 1
            setattr(counts, FireState.FAILED.value, counts.failed + 1)
            self.unfinished.append(told)

    def report(self, waiting: Mapping[str, int]) -> ScheduleReport:
        """The report as of now; ``waiting`` is how many fires of each schedule wait."""
        with self.lock:
            schedules: dict[str, Counts] = {}
            for name in {**dict.fromkeys(waiting), **self.schedules}:
                counts = Counts()
                counts.add(self.schedules.get(name, Counts()))
                counts.waiting = waiting.get(name, 0)
                counts.due += counts.waiting
                counts.check()
                schedules[name] = counts
            total = Counts()
            for counts in schedules.values():
                total.add(counts)
            return ScheduleReport(
                counts=total,
                schedules=schedules,
                skips={name: dict(reasons) for name, reasons in self.skips.items()},
                lateness=Durations.of(self.lateness),
                service=Durations.of(self.service),
                unfinished=tuple(self.unfinished),
                unsaved=self.unsaved,
            )

    def _skip(self, name: str, reason: str, count: int) -> None:
        counts = self._of(name)
        counts.due += count
        counts.skipped += count
        reasons = self.skips.setdefault(name, {})
        reasons[reason] = reasons.get(reason, 0) + count

    def _of(self, name: str) -> Counts:
        return self.schedules.setdefault(name, Counts())
