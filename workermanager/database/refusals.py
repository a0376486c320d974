"""What a database's error means: whose fault it is, and whether to try again."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from instrumentation.errors import WriteError
from workermanager.redaction import one_line

__all__ = [
    "error_code",
    "is_conflict",
    "is_cut_short",
    "is_disconnect",
    "is_outage",
    "is_transient",
    "refusal",
]

LOST: Final = "connection lost"
NONE_FREE: Final = "no connection free"

# Classes and codes of PostgreSQL's appendix A; CockroachDB uses the same.
_TRANSIENT_STATES: Final = frozenset(
    {"25P03", "40001", "40003", "40P01", "57P01", "57P02", "57P03", "57P05"}
)
_TRANSIENT_CLASSES: Final = ("08",)
_OUTAGE_CLASSES: Final = ("28", "3D", "53", "58", "XX")
_OUTAGE_STATES: Final = frozenset({"25006", "57P04"})
# Primary result codes (sqlite.org/rescode.html): busy, locked; then read-only, I/O, corrupt, full,
# cannot open, no database.
_TRANSIENT_SQLITE: Final = frozenset({5, 6})
_CUT_SHORT_STATE: Final = "57014"  # query_canceled: by statement_timeout, or by somebody
_OUTAGE_SQLITE: Final = frozenset({8, 10, 11, 13, 14, 26})
_CUT_SHORT_SQLITE: Final = 9  # interrupted


def error_code(error: BaseException) -> str:
    """The SQLSTATE, SQLite's name for it, ``connection lost``, or the error's type."""
    cause = _driver_error(error)
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return state
    if isinstance(error, PoolTimeout):
        return NONE_FREE
    if _is_lost(error):
        return LOST
    return getattr(cause, "sqlite_errorname", None) or type(cause).__name__


def is_transient(error: BaseException) -> bool:
    """True where the same transaction may well succeed the next time, or already has.

    A dead connection has no SQLSTATE in psycopg, so a list of states alone would miss it.
    """
    cause = _driver_error(error)
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(state, str):
        return state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES)
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _TRANSIENT_SQLITE
    return _is_lost(error)


def is_cut_short(error: BaseException) -> bool:
    """True where a statement was ended before it was done, as it is at a deadline."""
    cause = _driver_error(error)
    return (
        getattr(cause, "sqlstate", None) == _CUT_SHORT_STATE
        or getattr(cause, "sqlite_errorcode", None) == _CUT_SHORT_SQLITE
    )


def is_disconnect(error: BaseException) -> bool:
    """True where the connection is of no more use."""
    is_about_rows = error_code(error)[:2] in ("40", "SQ")
    return is_transient(error) and not is_about_rows and not isinstance(error, PoolTimeout)


def is_outage(error: BaseException) -> bool:
    """True where the database is the trouble, not a row: full, locked, gone.

    What is transient is one too, once trying again has not helped.
    """
    if is_transient(error):
        return True
    cause = _driver_error(error)
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return state in _OUTAGE_STATES or state.startswith(_OUTAGE_CLASSES)
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _OUTAGE_SQLITE


def is_conflict(error: BaseException) -> bool:
    """True where a constraint refused: a key that is there already, among others."""
    state = getattr(_driver_error(error), "sqlstate", None)
    return isinstance(error, IntegrityError) or (isinstance(state, str) and state[:2] == "23")


def refusal(error: BaseException) -> WriteError:
    """The database's own words, without what PostgreSQL adds in DETAIL: the row's values."""
    if isinstance(error, WriteError):
        return error
    cause = _driver_error(error)
    diagnosis = getattr(cause, "diag", None)
    told = WriteError(one_line(getattr(diagnosis, "message_primary", None) or str(cause)))
    told.__cause__ = error
    return told


def _driver_error(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    return error


def _is_lost(error: BaseException) -> bool:
    """True where no server answered: its errors have a state, those of the driver have none."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = _driver_error(error)
    has_state = hasattr(cause, "sqlstate") and cause.sqlstate is None
    return has_state and type(cause).__name__ in ("OperationalError", "InterfaceError")
