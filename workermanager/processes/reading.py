"""Tasks from outside: an argument, a file, standard input; JSON, a line of it for each, or TOML.

What is read passes through a window that moves along the input, so that a long input takes no more
memory than its longest task.
"""

from __future__ import annotations

import errno
import os
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Final

from instrumentation.errors import InvalidConfig
from workermanager.processes.fields import describe, read_tasks, suggest
from workermanager.processes.tasks import Tasks
from workermanager.processes.window import Window, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

__all__ = ["read_file", "read_text"]

_ARGUMENT: Final = "TASKS_JSON"


def read_text(text: str, *, is_lenient: bool = False) -> Tasks:
    """The tasks of a JSON array, as the argument TASKS_JSON has it; ``null`` is an empty one.

    ``is_lenient`` reads as DanRVP/go-workerpool does.

    Raises:
        InvalidConfig: it is malformed, or a task in it is.
    """
    window = Window(BytesIO(text.encode("utf-8", "surrogatepass")), _ARGUMENT)
    return _tasks(_read_array(window), _ARGUMENT, is_lenient=is_lenient)


def read_file(path: str, *, is_lenient: bool = False) -> Tasks:
    """The tasks of a file, or of standard input (``-``).

    It is a JSON array, or one JSON object a line, or, if its name ends in ``.toml``, an array of
    tables named ``tasks``. ``is_lenient`` reads as DanRVP/go-workerpool does.

    Raises:
        InvalidConfig: it cannot be read, it is malformed, or a task in it is.
    """
    source = "standard input" if path == "-" else path
    try:
        if path == "-":
            return _read_from(_standard_input(), source, is_lenient=is_lenient)
        with open(path, "rb") as file:
            return _read_from(file, source, is_lenient=is_lenient)
    except OSError as error:
        raise InvalidConfig(f"{source}: cannot be read: {error.strerror or error}") from None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdin.buffer


def _read_from(file: BinaryIO, source: str, *, is_lenient: bool) -> Tasks:
    window = Window(file, source)
    if source.endswith(".toml"):
        return _tasks(_read_toml(window), source, is_lenient=is_lenient)
    if window.peek() in {"{", ""}:
        return _tasks(window.lines(), source, is_lenient=is_lenient)
    return _tasks(_read_array(window), source, is_lenient=is_lenient)


def _tasks(values: Iterable[tuple[int, object]], source: str, *, is_lenient: bool) -> Tasks:
    tasks = read_tasks(values, source, is_lenient=is_lenient)
    return Tasks(tasks, source, may_repeat=is_lenient)


def _read_array(window: Window) -> Iterator[tuple[int, object]]:
    first = window.peek()
    if first == "[":
        window.skip()
        yield from _read_items(window)
    elif not first or (found := window.value()) is not None:
        shown = describe(found) if first else "nothing"
        raise InvalidConfig(f"{window.source}: wanted an array of tasks, found {shown}")
    if window.peek():
        window.refuse("malformed JSON: text after the array")


def _read_items(window: Window) -> Iterator[tuple[int, object]]:
    if window.peek() == "]":
        window.skip()
        return
    while True:
        yield 0, window.value()
        after = window.peek()
        if after not in {",", "]"}:
            window.refuse("malformed JSON: wanted ',' or ']' after a task")
        window.skip()
        if after == "]":
            return


def _read_toml(window: Window) -> Iterator[tuple[int, object]]:
    from tomllib import loads  # noqa: PLC0415 - 8 ms that JSON does not need

    try:
        document = loads(window.rest())
    except (ValueError, RecursionError) as error:
        complaint, _ = explain(error, 0)
        raise InvalidConfig(f"{window.source}: malformed TOML: {complaint}") from None
    for name in document:
        if name != "tasks":
            raise InvalidConfig(f"{window.source}: unknown {name!r}: {suggest(name, ['tasks'])}")
    tables = document.get("tasks", [])
    if not isinstance(tables, list):
        raise InvalidConfig(f"{window.source}: tasks: wanted [[tasks]], found {describe(tables)}")
    for table in tables:
        yield 0, table
