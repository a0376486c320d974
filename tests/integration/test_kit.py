"""The kit's faults do what they say, and what is no fault passes."""

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, inspect, select, text

from tests.kit.cockroach import VERSION, CockroachStandIn, prepare
from tests.kit.wire import Fault, Faults, Script, WireProxy

DATABASE = "kit"


@pytest.fixture(scope="module")
def server(postgres):
    postgres.create_database(DATABASE)
    with connected(postgres.port) as connection:
        connection.execute("CREATE TABLE things (n bigint PRIMARY KEY, name text)")
    return postgres


@pytest.fixture
def numbers(server):
    """Ask the server itself for the numbers in the table, which is empty at first."""
    with connected(server.port) as connection:
        connection.execute("TRUNCATE things")
        connection.commit()

        def numbers():
            with connection.transaction():
                return [n for (n,) in connection.execute("SELECT n FROM things ORDER BY n")]

        yield numbers


def connected(port):
    return psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname=DATABASE, sslmode="prefer"
    )


def proxied(server, schedule=None):
    return WireProxy(("127.0.0.1", server.port), schedule)


def insert(connection, n):
    connection.execute("INSERT INTO things (n) VALUES (%s)", [n])
    connection.commit()


def insert_in_a_batch(connection, n):
    """As above, but INSERT and COMMIT go out together, by the extended protocol."""
    with connection.pipeline():
        connection.execute("INSERT INTO things (n) VALUES (%s)", [n])
        connection.commit()


def insert_by_prepared_statements(connection, n):
    connection.execute("INSERT INTO things (n) VALUES (%s)", [n], prepare=True)
    connection.execute("COMMIT", prepare=True)


each_protocol = pytest.mark.parametrize(
    "insert", [insert, insert_in_a_batch, insert_by_prepared_statements]
)


@each_protocol
@pytest.mark.parametrize(("fault", "left"), [(Fault.CUT_BEFORE, []), (Fault.CUT_AFTER, [1])])
def test_a_cut_breaks_the_connection_before_or_after_the_commit(
    server, numbers, fault, left, insert
):
    schedule = Script([fault])
    with proxied(server, schedule) as proxy:
        with connected(proxy.port) as connection:
            with pytest.raises(psycopg.OperationalError) as caught:
                insert(connection, 1)
            assert caught.value.sqlstate is None
            assert connection.broken
        assert numbers() == left
        with connected(proxy.port) as connection:
            insert(connection, 2)
    assert numbers() == [*left, 2]
    assert schedule.injected == {fault: 1}


@each_protocol
def test_a_serialization_failure_rolls_back_and_leaves_the_connection(server, numbers, insert):
    schedule = Script([Fault.SERIALIZATION])
    with proxied(server, schedule) as proxy, connected(proxy.port) as connection:
        with pytest.raises(psycopg.errors.SerializationFailure):
            insert(connection, 1)
        assert numbers() == []
        insert(connection, 2)
    assert numbers() == [2]
    assert schedule.injected == {Fault.SERIALIZATION: 1}


@each_protocol
def test_an_ambiguous_commit_took_effect_or_not(server, numbers, insert):
    with (
        proxied(server, Script([Fault.AMBIGUOUS, None, Fault.AMBIGUOUS])) as proxy,
        connected(proxy.port) as connection,
    ):
        for n in (1, 2, 3):
            if n == 2:
                insert(connection, n)
                continue
            with pytest.raises(psycopg.errors.StatementCompletionUnknown) as caught:
                insert(connection, n)
            assert caught.value.sqlstate == "40003"
    assert numbers() == [1, 2]


@pytest.mark.parametrize("insert", [insert, insert_in_a_batch])
def test_what_fails_on_the_server_fails_through_the_proxy(server, numbers, insert):
    schedule = Script([None, Fault.CUT_BEFORE])
    with proxied(server, schedule) as proxy, connected(proxy.port) as connection:
        insert(connection, 1)
        with pytest.raises(psycopg.errors.UniqueViolation):
            insert(connection, 1)
        connection.rollback()
        assert numbers() == [1]
        connection.commit()
        assert not schedule.injected
        with pytest.raises(psycopg.OperationalError):
            insert(connection, 2)
    assert numbers() == [1]


def test_copy_passes_in_both_directions(server, numbers):
    rows = [(n, f"{n:>100}") for n in range(100_000)]
    with proxied(server) as proxy, connected(proxy.port) as connection:
        with connection.cursor().copy("COPY things FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.commit()
        with connection.cursor().copy("COPY things TO STDOUT") as copy:
            copy.set_types(["int8", "text"])
            assert list(copy.rows()) == rows


def copy_by_simple_query(connection, n):
    with connection.cursor().copy("COPY things (n) FROM STDIN") as copying:
        copying.write_row([n])


def copy_in_a_batch(connection, n):
    """As above by the extended protocol, which psycopg itself does not use for COPY."""
    wire = connection.pgconn
    wire.exec_params(b"BEGIN", None)
    wire.exec_params(b"COPY things (n) FROM STDIN", None)
    wire.put_copy_data(b"%d\n" % n)
    connection.wait(psycopg.generators.copy_end(wire, None))


@pytest.mark.parametrize("copy", [copy_by_simple_query, copy_in_a_batch])
def test_a_copy_meets_its_fault_at_the_commit(server, numbers, copy):
    schedule = Script([Fault.SERIALIZATION])
    with proxied(server, schedule) as proxy, connected(proxy.port) as connection:
        copy(connection, 1)
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.commit()
        copy(connection, 2)
        connection.commit()
    assert numbers() == [2]


def test_many_statements_in_one_batch_do_not_jam(server, numbers):
    with proxied(server) as proxy, connected(proxy.port) as connection:
        statement = "INSERT INTO things VALUES (%s, %s) RETURNING name"
        connection.cursor().executemany(
            statement, [(n, "x" * 1_000) for n in range(5_000)], returning=True
        )
        connection.commit()
    assert len(numbers()) == 5_000


def test_a_restart_breaks_connections_and_keeps_the_url_and_what_was_committed(server, numbers):
    with proxied(server) as proxy:
        url = proxy.url(server.url(DATABASE))
        with connected(proxy.port) as connection:
            insert(connection, 1)
            server.restart()
            with pytest.raises(psycopg.OperationalError):
                insert(connection, 2)
        assert proxy.url(server.url(DATABASE)) == url
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT n FROM things")) == 1
        engine.dispose()


def test_closing_does_not_wait_for_clients(server):
    with proxied(server) as proxy:
        connection = connected(proxy.port)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()


def test_the_same_seed_gives_the_same_faults_and_all_of_them():
    def drawn(seed):
        faults = Faults(seed)
        return [faults.draw() for _ in range(1_000)], faults.injected

    assert drawn(5) == drawn(5) != drawn(6)
    assert set(drawn(5)[1]) == set(Fault)
    assert 60 <= drawn(5)[1].total() <= 160


@pytest.fixture(scope="module")
def cockroach_database(server):
    prepare(server, "roach")
    return "roach"


@pytest.fixture
def engine_of(server, cockroach_database):
    """Make engines for the stand-in with a schedule."""
    opened = []

    def engine_of(*faults):
        stand_in = CockroachStandIn(server, cockroach_database, Script(faults))
        opened.append(stand_in.__enter__())
        opened.append(sqlalchemy.create_engine(stand_in.url))
        return opened[-1]

    yield engine_of
    while opened:
        opened.pop().dispose()
        opened.pop().__exit__(None, None, None)


def test_cockroachs_dialect_creates_inserts_selects_and_reflects(engine_of):
    engine = engine_of()
    metadata = MetaData()
    things = Table(
        "things",
        metadata,
        Column("n", Integer, primary_key=True),
        Column("name", String(20), nullable=False, comment="what it is called", index=True),
        Column("price", Numeric(10, 2), server_default=text("0")),
    )
    for _ in range(2):
        metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(things.insert(), [{"name": "a"}, {"name": "b"}])
    with engine.connect() as connection:
        assert [*connection.scalars(select(things.c.name).order_by("n"))] == ["a", "b"]
        assert connection.connection.dbapi_connection.info.vendor == "CockroachDB"
    found = inspect(engine)
    assert found.get_table_names() == ["things"]
    assert found.get_pk_constraint("things")["constrained_columns"] == ["n"]
    assert [index["column_names"] for index in found.get_indexes("things")] == [["name"]]
    n, name, price = found.get_columns("things")
    assert n["autoincrement"]
    assert (name["type"].length, name["comment"]) == (20, "what it is called")
    assert (price["type"].precision, price["type"].scale, price["nullable"]) == (10, 2, True)


def test_the_stand_in_says_it_is_cockroachdb_and_has_its_functions(engine_of):
    with engine_of().connect() as connection:
        assert connection.scalar(text("SELECT version()")) == VERSION
        assert connection.scalar(text("SHOW transaction_isolation")) == "serializable"
        rowids = text("SELECT unique_rowid() FROM generate_series(1, 1000)")
        assert len(set(connection.scalars(rowids))) == 1_000
        with pytest.raises(sqlalchemy.exc.OperationalError, match="restart transaction"):
            connection.execute(text("SELECT crdb_internal.force_retry('1h')"))


@pytest.mark.parametrize(
    ("fault", "sqlstate"), [(Fault.SERIALIZATION, "40001"), (Fault.AMBIGUOUS, "40003")]
)
def test_faults_reach_the_dialects_user(engine_of, fault, sqlstate):
    engine = engine_of(fault)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
            connection.commit()
    assert caught.value.orig.sqlstate == sqlstate
