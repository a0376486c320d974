"""Where schedules and their fires are kept: what every store does, and the one in memory."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from instrumentation.errors import InvalidConfig
from workermanager.timetables.deciding import decide, settle
from workermanager.timetables.fires import Counts, Ending, Fire, FireState, Record
from workermanager.timetables.schedule import FOREVER, Progress, Schedule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workermanager.timetables.deciding import Decision

__all__ = ["Entry", "Findings", "Look", "MemoryStore", "Outlook", "Store", "unknown_schedule"]

_MOST_RECORDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a scheduler tells and asks its store, all at once, because a transaction costs.

    ``endings`` are fires of its own that have ended. ``names`` are the schedules to look at:
    something may be due or may begin; ``room`` is how many fires may. With ``is_round``, the store
    looks after everything that others may have done as well.
    """

    now: int
    endings: Sequence[Ending] = ()
    names: Collection[str] = ()
    room: int = 0
    is_round: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a schedule wants to be looked at again.

    ``next_look`` is the moment (None: never), ``waits_since`` when the first of its fires that
    wait was planned (None: none waits), and ``running`` how many run, here and elsewhere.
    """

    next_look: int | None
    waits_since: int | None
    running: int


@dataclass(slots=True)
class Findings:
    """What came of a look.

    ``starts`` are to begin here, and are entered as running. ``cancels`` run here and are to be
    called off. ``outlooks`` has every schedule that was looked at or has changed. ``pauses`` are
    schedules that have failed too often, ``lost`` the fires whose process died, and ``fenced`` own
    endings that came too late: others had taken this process for dead. ``skips`` are counted by
    schedule and reason.
    """

    starts: list[Fire] = field(default_factory=list)
    cancels: list[Fire] = field(default_factory=list)
    outlooks: dict[str, Outlook] = field(default_factory=dict)
    pauses: list[str] = field(default_factory=list)
    lost: list[Ending] = field(default_factory=list)
    fenced: list[Ending] = field(default_factory=list)
    skips: dict[tuple[str, str], int] = field(default_factory=dict)

    def note_skips(self, name: str, decision: Decision) -> None:
        """Count what a decision skipped."""
        for skip in decision.skips:
            self._note(name, skip.reason, skip.count)
        for _fire, reason in decision.dropped:
            self._note(name, reason, 1)

    def _note(self, name: str, reason: str, count: int) -> None:
        self.skips[name, reason] = self.skips.get((name, reason), 0) + count


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule as a list shows it: ``progress.counts`` has all its fires, and adds up.

    ``next_due`` is the next undecided due time; ``is_served`` is False where no process that lives
    has the schedule. ``target`` is what the command line runs, if that has entered it.
    """

    schedule: Schedule
    progress: Progress
    next_due: int | None
    is_served: bool = True
    target: str | None = None


class Store(Protocol):
    """Schedules, their progress and their fires; each method is one transaction.

    A fire is there once: whoever enters it as running runs it. Methods may be called from any
    thread. ``is_shared`` where other processes look at it too, so that rounds are needed.

    Raises:
        InvalidConfig: from methods that name a schedule: there is none of that name.
        WriteError: the database does not go on; nothing of the transaction is done.
    """

    is_shared: bool

    def enroll(self, schedules: Iterable[Schedule], now: int) -> list[Schedule]:
        """Enter schedules, or take them up where they are known; gives them anchored.

        One whose timetable is what it was goes on from where it was, with its anchor: what fell
        due meanwhile was missed. One with another timetable begins now. Policies are the new ones.
        """
        ...

    def look(self, look: Look) -> Findings:
        """Note endings, decide what is due, and enter what begins."""
        ...

    def leave(self, endings: Sequence[Ending], now: int) -> None:
        """Note the last endings of a scheduler that stops; what of its own runs still is lost."""
        ...

    def pause(self, name: str, now: int, until: int = FOREVER) -> None:
        """Begin nothing more of a schedule until then, or until it is resumed."""
        ...

    def resume(self, name: str, now: int) -> None:
        """End a pause: what fell due in it stays skipped. Also forgets failures in a row."""
        ...

    def request(self, name: str, now: int) -> Fire:
        """Have a schedule run now, once more, also while it is paused."""
        ...

    def remove(self, name: str) -> None:
        """Forget a schedule with its history.

        Raises:
            InvalidConfig: a fire of it runs.
        """
        ...

    def entries(self, now: int) -> list[Entry]:
        """Every schedule, by name."""
        ...

    def history(self, name: str | None = None, most: int = 100) -> list[Record]:
        """The latest fires of one schedule or of all, the latest first."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def unknown_schedule(name: str, known: Iterable[str]) -> InvalidConfig:
    """The refusal of a name that no schedule has."""
    there_are = ", ".join(sorted(known)) or "none"
    return InvalidConfig(f"there is no schedule {name!r}; there are: {there_are}")


@dataclass(slots=True)
class _Kept:
    schedule: Schedule
    progress: Progress
    waiting: list[Fire] = field(default_factory=list)
    running: set[Fire] = field(default_factory=set)
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=_MOST_RECORDS))

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

    def enroll(self, schedules: Iterable[Schedule], now: int) -> list[Schedule]:
        """Enter schedules; all are new here, or begin anew."""
        anchored = []
        with self._lock:
            for schedule in schedules:
                settled = replace(schedule, timetable=schedule.timetable.anchored(now))
                anchored.append(settled)
                if (known := self._kept.get(schedule.name)) is not None:
                    known.schedule = settled
                    known.progress.cursor = now
                else:
                    self._kept[schedule.name] = _Kept(settled, Progress(settled.begins_after(now)))
        return anchored

    def look(self, look: Look) -> Findings:
        """Note endings, decide what is due, and enter what begins."""
        findings = Findings()
        with self._lock:
            for ending in look.endings:
                self._settle(ending, findings)
            for name in look.names:
                if (kept := self._kept.get(name)) is not None:
                    self._decide(kept, look.now, look.room - len(findings.starts), findings)
        return findings

    def _settle(self, ending: Ending, findings: Findings) -> None:
        fire = ending.fire
        kept = self._kept[fire.schedule]
        kept.running.discard(fire)
        if settle(kept.schedule, kept.progress, ending):
            findings.pauses.append(fire.schedule)
        kept.records.append(
            Record(
                schedule=fire.schedule,
                due=fire.due,
                last=fire.due,
                count=1,
                planned=fire.planned,
                state=ending.state,
                attempt=fire.attempt,
                is_manual=fire.is_manual,
                started=ending.started,
                ended=ending.ended,
                reason=ending.reason,
            )
        )

    def _decide(self, kept: _Kept, now: int, room: int, findings: Findings) -> None:
        decision = decide(
            kept.schedule, kept.progress, kept.waiting, len(kept.running), now=now, room=room
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
            count = skip.count
            if records and records[-1].due == skip.first:  # it goes on
                count += records.pop().count
            records.append(
                Record(
                    schedule=name,
                    due=skip.first,
                    last=skip.last,
                    count=count,
                    planned=kept.schedule.planned(skip.first),
                    state=FireState.SKIPPED,
                    reason=skip.reason,
                )
            )
        for fire, reason in decision.dropped:
            records.append(
                Record(
                    schedule=name,
                    due=fire.due,
                    last=fire.due,
                    count=1,
                    planned=fire.planned,
                    state=FireState.SKIPPED,
                    is_manual=fire.is_manual,
                    reason=reason,
                )
            )

    def leave(self, endings: Sequence[Ending], now: int) -> None:  # noqa: ARG002 - for others
        """Note the last endings; what waits is skipped, because nobody will take it up."""
        findings = Findings()
        with self._lock:
            for ending in endings:
                self._settle(ending, findings)
            for kept in self._kept.values():
                for fire in kept.waiting:
                    kept.progress.counts.skipped += 1
                    kept.records.append(_stopped(fire))
                kept.waiting = []

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


def _stopped(fire: Fire) -> Record:
    return Record(
        schedule=fire.schedule,
        due=fire.due,
        last=fire.due,
        count=1,
        planned=fire.planned,
        state=FireState.SKIPPED,
        attempt=fire.attempt,
        is_manual=fire.is_manual,
        reason="stopped",
    )
