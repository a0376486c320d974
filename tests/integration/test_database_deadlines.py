"""Transactions end with the context they run for, on real SQLite files and PostgreSQL."""

import sqlite3
import threading
from collections import Counter
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from instrumentation.errors import Cancelled, TimedOut
from workermanager import Worker
from workermanager.cancelling import Context
from workermanager.database.engine import open_engine
from workermanager.database.refusals import error_code
from workermanager.database.transactions import Transactions
from workermanager.fencing import Fence

DATABASE = "deadlines"
SHORT_S = 0.2

schema = MetaData()
things = Table(
    "things", schema, Column("id", Integer, primary_key=True), Column("name", String(50))
)
SLEEP = text("SELECT pg_sleep(30)")
# Many seconds of work, if nobody ends it.
COUNT = text(
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 100000000) "
    "SELECT count(*) FROM numbers"
)
LONG = {"sqlite_url": COUNT, "postgres_url": SLEEP}
SHOW = text("SHOW statement_timeout")


class Time:
    """A clock that only waits move, and what is to happen during a wait."""

    def __init__(self):
        self.ns = 0
        self.waits = []
        self.meanwhile = lambda: None

    def now(self):
        return self.ns

    def advance(self, seconds):
        self.ns += round(seconds * 1e9)

    def wait(self, event, seconds):
        self.waits.append(seconds)
        self.advance(seconds)
        self.meanwhile()
        return event.is_set()


@pytest.fixture(scope="module")
def postgres_url(postgres):
    postgres.create_database(DATABASE)
    return postgres.url(DATABASE)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/deadlines.db"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def each_url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def opened():
    """Open Transactions on a database with one thing in it."""
    engines = []

    def opened(url, connections=1):
        engine = open_engine(url, connections)
        engines.append(engine)
        schema.drop_all(engine)
        schema.create_all(engine)
        transactions = Transactions(engine, threading.Event().wait)
        transactions.run(insert(0))
        return transactions

    yield opened
    for engine in engines:
        engine.dispose()


def insert(number):
    return lambda connection: connection.execute(things.insert(), {"id": number, "name": "one"})


def numbers_in(transactions):
    return transactions.run(lambda connection: list(connection.scalars(select(things.c.id))))


def ends_late(transactions, work, context=None):
    """What was raised because the time was up."""
    with pytest.raises(Cancelled) as caught:
        transactions.run(work, context=context or Context(timeout=SHORT_S, name="the step"))
    assert type(caught.value.cause) is TimedOut
    assert transactions.retries == Counter(), "a deadline is nothing to try again after"
    return caught.value


def conflict(_connection=None):
    raise OperationalError("UPDATE …", {}, psycopg.errors.SerializationFailure("try again"))


# Statements


@pytest.mark.parametrize("database", LONG)
def test_a_long_statement_ends_at_the_deadline_and_leaves_nothing(opened, database, request):
    transactions = opened(request.getfixturevalue(database))

    def work(connection):
        insert(1)(connection)
        connection.execute(LONG[database])
        pytest.fail("it ran to its end")

    error = ends_late(transactions, work)
    assert str(error) == "the step took longer than 200ms"
    assert numbers_in(transactions) == [0]


def test_a_wait_for_a_row_that_another_connection_locks_ends_at_the_deadline(opened, postgres_url):
    transactions = opened(postgres_url)
    engine = create_engine(postgres_url)
    with engine.begin() as other:
        other.execute(things.update().values(name="theirs"))
        ends_late(transactions, lambda connection: connection.execute(things.delete()))
    engine.dispose()
    assert numbers_in(transactions) == [0]


def test_a_wait_for_a_file_that_another_program_locks_ends_at_the_deadline(opened, sqlite_url):
    transactions = opened(sqlite_url)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ends_late(transactions, lambda connection: pytest.fail("it has the lock"))


def test_many_short_statements_end_at_the_deadline_too(opened, each_url):
    transactions, time = opened(each_url), Time()
    context, done = Context(timeout=10, clock=time), []

    def work(connection):
        for number in range(1, 100):
            insert(number)(connection)
            done.append(number)
            time.advance(1)

    ends_late(transactions, work, context)
    assert len(done) == 10
    assert numbers_in(transactions) == [0]


def test_a_cursor_of_the_driver_is_clipped_as_well(opened, postgres_url):
    def work(connection):
        connection.connection.cursor().execute("SELECT pg_sleep(5)")
        pytest.fail("it ran to its end")

    ends_late(opened(postgres_url), work)


def test_what_swallows_the_databases_error_does_not_commit(opened, postgres_url):
    transactions = opened(postgres_url)

    def work(connection):
        insert(1)(connection)
        with pytest.raises(OperationalError):
            connection.execute(SLEEP)

    ends_late(transactions, work)
    assert numbers_in(transactions) == [0]


# How much time a statement gets on PostgreSQL


def timeouts(transactions, *pauses, context=None):
    """The timeout of one statement, and after each pause that of the next."""
    time = Time()
    shown = []

    def work(connection):
        shown.append(connection.scalar(SHOW))
        for pause in pauses:
            time.advance(pause)
            shown.append(connection.scalar(SHOW))

    transactions.run(work, context=context or Context(timeout=100, clock=time))
    return shown


def test_each_statement_gets_what_remains_then(opened, postgres_url):
    transactions = opened(postgres_url)
    assert timeouts(transactions, 60, 39.9) == ["100100ms", "40040ms", "101ms"]


def test_a_timeout_that_is_nearly_right_is_not_set_again(opened, postgres_url):
    assert timeouts(opened(postgres_url), 5, 5) == ["100100ms", "100100ms", "90090ms"]


def test_without_a_deadline_there_is_no_timeout(opened, postgres_url):
    assert timeouts(opened(postgres_url), 1, context=Context()) == ["0", "0"]


def test_a_timeout_of_the_connections_own_is_kept_where_it_is_shorter(opened, postgres_url):
    transactions = opened(f"{postgres_url}?options=-c%20statement_timeout%3D50s")
    assert timeouts(transactions, 40, 40) == ["50s", "50s", "20020ms"]
    assert transactions.run(lambda connection: connection.scalar(SHOW)) == "50s"


def test_what_a_savepoint_takes_back_is_set_again(opened, postgres_url):
    time, shown = Time(), []

    def work(connection):
        nested = connection.begin_nested()
        time.advance(60)
        shown.append(connection.scalar(SHOW))
        time.advance(30)
        with pytest.raises(IntegrityError):
            insert(0)(connection)
        nested.rollback()
        shown.append(connection.scalar(SHOW))

    opened(postgres_url).run(work, context=Context(timeout=100, clock=time))
    assert shown == ["40040ms", "10010ms"]


# What is no deadline


def test_a_statement_ended_by_something_else_fails_as_it_did(opened, postgres_url):
    transactions = opened(postgres_url)

    def work(connection):
        connection.execute(text("SET LOCAL statement_timeout = 10"))
        connection.execute(SLEEP)

    for context in (None, Context(timeout=60)):
        with pytest.raises(OperationalError) as caught:
            transactions.run(work, context=context)
        assert error_code(caught.value) == "57014"


def test_a_statement_of_sqlite_ended_by_something_else_fails_as_it_did(opened, sqlite_url):
    transactions = opened(sqlite_url)

    def work(connection):
        connection.connection.set_progress_handler(lambda: 1, 1_000)
        try:
            connection.execute(COUNT)
        finally:
            connection.connection.set_progress_handler(None, 0)

    for context in (None, Context(timeout=60)):
        with pytest.raises(OperationalError) as caught:
            transactions.run(work, context=context)
        assert error_code(caught.value) == "SQLITE_INTERRUPT"


def test_what_work_raises_after_the_deadline_is_still_its_own(opened, each_url):
    transactions, time = opened(each_url), Time()

    def work(connection):
        time.advance(2)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        transactions.run(work, context=Context(timeout=1, clock=time))


# Waits


def test_a_context_that_is_over_begins_nothing(opened, each_url):
    transactions, context = opened(each_url), Context()
    begun = transactions.begun
    context.cancel("nobody wants it")
    with pytest.raises(Cancelled, match="nobody wants it"):
        transactions.run(insert(1), context=context)
    assert transactions.begun == begun


def test_a_deadline_that_passes_between_attempts_ends_them(opened, each_url):
    transactions, time = opened(each_url), Time()
    with pytest.raises(Cancelled, match="took longer than 3s") as caught:
        transactions.run(conflict, context=Context(timeout=3, clock=time))
    assert type(caught.value.cause) is TimedOut
    assert time.ns == 3_000_000_000, "the last wait ends at the deadline"
    assert transactions.retries == {"40001": len(time.waits)}


def test_a_conflict_after_the_deadline_is_not_counted_as_one(opened, each_url):
    transactions, time = opened(each_url), Time()

    def work(connection):
        time.advance(2)
        conflict()

    ends_late(transactions, work, Context(timeout=1, clock=time))
    assert time.waits == []


def test_a_cancel_from_elsewhere_ends_the_wait_between_attempts(opened, each_url):
    transactions, time = opened(each_url), Time()
    context, cause = Context(clock=time), ValueError("a sibling failed")
    time.meanwhile = lambda: context.cancel(cause)
    with pytest.raises(Cancelled) as caught:
        transactions.run(conflict, context=context)
    assert caught.value.cause is cause
    assert len(time.waits) == 1


def test_with_a_context_it_still_gives_up_when_the_run_is_over(opened, each_url):
    time, asked = Time(), []

    def is_over(seconds):
        asked.append(seconds)
        return True

    with pytest.raises(OperationalError):
        opened(each_url).run(conflict, wait=is_over, context=Context(clock=time))
    assert (len(time.waits), asked) == (1, [0])


class Looking(Context):
    """Is called off when it is looked at for the third time."""

    __slots__ = ("looks",)

    def check(self):
        self.looks = getattr(self, "looks", 0) + 1
        if self.looks == 3:
            self.cancel("called off")
        super().check()


@pytest.mark.parametrize(
    ("context", "cause"),
    [(Looking, "called off"), (lambda: Context(timeout=SHORT_S), "it took longer than 200ms")],
)
def test_the_wait_for_sqlites_turn_ends_with_the_context(opened, sqlite_url, context, cause):
    transactions = opened(sqlite_url, connections=2)
    has_turn, let_go = threading.Event(), threading.Event()

    def hold(connection):
        has_turn.set()
        let_go.wait(20)

    holder = threading.Thread(target=transactions.run, args=(hold,))
    holder.start()
    assert has_turn.wait(20)
    begun = transactions.begun
    with pytest.raises(Cancelled, match=cause):
        transactions.run(lambda connection: pytest.fail("it has its turn"), context=context())
    assert transactions.begun == begun + 1
    let_go.set()
    holder.join()
    transactions.run(insert(1), context=Context(timeout=20))
    assert numbers_in(transactions) == [0, 1]


# The commit


def test_a_deadline_that_passes_after_the_last_statement_commits_nothing(opened, each_url):
    transactions, time = opened(each_url), Time()

    def work(connection):
        insert(1)(connection)
        time.advance(2)

    ends_late(transactions, work, Context(timeout=1, clock=time))
    assert numbers_in(transactions) == [0]


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_fence_that_was_closed_before_the_commit_lets_nothing_through(opened, each_url, timeout):
    transactions, fence = opened(each_url), Fence()
    commits = transactions.commits

    def work(connection):
        insert(1)(connection)
        assert fence.close()

    with pytest.raises(Cancelled, match="it may change nothing more"):
        transactions.run(work, context=Context(timeout=timeout), fence=fence)
    assert transactions.commits == commits
    assert numbers_in(transactions) == [0]


# A COMMIT waits in here for as long as somebody holds the lock, and notes what it may take.
SLOW_COMMIT = """
    CREATE TABLE seen (timeout text);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO seen VALUES (current_setting('statement_timeout'));
        PERFORM pg_advisory_xact_lock(7);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait()
"""
IS_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def slow_commits(opened, postgres_url):
    """Transactions whose COMMIT takes until the advisory lock 7 is let go, and who may hold it."""
    transactions = opened(postgres_url)
    transactions.run(lambda connection: connection.exec_driver_sql(SLOW_COMMIT))
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as holder:
        yield transactions, holder
    transactions.run(
        lambda connection: connection.exec_driver_sql("DROP FUNCTION wait CASCADE; DROP TABLE seen")
    )


def test_a_commit_that_has_begun_is_waited_for_and_the_fence_stays_open(slow_commits):
    transactions, holder = slow_commits
    time, fence = Time(), Fence()
    context = Context(timeout=60, clock=time)
    holder.execute("SELECT pg_advisory_lock(7)")
    committing = threading.Thread(
        target=transactions.run, args=(insert(1),), kwargs={"context": context, "fence": fence}
    )
    committing.start()
    while not holder.execute(IS_WAITING).fetchone()[0]:
        pass
    time.advance(60)
    assert context.cancelled
    assert not fence.close()
    holder.execute("SELECT pg_advisory_unlock(7)")
    committing.join()
    assert fence.close()
    assert numbers_in(transactions) == [0, 1]
    assert holder.execute("SELECT timeout FROM seen").fetchall() == [("0",)], "it was not clipped"


# The next transaction on the same connection


@pytest.mark.parametrize("is_late", [True, False])
def test_the_next_transaction_on_postgresql_has_all_the_time_it_wants(
    opened, postgres_url, is_late
):
    transactions = opened(postgres_url)
    pid = text("SELECT pg_backend_pid()")
    before = transactions.run(lambda connection: connection.scalar(pid))
    if is_late:
        ends_late(transactions, lambda connection: connection.execute(SLEEP))
    else:
        transactions.run(insert(1), context=Context(timeout=60))
    shown = transactions.run(lambda connection: (connection.scalar(pid), connection.scalar(SHOW)))
    assert shown == (before, "0")


@pytest.mark.parametrize("is_late", [True, False])
def test_the_next_transaction_on_sqlite_has_all_the_time_it_wants(opened, sqlite_url, is_late):
    transactions = opened(sqlite_url)
    time, drivers = Time(), []
    context = Context(timeout=SHORT_S) if is_late else Context(timeout=60, clock=time)

    def work(connection):
        drivers.append(connection.connection.dbapi_connection)
        if is_late:
            connection.execute(COUNT)

    if is_late:
        ends_late(transactions, work, context)
    else:
        transactions.run(work, context=context)
        time.advance(60)
    assert context.cancelled

    def next_work(connection):
        drivers.append(connection.connection.dbapi_connection)
        some = text(COUNT.text.replace("100000000", "1000000"))
        busy_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
        return connection.scalar(some), busy_ms

    assert transactions.run(next_work) == (1_000_000, 60_000)
    assert drivers[0] is drivers[1]


# As a step sees it


@pytest.mark.parametrize("database", LONG)
def test_a_step_hears_of_its_deadline_unwrapped_and_the_time_is_in_its_figures(
    opened, database, request
):
    url, caught = request.getfixturevalue(database), []
    transactions = opened(url)

    def step(ctx, params):
        ctx.scope, ctx.fence = Context(timeout=SHORT_S), Fence()
        with pytest.raises(Cancelled) as error:
            ctx.transact(lambda connection: connection.execute(LONG[database]))
        caught.append(error.value.cause)
        ctx.scope = None
        ctx.fence.close()
        with pytest.raises(Cancelled) as error:
            ctx.transact(insert(1))
        caught.append(error.value.cause)

    report = Worker(step, execs_per_tick=[1], tick_duration=0, database=url).run()
    assert report.counts["ok"] == 1, report.errors
    assert type(caught[0]) is TimedOut
    assert caught[1] == "the step has timed out: it may change nothing more"
    assert report.steps["step.transact"].failed == 1
    assert report.steps["step.transact"].service.count == 1
    assert numbers_in(transactions) == [0]
