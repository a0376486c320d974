"""The tables of schedules, and the statements on them, which are the same on every database.

Whoever changes a schedule, or a fire of it, has locked the schedule's row before; so what was read
of it then is true until the transaction ends. A fire's row is always written whole.
"""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    bindparam,
    case,
    func,
    inspect,
    select,
    tuple_,
)

from instrumentation.errors import InvalidConfig
from workermanager.database.schedule_rows import FireRow, NodeRow, ScheduleRow
from workermanager.timetables.fires import FireState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sqlalchemy import BindParameter, Connection, Row
    from sqlalchemy.engine import Dialect

__all__ = ["SCHEDULES", "ScheduleTables"]

SCHEDULES: Final = MetaData()
_MOST_NAMES: Final = 5_000  # SQLite takes 32,766 parameters in a statement
_OPEN: Final = (FireState.WAITING.value, FireState.RUNNING.value)


_schedules: Final = Table(
    "workermanager_schedules",
    SCHEDULES,
    Column("name", String(100), primary_key=True),
    Column("schedule", Text, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("target", Text),
    Column("cursor", BigInteger, nullable=False),
    Column("paused_until", BigInteger),
    Column("failures", Integer, nullable=False),
    Column("skip_due", BigInteger),
    Column("skip_reason", String(40)),
    Column("skip_count", BigInteger, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("due", "ran", "late", "skipped", "failed")
    ),
)

_fires: Final = Table(
    "workermanager_fires",
    SCHEDULES,
    Column("schedule", String(100), nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("planned", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("is_manual", Boolean, nullable=False),
    Column("started", BigInteger),
    Column("ended", BigInteger),
    Column("reason", Text),
    Column("node", String(200)),
    Column("is_cancelled", Boolean, nullable=False),
    # By time: what is old is at its beginning, what is new at its end, and no planner takes it for
    # an index by schedule, which would read the whole history to find what runs.
    PrimaryKeyConstraint("due", "schedule"),
    Index("workermanager_fires_state", "state", "schedule", "due"),
    sqlite_with_rowid=False,
)

_nodes: Final = Table(
    "workermanager_nodes",
    SCHEDULES,
    Column("id", String(200), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("start", BigInteger),
    Column("boot", String(100), nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("serves", Text, nullable=False),
)

_node: Final[BindParameter[Any]] = bindparam("node")
_read_running: Final = select(_fires).where(
    _fires.c.state == FireState.RUNNING.value, _fires.c.node == _node
)
_read_waiting: Final = (
    select(_fires.c.schedule)
    .where(_fires.c.state == FireState.WAITING.value)
    .group_by(_fires.c.schedule)
    .order_by(func.min(_fires.c.planned))
    .limit(bindparam("most"))
)
_old: Final[BindParameter[Any]] = bindparam("old")
_read_old: Final = (
    select(_fires.c.due, _fires.c.schedule)
    .where(_fires.c.due < _old, _fires.c.last < _old, func.coalesce(_fires.c.ended, 0) < _old)
    .where(_fires.c.state.not_in(_OPEN))
    .order_by(_fires.c.due)
    .limit(bindparam("most"))
)
_drop_old: Final = _fires.delete().where(tuple_(_fires.c.due, _fires.c.schedule).in_(_read_old))
_PROGRESS: Final = ScheduleRow._fields[4:]


class ScheduleTables:
    """Reads and writes the tables, each time over a connection whose transaction is the caller's.

    What costs at every fire is written as text, for the driver itself.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._place = place = "?" if dialect.paramstyle == "qmark" else "%s"
        locked = "" if dialect.name == "sqlite" else " FOR UPDATE"
        self._read_schedules = (
            f"SELECT {', '.join(ScheduleRow._fields)} FROM {_schedules.name} "  # noqa: S608 - names of our own
            f"WHERE name IN (%) ORDER BY name{locked}"
        )
        self._read_open = (
            f"SELECT {', '.join(FireRow._fields)} FROM {_fires.name} "  # noqa: S608 - as above
            f"WHERE state IN {_OPEN} AND schedule IN (%) ORDER BY planned, due"
        )
        self._add_schedule = (
            f"{_insert(_schedules, ScheduleRow._fields, place)} ON CONFLICT (name) DO NOTHING"
        )
        self._write_schedule = (
            f"UPDATE {_schedules.name} SET schedule = {place}, wanted = {place}, "  # noqa: S608 - names of our own
            f"target = {place} WHERE name = {place}"
        )
        progress = ", ".join(f"{name} = {place}" for name in _PROGRESS)
        self._write_progress = f"UPDATE {_schedules.name} SET {progress} WHERE name = {place}"  # noqa: S608 - as above
        values = ", ".join(f"{name} = excluded.{name}" for name in FireRow._fields[2:])
        self._write_fire = (
            f"{_insert(_fires, FireRow._fields, place)} "
            f"ON CONFLICT (schedule, due) DO UPDATE SET {values}"
        )
        self._write_node = (
            f"{_insert(_nodes, NodeRow._fields, place)} "
            f"ON CONFLICT (id) DO UPDATE SET serves = excluded.serves"
        )
        self._beat = f"UPDATE {_nodes.name} SET beat = {place} WHERE id = {place}"  # noqa: S608 - as above

    # Schedules

    @staticmethod
    def require(connection: Connection) -> None:
        """Raise InvalidConfig unless the tables are there."""
        if not inspect(connection).has_table(_schedules.name):
            raise InvalidConfig("no schedule is kept in this database")

    @staticmethod
    def names(connection: Connection) -> list[str]:
        """The names of all schedules."""
        return list(connection.scalars(select(_schedules.c.name)))

    @staticmethod
    def schedules(connection: Connection) -> list[ScheduleRow]:
        """All of them, by name."""
        rows = connection.execute(select(_schedules).order_by(_schedules.c.name))
        return [ScheduleRow(*row) for row in rows]

    def lock_schedules(
        self, connection: Connection, names: Collection[str]
    ) -> Iterator[ScheduleRow]:
        """Those of the names that there are, locked in one order, so that nobody deadlocks."""
        return starmap(ScheduleRow, self._read(connection, self._read_schedules, names))

    def add_schedules(self, connection: Connection, rows: Iterable[ScheduleRow]) -> None:
        """Enter those whose name nobody has."""
        self._execute(connection, self._add_schedule, sorted(rows))

    def write_schedule(self, connection: Connection, row: ScheduleRow) -> None:
        """Write what a schedule is, and its progress."""
        values = (row.schedule, row.wanted, row.target, row.name)
        self._execute(connection, self._write_schedule, [values])
        self.write_progress(connection, [(*row[4:], row.name)])

    def write_progress(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write how far schedules have come: the columns from ``cursor`` on, and the name."""
        self._execute(connection, self._write_progress, rows)

    @staticmethod
    def pause(connection: Connection, name: str, until: int) -> bool:
        """Pause a schedule; True if there is one."""
        change = _schedules.update().where(_schedules.c.name == name).values(paused_until=until)
        return bool(connection.execute(change).rowcount)

    @staticmethod
    def resume(connection: Connection, name: str, now: int) -> bool:
        """End a pause now, if it is not over; True if there is such a schedule."""
        until = _schedules.c.paused_until
        change = _schedules.update().where(_schedules.c.name == name)
        change = change.values(paused_until=case((until > now, now), else_=until), failures=0)
        return bool(connection.execute(change).rowcount)

    @staticmethod
    def remove(connection: Connection, name: str) -> None:
        """Delete a schedule and its fires."""
        connection.execute(_fires.delete().where(_fires.c.schedule == name))
        connection.execute(_schedules.delete().where(_schedules.c.name == name))

    # Fires

    def open_fires(self, connection: Connection, names: Collection[str]) -> Iterator[FireRow]:
        """What waits or runs of schedules, the earliest planned of each first."""
        return starmap(FireRow, self._read(connection, self._read_open, names))

    @staticmethod
    def running_on(connection: Connection, node: str) -> list[FireRow]:
        """What a process runs."""
        return [FireRow(*row) for row in connection.execute(_read_running, {"node": node})]

    @staticmethod
    def waiting(connection: Connection, most: int) -> list[str]:
        """The schedules of which some fire waits, the earliest planned first."""
        return list(connection.scalars(_read_waiting, {"most": most}))

    @staticmethod
    def has_fire(connection: Connection, name: str, due: int) -> bool:
        """True if there is a record of that fire."""
        key = select(_fires.c.due).where(_fires.c.schedule == name, _fires.c.due == due)
        return connection.scalar(key) is not None

    @staticmethod
    def count_open(connection: Connection) -> dict[tuple[str, str], int]:
        """How many fires wait or run, by schedule and state."""
        columns = (_fires.c.schedule, _fires.c.state)
        query = select(*columns, func.count()).where(_fires.c.state.in_(_OPEN)).group_by(*columns)
        return {(name, state): count for name, state, count in connection.execute(query)}

    @staticmethod
    def ended(connection: Connection, name: str | None, most: int) -> list[FireRow]:
        """The latest fires that have ended, the latest first."""
        latest = select(_fires).order_by(_fires.c.due.desc()).limit(most)
        if name is None:
            queries = [latest.where(_fires.c.state.not_in(_OPEN))]
        else:  # state by state, so that the index has them in order
            queries = [
                latest.where(_fires.c.state == state.value, _fires.c.schedule == name)
                for state in FireState
                if state.value not in _OPEN
            ]
        rows = [FireRow(*row) for query in queries for row in connection.execute(query)]
        return sorted(rows, key=lambda row: row.due, reverse=True)[:most]

    def write_fires(self, connection: Connection, rows: Sequence[FireRow]) -> None:
        """Enter fires, or write over what there is of them."""
        self._execute(connection, self._write_fire, rows)

    @staticmethod
    def prune(connection: Connection, old: int, most: int) -> None:
        """Delete what ended before a moment, so many at most, the oldest first."""
        connection.execute(_drop_old, {"old": old, "most": most})

    # Nodes

    @staticmethod
    def nodes(connection: Connection) -> list[NodeRow]:
        """Every process that has entered itself and has not left."""
        return [NodeRow(*row) for row in connection.execute(select(_nodes))]

    @staticmethod
    def last_beat(connection: Connection, node: str) -> int | None:
        """A process's latest beat that is committed, once nobody changes it; None: it is gone."""
        query = select(_nodes.c.beat).where(_nodes.c.id == node).with_for_update()
        return connection.scalar(query)

    def beat(self, connection: Connection, node: str, beat: int) -> bool:
        """Note that a process lives; True if it is still entered."""
        return bool(connection.exec_driver_sql(self._beat, (beat, node)).rowcount)

    def enter_node(self, connection: Connection, row: NodeRow) -> None:
        """Enter a process; where it is, write only what it serves now."""
        self._execute(connection, self._write_node, [row])

    @staticmethod
    def drop_node(connection: Connection, node: str, beat: int | None = None) -> bool:
        """Delete a process, if its beat is still that; True for the one who does."""
        drop = _nodes.delete().where(_nodes.c.id == node)
        if beat is not None:
            drop = drop.where(_nodes.c.beat == beat)
        return bool(connection.execute(drop).rowcount)

    def _read(
        self, connection: Connection, text: str, names: Collection[str]
    ) -> Iterator[Row[Any]]:
        ordered = sorted(names)
        for start in range(0, len(ordered), _MOST_NAMES):
            some = tuple(ordered[start : start + _MOST_NAMES])
            places = ", ".join([self._place] * len(some))
            yield from connection.exec_driver_sql(text.replace("%", places, 1), some)

    @staticmethod
    def _execute(connection: Connection, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            connection.exec_driver_sql(text, list(rows))


def _insert(table: Table, columns: Sequence[str], place: str) -> str:
    places = ", ".join([place] * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of our own
