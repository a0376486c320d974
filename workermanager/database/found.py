"""Rows that are in the database already: the very same ones, or others under their key."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from math import isclose
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, tuple_

from instrumentation.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from workermanager.database.inserts import Rows

__all__ = ["Found"]

_AT_ONCE: Final = 500


class Found:
    """Which of some rows are in the database under their primary key, and whether they differ.

    A row that is there with the same values needs no insert, whoever inserted it. One with other
    values is a conflict: to skip it would lose a row in silence.
    """

    def __init__(self, connection: Connection, rows: Rows) -> None:
        self._there: dict[Table, dict[tuple[str, ...], Mapping[str, Any]]] = {}
        by_table: dict[Table, list[Mapping[str, Any]]] = {}
        for table, row in rows:
            if _key_of(table, row) is not None:
                by_table.setdefault(table, []).append(row)
        for table, keyed in by_table.items():
            self._there[table] = dict(_read(connection, table, keyed))

    def is_there(self, table: Table, row: Mapping[str, Any]) -> bool:
        """True if the very same row is in the database."""
        there = self._find(table, row)
        return there is not None and _difference(row, there) is None

    def conflict(self, rows: Rows) -> WriteError | None:
        """The refusal of the first row whose key is taken by another one."""
        for table, row in rows:
            there = self._find(table, row)
            column = None if there is None else _difference(row, there)
            if column is not None:
                return WriteError(
                    f"table {table.name}: a row with this key is there already, "
                    f"with another {column}"
                )
        return None

    def _find(self, table: Table, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        key = _key_of(table, row)
        return None if key is None else self._there.get(table, {}).get(key)


def _key_of(table: Table, row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """A row's primary key as text; None if it has none, or the database makes it."""
    columns = [column.name for column in table.primary_key.columns]
    if not columns or any(row.get(name) is None for name in columns):
        return None
    return tuple(str(row[name]) for name in columns)


def _read(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    columns = list(table.primary_key.columns)
    for start in range(0, len(rows), _AT_ONCE):
        keys = [
            tuple(row[column.name] for column in columns) for row in rows[start : start + _AT_ONCE]
        ]
        wanted = (
            columns[0].in_([key[0] for key in keys])
            if len(columns) == 1
            else tuple_(*columns).in_(keys)
        )
        for found in connection.execute(select(table).where(wanted)).mappings():
            there = {str(name): value for name, value in found.items()}
            key = _key_of(table, there)
            if key is not None:
                yield key, there


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """The first column of our row that has another value in theirs."""
    return next((name for name, value in ours.items() if not _is_same(value, theirs[name])), None)


def _is_same(ours: Any, theirs: Any) -> bool:
    """Equal as far as a column can keep a value: without the zone, the last digits, the padding."""
    if ours == theirs:
        return True
    if ours is None or theirs is None:
        return False
    if isinstance(ours, datetime) and isinstance(theirs, datetime):
        has_one_zone = (ours.tzinfo is None) != (theirs.tzinfo is None)
        return has_one_zone and ours.replace(tzinfo=None) == theirs.replace(tzinfo=None)
    if isinstance(ours, float | Decimal) or isinstance(theirs, float | Decimal):
        return _is_close(ours, theirs)
    return str(ours).rstrip() == str(theirs).rstrip()


def _is_close(ours: Any, theirs: Any) -> bool:
    try:
        return isclose(float(ours), float(theirs), rel_tol=1e-6)  # REAL keeps six digits
    except (TypeError, ValueError):
        return False
