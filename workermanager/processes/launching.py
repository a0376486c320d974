"""Starts a child in a session of its own, with its three streams given; no shell is asked."""

from __future__ import annotations

import errno
import os
import signal
from stat import S_ISDIR
from typing import TYPE_CHECKING, Final

from workermanager.processes.spool import CHUNK, open_unnamed
from workermanager.processes.task import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instrumentation.invocations import Invocation

__all__ = ["SCARCE", "CannotStart", "Launcher", "open_stdin"]

SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
"""What is wrong with the machine at the moment, and not with the command."""

_RESET: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, and a child would as well
_MOST_REMEMBERED: Final = 1_000
_NOT_FOUND: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class CannotStart(Exception):
    """A command that cannot be executed: ``exit_code`` is 127 or 126, ``reason`` says why."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(exit_code, reason)
        self.exit_code = exit_code
        self.reason = reason


class Launcher:
    """Starts children with the environment that there was when it was made.

    It remembers where commands were found, as shells do: a search takes a dozen system calls.
    """

    def __init__(self) -> None:
        self._environment = dict(os.environ)  # which encodes and decodes whenever it is read
        self._found: dict[tuple[str, str], str] = {}

    def launch(self, invocation: Invocation, stdin: int, stdout: int, stderr: int) -> int:
        """Start a child, leader of a new session, and give its process id.

        Raises:
            CannotStart: it cannot be executed.
            OSError: one of `SCARCE`: there is no room for another process just now.
        """
        environment = _laid_over(self._environment, invocation.env)
        program = self._find(invocation.command, environment.get("PATH", os.defpath))
        argv = (invocation.command, *invocation.args)
        streams = (stdin, stdout, stderr)
        try:
            if invocation.cwd is None:
                return _spawn(program, argv, environment, streams)
            return _spawn_elsewhere(program, argv, environment, streams, invocation.cwd)
        except OSError as error:
            if error.errno in SCARCE:
                raise
            self._found.clear()
            raise CannotStart(*_explain(error, program, invocation.cwd)) from None
        except (ValueError, UnicodeError) as error:
            raise CannotStart(EXIT_NOT_EXECUTABLE, _explain_text(error)) from None

    def _find(self, command: str, folders: str) -> str:
        if "/" in command or "\0" in command:
            return command
        known = self._found.get((command, folders))
        if known is None or not os.access(known, os.X_OK):
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            known = self._found[command, folders] = _find(command, folders)
        return known


def _spawn(
    program: str, argv: tuple[str, ...], env: Mapping[str, str], streams: tuple[int, ...]
) -> int:
    """By posix_spawn: it copies no page tables, so it costs the same from a big process."""
    actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
    return os.posix_spawn(
        program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESET
    )


def _spawn_elsewhere(
    program: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    streams: tuple[int, ...],
    cwd: str,
) -> int:
    """In another directory, which posix_spawn cannot: costs some 100 µs more."""
    import subprocess  # noqa: PLC0415 - 3 ms that few pools need

    if not os.path.isdir(cwd):
        raise CannotStart(EXIT_NOT_EXECUTABLE, f"cwd {cwd!r} is no directory")
    stdin, stdout, stderr = streams
    child = subprocess.Popen(  # noqa: S603 - to execute it is what we are asked for
        argv,
        executable=program,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        close_fds=False,  # as posix_spawn has it: those that we open are closed in any case
    )
    child.returncode = 0  # it is ours to wait for: without it, Popen would when it is collected
    return child.pid


def open_stdin(data: bytes) -> int:
    """A file with the data, to be read from its start: a child that does not read blocks nobody.

    Raises:
        OSError: there is no room for it.
    """
    if len(data) <= CHUNK and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin")
    else:
        with open_unnamed() as file:
            descriptor = os.dup(file.fileno())
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _laid_over(
    environment: dict[str, str], changes: Mapping[str, str | None] | None
) -> dict[str, str]:
    if not changes:
        return environment
    merged = {**environment, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _find(command: str, folders: str) -> str:
    """The program's path: looked up as a shell does, in the PATH that the child will have."""
    if not command:
        raise CannotStart(EXIT_NOT_FOUND, "no command is given")
    found = ""
    for folder in folders.split(os.pathsep):
        path = f"{folder or '.'}/{command}"
        try:
            if S_ISDIR(os.stat(path).st_mode):
                continue
        except (OSError, ValueError):
            continue
        if os.access(path, os.X_OK):
            return path
        found = found or path
    if found:
        raise CannotStart(EXIT_NOT_EXECUTABLE, f"{found} is not executable")
    raise CannotStart(EXIT_NOT_FOUND, f"there is no {command!r} in PATH")


def _explain(error: OSError, program: str, cwd: str | None) -> tuple[int, str]:
    place = os.path.join(cwd or ".", program)
    if error.errno in _NOT_FOUND and not os.path.exists(place):
        return EXIT_NOT_FOUND, f"there is no {program}"
    if error.errno == errno.ENOENT:
        return EXIT_NOT_EXECUTABLE, f"{program} names an interpreter that is not there"
    if error.errno == errno.ENOEXEC:
        return EXIT_NOT_EXECUTABLE, f"{program} is neither a program nor a script that begins #!"
    if error.errno == errno.EACCES:
        what = "is a directory" if os.path.isdir(place) else "is not executable"
        return EXIT_NOT_EXECUTABLE, f"{program} {what}"
    return EXIT_NOT_EXECUTABLE, f"{program}: {error.strerror}"


def _explain_text(error: ValueError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "command, args, cwd or env have characters that no program can be given"
    return "command, args, cwd or env have a NUL or, as a name, an ="
