"""Rows into tables by the fastest way each database has, values converted as SQLAlchemy does.

SQLite: ``executemany``. PostgreSQL: COPY, also for one row, because an INSERT reads some values
otherwise. Others: INSERTs of many rows. SQLAlchemy's own insert takes longer for each row, and
serves where a column needs it: a Python-side default, or a type that wraps its value in SQL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from sqlalchemy import DateTime, Uuid

from instrumentation.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Table
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

    from workermanager.database.entries import Rows

__all__ = ["Inserter"]

_MOST_PARAMETERS: Final = 30_000  # PostgreSQL's protocol takes 65,535 in a statement


class _Shape(NamedTuple):
    """Rows of one table with the same columns: the statement's text, and how to convert."""

    table: Table
    head: str
    names: str
    mark: str
    converters: tuple[_Converter | None, ...]
    is_plain: bool


_Key: TypeAlias = "tuple[Table, tuple[str, ...]]"
_Converter: TypeAlias = "Callable[[Sequence[Any]], Iterable[Any]]"
"""Turns the values of a column into those that the driver takes."""


class Inserter:
    """Inserts rows of many tables; what is known of a table's columns is kept."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._shapes: dict[_Key, _Shape] = {}
        self._write = {
            "sqlite": _execute_many,
            "postgresql": _copy if _copies(dialect) else _insert_many,
        }.get(dialect.name, _insert_many)

    def insert(self, connection: Connection, rows: Rows, *, in_order: bool = False) -> None:
        """Insert the rows, grouped by table and columns in the order these first come.

        With ``in_order`` they are inserted in their very order, whatever it costs.

        Raises:
            WriteError: a row is for no table, or for a column that its table has not.
            Exception: what the driver says of a row.
        """
        for key, group in _in_order(rows) if in_order else _group(rows).items():
            shape = self._shapes.get(key) or self._make_shape(key)
            if shape.is_plain:
                self._write(connection, shape, _convert(shape, group))
            else:
                connection.execute(shape.table.insert(), group)

    def insert_row(self, connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
        """Insert one row of plain values by one statement: COPY takes another round trip."""
        key = (table, tuple(row))
        shape = self._shapes.get(key) or self._make_shape(key)
        _insert_many(connection, shape, _convert(shape, [row]))

    def _make_shape(self, key: _Key) -> _Shape:
        table, names = key
        if not hasattr(table, "c"):
            raise WriteError(f"ctx.insert: wanted a SQLAlchemy table, found {type(table).__name__}")
        unknown = [name for name in names if name not in table.c]
        if unknown:
            raise WriteError(f"table {table.name} has no column {unknown[0]!r}")
        prepare = self._dialect.identifier_preparer
        columns = [table.c[name] for name in names]
        converters = [_make_converter(column.type, self._dialect) for column in columns]
        is_wrapped = any(column.type._has_bind_expression for column in columns)
        has_default = any(
            column.default is not None for column in table.c if column.name not in names
        )
        place = "?" if self._dialect.paramstyle == "qmark" else "%s"
        shape = self._shapes[key] = _Shape(
            table,
            prepare.format_table(table),
            ", ".join(prepare.format_column(column) for column in columns),
            f"({', '.join([place] * len(columns))})",
            tuple(converters),
            is_plain=bool(names) and not is_wrapped and not has_default,
        )
        return shape


def _make_converter(kind: TypeEngine[Any], dialect: Dialect) -> _Converter | None:
    """What converts values of a type; None where the driver takes them as they are."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    if isinstance(kind, Uuid) and kind.as_uuid and (convert is not None or _copies(dialect)):
        return partial(_to_hex, convert or _as_it_is)
    if isinstance(kind, DateTime) and not kind.timezone and dialect.name != "sqlite":
        return partial(map, _without_zone)
    if convert is None:
        return None
    return partial(map, _remembering(convert) if isinstance(kind, DateTime) else convert)


def _without_zone(value: Any) -> Any:
    """A moment as clocks on the wall show it, whatever zone the database's session is in."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _remembering(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Converts a moment once, as an exec's rows share theirs: 1.5 µs each.

    Only those in UTC, or in no zone: moments of two zones may be equal and are written differently.
    """
    remembered = lru_cache(maxsize=1_024)(convert)

    def convert_moment(value: Any) -> Any:
        is_plain = type(value) is datetime and (value.tzinfo is UTC or value.tzinfo is None)
        return remembered(value) if is_plain else convert(value)

    return convert_moment


def _to_hex(otherwise: Callable[[Any], Any], values: Sequence[Any]) -> Iterable[Any]:
    """UUIDs as 32 digits, in C; other things, such as None, as their type has it."""
    try:
        return list(map(_HEX, map(_INT, values)))
    except AttributeError:
        return map(otherwise, values)


_INT: Final = attrgetter("int")
_HEX: Final = "%032x".__mod__


def _as_it_is(value: Any) -> Any:
    return value


def _copies(dialect: Dialect) -> bool:
    return dialect.name == "postgresql" and dialect.driver == "psycopg"


def _group(rows: Rows) -> dict[_Key, list[Mapping[str, Any]]]:
    groups: dict[_Key, list[Mapping[str, Any]]] = {}
    for table, row in rows:
        groups.setdefault((table, tuple(row)), []).append(row)
    return groups


def _in_order(rows: Rows) -> Iterable[tuple[_Key, list[Mapping[str, Any]]]]:
    runs = groupby(rows, key=lambda insert: (insert[0], tuple(insert[1])))
    return [(key, [row for _, row in inserts]) for key, inserts in runs]


def _convert(shape: _Shape, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """The values of the rows as the driver takes them; by columns, because that is in C."""
    columns = zip(*(row.values() for row in rows), strict=True)
    return list(
        zip(
            *(
                values if convert is None else convert(values)
                for convert, values in zip(shape.converters, columns, strict=True)
            ),
            strict=True,
        )
    )


def _execute_many(connection: Connection, shape: _Shape, rows: list[tuple[Any, ...]]) -> None:
    text = f"INSERT INTO {shape.head} ({shape.names}) VALUES {shape.mark}"  # noqa: S608 - names are quoted, values are parameters
    connection.exec_driver_sql(text, rows)


def _insert_many(connection: Connection, shape: _Shape, rows: list[tuple[Any, ...]]) -> None:
    """One statement for as many rows as its parameters allow."""
    size = max(1, _MOST_PARAMETERS // len(shape.converters))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        marks = ", ".join([shape.mark] * len(part))
        text = f"INSERT INTO {shape.head} ({shape.names}) VALUES {marks}"  # noqa: S608 - as above
        connection.exec_driver_sql(text, tuple(value for row in part for value in row))


def _copy(connection: Connection, shape: _Shape, rows: list[tuple[Any, ...]]) -> None:
    driver: Any = connection.connection.driver_connection
    text = f"COPY {shape.head} ({shape.names}) FROM STDIN".replace("%%", "%")  # no parameters
    with driver.cursor() as cursor, cursor.copy(text) as copy:
        for row in rows:
            copy.write_row(row)
