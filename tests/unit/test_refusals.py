"""What a database's error means, told by errors that the drivers really raise."""

import sqlite3
from contextlib import closing

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import NullPool

from instrumentation.errors import WriteError
from workermanager.database.refusals import (
    LOST,
    error_code,
    is_conflict,
    is_cut_short,
    is_disconnect,
    is_outage,
    is_transient,
    refusal,
)

CODES = {
    "transient": is_transient,
    "disconnect": is_disconnect,
    "outage": is_outage,
    "conflict": is_conflict,
    "cut short": is_cut_short,
}


def meaning(error):
    return {name for name, applies in CODES.items() if applies(error)}


def wrapped(error, kind=OperationalError, *, is_invalidated=False):
    """As SQLAlchemy raises it."""
    return kind("INSERT …", {}, error, connection_invalidated=is_invalidated)


# SQLite's, really provoked


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "refusals.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
        connection.execute("INSERT INTO t VALUES (1, 'one')")
        connection.commit()
    return path


@pytest.fixture
def refused(path):
    """What SQLAlchemy raises for statements, the last of which is refused."""

    def refused(*statements, url=f"sqlite:///{path}"):
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 0})
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        except DBAPIError as error:
            return error
        pytest.fail("nothing was refused")

    return refused


INSERT = "INSERT INTO t VALUES (2, 'two')"


def test_a_busy_file_is_worth_another_try_on_the_same_connection(path, refused):
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = refused(INSERT)
    assert error_code(error) == "SQLITE_BUSY"
    assert meaning(error) == {"transient", "outage"}


def test_a_snapshot_that_is_out_of_date_is_busy_too(path, refused):
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as one, closing(sqlite3.connect(path)) as other:
        one.exec_driver_sql("PRAGMA journal_mode=WAL")
        one.exec_driver_sql("BEGIN")
        one.exec_driver_sql("SELECT * FROM t").all()
        other.execute(INSERT)
        other.commit()
        with pytest.raises(OperationalError) as caught:
            one.exec_driver_sql("INSERT INTO t VALUES (3, 'three')")
    assert error_code(caught.value) == "SQLITE_BUSY_SNAPSHOT"
    assert meaning(caught.value) == {"transient", "outage"}


def test_a_table_that_is_locked_by_a_neighbour_is_worth_another_try(path, refused):
    shared = f"sqlite:///file:{path}?cache=shared&uri=true"
    with closing(sqlite3.connect(f"file:{path}?cache=shared", uri=True)) as other:
        other.execute(INSERT)
        error = refused("SELECT * FROM t", url=shared)
    assert error_code(error).startswith("SQLITE_LOCKED")
    assert meaning(error) == {"transient", "outage"}


def test_a_full_file_is_an_outage(refused):
    fill = "INSERT INTO t SELECT 2, hex(zeroblob(100000))"
    error = refused("PRAGMA max_page_count=1", fill)
    assert error_code(error) == "SQLITE_FULL"
    assert meaning(error) == {"outage"}
    assert str(refusal(error)) == "database or disk is full"


def test_a_read_only_file_is_an_outage(path, refused):
    error = refused(INSERT, url=f"sqlite:///file:{path}?mode=ro&uri=true")
    assert error_code(error) == "SQLITE_READONLY"
    assert meaning(error) == {"outage"}


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path, refused):
    error = refused("SELECT 1", url=f"sqlite:///{tmp_path}/no/such.db")
    assert error_code(error) == "SQLITE_CANTOPEN"
    assert meaning(error) == {"outage"}


def test_a_file_that_is_no_database_is_an_outage(tmp_path, refused):
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    error = refused("SELECT * FROM t", url=f"sqlite:///{tmp_path}/text.db")
    assert error_code(error) == "SQLITE_NOTADB"
    assert meaning(error) == {"outage"}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("INSERT INTO t VALUES (1, 'two')", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("INSERT INTO t VALUES (2, 'one')", "SQLITE_CONSTRAINT_UNIQUE"),
        ("INSERT INTO t VALUES (2, NULL)", "SQLITE_CONSTRAINT_NOTNULL"),
    ],
)
def test_a_row_that_sqlite_refuses_is_a_conflict(statement, code, refused):
    error = refused(statement)
    assert error_code(error) == code
    assert meaning(error) == {"conflict"}


@pytest.mark.parametrize(
    "statement", ["INSERT INTO nowhere VALUES (1)", "INSERT INTO t VALUES (1, 2, 3)", "NONSENSE"]
)
def test_a_statement_that_makes_no_sense_is_none_of_it(statement, refused):
    assert meaning(refused(statement)) == set()


def test_a_statement_that_sqlite_was_told_to_end_is_cut_short():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.set_progress_handler(lambda: 1, 1)
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("SELECT 1")
    for error in (caught.value, wrapped(caught.value)):
        assert error_code(error) == "SQLITE_INTERRUPT"
        assert meaning(error) == {"cut short"}


# PostgreSQL's

MEANINGS = [
    (errors.SerializationFailure, "40001", {"transient", "outage"}),
    (errors.StatementCompletionUnknown, "40003", {"transient", "outage"}),
    (errors.DeadlockDetected, "40P01", {"transient", "outage"}),
    (errors.AdminShutdown, "57P01", {"transient", "disconnect", "outage"}),
    (errors.CrashShutdown, "57P02", {"transient", "disconnect", "outage"}),
    (errors.CannotConnectNow, "57P03", {"transient", "disconnect", "outage"}),
    (errors.ConnectionFailure, "08006", {"transient", "disconnect", "outage"}),
    (errors.ConnectionDoesNotExist, "08003", {"transient", "disconnect", "outage"}),
    (errors.TooManyConnections, "53300", {"outage"}),
    (errors.DiskFull, "53100", {"outage"}),
    (errors.OutOfMemory, "53200", {"outage"}),
    (errors.ReadOnlySqlTransaction, "25006", {"outage"}),
    (errors.InvalidPassword, "28P01", {"outage"}),
    (errors.InvalidCatalogName, "3D000", {"outage"}),
    (errors.DatabaseDropped, "57P04", {"outage"}),
    (errors.IoError, "58030", {"outage"}),
    (errors.InternalError_, "XX000", {"outage"}),
    (errors.UniqueViolation, "23505", {"conflict"}),
    (errors.NotNullViolation, "23502", {"conflict"}),
    (errors.ForeignKeyViolation, "23503", {"conflict"}),
    (errors.CheckViolation, "23514", {"conflict"}),
    (errors.StringDataRightTruncation, "22001", set()),
    (errors.UndefinedTable, "42P01", set()),
    (errors.QueryCanceled, "57014", {"cut short"}),
]


@pytest.mark.parametrize(
    ("kind", "code", "expected"), MEANINGS, ids=[kind.__name__ for kind, _, _ in MEANINGS]
)
def test_an_error_with_a_state_means_what_its_state_says(kind, code, expected):
    for error in (kind("as it was"), wrapped(kind("as it was")), wrapped(kind("so"), DBAPIError)):
        assert error_code(error) == code
        assert meaning(error) == expected


@pytest.mark.parametrize("kind", [psycopg.OperationalError, psycopg.InterfaceError])
def test_a_driver_without_an_answer_has_lost_its_connection(kind):
    for error in (kind("server closed the connection unexpectedly"), wrapped(kind("gone"))):
        assert error_code(error) == LOST
        assert meaning(error) == {"transient", "disconnect", "outage"}


def test_a_server_that_does_not_listen_is_one_that_may_come_back():
    engine = create_engine("postgresql+psycopg://me@127.0.0.1:1/x")
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    assert error_code(caught.value) == LOST
    assert meaning(caught.value) == {"transient", "disconnect", "outage"}


def test_a_connection_that_sqlalchemy_gave_up_is_lost_whatever_the_driver_said():
    error = wrapped(psycopg.Error("?"), DBAPIError, is_invalidated=True)
    assert error_code(error) == LOST
    assert meaning(error) == {"transient", "disconnect", "outage"}


@pytest.mark.parametrize(
    ("kind", "code"),
    [(psycopg.ProgrammingError, "ProgrammingError"), (psycopg.DataError, "DataError")],
)
def test_what_the_driver_itself_will_not_do_is_never_tried_again(kind, code):
    error = wrapped(kind("cannot adapt type 'object'"), DBAPIError)
    assert error_code(error) == code
    assert meaning(error) == set()


@pytest.mark.parametrize("error", [ValueError("a step's own"), TimeoutError(), WriteError("no")])
def test_what_is_no_error_of_a_database_is_none_of_it(error):
    assert error_code(error) == type(error).__name__
    assert meaning(error) == set()


# The words


def test_a_refusal_is_one_line_in_the_drivers_words_without_the_statement(refused):
    told = refusal(refused("INSERT INTO t VALUES (2, 'one')"))
    assert str(told) == "UNIQUE constraint failed: t.name"
    assert isinstance(told.__cause__, IntegrityError)


def test_a_refusal_shows_no_password():
    assert "canary" not in str(refusal(ValueError("no way to postgresql://me:canary@db/x")))


def test_a_refusal_stays_what_it_is():
    error = WriteError("table t has no column 'x'")
    assert refusal(error) is error
