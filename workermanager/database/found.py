"""Rows that are in the database already: the very same ones, or others under their key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isnan
from struct import error as StructError  # noqa: N812 - an exception like the others
from struct import pack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import CHAR, JSON, REAL, Float, Uuid, select, tuple_

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
_Key: TypeAlias = tuple[str, ...]


class Found:
    """Which of some rows are in the database under their primary key, and whether they differ.

    A row that is there with the same values needs no insert, whoever inserted it. One with other
    values is a conflict: to skip it would lose a row in silence.
    """

    def __init__(self, connection: Connection, rows: Rows) -> None:
        self._differences: dict[int, str | None] = {}
        by_table: dict[Table, list[_Row]] = {}
        for table, row in rows:
            if _has_key(table, row):
                by_table.setdefault(table, []).append(row)
        for table, keyed in by_table.items():
            there = {
                key: row for row in _read(connection, table, keyed) for key in _keys(table, row)
            }
            for row in keyed if there else ():
                found = next((there[key] for key in _keys(table, row) if key in there), None)
                if found is not None:
                    self._differences[id(row)] = _difference(table, row, found)

    def is_there(self, row: _Row) -> bool:
        """True if the very same row is in the database."""
        return self._differences.get(id(row), "") is None

    def conflict(self, rows: Rows) -> WriteError | None:
        """The refusal of the first row whose key is taken by another one."""
        for table, row in rows:
            column = self._differences.get(id(row))
            if column is not None:
                return WriteError(
                    f"table {table.name}: a row with this key is there already, "
                    f"with another {column}"
                )
        return None


def _has_key(table: Table, row: _Row) -> bool:
    """True unless the table has no key, or the database makes it."""
    columns = table.primary_key.columns
    return bool(columns) and all(row.get(column.key) is not None for column in columns)


def _keys(table: Table, row: _Row) -> set[_Key]:
    """A row's key as text that is the same however a column keeps it.

    Two where it has a moment: some columns keep what the clock shows, others when it is.
    """
    values = [(column.type, row[column.key]) for column in table.primary_key.columns]
    return {tuple(form(kind, value) for kind, value in values) for form in (_shown, _meant)}


def _shown(kind: TypeEngine[Any], value: Any) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, int | float | Decimal):
        return str(Decimal(str(value)).normalize())
    if isinstance(kind, CHAR):
        return str(value).rstrip(" ")
    if isinstance(kind, Uuid):
        return str(value).replace("-", "").lower()
    return str(value)


def _meant(kind: TypeEngine[Any], value: Any) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return _shown(kind, value)


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
    elif isinstance(kind, JSON):
        compare = _same_json
    return compare(ours, theirs)


def _same_text(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, Enum):
        return bool(ours == theirs.name)
    return not isinstance(ours, str) and str(ours) == str(theirs)


def _same_json(ours: Any, theirs: Any) -> bool:
    """Equal once written: JSON has no tuples, and only text for keys."""
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


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
        return float(ours) == theirs or (isnan(ours) and isnan(theirs))
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
