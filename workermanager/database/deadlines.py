"""Deadlines kept by the database: no statement of a transaction outlasts what it runs for."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Transaction

    from instrumentation.engine import Scope

__all__ = ["begun", "taken"]

_LOOK_EVERY_S: Final = 0.05
_SQLITE_LOOK_EVERY: Final = 250_000  # of its virtual machine's instructions: about 2 ms
_SLACK: Final = 1.1  # each round trip that is saved may make a statement late by so much
_CLOCKS_DIFFER: Final = 1.001  # a server whose clock is faster must not be too early
_LONGEST_MS: Final = 2**31 - 1
_OWN: Final = "workermanager: own statement_timeout"
_ASK_OWN: Final = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"


def begun(connection: Connection, context: Scope | None) -> AbstractContextManager[Transaction]:
    """Begin a transaction; within the block its statements end at the context's deadline.

    Neither a COMMIT nor a ROLLBACK is hurried: they come after the block. Costs nothing where there
    is no deadline.

    Raises:
        Cancelled: a statement was to be begun after the context was called off.
    """
    if context is None or context.remaining is None:
        return nullcontext(connection.begin())
    if connection.dialect.name == "sqlite":
        return _begun_on_sqlite(connection, context)
    return _begun_on_postgresql(connection, context)


@contextmanager
def taken(lock: threading.Lock, context: Scope) -> Iterator[None]:
    """Hold the lock; wait for it no longer than the context lives.

    Raises:
        Cancelled: it was called off, up to 50 ms ago, or its deadline has passed.
    """
    while not lock.acquire(timeout=_until_the_next_look(context)):
        context.check()
    try:
        yield
    finally:
        lock.release()


def _until_the_next_look(context: Scope) -> float:
    remaining = context.remaining
    return _LOOK_EVERY_S if remaining is None else min(_LOOK_EVERY_S, remaining)


@contextmanager
def _begun_on_sqlite(connection: Connection, context: Scope) -> Iterator[Transaction]:
    """SQLite waits for other programs no longer, and asks now and then whether to go on."""
    sqlite = _driver(connection)
    (usual_ms,) = sqlite.execute("PRAGMA busy_timeout").fetchone()
    sqlite.execute(f"PRAGMA busy_timeout={min(usual_ms, _milliseconds(context.remaining or 0))}")
    sqlite.set_progress_handler(lambda: context.cancelled, _SQLITE_LOOK_EVERY)
    event.listen(connection, "before_cursor_execute", lambda *_: context.check())
    try:
        yield connection.begin()
    finally:
        sqlite.set_progress_handler(None, 0)
        sqlite.execute(f"PRAGMA busy_timeout={usual_ms}")


@contextmanager
def _begun_on_postgresql(connection: Connection, context: Scope) -> Iterator[Transaction]:
    """PostgreSQL and CockroachDB have a timeout for each statement, until the transaction ends."""
    transaction = connection.begin()
    timeout = _StatementTimeout(connection, context)
    timeout.clip()  # at once: not every statement comes through SQLAlchemy
    event.listen(connection, "before_cursor_execute", timeout)
    yield transaction
    timeout.restore()  # not after an error: it goes with the ROLLBACK


class _StatementTimeout:
    """Keeps PostgreSQL's ``statement_timeout`` at what remains, statement by statement.

    It counts from each statement's begin, so it is set again once too much time has gone by: at
    most some 50 times between 10 s and 100 ms, however many statements there are.
    """

    def __init__(self, connection: Connection, context: Scope) -> None:
        self._server = _driver(connection)
        self._context = context
        self._clipped_s = inf
        known = connection.info  # for as long as the pooled connection lives
        if _OWN not in known:
            known[_OWN] = int(self._server.execute(_ASK_OWN).fetchone()[0])
        self._own_ms: int = known[_OWN]

    def __call__(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        """Before a statement: is there time for it?"""
        self._context.check()
        if statement.lstrip()[:8].upper() == "ROLLBACK":
            self._clipped_s = inf  # to a savepoint: what was set since is taken back
        else:
            self.clip()

    def clip(self) -> None:
        """Allow the next statements what remains."""
        remaining = self._context.remaining or 0
        if self._clipped_s > remaining * _SLACK:
            self._set(min(_milliseconds(remaining), self._own_ms or _LONGEST_MS))
            self._clipped_s = remaining

    def restore(self) -> None:
        """Allow what the connection always allows."""
        self._set(self._own_ms)

    def _set(self, milliseconds: int) -> None:
        self._server.execute(f"SET LOCAL statement_timeout = {milliseconds}")


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _milliseconds(seconds: float) -> int:
    return min(max(1, ceil(seconds * 1_000 * _CLOCKS_DIFFER)), _LONGEST_MS)
