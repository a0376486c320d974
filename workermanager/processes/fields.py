"""One task as JSON has it: what each of its fields may be, and what a refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration
from workermanager.processes.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["FIELDS", "describe", "read_task", "read_tasks", "refusal", "suggest"]

_LONGEST_TIMEOUT_S: Final = 1e12
_LONGEST_INTEGER: Final = 64  # bits
_MOST_SHOWN: Final = 80  # characters
_ORIGINAL: Final = ("identifier", "command", "args")


def read_tasks(
    values: Iterable[tuple[int, object]], source: str, *, is_lenient: bool = False
) -> Iterator[tuple[int, Task]]:
    """The tasks that JSON values stand for; each goes with its line, 0 where lines say nothing.

    Raises:
        InvalidConfig: one is no task; ``source`` is where it comes from.
    """
    for number, (line, value) in enumerate(values):
        try:
            yield line, read_task(value, is_lenient=is_lenient)
        except InvalidConfig as error:
            name = value.get("identifier") if isinstance(value, dict) else None
            raise refusal(source, line, number, name, str(error)) from None


def refusal(source: str, line: int, number: int, name: object, complaint: str) -> InvalidConfig:
    """The one line that says which task it is, and what is wrong with it."""
    in_line = f"line {line}: " if line else ""
    named = f" ({describe(name)})" if name and isinstance(name, str) else ""
    return InvalidConfig(f"{source}: {in_line}task {number}{named}: {complaint}")


def read_task(value: object, *, is_lenient: bool = False) -> Task:
    """The task that a JSON object stands for; a field that is null is as good as absent.

    ``is_lenient`` takes what DanRVP/go-workerpool takes, and as it does: its three fields, written
    large or small, whatever else is there; null for any of them, or for the whole task.

    Raises:
        InvalidConfig: a field is unknown, missing, or of another type.
    """
    if is_lenient:
        value = _as_the_original_reads(value)
    if not isinstance(value, dict):
        raise InvalidConfig(f"wanted an object, found {describe(value)}")
    fields: dict[str, Any] = {"identifier": "", "command": ""}
    for name, given in value.items():
        read = _READERS.get(name)
        if read is None:
            raise InvalidConfig(f"unknown field {describe(name)}: {suggest(name, FIELDS)}")
        if given is not None:
            fields[name] = read(given, name)
    if not is_lenient:
        _check_together(fields)
    return Task(**fields)


def _as_the_original_reads(value: object) -> object:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    fields = {name.lower(): given for name, given in value.items() if name.lower() in _ORIGINAL}
    args = fields.get("args")
    if isinstance(args, list):
        fields["args"] = ["" if arg is None else arg for arg in args]
    return fields


def _check_together(fields: Mapping[str, Any]) -> None:
    if not fields["identifier"]:
        raise InvalidConfig("identifier: wanted text that names the task, found none")
    if fields.get("always") and not fields.get("after"):
        raise InvalidConfig("always: it is about the tasks in 'after', and there are none")


def suggest(name: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown name."""
    from difflib import get_close_matches  # noqa: PLC0415 - 5 ms for those who misspell

    close = get_close_matches(name[:_MOST_SHOWN], known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def describe(value: object) -> str:
    """A value as a refusal shows it: on one line, and not long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        text = hex(value)  # Python writes no decimal of more than 4,300 digits
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _read_text(given: object, name: str) -> str:
    if not isinstance(given, str):
        raise InvalidConfig(f"{name}: wanted text, found {describe(given)}")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError:
            raise InvalidConfig(
                f"{name}: half of a surrogate pair is no character, found {describe(given)}"
            ) from None
    return str.__str__(given)  # a member of an enumeration has a hash of its own


def _read_texts(given: object, name: str) -> tuple[str, ...]:
    if not isinstance(given, list | tuple):
        raise InvalidConfig(f"{name}: wanted an array of texts, found {describe(given)}")
    return tuple([_read_text(text, f"{name}[{n}]") for n, text in enumerate(given)])


def _read_env(given: object, name: str) -> dict[str, str | None]:
    if not isinstance(given, Mapping):
        raise InvalidConfig(f"{name}: wanted an object of texts, found {describe(given)}")
    return {
        _read_variable(variable, name): (
            None if text is None else _read_text(text, f"{name}[{describe(variable)}]")
        )
        for variable, text in given.items()
    }


def _read_variable(given: object, name: str) -> str:
    variable = _read_text(given, name)
    if not variable or "=" in variable:
        raise InvalidConfig(f"{name}: {describe(variable)} cannot be the name of a variable")
    return variable


def _read_timeout(given: object, name: str) -> float:
    """Seconds, from what a person writes for a duration."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise InvalidConfig(f"{name}: wanted seconds, or text like 1m30s, found {describe(given)}")
    found = describe(given)
    is_cut = found.endswith("…")  # nothing that is a duration is so long
    seconds = 0.0 if is_cut else parse_duration(given, name) / 1e9
    if not 0 < seconds <= _LONGEST_TIMEOUT_S:
        raise InvalidConfig(f"{name}: wanted more than 0 and at most 1e12 seconds, found {found}")
    return seconds


def _read_retries(given: object, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidConfig(f"{name}: wanted a whole number, found {describe(given)}")
    if given < 0 or given.bit_length() >= _LONGEST_INTEGER:
        raise InvalidConfig(f"{name}: wanted 0 or more, found {describe(given)}")
    return given


def _read_flag(given: object, name: str) -> bool:
    if not isinstance(given, bool):
        raise InvalidConfig(f"{name}: wanted true or false, found {describe(given)}")
    return given


_READERS: Final[Mapping[str, Callable[[object, str], object]]] = {
    "identifier": _read_text,
    "command": _read_text,
    "args": _read_texts,
    "cwd": _read_text,
    "env": _read_env,
    "stdin": _read_text,
    "timeout": _read_timeout,
    "retries": _read_retries,
    "after": _read_texts,
    "always": _read_flag,
}
FIELDS: Final = tuple(_READERS)
"""The names of a task's fields, in the order of ``Task``'s own."""
