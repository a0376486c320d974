"""Rows that are in the database already: the very same ones, or others under their key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from struct import error as StructError  # noqa: N812 - an exception like the others
from struct import pack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import CHAR, REAL, Float, Uuid, select, tuple_

from instrumentation.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Table
    from sqlalchemy.types import TypeEngine

    from workermanager.database.entries import Rows

__all__ = ["Found"]

_AT_ONCE: Final = 500
_SINGLE_BITS: Final = 24

_Row: TypeAlias = Mapping[str, Any]


class Found:
    """Which of some rows are in the database under their primary key, and whether they differ.

    A row that is there with the same values needs no insert, whoever inserted it. One with other
    values is a conflict: to skip it would lose a row in silence.
    """

    def __init__(self, connection: Connection, rows: Rows) -> None:
        self._there: dict[Table, list[_Row]] = {}
        self._by_key: dict[Table, dict[tuple[str, ...], _Row]] = {}
        by_table: dict[Table, list[_Row]] = {}
        for table, row in rows:
            if _has_key(table, row):
                by_table.setdefault(table, []).append(row)
        for table, keyed in by_table.items():
            there = self._there[table] = list(_read(connection, table, keyed))
            self._by_key[table] = {_key_text(table, row): row for row in there}

    def is_there(self, table: Table, row: _Row) -> bool:
        """True if the very same row is in the database."""
        there = self._find(table, row)
        return there is not None and _difference(table, row, there) is None

    def conflict(self, rows: Rows) -> WriteError | None:
        """The refusal of the first row whose key is taken by another one."""
        for table, row in rows:
            there = self._find(table, row)
            column = None if there is None else _difference(table, row, there)
            if column is not None:
                return WriteError(
                    f"table {table.name}: a row with this key is there already, "
                    f"with another {column}"
                )
        return None

    def _find(self, table: Table, row: _Row) -> _Row | None:
        """The row with the same key; one that reads otherwise as text is searched for."""
        there = self._there.get(table)
        if not there or not _has_key(table, row):
            return None
        exact = self._by_key[table].get(_key_text(table, row))
        if exact is not None:
            return exact
        key = {column.key: row[column.key] for column in table.primary_key.columns}
        return next((one for one in there if _difference(table, key, one) is None), None)


def _has_key(table: Table, row: _Row) -> bool:
    """True unless the table has no key, or the database makes it."""
    columns = table.primary_key.columns
    return bool(columns) and all(row.get(column.key) is not None for column in columns)


def _key_text(table: Table, row: _Row) -> tuple[str, ...]:
    return tuple(str(row[column.key]) for column in table.primary_key.columns)


def _read(connection: Connection, table: Table, rows: Sequence[_Row]) -> Iterator[_Row]:
    columns = list(table.primary_key.columns)
    for start in range(0, len(rows), _AT_ONCE):
        keys = [
            tuple(row[column.key] for column in columns) for row in rows[start : start + _AT_ONCE]
        ]
        wanted = (
            columns[0].in_([key[0] for key in keys])
            if len(columns) == 1
            else tuple_(*columns).in_(keys)
        )
        for found in connection.execute(select(table).where(wanted)).mappings():
            yield {str(column.key): found[column] for column in table.c}


def _difference(table: Table, ours: _Row, theirs: _Row) -> str | None:
    """The first column of our row that has another value in theirs."""
    return next(
        (
            name
            for name, value in ours.items()
            if not _is_same(table.c[name].type, value, theirs[name])
        ),
        None,
    )


def _is_same(kind: TypeEngine[Any], ours: Any, theirs: Any) -> bool:
    """Equal as far as a column of this type can keep a value."""
    if ours == theirs:
        return True
    if ours is None or theirs is None:
        return False
    compare = _same_text
    if isinstance(theirs, datetime):
        compare = _same_but_for_the_zone
    elif isinstance(theirs, Decimal):
        compare = _rounds_to
    elif isinstance(theirs, float):
        compare = _same_in_four_bytes if _is_single(kind) else _same_float
    elif isinstance(kind, CHAR):
        compare = _same_but_for_the_padding
    elif isinstance(kind, Uuid):
        compare = _same_digits
    return compare(ours, theirs)


def _same_text(ours: Any, theirs: Any) -> bool:
    return not isinstance(ours, str) and str(ours) == str(theirs)


def _same_but_for_the_zone(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, datetime) or (ours.tzinfo is None) == (theirs.tzinfo is None):
        return False
    return bool(ours.replace(tzinfo=None) == theirs.replace(tzinfo=None))


def _same_but_for_the_padding(ours: Any, theirs: Any) -> bool:
    return str(ours).rstrip(" ") == str(theirs).rstrip(" ")


def _same_digits(ours: Any, theirs: Any) -> bool:
    return str(ours).replace("-", "").lower() == str(theirs).replace("-", "").lower()


def _same_float(ours: Any, theirs: float) -> bool:
    try:
        return float(ours) == theirs
    except (TypeError, ValueError):
        return False


def _is_single(kind: TypeEngine[Any]) -> bool:
    """True for REAL, and for FLOAT of up to 24 bits, which is the same (SQL:2016, 6.1)."""
    has_few_bits = isinstance(kind, Float) and 0 < (kind.precision or 0) <= _SINGLE_BITS
    return isinstance(kind, REAL) or has_few_bits


def _same_in_four_bytes(ours: Any, theirs: float) -> bool:
    try:
        return pack("f", ours) == pack("f", theirs)
    except (StructError, OverflowError):
        return False


def _rounds_to(ours: Any, theirs: Decimal) -> bool:
    """True if ours is theirs once rounded to as many digits, whichever way halves go."""
    try:
        distance = abs(Decimal(str(ours)) - theirs)
    except InvalidOperation:
        return False
    exponent = theirs.as_tuple().exponent
    return isinstance(exponent, int) and distance <= Decimal(1).scaleb(exponent) / 2
