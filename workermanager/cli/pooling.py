"""Conducts a process pool on the command line: tasks in, signals heeded, results out, exit code."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn

from instrumentation.errors import InvalidConfig
from workermanager.cli.pool_request import PoolRequest, read_settings, read_tasks
from workermanager.cli.witnesses import Filing, Listeners, Reasons, Stream, Verbose, say
from workermanager.processes.encoding import encode
from workermanager.processes.outfile import Outfile, OutputFailed, StandardOutput
from workermanager.processes.pool import ProcessPool, count_slots
from workermanager.processes.records import Records
from workermanager.processes.task import EXIT_NOT_RUN, Status, TaskResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from workermanager.cli.bar import Bar
    from workermanager.processes.folder import ResultFolder
    from workermanager.processes.pool import PoolSettings, Witness
    from workermanager.processes.tasks import Tasks

__all__ = ["conduct"]

_EXIT_FAILED: Final = 1
_EXIT_BAD_INPUT: Final = 2
_EXIT_OUTPUT: Final = 3
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def conduct(request: PoolRequest) -> int:
    """Run the tasks, write a result for each, and give the exit code."""
    _heed(_leave)
    with ExitStack() as resources:
        try:
            settings = read_settings(request)
            tasks = read_tasks(request)
            resources.callback(tasks.close)
            if request.dry_run:
                _show_plan(tasks)
                return 0
            output = StandardOutput() if request.outfile is None else Outfile(request.outfile)
            resources.callback(output.discard)  # nothing is left of it, unless it is committed
            folder = _open_folder(request.results)
            records = _open_records(request, tasks, settings.grace_ns)
            resources.callback(records.close)
            settings = settings._replace(slots=count_slots(settings.slots, len(tasks)))
            course = _Course(request, settings, tasks, records, output, folder)
        except InvalidConfig as error:
            say(str(error))
            return _EXIT_FAILED if request.compat else _EXIT_BAD_INPUT
        except OSError as error:
            return _refuse_output(request, error)
        return course.run()


def _heed(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """What to do on the signals that end a pool, except for those that our caller has ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's word stands
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """Nothing runs yet: an outfile's draft goes, and that is all."""
    _heed(signal.SIG_IGN)  # another one would come in between
    raise SystemExit(128 + number)


def _refuse_output(request: PoolRequest, error: OSError) -> int:
    say(
        str(error) if error.strerror is None else f"{error.filename or 'results'}: {error.strerror}"
    )
    return _EXIT_FAILED if request.compat else _EXIT_OUTPUT


# What most pools have no use for is imported where it is wanted: each module is a millisecond.


def _show_plan(tasks: Tasks) -> None:
    from workermanager.cli.dry_run import show_plan  # noqa: PLC0415

    show_plan(tasks)


def _open_folder(path: str | None) -> ResultFolder | None:
    if path is None:
        return None
    from workermanager.processes.folder import ResultFolder  # noqa: PLC0415

    return ResultFolder(path)


def _open_bar(request: PoolRequest, total: int, known: int) -> Bar | None:
    if not request.bar or sys.stderr is None:  # as Python has it where it was closed
        return None
    from workermanager.cli.bar import Bar  # noqa: PLC0415

    return Bar(total, known)


def _open_records(request: PoolRequest, tasks: Tasks, grace_ns: int) -> Records:
    """Where results are kept; what an earlier pool has left behind is named, and ended."""
    if request.journal is None:
        return Records(len(tasks), is_compat=request.compat)
    from workermanager.processes.journal import Journal  # noqa: PLC0415
    from workermanager.processes.leftovers import stop_leftovers  # noqa: PLC0415

    journal = Journal(
        request.journal,
        tasks,
        resume=request.resume,
        rerun_failed=request.rerun_failed,
        is_compat=request.compat,
    )
    for one in journal.unfinished:
        say(f"{one.identifier}: had begun, and has no end in {request.journal}: it runs again")
    for one in stop_leftovers(journal.unfinished, grace_ns / 1e9):
        say(f"{one.identifier}: process {one.pid} of the earlier attempt was still there: stopped")
    return journal


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
        self._signals: list[int] = []
        self._known = [number for number in range(len(tasks)) if records.status(number) is not None]
        self._bar = _open_bar(request, len(tasks), len(self._known))
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
        if self._pool.shortage:  # its result is there, but not what it wrote
            faults.append(OutputFailed(self._pool.shortage))
        if self._bar is not None:
            self._bar.close()
        faults += [one.fault for one in (self._stream, self._filing) if one is not None]
        faults += [self._write_results(), self._close_records()]
        _heed(signal.SIG_IGN)  # all is done: a late one must not change the exit code
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

    def _close_records(self) -> OSError | None:
        try:
            self._records.close()
        except OSError as error:  # a journal may not be on the disk
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
        _heed(self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) == 1:
            self._pool.stop()
            return
        self._pool.kill()
        if len(self._signals) > 2 and self._stream is not None:  # noqa: PLR2004 - it was said twice
            self._stream.give_up()

    def _stop(self) -> None:
        self._pool.stop()

    def _exit_code(self) -> int:
        if self._signals:
            return 128 + self._signals[0]
        if self._request.compat:
            return 0
        counts = self._pool.counts
        return 0 if counts[Status.OK] == len(self._tasks) else _EXIT_FAILED
