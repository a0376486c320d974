"""What goes to the writer, and whom it tells. Imports nothing: every run knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from instrumentation.errors import WriteError

__all__ = ["Entry", "Owner", "Rows"]

Rows: TypeAlias = Sequence[tuple[Any, Mapping[str, Any]]]
"""Tables with the rows to insert, in order."""


class Owner(Protocol):
    """Whoever has entries written."""

    def settle(self, entries: Sequence[Entry], refused: WriteError | None) -> None:
        """Hear, in the writer's thread, that these are durable, or why they are not."""
        ...


class Entry(NamedTuple):
    """What is to be written: an exec's rows, with its number for the ledger (None: not for it).

    With None for rows, the owner is told once all before it are settled. ``cargo`` is the owner's.
    """

    exec_: int | None
    rows: Rows | None
    owner: Owner
    cargo: Any = None
