"""What a shell would read as a script: it must not come out of a param."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final, NoReturn

from instrumentation.arguments import Param
from instrumentation.errors import InvalidConfig

__all__ = ["check_no_injection"]

_SHELL: Final = re.compile(r"(a|ba|c|da|fi|k|mk|rba|tc|ya|z)?sh[0-9.]*")
_WRAPPER: Final = re.compile(
    "busybox|chroot|doas|env|flock|ionice|nice|nohup|setsid|stdbuf|sudo|taskset|time|timeout"
    "|unshare|xargs"
)
_HAS_OPERAND: Final = re.compile("chroot|flock|taskset|timeout")
_LETTERS: Final = re.compile(r"[-+][A-Za-z]+")
_TAKES_ONE: Final = frozenset({"--init-file", "--rcfile"})
_SIGNS: Final = ("-", "+")
_ENDS_OPTIONS: Final = ("-", "--")


def check_no_injection(
    command: str, args: Sequence[str | Param], where: str, *, is_stdin_given: bool
) -> None:
    """Refuse a param where a shell would take its script, or an option, from.

    The shell is the command itself, or what a command such as env or timeout is to execute.
    ``is_stdin_given`` says that its standard input comes out of params.

    Raises:
        InvalidConfig: it would.
    """
    given = _given_to_shell(command, args)
    if given is not None:
        _check_script(given, where, is_stdin_given=is_stdin_given)


def _given_to_shell(command: str, args: Sequence[str | Param]) -> Sequence[str | Param] | None:
    """What a shell is given, if the command is one or executes one; None if it does not.

    A wrapper executes the first of its arguments that is no option, value of an option, variable
    or operand of its own. An option may have a value: it is taken for one that has.
    """
    if _is(_SHELL, command):
        return args
    if not _is(_WRAPPER, command):
        return None
    has_operand, is_value = _is(_HAS_OPERAND, command), False
    for number, arg in enumerate(args, 1):
        text = arg if isinstance(arg, str) else "="
        if _is(_SHELL, text):
            return args[number:]
        if _is(_WRAPPER, text):
            has_operand = _is(_HAS_OPERAND, text)
        elif text[:1] not in _SIGNS and "=" not in text and not is_value:
            if not has_operand:
                return None
            has_operand = False
        is_value = text[:1] in _SIGNS
    return None


def _check_script(args: Sequence[str | Param], where: str, *, is_stdin_given: bool) -> None:
    """All that a shell is given up to its script, or to the file with it, must be literal."""
    has_script = reads_stdin = is_value = is_ended = False
    for arg in args:
        if isinstance(arg, Param):
            if has_script or not is_ended:
                _refuse(where)
            break  # a file, whatever its name begins with; or none, if it is an empty list
        if is_value:
            is_value = False
        elif not is_ended and arg in _ENDS_OPTIONS:
            is_ended = True
        elif is_ended or arg[:1] not in _SIGNS:
            if reads_stdin:
                break
            return
        else:
            has_script = has_script or _has_letter(arg, "c")
            reads_stdin = reads_stdin or _has_letter(arg, "s")
            is_value = arg in _TAKES_ONE or _has_letter(arg, "o") or _has_letter(arg, "O")
    if is_stdin_given:
        _refuse(where)


def _is(kind: re.Pattern[str], command: str) -> bool:
    return kind.fullmatch(PurePath(command).name) is not None


def _has_letter(option: str, letter: str) -> bool:
    """True if it is a row of one-letter options with this one among them."""
    return letter in option[1:] and _LETTERS.fullmatch(option) is not None


def _refuse(where: str) -> NoReturn:
    raise InvalidConfig(
        f"{where}: a param would be read by the shell as its script or an option: write "
        "Command.shell('… \"$1\" …', param(…)), which hands it over as text"
    )
