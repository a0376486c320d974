"""What a pool does, in a file of the user's, from which another pool can go on."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Final
from zlib import crc32

from instrumentation.errors import InvalidConfig
from workermanager.processes.encoding import encode
from workermanager.processes.journal_lines import (
    begin_line,
    check,
    end_line,
    open_line,
    spawn_line,
)
from workermanager.processes.leftovers import start_of
from workermanager.processes.outfile import OutputFailed
from workermanager.processes.records import Records
from workermanager.processes.replay import Replay, check_first_line
from workermanager.processes.spool import CHUNK
from workermanager.processes.task import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO

    from workermanager.processes.leftovers import Leftover
    from workermanager.processes.task import TaskResult
    from workermanager.processes.tasks import Tasks

__all__ = ["Journal"]

_SYNC_EVERY_S: Final = 1.0
_LONGEST_FIRST: Final = 256
_FINISHED: Final = frozenset(
    {Status.OK, Status.FAILED, Status.SIGNALED, Status.TIMEOUT, Status.NOT_STARTED}
)
_OK: Final = frozenset({Status.OK})


class Journal(Records):
    """Records in a file, which also says when each attempt of a task begins, and as which process.

    A file that is there is gone on with, to ``resume``: the results of tasks that had finished are
    known then, with ``rerun_failed`` only of those that were ok. ``unfinished`` are the attempts
    that had begun, and whose end is not known. Nothing that was written is lost if the pool is
    killed, and what is older than a second is not if the machine fails.

    Raises:
        InvalidConfig: it is no journal that this pool can go on with, or another pool has it.
        OutputFailed: it cannot be written. So do its methods, which leave one to go on with.
    """

    def __init__(
        self,
        path: str,
        tasks: Tasks,
        *,
        resume: bool,
        rerun_failed: bool = False,
        is_compat: bool = False,
    ) -> None:
        super().__init__(len(tasks), is_compat=is_compat)
        self.unfinished: list[Leftover] = []
        self._path = path
        self._tasks = tasks
        self._keys: dict[int, str] = {}  # of tasks that run
        self._size = 0
        self._synced_at = time.monotonic()
        boot = _read_boot()
        numbers = self._number_keys() if resume or is_compat else {}
        self._file = _open_locked(path)
        try:
            if os.fstat(self._file.fileno()).st_size:
                self._check_first_line(resume=resume)
                self._go_on(Replay(numbers, boot, self._note), _OK if rerun_failed else _FINISHED)
            self._append((open_line(time.time(), boot, is_compat=is_compat),))
        except BaseException:
            self._file.close()
            raise

    def _number_keys(self) -> dict[bytes, int]:
        """The tasks by their keys; only where identifiers may repeat can two have the same."""
        numbers: dict[bytes, int] = {}
        for number in range(len(self._tasks)):
            first = numbers.setdefault(self._tasks.key(number).encode(), number)
            if first != number:
                raise InvalidConfig(
                    f"{self._path}: tasks {first} and {number} are the same, and a journal cannot "
                    "tell them apart: give them different identifiers"
                )
        return numbers

    def _check_first_line(self, *, resume: bool) -> None:
        if not resume:
            raise InvalidConfig(f"{self._path}: is there already: resume it, or name another")
        first = os.pread(self._file.fileno(), _LONGEST_FIRST, 0)
        check_first_line(first, self._path, is_compat=self._is_compat)

    def _go_on(self, replay: Replay, finished: frozenset[Status]) -> None:
        descriptor = self._file.fileno()
        with open(descriptor, "rb", CHUNK, closefd=False) as file:
            replay.read(file, self._path)
        self._size = replay.size
        os.ftruncate(descriptor, replay.size)  # without the piece of a line that may be at its end
        for number, attempt in replay.unfinished.items():
            identifier = self._tasks[number].identifier
            self.unfinished.append(attempt._replace(identifier=identifier))
        for number in range(len(self._tasks)):
            if self.status(number) not in finished:
                self._note(number, None, 0, 0)

    def begun(self, number: int, identifier: str, attempt: int) -> None:
        """An attempt of a task is about to be started."""
        key = self._keys[number] = self._tasks.key(number)
        self._append((begin_line(key, attempt, time.time(), identifier),))
        self._sync_now_and_then()

    def spawned(self, number: int, pid: int) -> None:
        """It runs, as this process."""
        self._append((spawn_line(self._keys[number], pid, start_of(pid)),))
        self._sync_now_and_then()

    def ended(self, number: int, result: TaskResult) -> None:
        """Keep what came of a task in the end."""
        key = self._keys.pop(number, None) or self._tasks.key(number)
        line = end_line(key, result.status)
        pieces = encode(result, is_compat=self._is_compat)
        begin, end = self._append(chain((line,), pieces))
        begin += len(line)
        self._note(number, result.status, begin, end - begin)
        self._sync_now_and_then()

    def _append(self, pieces: Iterable[bytes]) -> tuple[int, int]:
        """Add a line of pieces, in one piece if it is small; give where they begin and end.

        It counts only once it is all there, and the next one is written in its place until then.
        """
        begin = at = self._size
        found, data = 0, b""
        try:
            for piece in pieces:
                found = crc32(piece, found)
                data += piece
                if len(data) > CHUNK:
                    at = self._write(data, at)
                    data = b""
            end = at + len(data)
            self._size = self._write(data + check(found), at)
        except OSError:
            with suppress(OSError):  # it can be read as it is, and why is told
                os.ftruncate(self._file.fileno(), begin)
            raise
        return begin, end

    def _write(self, data: bytes, at: int) -> int:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._file.fileno(), view, at)
                view, at = view[written:], at + written
        except OSError as error:
            raise OutputFailed.at(self._path, error) from None
        return at

    def _read(self, begin: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, begin)
        if not data:
            raise OSError(f"{self._path}: ends at byte {begin:,}: another program has cut it")
        return data

    def _sync_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._synced_at >= _SYNC_EVERY_S:
            self._synced_at = now
            self._sync()

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise OutputFailed.at(self._path, error) from None

    def close(self) -> None:
        """See to it that all is on the disk, and let others have it."""
        super().close()
        if not self._file.closed:
            try:
                self._sync()
            finally:
                self._file.close()


def _open_locked(path: str) -> FileIO:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except ValueError:
        raise InvalidConfig(f"{path!r}: cannot be a journal: there is a NUL in it") from None
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be a journal: {error.strerror}") from None
    file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - it stays open
    try:
        _lock(descriptor, path)
    except InvalidConfig:
        file.close()
        raise
    return file


def _lock(descriptor: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InvalidConfig(f"{path}: cannot be a journal: name a file that keeps what is written")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidConfig(f"{path}: is in use by another pool") from None
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be locked: {error.strerror}") from None


def _read_boot() -> str:
    """What tells this start of the machine from others; "" where nobody knows."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
