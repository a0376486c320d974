"""One transaction's work on schedules that it has locked: what it finds, does and writes.

It decides nothing itself: `decide` and `settle` do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from workermanager.database.schedule_rows import FireRow, progress_of
from workermanager.timetables.deciding import decide, settle
from workermanager.timetables.fires import Ending, Fire, FireState
from workermanager.timetables.store import Findings, Outlook

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workermanager.database.schedule_rows import ScheduleRow
    from workermanager.timetables.deciding import Decision
    from workermanager.timetables.schedule import Progress, Schedule

__all__ = ["Held", "Work"]

_MOST_ATTEMPTS: Final = 3
_WAITING: Final = FireState.WAITING.value
_RUNNING: Final = FireState.RUNNING.value
_SKIPPED: Final = FireState.SKIPPED.value


@dataclass(slots=True)
class Held:
    """A schedule whose row is locked, with its fires that wait (in order) and those that run.

    ``skip_times`` are the due times in the record of skipped ones that can still grow.
    """

    row: ScheduleRow
    schedule: Schedule
    progress: Progress
    skip_times: int
    waiting: list[Fire] = field(default_factory=list)
    running: dict[int, FireRow] = field(default_factory=dict)

    def values(self) -> tuple[Any, ...]:
        """The columns of its progress, as they are to be."""
        progress, counts = self.progress, self.progress.counts
        due, reason = progress.open_skip or (None, None)
        return (
            progress.cursor,
            progress.paused_until,
            progress.failures,
            due,
            reason,
            self.skip_times if due is not None else 0,
            counts.due,
            counts.ran,
            counts.late,
            counts.skipped,
            counts.failed,
        )


class Work:
    """What a process does in one transaction, and ``findings`` of it.

    ``fires`` are the rows to be written.
    """

    def __init__(self, node: str, now: int, findings: Findings, ahead_ns: int = 0) -> None:
        self.findings = findings
        self.held: dict[str, Held] = {}
        self.fires: dict[tuple[str, int], FireRow] = {}
        self._node = node
        self._now = now
        self._ahead_ns = ahead_ns

    def hold(self, row: ScheduleRow, schedule: Schedule) -> None:
        """Take up a schedule that is locked."""
        self.held[row.name] = Held(row, schedule, progress_of(row), row.skip_count)

    def take_open(self, rows: Iterable[FireRow]) -> None:
        """Take up the fires that wait or run, the earliest planned first."""
        for row in rows:
            held = self.held[row.schedule]
            if row.state == _WAITING:
                held.waiting.append(row.fire)
            else:
                held.running[row.due] = row

    def changed(self) -> list[tuple[Any, ...]]:
        """The progress of those schedules that have any: its columns, and the name."""
        changed = []
        for name, held in self.held.items():
            values = held.values()
            if values != held.row[4:]:
                changed.append((*values, name))
        return changed

    def settle(self, ending: Ending) -> None:
        """Note how a fire of this process ended, unless others took it for lost."""
        fire = ending.fire
        held = self.held.get(fire.schedule)
        row = None if held is None else held.running.get(fire.due)
        if held is None or row is None or (row.node, row.attempt) != (self._node, fire.attempt):
            self.findings.fenced.append(ending)
        else:
            self._end(held, row, ending)

    def lose(self, node: str, reason: str, *, called_off: bool = False) -> None:
        """Settle whatever runs on a process that has ended, or will: it failed, or waits again."""
        for held in self.held.values():
            for row in [row for row in held.running.values() if row.node == node]:
                if held.schedule.lost == "rerun" and row.attempt < _MOST_ATTEMPTS:
                    self._run_again(held, row)
                    continue
                ending = Ending(
                    row.fire, FireState.FAILED, row.started or 0, self._now, reason, called_off
                )
                self._end(held, row, ending)
                self.findings.lost.append(ending)

    def _end(self, held: Held, row: FireRow, ending: Ending) -> None:
        del held.running[row.due]
        if settle(held.schedule, held.progress, ending):
            self.findings.pauses.append(row.schedule)
        self._write(
            row._replace(
                state=ending.state.value,
                started=ending.started,
                ended=ending.ended,
                reason=ending.reason,
            )
        )

    def _run_again(self, held: Held, row: FireRow) -> None:
        row = row._replace(
            state=_WAITING, attempt=row.attempt + 1, started=None, node=None, is_cancelled=False
        )
        logger.info(
            "{}: the process of a run has ended; attempt {} follows", row.schedule, row.attempt
        )
        del held.running[row.due]
        held.waiting.append(row.fire)
        held.waiting.sort(key=lambda fire: (fire.planned, fire.due))
        self._write(row)

    def decide(self, name: str, room: int) -> None:
        """Decide what has fallen due of a schedule, and what begins."""
        held = self.held[name]
        progress, findings = held.progress, self.findings
        open_skip = progress.open_skip
        decision = decide(
            held.schedule,
            progress,
            held.waiting,
            len(held.running),
            now=self._now,
            room=room,
            ahead_ns=self._ahead_ns,
        )
        if decision.skips or decision.dropped:
            self._enter_skips(held, decision, open_skip)
            findings.note_skips(name, decision)
        if decision.is_cancelling:
            self._cancel(held)
        for fire in decision.waits:
            self._write(_row_of(fire, _WAITING))
        for fire in decision.starts:
            row = _row_of(fire, _RUNNING, self._now, self._node)
            held.running[fire.due] = row
            self._write(row)
        gone = {*decision.starts, *(fire for fire, _ in decision.dropped)}
        held.waiting = [fire for fire in (*held.waiting, *decision.waits) if fire not in gone]
        findings.starts += decision.starts
        waits_since = min((fire.planned for fire in held.waiting), default=None)
        findings.outlooks[name] = Outlook(decision.next_look, waits_since, len(held.running))

    def _enter_skips(
        self, held: Held, decision: Decision, open_skip: tuple[int, str] | None
    ) -> None:
        name = held.schedule.name
        for skip in decision.skips:
            if open_skip != (skip.first, skip.reason):
                open_skip, held.skip_times = (skip.first, skip.reason), 0
            held.skip_times += skip.count
            planned = held.schedule.planned(skip.first)
            self._write(
                FireRow(
                    name,
                    skip.first,
                    skip.last,
                    held.skip_times,
                    planned,
                    _SKIPPED,
                    reason=skip.reason,
                )
            )
        for fire, reason in decision.dropped:
            self._write(_row_of(fire, _SKIPPED)._replace(reason=reason))

    def _cancel(self, held: Held) -> None:
        """Call off what runs; where it runs elsewhere, that process finds it at its round."""
        for due, row in held.running.items():
            if row.node == self._node:
                self.findings.cancels.append(row.fire)
            elif not row.is_cancelled:
                held.running[due] = cancelled = row._replace(is_cancelled=True)
                self._write(cancelled)

    def _write(self, row: FireRow) -> None:
        self.fires[row.schedule, row.due] = row


def _row_of(fire: Fire, state: str, started: int | None = None, node: str | None = None) -> FireRow:
    return FireRow(
        fire.schedule,
        fire.due,
        fire.due,
        1,
        fire.planned,
        state,
        fire.attempt,
        fire.is_manual,
        started,
        None,
        None,
        node,
    )
