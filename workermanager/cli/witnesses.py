"""Who hears what a process pool does, on the command line: standard error, streams, folders."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import rich_click as click

from workermanager.durations import format_duration
from workermanager.processes.outfile import OutputFailed
from workermanager.processes.task import Status
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workermanager.processes.folder import ResultFolder
    from workermanager.processes.pool import Witness
    from workermanager.processes.records import Records
    from workermanager.processes.task import Task, TaskResult

__all__ = ["Bystander", "Filing", "Listeners", "Reasons", "Stream", "Verbose", "say"]


class _Writer(Protocol):
    def write(self, data: bytes, /) -> object:
        """Write all of it."""
        ...

    def flush(self) -> object:
        """Let whoever reads have it."""
        ...


def say(text: str) -> None:
    """One line on standard error; nobody need be there to read it."""
    with suppress(OSError):
        click.echo(f"workermanager: {one_line(text)}", err=True)


class Listeners:
    """Several witnesses as one."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._witnesses = witnesses

    def begun(self, task: Task, attempt: int) -> None:
        """Tell all."""
        for witness in self._witnesses:
            witness.begun(task, attempt)

    def ending(self, result: TaskResult) -> None:
        """Tell all."""
        for witness in self._witnesses:
            witness.ending(result)

    def ended(self, number: int, result: TaskResult) -> None:
        """Tell all."""
        for witness in self._witnesses:
            witness.ended(number, result)


class Bystander:
    """Hears of everything, and does nothing about it."""

    def begun(self, task: Task, attempt: int) -> None:
        """An attempt is about to begin."""

    def ending(self, result: TaskResult) -> None:
        """A task is about to have its result."""

    def ended(self, number: int, result: TaskResult) -> None:
        """It has."""


class Verbose(Bystander):
    """Says what begins and what ends."""

    def begun(self, task: Task, attempt: int) -> None:
        """Say so."""
        say(f"{task.identifier}: begins" + (f", attempt {attempt}" if attempt > 1 else ""))

    def ended(self, _number: int, result: TaskResult) -> None:
        """Say how, and in what time."""
        took = f" after {format_duration(result.duration_ns)}" if result.duration_ns else ""
        code = "" if result.status is Status.OK else f", exit code {result.exit_code}"
        reason = f": {result.reason}" if result.reason else ""
        say(f"{result.identifier}: {result.status}{took}{code}{reason}")


class Reasons(Bystander):
    """Says why tasks could not begin, where their results have no room for it."""

    def ended(self, _number: int, result: TaskResult) -> None:
        """Say it."""
        if result.reason:
            say(f"{result.identifier}: {result.status}: {result.reason}")


class Filing(Bystander):
    """Puts each result into its folder; ``fault`` is what went wrong first."""

    def __init__(self, folder: ResultFolder, stop: Callable[[], None]) -> None:
        self.fault: OSError | None = None
        self._folder = folder
        self._stop = stop

    def ending(self, result: TaskResult) -> None:
        """Write it, before a journal says that it is there; if that fails, the pool ends."""
        if self.fault is not None:
            return
        try:
            self._folder.write(result)
        except OSError as error:
            self.fault = error
            self._stop()


class Stream(Bystander):
    """Writes each result as it comes, one a line; ``fault`` is what went wrong first.

    While its reader does not read it waits, and with it the pool: `give_up` ends that.
    """

    def __init__(self, records: Records, output: _Writer, stop: Callable[[], None]) -> None:
        self.fault: OSError | None = None
        self._is_writing = False
        self._records = records
        self._output = output
        self._stop = stop

    def ended(self, number: int, _result: TaskResult) -> None:
        """Write it."""
        self.copy(number)

    def copy(self, number: int) -> None:
        """Write a result that is there; where nobody reads any more, the pool ends."""
        if self.fault is not None:
            return
        try:
            self._is_writing = True
            self._records.copy(number, self._output.write)
            self._output.write(b"\n")
            self._output.flush()
            self._is_writing = False
        except OSError as error:
            self.fault = error
            self._stop()

    def give_up(self) -> None:
        """Write no more, if just now it writes; from a signal handler.

        Raises:
            OutputFailed: it was writing, and `copy` hears of it.
        """
        if self._is_writing and self.fault is None:
            raise OutputFailed("results: given up: nobody reads them")
