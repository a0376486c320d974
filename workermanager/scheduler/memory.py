"""Schedules kept in the memory of this process, for as long as it lives."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from instrumentation.errors import InvalidConfig
from workermanager.timetables.deciding import decide, settle
from workermanager.timetables.fires import Counts, Fire, FireState, Record
from workermanager.timetables.schedule import FOREVER, Progress
from workermanager.timetables.store import Entry, Findings, Outlook, unknown_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workermanager.timetables.deciding import Decision
    from workermanager.timetables.fires import Ending
    from workermanager.timetables.schedule import Schedule
    from workermanager.timetables.store import Look

__all__ = ["MemoryStore"]

_MOST_RECORDS: Final = 1_000


@dataclass(slots=True)
class _Kept:
    schedule: Schedule
    progress: Progress
    is_relative: bool
    target: str | None
    waiting: list[Fire] = field(default_factory=list)
    running: set[Fire] = field(default_factory=set)
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=_MOST_RECORDS))
    skipping: Record | None = None  # the latest one of skipped fires

    def count(self) -> Counts:
        """All its fires, how they stand now included."""
        counts = self.progress.counts
        counts.running, counts.waiting = len(self.running), len(self.waiting)
        return counts


class MemoryStore:
    """Schedules of one process, for as long as it lives, with their latest 1,000 records each."""

    is_shared = False

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def enroll(
        self, schedules: Iterable[Schedule], now: int, *, targets: Mapping[str, str] | None = None
    ) -> list[Schedule]:
        """Enter schedules, all of them new."""
        anchored = []
        with self._lock:
            for schedule in schedules:
                settled = replace(schedule, timetable=schedule.timetable.anchored(now))
                anchored.append(settled)
                self._kept[schedule.name] = _Kept(
                    settled,
                    Progress(settled.begins_after(now)),
                    is_relative=settled.timetable != schedule.timetable,
                    target=(targets or {}).get(schedule.name),
                )
        return anchored

    def look(self, look: Look) -> Findings:
        """Note endings, decide what is due, and enter what begins."""
        findings = Findings()
        with self._lock:
            for ending in look.endings:
                self._settle(ending, findings)
            for name in look.names:
                if (kept := self._kept.get(name)) is not None:
                    self._decide(kept, look, look.room - len(findings.starts), findings)
        return findings

    def _settle(self, ending: Ending, findings: Findings) -> None:
        fire = ending.fire
        kept = self._kept[fire.schedule]
        kept.running.discard(fire)
        if settle(kept.schedule, kept.progress, ending):
            findings.pauses.append(fire.schedule)
        record = _record_of(fire, ending.state, ending.reason)
        kept.records.append(replace(record, started=ending.started, ended=ending.ended))

    def _decide(self, kept: _Kept, look: Look, room: int, findings: Findings) -> None:
        decision = decide(
            kept.schedule,
            kept.progress,
            kept.waiting,
            len(kept.running),
            now=look.now,
            room=room,
            ahead_ns=look.ahead_ns,
        )
        self._enter_skips(kept, decision)
        name = kept.schedule.name
        if decision.is_cancelling:
            findings.cancels += kept.running
        gone = {*decision.starts, *(fire for fire, _ in decision.dropped)}
        kept.waiting = [fire for fire in (*kept.waiting, *decision.waits) if fire not in gone]
        kept.running.update(decision.starts)
        findings.starts += decision.starts
        findings.note_skips(name, decision)
        waits_since = min((fire.planned for fire in kept.waiting), default=None)
        findings.outlooks[name] = Outlook(decision.next_look, waits_since, len(kept.running))

    @staticmethod
    def _enter_skips(kept: _Kept, decision: Decision) -> None:
        name, records = kept.schedule.name, kept.records
        for skip in decision.skips:
            count, before = skip.count, kept.skipping
            if before is not None and before.due == skip.first:  # it goes on
                count += before.count
                if records[-1] is before:
                    records.pop()
                elif before in records:  # a fire has ended since
                    records.remove(before)
            kept.skipping = Record(
                schedule=name,
                due=skip.first,
                last=skip.last,
                count=count,
                planned=kept.schedule.planned(skip.first),
                state=FireState.SKIPPED,
                reason=skip.reason,
            )
            records.append(kept.skipping)
        for fire, reason in decision.dropped:
            records.append(_record_of(fire, FireState.SKIPPED, reason))

    def leave(self, endings: Sequence[Ending], now: int) -> None:  # noqa: ARG002 - for others
        """Note the last endings; what waits is skipped, because nobody will take it up."""
        findings = Findings()
        with self._lock:
            for ending in endings:
                self._settle(ending, findings)
            for kept in self._kept.values():
                for fire in kept.waiting:
                    kept.progress.counts.skipped += 1
                    kept.records.append(_record_of(fire, FireState.SKIPPED, "stopped"))
                kept.waiting = []

    def heed_clock(self, jump_ns: int) -> None:
        """Have what counts from its registration go on with what has passed."""
        with self._lock:
            for kept in self._kept.values():
                if kept.is_relative:
                    timetable = kept.schedule.timetable.shifted(jump_ns)
                    kept.schedule = replace(kept.schedule, timetable=timetable)
                    kept.progress.cursor += jump_ns

    def pause(self, name: str, now: int, until: int = FOREVER) -> None:  # noqa: ARG002 - for others
        """Begin nothing more of a schedule until then, or until it is resumed."""
        with self._lock:
            self._find(name).progress.paused_until = until

    def resume(self, name: str, now: int) -> None:
        """End a pause: what fell due in it stays skipped."""
        with self._lock:
            progress = self._find(name).progress
            if progress.paused_until is not None:
                progress.paused_until = min(now, progress.paused_until)
            progress.failures = 0

    def request(self, name: str, now: int) -> Fire:
        """Have a schedule run now, once more."""
        with self._lock:
            kept = self._find(name)
            taken = {fire.due for fire in (*kept.waiting, *kept.running)}
            while now in taken:
                now += 1
            fire = Fire(name, now, now, is_manual=True)
            kept.waiting.append(fire)
            kept.progress.counts.due += 1
        return fire

    def remove(self, name: str) -> None:
        """Forget a schedule with its history."""
        with self._lock:
            if self._find(name).running:
                raise InvalidConfig(f"schedule {name!r} runs just now; pause it first")
            del self._kept[name]

    def entries(self, now: int) -> list[Entry]:  # noqa: ARG002 - for others
        """Every schedule, by name."""
        with self._lock:
            return [
                Entry(
                    kept.schedule,
                    replace(kept.progress, counts=replace(kept.count())),
                    kept.schedule.timetable.after(max(kept.progress.cursor, 0)),
                    target=kept.target,
                )
                for _, kept in sorted(self._kept.items())
            ]

    def history(self, name: str | None = None, most: int = 100) -> list[Record]:
        """The latest fires of one schedule or of all, the latest first."""
        with self._lock:
            some = [self._find(name)] if name is not None else [*self._kept.values()]
            records = [record for kept in some for record in kept.records]
        return sorted(records, key=lambda record: record.due, reverse=True)[:most]

    def close(self) -> None:
        """There is nothing to let go of."""

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise unknown_schedule(name, self._kept)
        return self._kept[name]


def _record_of(fire: Fire, state: FireState, reason: str | None) -> Record:
    return Record(
        schedule=fire.schedule,
        due=fire.due,
        last=fire.due,
        count=1,
        planned=fire.planned,
        state=state,
        attempt=fire.attempt,
        is_manual=fire.is_manual,
        reason=reason,
    )
