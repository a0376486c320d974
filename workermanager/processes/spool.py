"""Bytes that are kept until they are wanted: in memory while they are few, then in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

__all__ = ["CHUNK", "Spool", "open_unnamed"]

CHUNK: Final = 1 << 20
_IN_MEMORY: Final = 1 << 18


class Spool:
    """Written at its end, read anywhere; ``size`` is how many bytes it has.

    Up to ``in_memory`` bytes are held in memory, more in a file without a name in the system's
    place for temporary files (TMPDIR), which goes with the process, however that ends.
    """

    __slots__ = ("_file", "_in_memory", "_memory", "size")

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._memory = bytearray()
        self._file: FileIO | None = None
        self._in_memory = in_memory
        self.size = 0

    def write(self, data: bytes) -> int:
        """Add bytes; give where they begin.

        Raises:
            OSError: there is no room for them; what was there before is still there.
        """
        began = self.size
        if self._file is None and began + len(data) <= self._in_memory:
            self._memory += data
        else:
            self._write_to_file(data)
        self.size = began + len(data)
        return began

    def _write_to_file(self, data: bytes) -> None:
        if self._file is None:
            file = open_unnamed()
            try:
                _write_at(file.fileno(), bytes(self._memory), 0)
            except OSError:
                file.close()
                raise
            self._file = file
            self._memory = bytearray()
        _write_at(self._file.fileno(), data, self.size)

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes only."""
        if self._file is None:
            del self._memory[size:]
        else:
            os.ftruncate(self._file.fileno(), size)
        self.size = size

    def read(self, begin: int, size: int) -> bytes:
        """Bytes from ``begin`` on, ``size`` of them."""
        if self._file is None:
            return bytes(self._memory[begin : begin + size])
        return b"".join(self._chunks(begin, begin + size))

    def chunks(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        if self._file is not None:
            yield from self._chunks(0, self.size)
        elif self._memory:
            yield bytes(self._memory)

    def _chunks(self, begin: int, end: int) -> Iterator[bytes]:
        assert self._file is not None  # noqa: S101 - for the type checker
        while begin < end:
            data = os.pread(self._file.fileno(), min(CHUNK, end - begin), begin)
            if not data:
                raise OSError(f"a temporary file ends at byte {begin:,}, not at {end:,}")
            begin += len(data)
            yield data

    def close(self) -> None:
        """Give up what it holds."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.size = 0


def open_unnamed() -> FileIO:
    """A file without a name, empty, for reading and writing."""
    from tempfile import TemporaryFile  # noqa: PLC0415 - 8 ms that small pools do not need

    return TemporaryFile(buffering=0)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
