"""Where results go: a file that has all of them or is as it was, or standard output."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import BinaryIO, NoReturn

__all__ = ["Outfile", "Output", "OutputFailed", "StandardOutput"]

_BUFFER: Final = 1 << 18
_LONGEST_NAME: Final = 50  # characters, of up to four bytes each, where a name has at most 255


class OutputFailed(OSError):
    """Output that cannot be written; the message is one line that says where and why."""

    @classmethod
    def at(cls, place: str, error: OSError, what: str = "cannot be written") -> OutputFailed:
        """An error as it concerns whoever wants the output; ``place`` is what they call it."""
        failure = cls(f"{place}: {what}: {error.strerror or error}")
        failure.errno = error.errno
        return failure


class Output:
    """Where bytes are written one after the other, until a ``commit`` or a ``discard``.

    Raises:
        OutputFailed: it cannot be written. So do its methods, except ``discard``.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file

    def write(self, data: bytes) -> None:
        """Add to it."""
        view = memoryview(data)
        try:
            while view:  # once, except for standard output that python -u leaves without a buffer
                view = view[self._file.write(view) :]
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Let whoever reads it have what there is."""
        try:
            self._file.flush()
        except OSError as error:
            self._fail(error)

    def commit(self) -> None:
        """All is written: make it last. It is the end of it."""
        self.flush()

    def discard(self) -> None:
        """Write no more, and take back what can be; nothing after a commit."""
        raise NotImplementedError

    def _fail(self, error: OSError) -> NoReturn:
        raise OutputFailed.at(self._name, error) from None


class Outfile(Output):
    """A file that keeps what is in it until the new contents are all there.

    They are written to a draft beside it, which is made at once, so that what cannot be written is
    known early, and takes the file's place in the end: that of the target of a symbolic link. A
    device or a pipe is written to as it is.
    """

    def __init__(self, path: str) -> None:
        self._draft = ""  # a device or a pipe has none
        try:
            file = self._open(path)
        except ValueError:
            raise OutputFailed(f"{path!r}: cannot be written: there is a NUL in it") from None
        except OSError as error:
            raise OutputFailed.at(path, error) from None
        super().__init__(path, file)

    def _open(self, path: str) -> BinaryIO:
        if not os.path.basename(path):
            raise IsADirectoryError(0, "it has no file's name")
        mode = _mode_of(path)
        if mode is not None and not stat.S_ISREG(mode):
            return open(os.open(path, os.O_WRONLY), "wb", _BUFFER)  # creates nothing
        self._target = os.path.realpath(path)
        if mode is not None and not os.access(self._target, os.W_OK):
            raise PermissionError(0, "Permission denied")
        folder, name = os.path.split(self._target)
        self._draft = os.path.join(folder, f".{name[:_LONGEST_NAME]}.{os.urandom(6).hex()}")
        file = open(self._draft, "xb", _BUFFER)  # noqa: SIM115 - until its commit or discard
        try:
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
        except OSError:
            file.close()
            os.unlink(self._draft)
            raise
        return file

    def commit(self) -> None:
        """Give it its new contents, on the disk; nothing can be written after that.

        Where they are all there but cannot take their place, the draft stays, and the error names
        it.
        """
        self.flush()
        try:
            if self._draft:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self._fail(error)
        if self._draft:
            self._replace()

    def _replace(self) -> None:
        draft, self._draft = self._draft, ""
        try:
            os.replace(draft, self._target)
        except OSError as error:
            what = f"cannot be replaced (what should be in it is in {draft})"
            raise OutputFailed.at(self._name, error, what) from None
        try:
            _sync_folder(os.path.dirname(self._target))
        except OSError as error:
            self._fail(error)

    def discard(self) -> None:
        """Leave the file as it was."""
        with suppress(OSError):  # closing writes what is left, which nobody wants any more
            self._file.close()
        draft, self._draft = self._draft, ""
        if draft:
            with suppress(OSError):  # why it is discarded was told, and more cannot be done
                os.unlink(draft)


class StandardOutput(Output):
    """Standard output, of which nothing can be taken back."""

    def __init__(self) -> None:
        name = "standard output"
        if sys.stdout is None:  # as Python has it where it was closed
            raise OutputFailed(f"{name}: cannot be written: it is closed")
        super().__init__(name, sys.stdout.buffer)
        self._is_whole = False

    def commit(self) -> None:
        """Let its reader have all of it."""
        self.flush()
        self._is_whole = True

    def discard(self) -> None:
        """Write no more: what it could not take would fail again when Python ends."""
        if self._is_whole:
            return
        with suppress(OSError):  # a stand-in for standard output may have no descriptor
            descriptor = self._file.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _mode_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
