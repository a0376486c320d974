"""A folder for each task of a pool, with what it wrote and what came of it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from workermanager.processes.encoding import encode_facts
from workermanager.processes.outfile import OutputFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workermanager.processes.capture import Capture
    from workermanager.processes.task import TaskResult

__all__ = ["ResultFolder", "name_folder"]

_LONGEST_NAME: Final = 200  # where file systems have names of at most 255 bytes
_UNSAFE: Final = re.compile(rb"^\.|[^A-Za-z0-9_.~-]")


class ResultFolder:
    """A folder, made if need be, for folders with ``stdout``, ``stderr`` and ``result.json``.

    Raises:
        OutputFailed: it cannot be made or written. So does ``write``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            os.makedirs(path, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(0, "Permission denied")
        except ValueError:
            raise OutputFailed(f"{path!r}: cannot be written: there is a NUL in it") from None
        except OSError as error:
            raise OutputFailed.at(path, error) from None

    def write(self, result: TaskResult) -> None:
        """Write a task's files over what may be there; ``result.json`` is there once all are."""
        folder = os.path.join(self._path, name_folder(result.identifier))
        facts = os.path.join(folder, "result.json")
        try:
            try:
                os.mkdir(folder)
            except FileExistsError:
                with suppress(FileNotFoundError):
                    os.unlink(facts)
            _write(os.path.join(folder, "stdout"), _chunks(result.stdout))
            _write(os.path.join(folder, "stderr"), _chunks(result.stderr))
            _write(facts, (encode_facts(result), b"\n"))
        except OSError as error:
            raise OutputFailed.at(folder, error) from None


def name_folder(identifier: str) -> str:
    """The name of a task's folder: a different one for each identifier, and one part of a path.

    What is not a letter, a digit or one of ``_ . ~ -`` is percent-encoded as in a URL, so is a dot
    at the beginning. Long ones end in a hash instead of what is beyond 200 characters.
    """
    data = identifier.encode(errors="surrogatepass")
    name = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], data).decode()
    if len(name) > _LONGEST_NAME:
        from hashlib import blake2b  # noqa: PLC0415 - few names are that long

        return f"{name[:_LONGEST_NAME]}.{blake2b(data, digest_size=16).hexdigest()}"
    return name or "%"  # "" cannot be a name, and no encoding is a bare percent sign


def _chunks(stream: Capture | None) -> Iterable[bytes]:
    return () if stream is None else stream.chunks()


def _write(path: str, pieces: Iterable[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(pieces)
