"""Command: a child process as a step of a chain, as a value."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict

from instrumentation.arguments import Param, ParamsAsJson, argument_fault
from instrumentation.errors import CommandFailed, InvalidConfig
from instrumentation.invocations import Completed, Invocation
from instrumentation.shells import check_no_injection
from instrumentation.steps import check_timeout

if TYPE_CHECKING:
    from typing import Self, Unpack

    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams

__all__ = ["Argument", "Command", "Parse", "Settings"]

Argument: TypeAlias = "str | os.PathLike[str] | Param"
"""What a command is given: literal text or a path, or what stands for a param."""

Parse: TypeAlias = Literal["bytes", "json", "lines"]

_SHELL: Final = "/bin/sh"
_MAX_OUTPUT: Final = 16 << 20
_TAIL: Final = 8 << 10
_LONGEST_LINE: Final = 200
_HIGHEST_CODE: Final = 255


class Settings(TypedDict, total=False):
    """The settings of a `Command`, which says what they mean."""

    cwd: Argument | None
    env: Mapping[str, Argument | None] | None
    stdin: str | Param | ParamsAsJson | None
    into: str | None
    parse: Parse | None
    ok: Collection[int]
    timeout: float | None
    max_output: int


@dataclass(frozen=True, slots=True, weakref_slot=True, init=False)
class Command:
    """A child process as a step: a program and its arguments, given to it one by one.

    No shell reads them, so text is literal, always; `param` stands for the value of a param, in
    ``args``, ``cwd``, ``env`` (over the environment; None takes a variable away) and ``stdin``
    (text, a param, or `as_json`; nothing, if not given). What it writes to its standard output goes
    into the param ``into``: as text without the newline at its end, or as ``parse`` says: "json",
    "lines", "bytes". A JSON object without ``into`` is merged into the params.

    It fails unless its exit code is in ``ok``, if it takes longer than ``timeout`` seconds, or if
    its output is wanted and has more than ``max_output`` bytes. It finds its exec in the variables
    WORKERMANAGER_KEY, WORKERMANAGER_PATH and WORKERMANAGER_ATTEMPT.

    Raises:
        InvalidConfig: something that cannot work, or a param that a shell would read as a script.
    """

    command: str
    args: tuple[str | Param, ...]
    cwd: str | Param | None
    env: Mapping[str, str | Param | None] = field(hash=False, repr=False)
    stdin: str | Param | ParamsAsJson | None = field(repr=False)
    into: str | None
    parse: Parse | None
    ok: tuple[int, ...]
    timeout: float | None
    max_output: int

    def __init__(  # noqa: PLR0913 - all but the program and its arguments are keywords
        self,
        command: str | os.PathLike[str],
        *args: Argument,
        cwd: Argument | None = None,
        env: Mapping[str, Argument | None] | None = None,
        stdin: str | Param | ParamsAsJson | None = None,
        into: str | None = None,
        parse: Parse | None = None,
        ok: Collection[int] = (0,),
        timeout: float | None = None,
        max_output: int = _MAX_OUTPUT,
    ) -> None:
        given: object = command
        if not isinstance(given, str | os.PathLike) or not given:
            raise InvalidConfig(
                f"Command({given!r}): wanted the program as text or a path, no param, and each "
                'argument behind it: Command("ls", "-l")'
            )
        program = _literal(command, "Command", "its program")
        where = f"Command({program!r})"
        put = partial(object.__setattr__, self)
        put("command", program)
        put("args", tuple(_literal(arg, where, f"args[{n}]") for n, arg in enumerate(args)))
        put("cwd", None if cwd is None else _literal(cwd, where, "cwd"))
        put("env", _check_env(env, where))
        put("stdin", _check_stdin(stdin, where))
        put("into", into)
        put("parse", parse)
        put("ok", _check_codes(ok, where))
        put("timeout", check_timeout(timeout, f"{where}: Command"))
        put("max_output", max_output)
        self._check_output(where)
        check_no_injection(self.command, self.args, where, is_stdin_given=_stands_for(self.stdin))

    @classmethod
    def shell(cls, script: str, *args: Argument, **settings: Unpack[Settings]) -> Self:
        """A script for ``/bin/sh``, which is text as it stands: params reach it as $1, $2, ….

        Raises:
            InvalidConfig: ``script`` is no text, or a setting cannot work.
        """
        given: object = script
        if not isinstance(given, str) or given[:1] in ("", "-", "+"):
            raise InvalidConfig(
                f"Command.shell({given!r}): wanted the script as text; give it params behind, "
                'as $1: Command.shell(\'sort "$1"\', param("input"))'
            )
        return cls(_SHELL, "-c", script, "sh", *args, **settings)

    @property
    def __name__(self) -> str:
        """What the step is called: the program's file name."""
        return PurePath(self.command).name or self.command

    def _check_output(self, where: str) -> None:
        into: object = self.into
        if into is not None and (not isinstance(into, str) or not into):
            raise InvalidConfig(f"{where}: into={into!r}: wanted the name of a param")
        if self.parse not in (None, "bytes", "json", "lines"):
            raise InvalidConfig(f"{where}: parse={self.parse!r}: use json, lines or bytes")
        if self.parse in ("bytes", "lines") and into is None:
            raise InvalidConfig(f'{where}: parse="{self.parse}": into="…" must name a param for it')
        most: object = self.max_output
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise InvalidConfig(f"{where}: max_output={most!r}: must be bytes, 1 or more")

    # Being a step

    def __call__(self, ctx: Exec, params: TaskParams, /) -> dict[str, Any] | None:
        """Run it, and give the params to merge.

        Raises:
            ParamError: a param is missing, or has no text.
            CommandFailed: it did not start, did not end well, or wrote what nobody can read.
            TimedOut: it took too long; its session is no more.
            Cancelled: the step was called off; its session is no more.
        """
        execute = ctx.run.execute
        if execute is None:
            raise InvalidConfig(f"{self.__name__}: there is no engine here that starts processes")
        invocation = self.invocation(params)
        identity = {
            "WORKERMANAGER_KEY": ctx.key,
            "WORKERMANAGER_PATH": ctx.path,
            "WORKERMANAGER_ATTEMPT": str(ctx.attempt),
        }
        identified = invocation._replace(env={**identity, **(invocation.env or {})})
        return self._take(execute(ctx, identified, self.timeout, self.max_output))

    def invocation(self, params: Mapping[str, Any]) -> Invocation:
        """What is to be executed, with these params.

        Raises:
            ParamError: a param is missing, or has no text.
        """
        where = self.__name__
        args: list[str] = []
        for arg in self.args:
            args += arg.texts(params, where) if isinstance(arg, Param) else (arg,)

        def text(given: str | Param | None) -> str | None:
            return given.text(params, where) if isinstance(given, Param) else given

        env = {name: text(value) for name, value in self.env.items()}
        stdin = os.fsencode(self.stdin) if isinstance(self.stdin, str) else None
        if isinstance(self.stdin, Param | ParamsAsJson):
            stdin = self.stdin.data(params, where)
        return Invocation(self.command, tuple(args), text(self.cwd), env or None, stdin)

    def _take(self, done: Completed) -> dict[str, Any] | None:
        """The params that are in its output."""
        if done.signal is not None or done.exit_code not in self.ok:
            raise self._failed(_ending(done), done)
        if self.into is None and self.parse is None:
            return None
        if done.is_truncated:
            raise self._failed(
                f"its output is not all there: more than max_output={self.max_output:,} bytes, "
                "or no room for them",
                done,
            )
        value = done.stdout if self.parse == "bytes" else self._read(done)
        if self.into is not None:
            return {self.into: value}
        if not isinstance(value, dict):
            found = type(value).__name__
            raise self._failed(f'wrote no JSON object, but a {found}: into="…" takes that', done)
        return value

    def _read(self, done: Completed) -> Any:
        try:
            text = done.stdout.decode()
            if self.parse == "json":
                return json.loads(text)
        except UnicodeDecodeError as error:
            told = (
                f'its output is not UTF-8, from byte {error.start:,} on: parse="bytes" takes that'
            )
            raise self._failed(told, done) from None
        except (ValueError, RecursionError) as error:
            raise self._failed(f"its output is no JSON: {error}", done) from None
        if self.parse == "lines":
            return text.removesuffix("\n").split("\n") if text else []
        return text.removesuffix("\n")

    def _failed(self, told: str, done: Completed) -> CommandFailed:
        stderr = done.stderr[-_TAIL:].decode(errors="replace")
        message = f"{self.__name__}: {told}"
        return CommandFailed(message, self.command, done.exit_code, done.signal, stderr)


def _ending(done: Completed) -> str:
    """How it ended, and its last words."""
    told = f"exit code {done.exit_code}"
    if done.signal is not None:
        told = f"signal {done.signal}"
        if done.signal in {*signal.Signals}:
            told += f" ({signal.Signals(done.signal).name})"
    if done.reason:
        told += f" ({done.reason})"
    words = _last_line(done.stderr) or _last_line(done.stdout)
    return f"{told}: {words}" if words else told


def _last_line(data: bytes) -> str:
    """The last line with something on it, for a terminal to show."""
    text = data[-_TAIL:].decode(errors="replace")
    line = next((one for one in reversed(text.splitlines()) if one.strip()), "").strip()
    safe = "".join(char if char.isprintable() else " " for char in line)
    return safe if len(safe) <= _LONGEST_LINE else safe[: _LONGEST_LINE - 1] + "…"


def _literal(given: object, where: str, what: str) -> str | Param:
    """Text or a path as text, if a program can be given it; or what stands for a param."""
    if isinstance(given, Param):
        return given
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise InvalidConfig(f"{where}: {what}: wanted text, a path or param(…), found {given!r}")
    fault = argument_fault(text)
    if fault:
        raise InvalidConfig(f"{where}: {what} has {fault}")
    return text


def _check_env(
    env: Mapping[str, Argument | None] | None, where: str
) -> Mapping[str, str | Param | None]:
    given: object = env
    if given is not None and not isinstance(given, Mapping):
        raise InvalidConfig(f"{where}: env: wanted a mapping, found {type(given).__name__}")
    checked: dict[str, str | Param | None] = {}
    for name, value in (env or {}).items():
        key: object = name
        if not isinstance(key, str) or not key or "=" in key or argument_fault(key):
            raise InvalidConfig(f"{where}: env: {key!r} is no name of a variable")
        checked[name] = None if value is None else _literal(value, where, f"env[{name!r}]")
    return MappingProxyType(checked)


def _check_stdin(
    stdin: str | Param | ParamsAsJson | None, where: str
) -> str | Param | ParamsAsJson | None:
    given: object = stdin
    if given is not None and not isinstance(given, str | Param | ParamsAsJson):
        found = type(given).__name__
        raise InvalidConfig(f"{where}: stdin: wanted text, param(…) or as_json(…), found {found}")
    if isinstance(stdin, str):
        try:
            os.fsencode(stdin)
        except UnicodeEncodeError:
            raise InvalidConfig(f"{where}: stdin has characters that are in no encoding") from None
    return stdin


def _check_codes(ok: Collection[int], where: str) -> tuple[int, ...]:
    given: object = ok
    is_collection = isinstance(given, Collection) and not isinstance(given, str | bytes)
    codes = tuple(ok) if is_collection else ()
    if not codes or not all(type(code) is int and 0 <= code <= _HIGHEST_CODE for code in codes):
        raise InvalidConfig(f"{where}: ok={given!r}: wanted exit codes from 0 to 255, as in (0, 1)")
    return codes


def _stands_for(stdin: object) -> bool:
    return isinstance(stdin, Param | ParamsAsJson)
