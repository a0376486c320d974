"""Schedules in a database: they survive their process, and several processes may share them."""

from __future__ import annotations

import json
import os
import threading
import time
from copy import copy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, TypeVar

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from instrumentation.errors import InvalidConfig
from workermanager.database.refusals import refusal
from workermanager.database.schedule_looks import Work
from workermanager.database.schedule_nodes import Watch, has_ended, this_node
from workermanager.database.schedule_rows import (
    FireRow,
    new_row,
    progress_of,
    record_of,
    taken_up,
)
from workermanager.database.schedule_tables import SCHEDULES, ScheduleTables
from workermanager.database.store import Database
from workermanager.durations import parse_duration
from workermanager.timetables.fires import Fire, FireState
from workermanager.timetables.schedule import FOREVER, Schedule
from workermanager.timetables.store import Entry, Findings, unknown_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from workermanager.database.schedule_rows import NodeRow, ScheduleRow
    from workermanager.durations import Duration
    from workermanager.timetables.fires import Ending, Record
    from workermanager.timetables.store import Look

__all__ = ["ScheduleStore"]

T = TypeVar("T")

_CONNECTIONS: Final = 4  # the scheduler's, and whoever pauses or lists meanwhile
_PATIENCE_S: Final = (
    10.0  # whoever looks comes again, and has to end a drain and tell that it lives
)
_BEATS_A_LEASE: Final = 3
_MOST_WAITING: Final = 1_000  # schedules, that a round looks at
_PRUNED_A_ROUND: Final = 1_000
_LOST: Final = "lost: its process ended"
_STOPPED: Final = "cancelled: the scheduler stopped"


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a look has done whose commit was not acknowledged: only the database knows."""

    endings: frozenset[Ending]
    findings: Findings


class ScheduleStore:
    """Schedules and their fires in a SQLite file, PostgreSQL or CockroachDB. `close` it.

    ``node`` names this process in the history. One that has not been heard of for the ``lease`` is
    taken for dead, by the ``monotonic`` clock of whoever waits for it. What has ended is forgotten
    after ``keep``. One that is ``read_only`` creates nothing.

    Raises:
        InvalidConfig: the database cannot be opened, or has no schedules and is only read.
    """

    is_shared = True

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        url: str,
        *,
        node: str | None = None,
        lease: Duration = "15s",
        keep: Duration = "30d",
        read_only: bool = False,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        lease_ns, self._keep_ns = parse_duration(lease, "lease"), parse_duration(keep, "keep")
        if not lease_ns:
            raise InvalidConfig("lease: 0 leaves no time to be heard of; write 15s or so")
        self._database = Database(url, _CONNECTIONS, only_reads=read_only, patience_s=_PATIENCE_S)
        self._tables = ScheduleTables(self._database.dialect)
        self._name = node
        self._node = this_node(node)
        self._watch = Watch(lease_ns, monotonic)
        self._monotonic = monotonic
        self._beat_every_ns = lease_ns // _BEATS_A_LEASE
        self._beat_at = monotonic() - lease_ns
        self._serves: set[str] = set()
        self._tried: dict[int, _Tried] = {}
        self._parsed: dict[str, tuple[str, Schedule]] = {}
        self._lock = threading.Lock()
        try:
            if read_only:
                self._run(self._tables.require)
            else:
                self._database.create(SCHEDULES)
        except BaseException:
            self._database.close()
            raise

    @property
    def node(self) -> str:
        """What the history calls this process."""
        return self._node.id

    def enroll(
        self, schedules: Iterable[Schedule], now: int, *, targets: Mapping[str, str] | None = None
    ) -> list[Schedule]:
        """Enter schedules, or take them up where they are known; gives them anchored.

        ``targets`` says of those that the command line runs what they run, by name.
        """
        wanted = {schedule.name: schedule for schedule in schedules}
        with self._lock:
            if self._node.pid != os.getpid():  # forked since it was opened, maybe several times
                self._node = this_node(self._name)
            serves = frozenset(self._serves)
            try:
                return self._run(
                    lambda connection: self._enroll(connection, wanted, now, targets or {})
                )
            except BaseException:
                self._serves = {*serves}
                raise

    def _enroll(
        self,
        connection: Connection,
        wanted: Mapping[str, Schedule],
        now: int,
        targets: Mapping[str, str],
    ) -> list[Schedule]:
        new = {name: new_row(one, now, targets.get(name)) for name, one in wanted.items()}
        self._tables.add_schedules(connection, new.values())
        anchored = {}
        for known in list(self._tables.lock_schedules(connection, wanted)):
            row = taken_up(known, new[known.name], wanted[known.name])
            anchored[row.name] = self._parse(row)
            if row != known:
                self._tables.write_schedule(connection, row)
        self._serves |= anchored.keys()
        self._node = self._node._replace(beat=self._node.beat + 1)  # that of no look
        self._enter(connection)
        return [anchored[name] for name in wanted]

    def look(self, look: Look) -> Findings:
        """Note endings, decide what is due, and enter what begins.

        It asks for those again that run here and are to be called off, until they have ended.
        """
        with self._lock:
            findings = self._run(lambda connection: self._look(connection, look))
            self._tried.clear()
        return findings

    def _look(self, connection: Connection, look: Look) -> Findings:
        tried = self._find_tried(connection)
        work = Work(self.node, look.now, _copied(tried.findings), look.ahead_ns)
        endings = [ending for ending in look.endings if ending not in tried.endings]
        dead, others = self._go_round(connection, work) if look.is_round else ([], [])
        lost = {
            row.schedule for node in dead for row in self._tables.running_on(connection, node.id)
        }
        names = list(dict.fromkeys((*look.names, *others, *sorted(lost & self._serves))))
        ended = {ending.fire.schedule for ending in endings}
        self._hold(connection, work, {*names, *lost, *ended})
        for ending in endings:
            work.settle(ending)
        for node in dead:
            self._bury(connection, work, node)
        for name in names:
            if name in work.held:
                work.decide(name, look.room - len(work.findings.starts))
        is_changed = self._write(connection, work)
        if look.is_round:
            self._tables.prune(connection, look.now - self._keep_ns, _PRUNED_A_ROUND)
        if is_changed or (look.is_round and self._wants_beat()):
            self._beat(connection, _Tried(tried.endings.union(endings), work.findings))
        return work.findings

    def _find_tried(self, connection: Connection) -> _Tried:
        """What an earlier attempt has done after all, though its commit was not acknowledged."""
        if not self._tried:
            return _NOTHING
        last = self._tables.last_beat(connection, self.node)
        return _NOTHING if last is None else self._tried.get(last, _NOTHING)

    def _go_round(self, connection: Connection, work: Work) -> tuple[list[NodeRow], list[str]]:
        """Who is dead, and which of our schedules others may want to run, or held up."""
        nodes = {node.id: node for node in self._tables.nodes(connection)}
        if nodes.pop(self.node, None) is None:  # others took us for dead
            self._beat_at = self._monotonic() - 2 * self._beat_every_ns
        work.findings.cancels += [
            row.fire
            for row in self._tables.running_on(connection, self.node)
            if row.is_cancelled and row.fire not in work.findings.cancels
        ]
        waiting = self._tables.waiting(connection, _MOST_WAITING)
        return self._watch.find_dead(nodes.values()), [
            name for name in waiting if name in self._serves
        ]

    def _hold(self, connection: Connection, work: Work, names: set[str]) -> None:
        for row in self._tables.lock_schedules(connection, names):
            work.hold(row, self._parse(row))
        work.take_open(self._tables.open_fires(connection, work.held))

    def _bury(self, connection: Connection, work: Work, node: NodeRow) -> None:
        """Settle what a dead process ran: by whoever deletes it, and only if it did not stir."""
        if self._tables.drop_node(connection, node.id, node.beat):
            logger.warning("{} serves schedules no more: its process ended", node.id)
            work.lose(node.id, _LOST)

    def _write(self, connection: Connection, work: Work) -> bool:
        progress, fires = work.changed(), list(work.fires.values())
        self._tables.write_progress(connection, progress)
        self._tables.write_fires(connection, fires)
        return bool(progress or fires)

    def _wants_beat(self) -> bool:
        return self._monotonic() - self._beat_at >= self._beat_every_ns

    def _beat(self, connection: Connection, tried: _Tried) -> None:
        """Note that we live: until the commit is acknowledged, this tells which attempt did it."""
        self._node = self._node._replace(beat=self._node.beat + 1)
        self._tried[self._node.beat] = tried
        if not self._tables.beat(connection, self.node, self._node.beat):
            self._enter(connection)
        self._beat_at = self._monotonic()

    def _enter(self, connection: Connection) -> None:
        self._node = self._node._replace(serves=json.dumps(sorted(self._serves)))
        self._tables.enter_node(connection, self._node)

    def leave(self, endings: Sequence[Ending], now: int) -> None:
        """Note the last endings; what of its own runs still failed, or runs again elsewhere."""

        def leave(connection: Connection) -> None:
            work = Work(self.node, now, Findings())
            running = self._tables.running_on(connection, self.node)
            names = {ending.fire.schedule for ending in endings}
            self._hold(connection, work, names.union(row.schedule for row in running))
            for ending in endings:
                work.settle(ending)
            work.lose(self.node, _STOPPED, called_off=True)
            self._write(connection, work)
            self._tables.drop_node(connection, self.node)

        with self._lock:
            self._run(leave)
            self._tried.clear()

    def heed_clock(self, jump_ns: int) -> None:
        """Nothing: what others share goes by the wall clock."""

    def pause(self, name: str, now: int, until: int = FOREVER) -> None:  # noqa: ARG002 - as the protocol has it
        """Begin nothing more of a schedule until then, or until it is resumed."""
        self._change(name, lambda connection: self._tables.pause(connection, name, until))

    def resume(self, name: str, now: int) -> None:
        """End a pause: what fell due in it stays skipped. Also forgets failures in a row."""
        self._change(name, lambda connection: self._tables.resume(connection, name, now))

    def _change(self, name: str, change: Callable[[Connection], bool]) -> None:
        def change_known(connection: Connection) -> None:
            if not change(connection):
                raise unknown_schedule(name, self._tables.names(connection))

        self._run(change_known)

    def request(self, name: str, now: int) -> Fire:
        """Have a schedule run now, once more, also while it is paused.

        Two fires of a schedule are never due at the same moment: it may be some nanoseconds later.
        """
        asked: list[Fire] = []  # by attempts whose commit was not acknowledged

        def request(connection: Connection) -> Fire:
            row = self._lock_one(connection, name)
            if asked and self._tables.has_fire(connection, name, asked[-1].due):
                return asked[-1]
            after, due = self._parse(row).timetable.after, now
            while after(due - 1) == due or self._tables.has_fire(connection, name, due):
                due += 1
            fire = Fire(name, due, due, is_manual=True)
            asked.append(fire)
            waiting = FireRow(name, due, due, 1, due, FireState.WAITING.value, is_manual=True)
            self._tables.write_fires(connection, [waiting])
            self._tables.write_schedule(connection, row._replace(due=row.due + 1))
            return fire

        return self._run(request)

    def remove(self, name: str) -> None:
        """Forget a schedule with its history.

        Raises:
            InvalidConfig: a fire of it runs.
        """
        is_tried = False

        def remove(connection: Connection) -> None:
            nonlocal is_tried
            if is_tried and name not in self._tables.names(connection):
                return  # it was committed, and not acknowledged
            self._lock_one(connection, name)
            ended = {node.id for node in self._tables.nodes(connection) if has_ended(node)}
            for row in self._tables.open_fires(connection, [name]):
                if row.state == FireState.RUNNING.value and row.node not in ended:
                    raise InvalidConfig(f"schedule {name!r} runs just now; pause it first")
            self._tables.remove(connection, name)
            is_tried = True

        self._run(remove)
        self._serves.discard(name)

    def entries(self, now: int) -> list[Entry]:  # noqa: ARG002 - as the protocol has it
        """Every schedule, by name."""

        def read(connection: Connection) -> list[Entry]:
            nodes = [node for node in self._tables.nodes(connection) if not has_ended(node)]
            served = {name for node in nodes for name in json.loads(node.serves)}
            still = self._tables.count_open(connection)
            return [
                self._entry(row, still, is_served=row.name in served)
                for row in self._tables.schedules(connection)
            ]

        return self._run(read)

    def _entry(
        self, row: ScheduleRow, still: Mapping[tuple[str, str], int], *, is_served: bool
    ) -> Entry:
        schedule, progress = self._parse(row), progress_of(row)
        progress.counts.waiting = still.get((row.name, FireState.WAITING.value), 0)
        progress.counts.running = still.get((row.name, FireState.RUNNING.value), 0)
        next_due = schedule.timetable.after(max(row.cursor, 0))
        return Entry(schedule, progress, next_due, is_served=is_served, target=row.target)

    def history(self, name: str | None = None, most: int = 100) -> list[Record]:
        """The latest fires of one schedule or of all that have ended, the latest first."""

        def read(connection: Connection) -> list[Record]:
            if name is not None and name not in (known := self._tables.names(connection)):
                raise unknown_schedule(name, known)
            return [record_of(row) for row in self._tables.ended(connection, name, most)]

        return self._run(read)

    def close(self) -> None:
        """Let go of it: without `leave` before, others take this process for dead in time."""
        self._database.close()

    def _lock_one(self, connection: Connection, name: str) -> ScheduleRow:
        for row in self._tables.lock_schedules(connection, [name]):
            return row
        raise unknown_schedule(name, self._tables.names(connection))

    def _parse(self, row: ScheduleRow) -> Schedule:
        known = self._parsed.get(row.name)
        if known is None or known[0] != row.schedule:
            try:
                schedule = Schedule.of(json.loads(row.schedule))
            except (ValueError, LookupError, InvalidConfig) as error:
                raise InvalidConfig(f"schedule {row.name}: its row is damaged: {error}") from error
            known = self._parsed[row.name] = (row.schedule, schedule)
        return known[1]

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._database.transactions.run(work)
        except SQLAlchemyError as error:
            raise refusal(error) from error


_NOTHING: Final = _Tried(frozenset(), Findings())


def _copied(findings: Findings) -> Findings:
    return Findings(*(copy(getattr(findings, field.name)) for field in fields(findings)))
