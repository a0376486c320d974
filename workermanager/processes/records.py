"""The results of all tasks of a pool, found by number when they are put out."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from workermanager.processes.encoding import encode
from workermanager.processes.outfile import OutputFailed
from workermanager.processes.spool import CHUNK, Spool
from workermanager.processes.task import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.processes.task import TaskResult

__all__ = ["Records"]

_STATUSES: Final[tuple[Status | None, ...]] = (None, *Status)
_CODES: Final = {status: code for code, status in enumerate(_STATUSES)}


class Records:
    """What came of each of ``count`` tasks, as JSON in a spool: 17 bytes of memory for each."""

    def __init__(self, count: int, *, is_compat: bool = False) -> None:
        self._is_compat = is_compat
        self._codes = bytearray(count)
        self._begins = array("Q", bytes(8 * count))
        self._sizes = array("Q", bytes(8 * count))
        self._spool = Spool()

    def begun(self, number: int, identifier: str, attempt: int) -> None:
        """A task is about to be started: of no interest to whoever ends with the pool."""

    def spawned(self, number: int, pid: int) -> None:
        """It runs: of no interest either."""

    def ended(self, number: int, result: TaskResult) -> None:
        """Keep what came of a task in the end.

        Raises:
            OutputFailed: there is no room for it.
        """
        begin = self._spool.size
        try:
            for piece in encode(result, is_compat=self._is_compat):
                self._spool.write(piece)
        except OSError as error:
            raise OutputFailed.at("the temporary directory (TMPDIR)", error) from None
        self._note(number, result.status, begin, self._spool.size - begin)

    def _note(self, number: int, status: Status | None, begin: int, size: int) -> None:
        self._codes[number] = _CODES[status]
        self._begins[number] = begin
        self._sizes[number] = size

    def status(self, number: int) -> Status | None:
        """How a task ended; None if that is not known, or it is to run again."""
        return _STATUSES[self._codes[number]]

    def copy(self, number: int, write: Callable[[bytes], object]) -> None:
        """Hand over the JSON object of what came of a task, piece by piece.

        Raises:
            KeyError: nothing came of it yet.
        """
        if not self._codes[number]:
            raise KeyError(number)
        begin = self._begins[number]
        end = begin + self._sizes[number]
        while begin < end:
            piece = self._read(begin, min(CHUNK, end - begin))
            write(piece)
            begin += len(piece)

    def _read(self, begin: int, size: int) -> bytes:
        return self._spool.read(begin, size)

    def close(self) -> None:
        """Give up what it holds."""
        self._spool.close()
