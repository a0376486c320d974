"""Connections: which driver a URL means, and how each database is set up."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from instrumentation.errors import InvalidConfig
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["PATIENCE_S", "open_engine"]

PATIENCE_S: Final = 60.0  # longer than a restart or a failover takes
_OPEN_TIMEOUT_S: Final = 5  # for a database that another program keeps locked
_CONNECT_TIMEOUT_S: Final = 10
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "cockroachdb": "cockroachdb+psycopg"}


def open_engine(
    database: str, connections: int, *, only_reads: bool = False, patience_s: float = PATIENCE_S
) -> Engine:
    """An engine that has connected once; it keeps at most so many connections.

    A connection, and on SQLite the write lock, are waited for ``patience_s``.

    One that ``only_reads`` creates no SQLite file, changes none, and waits for nobody who writes.

    Raises:
        InvalidConfig: the URL, the driver or the database itself will not do.
    """
    shown = "database"
    try:
        url = make_url(database)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        shown = f"database {url.render_as_string(hide_password=True)}"
        if only_reads and _is_missing(url):
            raise InvalidConfig(f"{shown}: there is no such file")
        engine = _engine(url, connections, patience_s, only_reads=only_reads)
        engine.connect().close()
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidConfig(f"{shown}: no driver for it is installed ({error})") from None
    except (ArgumentError, ValueError, TypeError):
        raise InvalidConfig(
            "database: not a URL; write sqlite:///file.db or postgresql://user@host/name"
        ) from None
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise InvalidConfig(f"{shown}: cannot be opened: {one_line(str(cause))}") from None
    return engine


def _is_missing(url: URL) -> bool:
    is_sqlite = url.get_backend_name() == "sqlite"
    is_file = is_sqlite and url.database not in (None, "", ":memory:")
    return (
        is_file
        and not str(url.database).startswith("file:")
        and not Path(str(url.database)).exists()
    )


def _engine(url: URL, connections: int, patience_s: float, *, only_reads: bool) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url,
            hide_parameters=True,
            connect_args={"connect_timeout": _CONNECT_TIMEOUT_S},
            pool_size=connections,
            max_overflow=0,
            pool_timeout=patience_s,
        )
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": _OPEN_TIMEOUT_S, "check_same_thread": False},
        **({"poolclass": StaticPool} if in_memory else {}),
    )
    if only_reads:
        return engine
    event.listen(engine, "connect", partial(_set_up_sqlite, round(patience_s * 1_000)))
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(busy_timeout_ms: int, connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's deferred BEGIN deadlocks; see _begin_immediate
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first can lose it and must fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
