"""Conducts a process pool on the command line: tasks in, signals heeded, results out, exit code."""

from __future__ import annotations

import os
import shlex
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from instrumentation.errors import InvalidConfig
from workermanager.cli.bar import Bar
from workermanager.cli.witnesses import Filing, Listeners, Reasons, Stream, Verbose, say
from workermanager.durations import parse_duration
from workermanager.processes.folder import ResultFolder
from workermanager.processes.halting import parse_halt
from workermanager.processes.outfile import Outfile, StandardOutput
from workermanager.processes.pool import PoolSettings, ProcessPool, count_slots
from workermanager.processes.reading import read_file, read_text
from workermanager.processes.records import Records
from workermanager.processes.sizes import parse_size
from workermanager.processes.task import Status
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from types import FrameType

    from workermanager.processes.pool import Witness
    from workermanager.processes.task import Task
    from workermanager.processes.tasks import Tasks

__all__ = ["PoolRequest", "conduct"]

_EXIT_FAILED: Final = 1
_EXIT_BAD_INPUT: Final = 2
_EXIT_OUTPUT: Final = 3
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MOST_RETRIES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What the command line asks of a pool, as it stands there."""

    tasks: str | None
    infile: str | None
    outfile: str | None
    as_completed: bool
    results: str | None
    compat: bool
    dry_run: bool
    max_threads: str
    timeout: str | None
    retries: str
    grace: str
    max_output: str
    halt: str | None
    keep_going: bool
    journal: str | None
    resume: bool
    rerun_failed: bool
    bar: bool
    verbose: bool


def conduct(request: PoolRequest) -> int:
    """Run the tasks, write a result for each, and give the exit code."""
    with ExitStack() as resources:
        try:
            settings = _read_settings(request)
            tasks = _read_tasks(request)
            resources.callback(tasks.close)
            if request.dry_run:
                _show_plan(tasks)
                return 0
            output = resources.enter_context(_open_output(request.outfile))
            folder = ResultFolder(request.results) if request.results is not None else None
            records = _open_records(request, tasks, settings.grace_ns)
            resources.callback(records.close)
        except InvalidConfig as error:
            say(str(error))
            return _EXIT_FAILED if request.compat else _EXIT_BAD_INPUT
        except OSError as error:
            return _refuse_output(request, error)
        return _Course(request, settings, tasks, records, output, folder).run()


class _Course:
    """One pool under way: who hears of it, what ends it, and where its results go."""

    def __init__(
        self,
        request: PoolRequest,
        settings: PoolSettings,
        tasks: Tasks,
        records: Records,
        output: Outfile | StandardOutput,
        folder: ResultFolder | None,
    ) -> None:
        self._request = request
        self._tasks = tasks
        self._records = records
        self._output = output
        self._signal = 0
        self._known = [number for number in range(len(tasks)) if records.status(number) is not None]
        self._bar = Bar(len(tasks), len(self._known)) if request.bar else None
        self._stream = Stream(records, output, self._stop) if request.as_completed else None
        self._filing = Filing(folder, self._stop) if folder is not None else None
        self._pool = ProcessPool(tasks, records, settings, Listeners(self._witnesses()))

    def _witnesses(self) -> list[Witness]:
        says = Verbose() if self._request.verbose else Reasons() if self._request.compat else None
        return [one for one in (self._stream, self._filing, says, self._bar) if one is not None]

    def run(self) -> int:
        """Run the pool, write what came of it, and give the exit code."""
        faults: list[OSError | None] = []
        self._heed_signals()
        if self._stream is not None:
            self._recall(self._stream)
        try:
            self._pool.run()
        except OSError as error:  # results could not be kept: those that were can be written yet
            faults.append(error)
        if self._bar is not None:
            self._bar.close()
        faults += [one.fault for one in (self._stream, self._filing) if one is not None]
        faults.append(self._write_results())
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is not None:
            return _refuse_output(self._request, fault)
        return self._exit_code()

    def _recall(self, stream: Stream) -> None:
        for number in self._known:
            stream.copy(number)

    def _write_results(self) -> OSError | None:
        try:
            if self._stream is None:
                self._output.write(b"[")
                for number in range(len(self._tasks)):
                    self._output.write(b"," if number else b"")
                    self._copy(number)
                self._output.write(b"]\n")
            self._output.commit()
        except OSError as error:
            return error
        return None

    def _copy(self, number: int) -> None:
        if self._records.status(number) is not None:
            self._records.copy(number, self._output.write)
            return
        lost = TaskResult(
            self._tasks[number].identifier,
            Status.CANCELLED,
            EXIT_NOT_RUN,
            reason="results could not be kept any more",
        )
        for piece in encode(lost, is_compat=self._request.compat):
            self._output.write(piece)

    # Signals

    def _heed_signals(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no status is kept
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = self._signal or number
        self._stop()

    def _stop(self) -> None:
        self._pool.stop()

    def _exit_code(self) -> int:
        if self._signal:
            return 128 + self._signal
        if self._request.compat:
            return 0
        counts = self._pool.counts
        return 0 if counts[Status.OK] == len(self._tasks) else _EXIT_FAILED


def _read_settings(request: PoolRequest) -> PoolSettings:
    if request.keep_going and request.halt is not None:
        raise InvalidConfig("--keep-going and --halt: one of them")
    if request.rerun_failed and not request.resume:
        raise InvalidConfig("--rerun-failed goes with --resume")
    if request.resume and request.journal is None:
        raise InvalidConfig("--resume goes with --journal FILE")
    timeout_ns = None
    if request.timeout is not None:
        timeout_ns = parse_duration(request.timeout, "--timeout")
        if not timeout_ns:
            raise InvalidConfig("--timeout 0: wanted more than that")
    return PoolSettings(
        slots=_read_slots(request.max_threads),
        timeout_ns=timeout_ns,
        retries=_read_count(request.retries, "--retries", 0),
        grace_ns=parse_duration(request.grace, "--grace"),
        max_output=parse_size(request.max_output, "--max-output"),
        halt=None if request.halt is None else parse_halt(request.halt, "--halt"),
    )


def _read_slots(text: str) -> int:
    if text == "auto":
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    return _read_count(text, "--max-threads", 1, ", or auto")


def _read_count(text: str, name: str, least: int, also: str = "") -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1  # noqa: PLR2004 - 1e9
    if number < least:
        raise InvalidConfig(f"{name} {text!r}: wanted a whole number from {least} on{also}")
    return number


def _read_tasks(request: PoolRequest) -> Tasks:
    if request.infile is not None:
        if request.tasks is not None and not request.compat:
            raise InvalidConfig("tasks are given both as TASKS_JSON and by --infile: one of them")
        return read_file(request.infile, is_lenient=request.compat)
    if request.tasks is None:
        raise InvalidConfig("no tasks: give TASKS_JSON, or --infile FILE (- is standard input)")
    return read_text(request.tasks, is_lenient=request.compat)
