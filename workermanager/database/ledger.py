"""The record, in the user's own database, of runs and of which of their execs are durable.

A batch is marked by one row, written first in the very transaction that its rows are in. So an
exec's rows are there if and only if its mark is, however a commit ended. Each process merges its
marks now and then, so a ledger stays small.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, inspect, select

from instrumentation.errors import InvalidConfig
from workermanager.record import FINISHED, UNFINISHED, RunRecord, format_moment
from workermanager.spans import Spans

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from workermanager.database.inserts import Inserter

__all__ = ["LEDGER", "Ledger", "Marks"]

LEDGER: Final = MetaData()
_MOST_ROWS: Final = 256

_runs: Final = Table(
    "workermanager_runs",
    LEDGER,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("planned", BigInteger),
    Column("started_at", String(40), nullable=False),
    Column("ended_at", String(40)),
    Column("facts", Text, nullable=False),
    Column("origin", Text),
    Column("token", String(32), nullable=False),
)

_batches: Final = Table(
    "workermanager_batches",
    LEDGER,
    Column("run_id", String(64), primary_key=True),
    Column("session", String(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("execs", Text, nullable=False),
    Column("committed_at", String(40), nullable=False),
)


class Ledger:
    """Reads and writes the record, each time over a connection whose transaction is the caller's.

    Raises:
        InvalidConfig: from every method that reads: there is no such run, or no ledger at all.
    """

    @staticmethod
    def begin(connection: Connection, record: RunRecord) -> None:
        """Enter a new run.

        Raises:
            InvalidConfig: there is one of that id.
        """
        known = connection.scalar(select(_runs.c.token).where(_runs.c.id == record.id))
        if known == record.token:
            return  # entered by an attempt whose commit was not acknowledged
        if known is not None:
            raise InvalidConfig(
                f"run {record.id} is in this database already; resume it, or use another --run-id"
            )
        connection.execute(
            _runs.insert(),
            {
                "id": record.id,
                "name": record.name,
                "state": record.state,
                "token": record.token,
                "planned": record.planned,
                "started_at": record.started_at,
                "facts": msgspec.json.encode(record.facts).decode(),
                "origin": record.origin and msgspec.json.encode(record.origin).decode(),
            },
        )

    @classmethod
    def read(cls, connection: Connection, run_id: str) -> RunRecord:
        """A run with its durable execs."""
        _require_tables(connection)
        row = connection.execute(select(_runs).where(_runs.c.id == run_id)).first()
        if row is None:
            raise InvalidConfig(
                f"run {run_id} is not in this database; workermanager runs lists them"
            )
        return cls._record(connection, row)

    @classmethod
    def read_all(cls, connection: Connection) -> list[RunRecord]:
        """Every run, the latest first."""
        _require_tables(connection)
        rows = connection.execute(select(_runs).order_by(_runs.c.started_at.desc(), _runs.c.id))
        return [cls._record(connection, row) for row in rows.all()]

    @staticmethod
    def end(run_id: str, state: str, connection: Connection, *, may_be_finished: bool) -> None:
        """Note how a run ended; it may be finished if its planned execs are all durable."""
        row = connection.execute(select(_runs).where(_runs.c.id == run_id)).one()
        is_durable = row.planned is not None and row.planned <= len(_read_spans(connection, run_id))
        if may_be_finished and is_durable:
            state = FINISHED
        connection.execute(
            _runs.update().where(_runs.c.id == run_id).values(state=state, ended_at=_now())
        )

    @staticmethod
    def resume(connection: Connection, run_id: str) -> None:
        """Note that a run goes on."""
        connection.execute(
            _runs.update().where(_runs.c.id == run_id).values(state=UNFINISHED, ended_at=None)
        )

    @staticmethod
    def _record(connection: Connection, row: Row[Any]) -> RunRecord:
        last = select(_batches.c.committed_at).where(_batches.c.run_id == row.id)
        facts = msgspec.json.decode(row.facts, type=dict[str, Any])
        int(facts["seed"]), datetime.fromisoformat(facts["epoch"])  # or the ledger is damaged
        return RunRecord(
            id=row.id,
            name=row.name,
            started_at=row.started_at,
            planned=row.planned,
            facts=facts,
            origin=row.origin and msgspec.json.decode(row.origin, type=dict[str, Any]),
            state=row.state,
            durable=_read_spans(connection, row.id),
            last_commit=connection.scalar(last.order_by(_batches.c.committed_at.desc()).limit(1)),
        )


class Marks:
    """One process's marks of a run's durable execs: at most 256 rows, because they are merged.

    ``write`` a batch within its transaction, and `acknowledge` it after the commit.
    """

    def __init__(self, run_id: str, inserter: Inserter) -> None:
        self.run_id = run_id
        self.session = secrets.token_hex(8)
        self._inserter = inserter
        self._acknowledged: dict[int, Spans] = {}

    def write(self, connection: Connection, number: int, execs: Spans) -> None:
        """Mark execs as durable; the same number again is a conflict, which `durable` explains."""
        if self._is_merged(number):
            connection.execute(
                _batches.delete()
                .where(_batches.c.run_id == self.run_id)
                .where(_batches.c.session == self.session)
                .where(_batches.c.number.in_(list(self._acknowledged)))
            )
            execs = Spans.union((*self._acknowledged.values(), execs))
        row = {
            "run_id": self.run_id,
            "session": self.session,
            "number": number,
            "first": execs.pairs[0][0] if execs else 0,
            "last": execs.end - 1,
            "execs": str(execs),
            "committed_at": _now(),
        }
        self._inserter.insert_row(connection, _batches, row)

    def acknowledge(self, number: int, execs: Spans) -> None:
        """Note that a batch was committed, and may be merged with later ones."""
        if self._is_merged(number):
            execs = Spans.union((*self._acknowledged.values(), execs))
            self._acknowledged.clear()
        self._acknowledged[number] = execs

    def _is_merged(self, number: int) -> bool:
        """True for the batch that takes those before it into its own row.

        A batch whose commit's answer was lost stays by itself: nobody may delete its row.
        """
        return len(self._acknowledged) >= _MOST_ROWS and number not in self._acknowledged

    def has(self, connection: Connection, number: int) -> bool:
        """True if a batch of ours is there: its commit worked, whatever its answer was."""
        wanted = (
            select(_batches.c.number)
            .where(_batches.c.run_id == self.run_id)
            .where(_batches.c.session == self.session)
            .where(_batches.c.number == number)
        )
        return connection.scalar(wanted) is not None

    def durable(self, connection: Connection, execs: Spans) -> tuple[Spans, Spans]:
        """Which batches that touch these execs are marked: by this process, and by others."""
        wanted = (
            select(_batches.c.session, _batches.c.execs)
            .where(_batches.c.run_id == self.run_id)
            .where(_batches.c.first < execs.end)
            .where(_batches.c.last >= execs.pairs[0][0])
        )
        marked = [(row.session, Spans.parse(row.execs)) for row in connection.execute(wanted)]
        return (
            Spans.union(spans for session, spans in marked if session == self.session),
            Spans.union(spans for session, spans in marked if session != self.session),
        )


def _read_spans(connection: Connection, run_id: str) -> Spans:
    execs = select(_batches.c.execs).where(_batches.c.run_id == run_id)
    return Spans.union(Spans.parse(text) for text in connection.scalars(execs))


def _require_tables(connection: Connection) -> None:
    if not inspect(connection).has_table(_runs.name):
        raise InvalidConfig("no run is recorded in this database")


def _now() -> str:
    return format_moment(datetime.now(UTC))
