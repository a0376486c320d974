"""What a child writes to one of its two streams, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager.processes.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Capture"]


class Capture:
    """A stream's bytes: ``size`` of them are kept, ``lost`` were beyond the limit or found no room.

    ``fault`` is why there was no room, if there was none.
    """

    __slots__ = ("_limit", "_piece", "_spool", "fault", "lost", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._piece = b""  # most children write once, and little
        self._spool: Spool | None = None
        self.size = 0
        self.lost = 0
        self.fault = ""

    def take(self, data: bytes) -> None:
        """Keep what was read, as far as there is room for it."""
        kept = b"" if self.fault else data[: self._limit - self.size]
        if kept:
            try:
                self._keep(kept)
            except OSError as error:
                self.fault = error.strerror or str(error)
                kept = b""
        self.size += len(kept)
        self.lost += len(data) - len(kept)

    def _keep(self, data: bytes) -> None:
        if self._spool is None:
            if not self._piece:
                self._piece = data
                return
            self._spool = Spool()
            self._spool.write(self._piece)
        self._spool.write(data)

    def give_up(self) -> None:
        """Lose what was kept, for want of room."""
        self.close()
        self.lost += self.size
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """What was kept, piece by piece."""
        if self._spool is not None:
            yield from self._spool.chunks()
        elif self._piece:
            yield self._piece

    def read(self) -> bytes:
        """What was kept, in one piece."""
        return self._piece if self._spool is None else b"".join(self._spool.chunks())

    def close(self) -> None:
        """Give up what was kept."""
        self._piece = b""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
