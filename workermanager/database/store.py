"""A run's database: its engine, its transactions, its tables."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import MsgspecError
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from instrumentation.errors import InvalidConfig
from workermanager.database.engine import PATIENCE_S, open_engine
from workermanager.database.inserts import Inserter
from workermanager.database.ledger import LEDGER, Ledger
from workermanager.database.refusals import refusal
from workermanager.database.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, MetaData, Table
    from sqlalchemy.engine import Dialect

    from workermanager.record import RunRecord

__all__ = ["Database", "read_run", "read_runs"]

T = TypeVar("T")

_CREATE_ATTEMPTS: Final = 3


class Database:
    """An open database. `close` it; ``is_over``, once set, ends every wait for it.

    A transaction that does not succeed is tried again for ``patience_s``, and waits as long for
    a lock.

    Raises:
        InvalidConfig: it cannot be opened.
    """

    def __init__(
        self,
        url: str,
        connections: int = 1,
        *,
        only_reads: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.url = url
        self.is_over = threading.Event()
        self._engine = open_engine(url, connections, only_reads=only_reads, patience_s=patience_s)
        self.transactions = Transactions(self._engine, self.is_over.wait, patience_s=patience_s)
        self.inserter = Inserter(self._engine.dialect)

    @property
    def dialect(self) -> Dialect:
        """What the database speaks."""
        return self._engine.dialect

    def create(self, schema: MetaData) -> None:
        """Create the tables that are missing; other processes may do the same just now.

        Raises:
            InvalidConfig: the database would not.
        """
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                self.transactions.run(schema.create_all)
            except DBAPIError as error:  # "exists already", from one who was faster
                if attempt == _CREATE_ATTEMPTS:
                    raise _uncreatable(error) from error
            except SQLAlchemyError as error:
                raise _uncreatable(error) from error
            else:
                return

    def enter(self, record: RunRecord, *, is_resumed: bool) -> None:
        """Enter a run in the ledger, or note that it goes on.

        Raises:
            InvalidConfig: there is one of that id already, or the ledger cannot be made.
        """

        def enter(connection: Connection) -> None:
            if is_resumed:
                Ledger.resume(connection, record.id)
            else:
                Ledger.begin(connection, record)

        try:
            self.create(LEDGER)
            self.transactions.run(enter)
        except IntegrityError as error:  # somebody was faster
            raise InvalidConfig(f"run {record.id} is in this database already") from error
        except SQLAlchemyError as error:
            raise InvalidConfig(
                f"database: the ledger cannot be written: {refusal(error)}; "
                f"--no-ledger runs without one, and without resume"
            ) from error

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """How many rows the tables hold now, read back from the database.

        Raises:
            WriteError: the database does not say.
        """

        def count(connection: Connection) -> dict[str, int]:
            return {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in tables
            }

        try:
            return self.transactions.run(count)
        except SQLAlchemyError as error:
            raise refusal(error) from error

    def close(self) -> None:
        """Let go of every connection."""
        self.is_over.set()
        self._engine.dispose()


def read_run(url: str, run_id: str) -> RunRecord:
    """A run as the ledger of a database has it.

    Raises:
        InvalidConfig: the database cannot be opened, or has no such run.
    """
    return _read(url, lambda connection: Ledger.read(connection, run_id))


def read_runs(url: str) -> list[RunRecord]:
    """Every run that the ledger of a database has, the latest first.

    Raises:
        InvalidConfig: the database cannot be opened, or has no ledger.
    """
    return _read(url, Ledger.read_all)


def _read(url: str, read: Callable[[Connection], T]) -> T:
    database = Database(url, only_reads=True)
    try:
        return database.transactions.run(read)
    except SQLAlchemyError as error:
        raise InvalidConfig(f"database: the ledger cannot be read: {refusal(error)}") from error
    except (ValueError, TypeError, LookupError, MsgspecError) as error:
        raise InvalidConfig(f"database: the ledger is damaged: {error}") from error
    finally:
        database.close()


def _uncreatable(error: SQLAlchemyError) -> InvalidConfig:
    return InvalidConfig(f"database: the schema cannot be created: {refusal(error)}")
