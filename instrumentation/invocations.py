"""What a child process is asked to execute, and what came of it, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Completed", "Invocation"]


class Invocation(NamedTuple):
    """A program and its arguments, handed to it one by one: no shell reads them.

    ``command`` is looked up in PATH unless there is a slash in it. ``env`` is laid over the
    environment; None takes a variable away. ``stdin`` is what it reads, nothing if None.
    """

    command: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str | None] | None = None
    stdin: bytes | None = None


class Completed(NamedTuple):
    """How a child ended: ``exit_code`` is 128 + ``signal`` where a signal ended it.

    ``is_truncated`` says that it wrote more to its standard output than is kept; ``reason`` what
    else is to be said, as that its exit code is lost.
    """

    exit_code: int = 0
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    is_truncated: bool = False
    reason: str = ""
