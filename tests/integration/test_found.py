"""Rows that are there already: the same ones are found, others under their key are a conflict."""

import importlib.util
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import (
    CHAR,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    create_engine,
    insert,
    select,
    text,
)

from tests.kit.columns import EAST, VALUES, make_row, make_table
from workermanager import Worker

DATABASE = "found"
LOAD_RUNNER = Path(__file__).parents[2] / "examples" / "load_runner.py"


@pytest.fixture(scope="module")
def load_runner():
    spec = importlib.util.spec_from_file_location("load_runner_for_found", LOAD_RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def postgres_url(postgres):
    postgres.create_database(DATABASE)
    return postgres.url(DATABASE)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/found.db"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def url(request):
    """An empty database."""
    url = request.getfixturevalue(request.param)
    if request.param == "postgres_url":
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    return url


def contents(url, *tables):
    """The rows of tables, whatever their order."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: Counter(map(repr, connection.execute(select(table)).all()))
            for table in tables
        }
    engine.dispose()
    return found


def put(url, table, *rows):
    """Create a table with rows that somebody else wrote."""
    engine = create_engine(url)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), list(rows))
    engine.dispose()


def table_of(*columns, name="things"):
    return Table(name, MetaData(), Column("id", Integer, primary_key=True), *columns)


def write(url, table, row_of, execs=10, **settings):
    """Run execs that insert ``row_of(n)`` each, and give the report."""
    return Worker(
        lambda ctx, params: ctx.insert(table, row_of(ctx.n)),
        execs_per_tick=[execs],
        tick_duration=0,
        database=url,
        schema=table.metadata,
        **settings,
    ).run()


# The same run again


@pytest.mark.parametrize("ledger", [True, False])
def test_the_same_seed_again_finds_every_row_and_writes_none(load_runner, url, ledger):
    worker = replace(
        load_runner.worker,
        execs_per_tick=[50],
        tick_duration="1s",
        spread="burst",
        database=url,
        seed=7,
        ledger=ledger,
    )
    tables = (load_runner.companies, load_runner.profile_pictures, load_runner.users)
    first = worker.run()
    written = {"companies": 50, "profile_pictures": 50, "users": 150}
    assert (first.rows, first.database.found) == (written, {})
    before = contents(url, *tables)

    again = worker.run()
    assert (again.counts["ok"], again.errors) == (50, [])
    assert (again.rows, again.database.found) == ({}, written)
    assert contents(url, *tables) == before


def test_another_seed_finds_nothing(load_runner, url):
    worker = replace(load_runner.worker, execs_per_tick=[5], tick_duration=0, database=url, seed=7)
    worker.run()
    other = replace(worker, seed=8).run()
    assert (other.counts["ok"], other.database.found) == (5, {})
    assert other.rows == {"companies": 5, "profile_pictures": 5, "users": 15}


def test_rows_of_an_exec_that_are_partly_there_are_completed(url):
    parents = table_of(name="parents")
    children = Table(
        "children",
        parents.metadata,
        Column("id", Integer, primary_key=True),
        Column("parent_id", ForeignKey("parents.id"), nullable=False),
    )
    put(url, parents, *({"id": n} for n in range(0, 100, 3)))

    def step(ctx, params):
        ctx.insert(parents, {"id": ctx.n})
        ctx.insert(children, {"id": ctx.n, "parent_id": ctx.n})

    report = Worker(
        step, execs_per_tick=[100], tick_duration=0, database=url, schema=parents.metadata
    ).run()
    assert report.counts["ok"] == 100, report.errors
    assert report.rows == {"parents": 66, "children": 100}
    assert report.database.found == {"parents": 34}
    assert contents(url, parents)["parents"].total() == 100


def test_a_key_of_several_columns_is_looked_up_as_a_whole(url):
    table = Table(
        "pairs",
        MetaData(),
        Column("a", Integer, primary_key=True),
        Column("b", String(5), primary_key=True),
        Column("value", Integer),
    )
    put(url, table, {"a": 1, "b": "x", "value": 1}, {"a": 1, "b": "y", "value": 2})
    report = write(url, table, lambda n: {"a": n // 2, "b": "xy"[n % 2], "value": n - 1}, 6)
    assert (report.counts["ok"], report.database.found) == (6, {"pairs": 2})


def test_more_rows_than_one_question_takes_are_all_found(url):
    table = table_of(Column("name", String(20)))
    rows = [{"id": number, "name": f"n{number}"} for number in range(1_200)]
    put(url, table, *rows)

    def step(ctx, params):
        for row in rows[ctx.n * 600 : ctx.n * 600 + 600]:
            ctx.insert(table, row)

    report = Worker(
        step, execs_per_tick=[2], tick_duration=0, database=url, schema=table.metadata
    ).run()
    assert (report.counts["ok"], report.database.found) == (2, {"things": 1_200})


# Another row under the same key


@pytest.mark.parametrize(
    ("column", "there"),
    [("name", {"name": "other"}), ("size", {"size": 99}), ("size", {"size": None})],
)
def test_another_row_under_its_key_fails_that_exec_alone(url, column, there):
    table = table_of(Column("name", String(20)), Column("size", Integer))
    put(url, table, {"id": 3, "name": "n3", "size": 3, **there})
    before, results = contents(url, table)["things"], []
    report = write(
        url,
        table,
        lambda n: {"id": n, "name": f"n{n}", "size": n},
        on_result=results.append,
    )
    assert [result.n for result in results if result.error] == [3]
    assert report.errors[0].example == (
        f"table things: a row with this key is there already, with another {column}"
    )
    assert report.rows == {"things": 9}
    assert before < contents(url, table)["things"]


def test_two_execs_with_one_key_and_other_values_are_not_both_ok(url):
    table = table_of(Column("name", String(20)))
    report = write(url, table, lambda n: {"id": n // 2, "name": f"n{n}"})
    assert (report.counts["ok"], report.counts["failed"]) == (5, 5)
    assert report.rows == {"things": 5}
    assert {kind.example for kind in report.errors} == {
        "table things: a row with this key is there already, with another name"
    }


def test_the_values_of_the_other_row_are_not_told(url):
    table = table_of(Column("name", String(20)))
    put(url, table, {"id": 0, "name": "canary-5f2e"})
    report = write(url, table, lambda n: {"id": n, "name": "canary-6a3f"}, 1)
    assert report.counts["failed"] == 1
    assert "canary" not in report.to_json()


def test_a_value_that_only_the_other_row_has_is_no_difference(url):
    """What a row leaves out is the database's affair, such as a default."""
    table = table_of(Column("name", String(20)), Column("seen", Integer, server_default="0"))
    put(url, table, {"id": 3, "name": "n3", "seen": 17})
    report = write(url, table, lambda n: {"id": n, "name": f"n{n}"})
    assert (report.counts["ok"], report.database.found) == (10, {"things": 1})


# Another unique column


@pytest.mark.parametrize("is_same_row", [False, True])
def test_a_value_that_another_key_has_fails_only_its_exec(url, is_same_row):
    table = table_of(Column("name", String(20), unique=True))
    put(url, table, {"id": 1_000, "name": "n3"})
    results = []
    report = write(url, table, lambda n: {"id": n, "name": f"n{n}"}, on_result=results.append)
    assert [result.n for result in results if result.error] == [3]
    assert report.database.found == {}
    assert report.rows == {"things": 9}
    assert contents(url, table)["things"].total() == 10


def test_a_found_row_does_not_hide_a_violation_of_the_same_exec(url):
    table = table_of(Column("name", String(20), unique=True))
    put(url, table, {"id": 1, "name": "one"}, {"id": 2, "name": "two"})

    def step(ctx, params):
        ctx.insert(table, {"id": 1, "name": "one"})  # is there
        ctx.insert(table, {"id": 3, "name": "two"})  # cannot be

    report = Worker(step, database=url, schema=table.metadata).run()
    assert report.counts["failed"] == 1
    assert report.rows == {}
    assert contents(url, table)["things"].total() == 2


def test_rows_whose_key_the_database_makes_are_never_found(url):
    table = table_of(Column("name", String(20)))
    for found in (10, 20):
        report = write(url, table, lambda n: {"name": f"n{n}"})
        assert (report.counts["ok"], report.database.found) == (10, {})
        assert contents(url, table)["things"].total() == found


def test_a_table_without_a_key_takes_the_same_row_twice(url):
    table = Table("plain", MetaData(), Column("name", String(20)))
    for found in (10, 20):
        assert write(url, table, lambda n: {"name": f"n{n}"}).counts["ok"] == 10
        assert contents(url, table)["plain"].total() == found


# Values that a column keeps in its own way


def test_every_type_is_found_again(url):
    schema = MetaData()
    table = make_table(schema)
    for rows, found in (({"typed": 30}, {}), ({}, {"typed": 30})):
        report = write(url, table, make_row, 30)
        assert (report.counts["ok"], report.errors) == (30, [])
        assert (report.rows, report.database.found) == (rows, found)


@pytest.mark.parametrize("column", sorted(VALUES))
def test_a_value_is_found_again_and_none_in_its_place_is_not(url, column):
    table = table_of(Column(column, VALUES[column][0]))
    row = {"id": 1, column: VALUES[column][1]}
    assert write(url, table, lambda n: row, 1).counts["ok"] == 1
    again = write(url, table, lambda n: row, 1)
    assert (again.counts["ok"], again.database.found) == (1, {"things": 1})
    none = write(url, table, lambda n: {**row, column: None}, 1)
    assert none.errors[0].example.endswith(f"with another {column}")


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (Numeric(12, 2), 0.1, Decimal("0.10")),
        (Numeric(12, 2), 3, Decimal("3.00")),
        (Float, Decimal("0.1"), 0.1),
        (Float(24), 1 / 3, 1 / 3),  # REAL on PostgreSQL: six digits
    ],
)
def test_a_number_is_the_same_as_far_as_its_column_keeps_it(url, kind, value, kept):
    table = table_of(Column("number", kind))
    put(url, table, {"id": 1, "number": kept})
    report = write(url, table, lambda n: {"id": 1, "number": value}, 1)
    assert report.database.found == {"things": 1}, report.errors


def test_a_moment_is_the_same_in_any_zone(postgres_url):
    table = table_of(Column("at", DateTime(timezone=True)), name="moments")
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    put(postgres_url, table, {"id": 1, "at": moment})
    same = write(postgres_url, table, lambda n: {"id": 1, "at": moment.astimezone(EAST)}, 1)
    assert same.database.found == {"moments": 1}
    later = moment + timedelta(microseconds=1)
    other = write(postgres_url, table, lambda n: {"id": 1, "at": later}, 1)
    assert other.errors[0].example.endswith("with another at")


# What a column keeps, and what is another value


@pytest.mark.parametrize(
    ("kind", "there", "ours"),
    [
        (Numeric(14, 4), Decimal("1234567.8900"), Decimal("1234567.9000")),
        (Float, 1.0000001, 1.0000002),
        (String(10), "x ", "x"),
        (String(10), "Ann", "ann"),
    ],
)
def test_a_value_that_is_nearly_the_same_is_another_one(url, kind, there, ours):
    table = table_of(Column("value", kind))
    put(url, table, {"id": 1, "value": there})
    report = write(url, table, lambda n: {"id": 1, "value": ours}, 1)
    assert report.errors[0].example.endswith("with another value")


NOON_IN_THE_EAST = datetime(2026, 1, 1, 12, tzinfo=EAST)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column("key", DateTime(timezone=True), primary_key=True), NOON_IN_THE_EAST),
        (
            Column("key", Numeric(8, 2), primary_key=True, autoincrement=False),
            Decimal("1.5"),
        ),
        (Column("key", Float, primary_key=True, autoincrement=False), 1),
        (Column("key", Uuid(as_uuid=False), primary_key=True), "A" * 32),
        (Column("key", CHAR(5), primary_key=True), "ab"),
        (Column("key", Integer, key="other", primary_key=True), 1),
    ],
    ids=["moment", "number", "float", "uuid", "padded", "other name"],
)
def test_a_row_is_found_under_a_key_of_any_type(url, column, value):
    table = Table("things", MetaData(), column._copy(), Column("name", String(10)))
    row = {column.key: value, "name": "one"}
    assert write(url, table, lambda n: row, 1).rows == {"things": 1}
    assert write(url, table, lambda n: row, 1).database.found == {"things": 1}
    other = write(url, table, lambda n: {**row, "name": "two"}, 1)
    assert other.errors[0].example.endswith("with another name")
