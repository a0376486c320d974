"""Whole transactions are done again after errors that pass, on real SQLite files and PostgreSQL."""

import sqlite3
import threading
from collections import Counter
from contextlib import closing
from itertools import count

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, func, select, text
from sqlalchemy.exc import IntegrityError

from workermanager.database.engine import open_engine
from workermanager.database.refusals import LOST, error_code, refusal
from workermanager.database.transactions import Transactions

DATABASE = "transactions"

schema = MetaData()
things = Table(
    "things", schema, Column("id", Integer, primary_key=True), Column("name", String(50))
)


class Time:
    """A clock that only waits move, and the waits."""

    def __init__(self):
        self.now = 0.0
        self.waits = []
        self.is_over = False

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        return self.is_over


@pytest.fixture(scope="module")
def postgres_url(postgres):
    postgres.create_database(DATABASE)
    return postgres.url(DATABASE)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/transactions.db"


@pytest.fixture
def opened():
    """Open Transactions on a database with an empty table of things."""
    engines = []

    def opened(url, time=None, connections=3, **settings):
        engine = open_engine(url, connections)
        engines.append(engine)
        schema.drop_all(engine)
        schema.create_all(engine)
        time = time or Time()
        return Transactions(engine, time.wait, now=lambda: time.now, **settings)

    yield opened
    for engine in engines:
        engine.dispose()


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def each_url(request):
    return request.getfixturevalue(request.param)


def insert(number, name="one"):
    return lambda connection: connection.execute(things.insert(), {"id": number, "name": name})


def numbers_in(transactions):
    return transactions.run(lambda connection: list(connection.scalars(select(things.c.id))))


# What goes well


def test_work_is_committed_and_its_value_given(opened, each_url):
    transactions = opened(each_url)

    def work(connection):
        insert(1)(connection)
        return "done"

    assert transactions.run(work) == "done"
    assert (transactions.begun, transactions.commits, transactions.retries) == (1, 1, Counter())
    assert numbers_in(transactions) == [1]


# What is not tried again


def test_what_work_raises_rolls_back_and_is_raised_at_once(opened, each_url):
    time = Time()
    transactions = opened(each_url, time)

    def work(connection):
        insert(1)(connection)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        transactions.run(work)
    assert (transactions.begun, transactions.commits, transactions.retries) == (1, 0, Counter())
    assert numbers_in(transactions) == []
    assert time.waits == []


def test_a_unique_violation_is_not_tried_again(opened, each_url):
    time = Time()
    transactions = opened(each_url, time)
    transactions.run(insert(1))
    with pytest.raises(IntegrityError):
        transactions.run(insert(1))
    assert (transactions.begun, transactions.commits, transactions.retries) == (2, 1, Counter())
    assert time.waits == []


def test_the_words_of_a_violation_are_postgresqls_without_its_detail(opened, postgres_url):
    transactions = opened(postgres_url)
    with pytest.raises(IntegrityError, match="DETAIL:") as caught:
        transactions.run(lambda connection: [insert(52_718)(connection) for _ in range(2)])
    for error in (caught.value, caught.value.orig):
        assert str(refusal(error)) == 'duplicate key value violates unique constraint "things_pkey"'


# A conflict on PostgreSQL


def add_next(connection):
    """Insert the number that follows from those that are there: two at a time conflict."""
    highest = connection.scalar(select(func.coalesce(func.max(things.c.id), 0)))
    insert(highest + 1)(connection)
    return highest + 1


def test_a_serialization_failure_does_the_whole_work_again(opened, postgres_url):
    time = Time()
    transactions, other = (
        opened(postgres_url, time),
        Transactions(open_engine(postgres_url, 1), None),
    )
    attempts, isolations = count(1), []

    def work(connection):
        isolations.append(connection.scalar(text("SHOW transaction_isolation")))
        seen = list(connection.scalars(select(things.c.name)))
        if next(attempts) == 1:  # somebody reads what we write and writes what we read
            other.run(
                lambda theirs: (
                    theirs.execute(select(things.c.name)).all(),
                    insert(1, "theirs")(theirs),
                ),
                isolation="SERIALIZABLE",
            )
        insert(2, f"after {len(seen)}")(connection)
        return seen

    try:
        assert transactions.run(work, isolation="SERIALIZABLE") == ["theirs"]
    finally:
        other._engine.dispose()
    assert isolations == ["serializable", "serializable"]
    assert transactions.retries == {"40001": 1}
    assert (transactions.begun, transactions.commits) == (2, 1)
    assert len(time.waits) == 1
    names = select(things.c.name).order_by(things.c.id)
    rows = transactions.run(lambda connection: list(connection.scalars(names)))
    assert rows == ["theirs", "after 1"]


def test_the_isolation_of_one_transaction_is_not_that_of_the_next(opened, postgres_url):
    transactions = opened(postgres_url, connections=1)

    def isolation(connection):
        return connection.scalar(text("SHOW transaction_isolation"))

    assert transactions.run(isolation, isolation="SERIALIZABLE") == "serializable"
    assert transactions.run(isolation) == "read committed"


def test_threads_that_conflict_all_get_their_turn(opened, postgres_url):
    pause = threading.Event()
    transactions = opened(postgres_url, connections=4)
    made = []

    def work():
        for _ in range(5):
            number = transactions.run(add_next, isolation="SERIALIZABLE", wait=pause.wait)
            made.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 21))
    assert transactions.commits == 20
    assert transactions.begun == 20 + transactions.retries.total()


# A lost connection


def kill(transactions, pid):
    """End a connection of PostgreSQL's, and wait until it is gone."""
    transactions.run(
        lambda connection: connection.scalar(text(f"SELECT pg_terminate_backend({pid}, 20000)"))
    )


def test_a_killed_connection_is_replaced_and_the_whole_work_done_again(opened, postgres_url):
    time = Time()
    transactions = opened(postgres_url, time, connections=2)
    killer = Transactions(open_engine(postgres_url, 1), None)
    pids = []

    def work(connection):
        pids.append(connection.scalar(text("SELECT pg_backend_pid()")))
        insert(len(pids))(connection)
        if len(pids) == 1:
            kill(killer, pids[0])
        insert(10 + len(pids))(connection)

    try:
        transactions.run(work)
    finally:
        killer._engine.dispose()
    assert numbers_in(transactions) == [2, 12]
    assert pids[0] != pids[1]
    assert transactions.retries.total() == 1
    assert set(transactions.retries) <= {"57P01", LOST}
    assert (transactions.begun, transactions.commits) == (3, 2)


def test_a_connection_that_was_killed_while_idle_costs_one_attempt(opened, postgres_url):
    transactions = opened(postgres_url, connections=1)
    killer = Transactions(open_engine(postgres_url, 1), None)
    pid = transactions.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))
    try:
        kill(killer, pid)
    finally:
        killer._engine.dispose()
    transactions.run(insert(1))
    assert numbers_in(transactions) == [1]
    assert transactions.retries.total() == 1


def test_a_connection_that_the_server_ended_for_being_idle_costs_one_attempt(opened, postgres_url):
    transactions = opened(postgres_url, connections=1)
    killer = Transactions(open_engine(postgres_url, 1), None)
    is_there = text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid")
    pid = transactions.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))
    transactions.run(lambda connection: connection.execute(text("SET idle_session_timeout = 1")))
    try:
        while killer.run(lambda connection: connection.scalar(is_there, {"pid": pid})):
            pass
    finally:
        killer._engine.dispose()
    transactions.run(insert(1))
    assert numbers_in(transactions) == [1]
    assert transactions.retries == {"57P05": 1}


# Patience


def always_locked(connection):
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"
    raise error


def test_it_gives_up_when_its_patience_is_over_with_the_databases_own_error(opened, sqlite_url):
    time = Time()
    transactions = opened(sqlite_url, time, patience_s=10.0)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        transactions.run(always_locked)
    assert 10 <= time.now < 11
    assert sum(time.waits[:-1]) < 10
    assert transactions.retries == {"SQLITE_BUSY": len(time.waits)}
    assert (transactions.begun, transactions.commits) == (len(time.waits) + 1, 0)


def test_waits_grow_to_a_second_at_most_and_are_not_in_step(opened, sqlite_url):
    times = [Time(), Time()]
    for time in times:
        with pytest.raises(sqlite3.OperationalError):
            opened(sqlite_url, time).run(always_locked)
    one, other = times
    assert one.waits[:5] != other.waits[:5]
    assert all(0 <= wait <= min(1.0, 0.02 * 2**place) for place, wait in enumerate(one.waits))
    assert max(one.waits[6:]) > 0.5


def test_when_the_run_is_over_nothing_is_waited_for(opened, sqlite_url):
    time = Time()
    time.is_over = True
    transactions = opened(sqlite_url, time)
    with pytest.raises(sqlite3.OperationalError):
        transactions.run(always_locked)
    assert len(time.waits) == 1
    assert transactions.begun == 1


def test_another_wait_stands_in_for_the_usual_one(opened, sqlite_url):
    usual, own = Time(), Time()
    own.is_over = True
    with pytest.raises(sqlite3.OperationalError):
        opened(sqlite_url, usual).run(always_locked, wait=own.wait)
    assert (len(usual.waits), len(own.waits)) == (0, 1)


# SQLite


def test_a_file_that_another_program_keeps_locked_is_had_once_it_lets_go(opened, tmp_path):
    url = f"sqlite:///{tmp_path}/locked.db"
    with closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as other:
        time = Time()
        transactions = opened(url, time)
        transactions.run(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout=0"))
        other.execute("BEGIN IMMEDIATE")

        def let_go(seconds):
            other.execute("ROLLBACK") if other.in_transaction else None
            return time.wait(seconds)

        transactions.run(insert(1), wait=let_go)
        assert transactions.retries == {"SQLITE_BUSY": 1}
        assert numbers_in(transactions) == [1]


def test_threads_on_sqlite_take_turns_and_never_find_it_locked(opened, sqlite_url):
    transactions = opened(sqlite_url, connections=16)
    made = []

    def work():
        for _ in range(10):
            made.append(transactions.run(add_next))  # noqa: PERF401 - one after the other

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 161))
    assert not transactions.retries


def test_an_isolation_asked_of_sqlite_is_the_one_it_always_has(opened, sqlite_url):
    transactions = opened(sqlite_url)
    transactions.run(insert(1), isolation="SERIALIZABLE")
    assert numbers_in(transactions) == [1]


def test_an_error_at_commit_is_one_of_the_transaction(opened, postgres_url):
    transactions = opened(postgres_url)

    def work(connection):
        connection.execute(
            text("CREATE TEMPORARY TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
        connection.execute(text("INSERT INTO late VALUES (1), (1)"))

    with pytest.raises(IntegrityError) as caught:
        transactions.run(work)
    assert error_code(caught.value) == "23505"
    assert (transactions.begun, transactions.commits) == (1, 0)
