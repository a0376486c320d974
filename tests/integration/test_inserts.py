"""Rows arrive as SQLAlchemy's own insert would write them, on SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    TypeDecorator,
    create_engine,
    func,
    literal,
    select,
    text,
)

from instrumentation.errors import WriteError
from tests.kit.columns import EAST, VALUES, make_row, make_table
from workermanager.database.engine import open_engine
from workermanager.database.inserts import Inserter

DATABASE = "inserts"
FEW, MANY = 3, 30

amounts = pytest.mark.parametrize("amount", [FEW, MANY])


@pytest.fixture(scope="module")
def postgres_url(postgres):
    postgres.create_database(DATABASE)
    return postgres.url(DATABASE)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/inserts.db"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def database():
    """Open a database with the tables of a schema, which goes away with the test."""
    opened = []

    def database(url, schema):
        opened.append((open_engine(url, 1), schema))
        schema.create_all(opened[-1][0])
        return opened[-1][0]

    yield database
    for engine, schema in opened:
        schema.drop_all(engine)
        engine.dispose()


def insert(engine, rows, **settings):
    with engine.begin() as connection:
        Inserter(engine.dialect).insert(connection, rows, **settings)


def read(engine, table, *columns):
    with engine.connect() as connection:
        found = connection.execute(select(*(columns or [table])).order_by(table.c.id))
        return [dict(row) for row in found.mappings()]


def table_of(*columns, schema=None, name="things"):
    schema = schema or MetaData()
    return Table(name, schema, Column("id", Integer, primary_key=True), *columns)


# Types


@amounts
def test_every_type_arrives_as_sqlalchemys_own_insert_writes_it(database, url, amount):
    schema = MetaData()
    ours, theirs = make_table(schema, "ours"), make_table(schema, "theirs")
    engine = database(url, schema)
    rows = [make_row(number) for number in range(amount)]
    insert(engine, [(ours, row) for row in rows])
    with engine.begin() as connection:
        connection.execute(theirs.insert(), rows)
    assert len(read(engine, ours)) == amount
    for one, other in zip(read(engine, ours), read(engine, theirs), strict=True):
        assert one == other
    # What the database itself holds, below SQLAlchemy's conversion.
    with engine.connect() as connection:
        one, other = (
            connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY id").all()
            for name in ("ours", "theirs")
        )
    assert one == other


@pytest.mark.parametrize("column", sorted(VALUES))
def test_a_value_comes_back_as_it_went_in(database, url, column):
    kind, value = VALUES[column]
    if column == "moment_utc" and url.startswith("sqlite"):
        value = value.replace(tzinfo=None)  # it keeps no zone
    table = table_of(Column(column, kind))
    engine = database(url, table.metadata)
    insert(engine, [(table, {"id": number, column: VALUES[column][1]}) for number in range(MANY)])
    assert {str(row[column]) for row in read(engine, table)} == {str(value)}


@amounts
def test_none_is_null_even_in_json(database, url, amount):
    table = table_of(Column("plain", String), Column("json", JSON(none_as_null=True)))
    engine = database(url, table.metadata)
    insert(engine, [(table, {"id": n, "plain": None, "json": None}) for n in range(amount)])
    with engine.connect() as connection:
        query = "SELECT count(*) FROM things WHERE plain IS NULL AND json IS NULL"
        assert connection.exec_driver_sql(query).scalar() == amount


@amounts
def test_a_moment_of_another_zone_is_the_same_moment(database, postgres_url, amount):
    table = table_of(Column("at", DateTime(timezone=True)))
    engine = database(postgres_url, table.metadata)
    moment = datetime(2026, 1, 1, 3, tzinfo=EAST)
    insert(engine, [(table, {"id": number, "at": moment}) for number in range(amount)])
    assert {row["at"].astimezone(UTC) for row in read(engine, table)} == {moment.astimezone(UTC)}


TEXTS = [
    "line\nline\r\nline",
    "\ttab\t",
    "\\",
    "\\N",
    "\\.",
    "\\n",
    " padded ",
    "",
    "'quoted' \"quoted\"",
    "100 % of %s, %(name)s, {x}, :x, ?, $1",
    "Łódź — 東京 — 😀 — e\u0301",
    "\x01\x7f\u200b\ufeff",
]


@amounts
def test_any_text_arrives_as_it_is(database, url, amount):
    table = table_of(Column("text", String))
    engine = database(url, table.metadata)
    texts = {number: TEXTS[number % len(TEXTS)] for number in range(amount)}
    for start in range(0, len(TEXTS), amount):
        texts = {start + n: TEXTS[(start + n) % len(TEXTS)] for n in range(amount)}
        insert(engine, [(table, {"id": n, "text": text}) for n, text in texts.items()])
        found = {row["id"]: row["text"] for row in read(engine, table)}
        assert {n: found[n] for n in texts} == texts


class Shouting(TypeDecorator):
    """A type that converts in Python."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value.upper()


class Reversed(TypeDecorator):
    """A type that converts in SQL."""

    impl = String
    cache_ok = True

    def bind_expression(self, bindparam):
        return func.replace(bindparam, literal("a"), literal("b"))


@amounts
def test_types_of_ones_own_convert(database, url, amount):
    table = table_of(Column("loud", Shouting), Column("swapped", Reversed))
    engine = database(url, table.metadata)
    insert(engine, [(table, {"id": n, "loud": "hey", "swapped": "aha"}) for n in range(amount)])
    row = read(engine, table)[-1]
    assert (row["loud"], row["swapped"]) == ("HEY", "bhb")


# What a row leaves out


@amounts
def test_defaults_of_python_apply_row_by_row(database, url, amount):
    made = iter(range(1_000))
    table = table_of(
        Column("constant", String, default="usual"),
        Column("counted", Integer, default=lambda: next(made)),
        Column("given", String, default="never"),
    )
    engine = database(url, table.metadata)
    insert(engine, [(table, {"id": number, "given": "mine"}) for number in range(amount)])
    rows = read(engine, table)
    assert [row["counted"] for row in rows] == list(range(amount))
    assert {(row["constant"], row["given"]) for row in rows} == {("usual", "mine")}


@amounts
def test_defaults_of_the_server_apply_and_so_do_computed_columns(database, url, amount):
    table = table_of(
        Column("colour", String, server_default="red"),
        Column("twice", Integer, Computed("id * 2", persisted=True)),
        Column("at", DateTime, server_default=func.current_timestamp()),
    )
    engine = database(url, table.metadata)
    insert(engine, [(table, {"id": number}) for number in range(amount)])
    rows = read(engine, table)
    assert [row["twice"] for row in rows] == [2 * number for number in range(amount)]
    assert {row["colour"] for row in rows} == {"red"}
    assert all(isinstance(row["at"], datetime) for row in rows)


@amounts
def test_a_key_that_the_database_makes_is_made(database, url, amount):
    table = table_of(Column("name", String))
    engine = database(url, table.metadata)
    insert(engine, [(table, {"name": f"n{number}"}) for number in range(amount)])
    assert [row["name"] for row in read(engine, table)] == [f"n{n}" for n in range(amount)]


@amounts
def test_a_sequence_is_drawn_from(database, postgres_url, amount):
    schema = MetaData()
    numbers = Sequence("numbers", start=100, metadata=schema)
    table = table_of(Column("number", Integer, numbers), schema=schema)
    engine = database(postgres_url, schema)
    insert(engine, [(table, {"id": number}) for number in range(amount)])
    assert [row["number"] for row in read(engine, table)] == list(range(100, 100 + amount))


def test_rows_with_other_columns_are_each_written_with_their_own(database, url):
    table = table_of(Column("a", String, server_default="x"), Column("b", String))
    engine = database(url, table.metadata)
    rows = [{"id": n, **({"a": "A"} if n % 2 else {"b": "B"})} for n in range(MANY)]
    insert(engine, [(table, row) for row in rows])
    found = [(row["a"], row["b"]) for row in read(engine, table)]
    assert found == [("A", None) if n % 2 else ("x", "B") for n in range(MANY)]


def test_the_order_of_a_rows_columns_is_its_own_affair(database, url):
    table = table_of(Column("a", String), Column("b", String))
    engine = database(url, table.metadata)
    rows = [{"b": "B", "id": 1, "a": "A"}, {"a": "A", "b": "B", "id": 2}]
    insert(engine, [(table, row) for row in rows])
    assert [(row["a"], row["b"]) for row in read(engine, table)] == [("A", "B")] * 2


# Names


NAMES = ["two words", "UPPER", "order", "user", "end", 'quo"te', "a:b", "{x}", "a.b", "ü"]


@amounts
def test_names_that_need_quotes_get_them(database, url, amount):
    has_names_written(database, url, amount, NAMES, 'The "select"')


@amounts
def test_names_may_have_a_percent_sign(database, url, amount):
    names = ["per%cent", "%s", "%(x)s", "100 %%"]
    has_names_written(database, url, amount, names, "100 % of it")


def has_names_written(database, url, amount, names, name):
    table = table_of(*(Column(name, String) for name in names), name=name)
    engine = database(url, table.metadata)
    values = {name: f"value of {name}" for name in names}
    insert(engine, [(table, {"id": number, **values}) for number in range(amount)])
    rows = read(engine, table)
    assert len(rows) == amount
    assert all(row == {"id": number, **values} for number, row in enumerate(rows))


@amounts
def test_a_table_in_another_schema_of_postgresql_is_found(database, postgres_url, amount):
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA IF NOT EXISTS "Other place"'))
    engine.dispose()
    metadata = MetaData(schema="Other place")
    table = table_of(Column("name", String), schema=metadata)
    engine = database(postgres_url, metadata)
    insert(engine, [(table, {"id": number, "name": "x"}) for number in range(amount)])
    with engine.connect() as connection:
        query = 'SELECT count(*) FROM "Other place".things'
        assert connection.exec_driver_sql(query).scalar() == amount


# Order, and refusals


def test_rows_are_inserted_in_their_very_order_where_it_matters(database, postgres_url):
    schema = MetaData()
    to_other = ForeignKey("other.id", name="to_other", use_alter=True)
    one = table_of(Column("other_id", to_other), schema=schema, name="one")
    other = table_of(Column("one_id", ForeignKey("one.id")), schema=schema, name="other")
    engine = database(postgres_url, schema)
    rows = [
        (one, {"id": 1, "other_id": None}),
        (other, {"id": 1, "one_id": 1}),
        (one, {"id": 2, "other_id": 1}),
    ]
    insert(engine, rows, in_order=True)
    assert [row["id"] for row in read(engine, one)] == [1, 2]


def test_a_column_that_is_none_is_named(database, sqlite_url):
    table = table_of()
    engine = database(sqlite_url, table.metadata)
    with pytest.raises(WriteError, match="table things has no column 'nmae'"):
        insert(engine, [(table, {"id": 1, "nmae": "x"})])


def test_a_row_without_any_column_is_all_defaults(database, url):
    table = table_of(Column("colour", String, server_default="red"))
    engine = database(url, table.metadata)
    insert(engine, [(table, {}), (table, {})])
    assert [row["colour"] for row in read(engine, table)] == ["red", "red"]


@amounts
def test_equal_moments_of_several_zones_are_each_written_as_sqlalchemy_does(
    database, sqlite_url, amount
):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    zones = [UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5))]
    moments = [noon.astimezone(zones[number % 3]) for number in range(amount)]
    table = table_of(Column("at", DateTime(timezone=True)))
    engine = database(sqlite_url, table.metadata)
    insert(engine, [(table, {"id": n, "at": at}) for n, at in enumerate(moments)])
    assert [row["at"] for row in read(engine, table)] == [at.replace(tzinfo=None) for at in moments]


@amounts
def test_a_moment_does_not_depend_on_the_sessions_zone(database, postgres_url, amount):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = table_of(Column("wall", DateTime), Column("at", DateTime(timezone=True)))
    engine = database(f"{postgres_url}?options=-ctimezone%3DEurope/Berlin", table.metadata)
    insert(engine, [(table, {"id": n, "wall": noon, "at": noon}) for n in range(amount)])
    row = read(engine, table)[0]
    assert (row["wall"], row["at"]) == (noon.replace(tzinfo=None), noon)
