"""What the tasks of a pool would run, as a shell would be given it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import rich_click as click

if TYPE_CHECKING:
    from workermanager.processes.task import Task
    from workermanager.processes.tasks import Tasks

__all__ = ["show_plan"]

_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t"}


def show_plan(tasks: Tasks) -> None:
    """Print each task on a line of its own."""
    for number in range(len(tasks)):
        click.echo(_describe(tasks[number]))


def _describe(task: Task) -> str:
    """A task on one line, as a shell would be given it."""
    words = [task.command, *task.args]
    if task.env:
        unset = [word for name, value in task.env.items() if value is None for word in ("-u", name)]
        sets = [f"{name}={value}" for name, value in task.env.items() if value is not None]
        no_options = ["--"] * any(one.startswith("-") for one in sets)
        words = ["env", *unset, *no_options, *sets, *words]
    line = " ".join(map(_quote, words))
    if task.cwd is not None:
        line = f"cd {_quote(f'./{task.cwd}' if task.cwd.startswith('-') else task.cwd)} && {line}"
    notes = ["always"] if task.always else []
    notes += [f"after {', '.join(task.after)}"] if task.after else []
    name = f"{task.identifier}{f' ({chr(32).join(notes)})' if notes else ''}"
    return f"{''.join(map(_show, name))}: {line}"


def _quote(word: str) -> str:
    """A word as a shell reads it, on one line: as $'...' (POSIX.1-2024) if that takes escapes."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escape, word))}'"


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return char if char.isprintable() else "".join(f"\\{byte:03o}" for byte in char.encode())


def _show(char: str) -> str:
    return char if char.isprintable() else repr(char)[1:-1]
