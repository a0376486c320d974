"""Group commit: the rows of many execs in one transaction, each exec told when it is durable.

One thread writes, whatever the number of execs: SQLite has one write lock, and its waiters back
off for longer than a queue would take. The only door to SQLAlchemy.
"""

from __future__ import annotations

import threading
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from instrumentation.errors import InvalidConfig, WriteError
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, MetaData, Table

__all__ = ["Writer"]

T = TypeVar("T")
Rows: TypeAlias = "Sequence[tuple[Any, Mapping[str, Any]]]"
"""Tables with the rows to insert, in order."""

_MOST_PER_COMMIT: Final = 500
_MOST_WAITING: Final = 1_000
_OPEN_TIMEOUT_S: Final = 5  # for a database that another program keeps locked
_BUSY_TIMEOUT_MS: Final = 60_000
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "cockroachdb": "cockroachdb+psycopg"}
# Primary codes that no other grouping of the same rows can get around (sqlite.org/rescode.html).
_SQLITE_WHOLE: Final = frozenset({5, 6, 8, 10, 11, 13, 14, 26})


class _Entry(NamedTuple):
    """An exec's rows and whom to tell; with None for rows, someone who waits for all before it."""

    rows: Rows | None
    settle: Callable[[WriteError | None], None]


class Writer:
    """Writes the rows of execs, many execs to a transaction, all rows of an exec in the same one.

    ``submit`` returns at once unless 1,000 execs wait already, so threads never wait for a commit
    but cannot run away from the database either. A batch that the database refuses is halved
    until the bad exec is alone, and only that one fails.

    ``on_crash`` is called, in the writer's thread, if telling an exec its outcome raised; ``crash``
    is then what it raised.
    """

    def __init__(
        self, database: str, schema: MetaData | None, on_crash: Callable[[], None]
    ) -> None:
        self.crash: BaseException | None = None
        self.database = database
        self._on_crash = on_crash
        self._engine = _open(database, schema)
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        rows: Rows,
        settle: Callable[[WriteError | None], None],
    ) -> None:
        """Write the rows soon; ``settle`` hears None once they are durable, or why they are not."""
        self._room.acquire()
        self._queue.put(_Entry(rows, settle))

    def flush(self, on_flushed: Callable[[], None]) -> None:
        """Call ``on_flushed``, in the writer's thread, once all that was submitted is settled."""
        self._queue.put(_Entry(None, lambda _: on_flushed()))

    def create(self, schema: MetaData) -> None:
        """Create the tables that are missing, in the writer's thread, and wait for it.

        Raises:
            InvalidConfig: the database would not.
        """
        done = threading.Event()
        refusals: list[WriteError] = []

        def create_all(_: object) -> None:
            try:
                schema.create_all(self._engine)
            except SQLAlchemyError as error:
                refusals.append(_refusal(error))
            finally:
                done.set()

        self._queue.put(_Entry(None, create_all))
        done.wait()
        if refusals:
            raise InvalidConfig(f"database: the schema cannot be created: {refusals[0]}")

    def close(self, seconds: float | None = None) -> bool:
        """Settle what was submitted and let go of the database; False if that took too long."""
        self._queue.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self._engine.dispose()
        return True

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """How many rows the tables hold now, read back from the database.

        Raises:
            WriteError: the database does not say.
        """
        try:
            with self._engine.connect() as connection:
                return {
                    table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                    for table in tables
                }
        except SQLAlchemyError as error:
            raise _refusal(error) from error

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            is_last = False
            try:
                while len(batch) < _MOST_PER_COMMIT:
                    entry = self._queue.get_nowait()
                    if entry is None:
                        is_last = True
                        break
                    batch.append(entry)
            except Empty:
                pass
            self._survive(self._write, batch)
            written = sum(entry.rows is not None for entry in batch)
            if written:
                self._room.release(written)
            if is_last:
                return

    def _write(self, batch: list[_Entry]) -> None:
        """Commit the batch, or find the execs in it that cannot be."""
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - a row can raise anything while it is bound
            refusal = _refusal(error)
            if len(batch) == 1 or _is_hopeless(error):
                self._settle(batch, refusal)
                return
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])
        else:
            self._settle(batch, None)

    def _commit(self, batch: list[_Entry]) -> None:
        groups = _group(batch) if len(batch) > 1 else _in_order(batch[0])
        if not groups:
            return
        with self._engine.begin() as connection:
            for (table, columns), rows in groups:
                _check_columns(table, columns)
                connection.execute(table.insert(), rows)

    def _settle(self, batch: list[_Entry], refusal: WriteError | None) -> None:
        for entry in batch:
            self._survive(entry.settle, refusal)

    def _survive(self, do: Callable[[T], None], what: T) -> None:
        """Go on whatever happens, or those who wait for room would wait for ever."""
        try:
            do(what)
        except BaseException as crash:  # noqa: BLE001 - it surfaces in the run's owner
            self.crash = self.crash or crash
            self._on_crash()


_Group: TypeAlias = "tuple[tuple[Table, tuple[str, ...]], list[Mapping[str, Any]]]"


def _group(batch: list[_Entry]) -> list[_Group]:
    """Rows by table and columns, tables in the order they first come: one statement each."""
    groups: dict[tuple[Table, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for entry in batch:
        for table, row in entry.rows or ():
            groups.setdefault((table, tuple(row)), []).append(row)
    return list(groups.items())


def _in_order(entry: _Entry) -> list[_Group]:
    """The rows of one exec, in the very order it inserted them."""
    runs = groupby(entry.rows or (), key=lambda insert: (insert[0], tuple(insert[1])))
    return [(key, [row for _, row in inserts]) for key, inserts in runs]


def _check_columns(table: Table, columns: tuple[str, ...]) -> None:
    """Refuse a column that the table has not: SQLAlchemy would leave its values out."""
    if not hasattr(table, "c"):
        raise WriteError(f"ctx.insert: wanted a SQLAlchemy table, found {type(table).__name__}")
    unknown = [column for column in columns if column not in table.c]
    if unknown:
        raise WriteError(f"table {table.name} has no column {unknown[0]!r}")


def _refusal(error: Exception) -> WriteError:
    """The database's own words, without what PostgreSQL adds in DETAIL: the row's values."""
    if isinstance(error, WriteError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    diagnosis = getattr(cause, "diag", None)
    refusal = WriteError(one_line(getattr(diagnosis, "message_primary", None) or str(cause)))
    refusal.__cause__ = error
    return refusal


def _is_hopeless(error: Exception) -> bool:
    """True where the database is the trouble, not a row: full, locked, gone."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return error.connection_invalidated or (code is not None and code & 0xFF in _SQLITE_WHOLE)


def _open(database: str, schema: MetaData | None) -> Engine:
    """An engine that has connected once, with the schema's missing tables created.

    Raises:
        InvalidConfig: the URL, the driver or the database itself will not do.
    """
    shown = "database"
    try:
        url = make_url(database)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        shown = f"database {url.render_as_string(hide_password=True)}"
        engine = _engine(url)
        if schema is not None:
            schema.create_all(engine)
        else:
            engine.connect().close()
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidConfig(f"{shown}: no driver for it is installed ({error})") from None
    except ArgumentError:
        raise InvalidConfig(
            "database: not a URL; write sqlite:///file.db or postgresql://user@host/name"
        ) from None
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise InvalidConfig(f"{shown}: cannot be opened: {one_line(str(cause))}") from None
    return engine


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, hide_parameters=True, connect_args={"connect_timeout": 10})
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": _OPEN_TIMEOUT_S, "check_same_thread": False},
        **({"poolclass": StaticPool} if in_memory else {}),
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's deferred BEGIN deadlocks; see _begin_immediate
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first can lose it and must fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
