"""What a rehearsal keeps in place of a database: the rows of execs that were ok."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from instrumentation.errors import InvalidConfig, WriteError
from workermanager.books import Books

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from instrumentation.execution import Exec
    from workermanager.database.entries import Entry
    from workermanager.telemetry import Figures

__all__ = ["Memory", "MemoryBooks", "refuse_transaction"]


class Memory:
    """Stands in for the writer of a run: an exec's rows are durable at once, all of them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def submit(self, entry: Entry) -> None:
        """Keep an exec's rows, and tell its owner; a table without a name is refused."""
        for table, _row in entry.rows or ():
            if not isinstance(getattr(table, "name", None), str):
                found = type(table).__name__
                told = f"ctx.insert: wanted a table, which has a name, found {found}"
                entry.owner.settle([entry], WriteError(told))
                return
        self._entries.append(entry)
        entry.owner.settle([entry], None)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each table, in the order of the execs that wrote them."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for entry in sorted(self._entries, key=lambda entry: entry.exec_ or 0):
            for table, row in entry.rows or ():
                rows.setdefault(table.name, []).append(dict(row))
        return rows


class MemoryBooks(Books):
    """The records of a run whose rows are in memory: ``rows`` has how many of each table."""

    rows: Counter[str]

    def read(self, *, is_warmup: bool = False) -> Figures:
        figures = super().read(is_warmup=is_warmup)
        figures.rows = dict(self.rows)
        return figures


def refuse_transaction(
    _ctx: Exec, _path: str, _work: Callable[[Any], Any], _isolation: str | None, /
) -> NoReturn:
    """What ``ctx.transact`` does in a rehearsal.

    Raises:
        InvalidConfig: always, because there is nothing that would answer as a database does.
    """
    raise InvalidConfig(
        "ctx.transact: a rehearsal has no database; "
        'test this step with Worker(…, database="sqlite:///test.db").run()'
    )
