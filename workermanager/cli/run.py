"""``workermanager run``: start, watch, stop on a signal, report."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from workermanager.cli.logs import Logs
from workermanager.cli.options import load, log_options, plan_options
from workermanager.cli.progress import Lines, Live, Silence
from workermanager.cli.summary import show
from workermanager.config import PREFIX, parse_setting
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from types import FrameType

    from workermanager.report import Report
    from workermanager.run import Run

__all__ = ["command"]

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command("run")
@plan_options
@log_options
@click.option(
    "--json",
    "json_path",
    metavar="PATH",
    help="Save the JSON report; - prints it (after what steps print).",
)
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
def command(
    target: str,
    env_file: Path | None,
    assignments: tuple[str, ...],
    json_path: str | None,
    log_level: str | None,
    log_format: str | None,
    *,
    quiet: bool,
    **flags: Any,
) -> int:
    """Run TARGET: every exec on its tick, then a summary of what came of each.

    TARGET is module:name or path/file.py:name: a Worker, an Instrumentation, a step, or a
    function that returns one.

    Ctrl-C, SIGTERM or SIGHUP takes no new arrivals and lets the running execs end; a second one
    does not wait for them. The report is written in every case.

    Exit codes: 0 all ok, 1 some exec failed, 2 usage, 104 the target, the configuration or the
    database will not do, 105 stopped from outside before the end.
    """
    worker, config = load(target, env_file, assignments, flags)
    sink = _JsonSink(json_path)
    logs = Logs(log_level or config.log_level or "info", log_format or config.log_format or "text")
    run = worker.start()
    progress = _choose_progress(quiet=quiet)
    _stop_on_signals(run, says_so=isinstance(progress, Lines))
    with progress:
        logs.write = progress.write
        while not run.wait(progress.every_s):
            with suppress(OSError):  # whoever watched is gone: the run is not
                progress.show(run)
            if log_level is None:
                _follow_log_level(run, logs)
        report = run.finish(read_back=not quiet)
    logs.write = Silence().write
    is_saved = sink.save(report)
    if not quiet:
        show(report, run.rows_in_database, on_stderr=json_path == "-")
        if is_saved and json_path != "-" and json_path is not None:
            click.echo(f"report: {json_path}")
    _ignore_signals()
    return _exit_code(run, report, is_saved=is_saved)


def _exit_code(run: Run, report: Report, *, is_saved: bool) -> int:
    try:
        run.raise_for_stop(report)
    except (KeyboardInterrupt, SystemExit):
        return report.exit_code  # a step that wants out stops the run, as a signal does
    return report.exit_code if is_saved else report.exit_code or 1


def _stop_on_signals(run: Run, *, says_so: bool) -> None:
    grace = format_duration(run.plan.grace_ns)
    line = f"stopping: running execs may go on for {grace}; once more stops now\n"

    def stop(_signal: int, _frame: FrameType | None) -> None:
        is_first = not run.is_stopping
        run.stop(now=not is_first)
        if is_first and says_so:
            with suppress(OSError):  # not through the log: its lock may be held just now
                os.write(2, line.encode())

    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's word stands
            signal.signal(number, stop)


def _ignore_signals() -> None:
    """All is done and said: a late signal must not change the exit code on the way out."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _choose_progress(*, quiet: bool) -> Silence:
    if quiet:
        return Silence()
    return Live() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


def _follow_log_level(run: Run, logs: Logs) -> None:
    variable = f"{PREFIX}LOG_LEVEL"
    if text := run.env.get(variable):
        logs.level = parse_setting("log_level", text, variable)


class _JsonSink:
    """Where the JSON report goes; that it can go there is known before the run.

    A file is written beside its place and then moved there, so a full disk cannot leave half of
    one.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path in (None, "-") else Path(str(path))
        self._to_stdout = path == "-"
        if self._path is not None and self._path.is_dir():
            raise click.UsageError(f"--json {self._path}: is a directory")
        if self._path is not None and self._is_plain(self._path):
            try:
                _make_draft(self._path).unlink()
            except OSError as error:
                message = f"--json {path}: cannot be written: {error.strerror}"
                raise click.UsageError(message) from None

    @staticmethod
    def _is_plain(path: Path) -> bool:
        """True for a file, or what will be one; a device or a pipe is written to as it is."""
        return path.is_file() or not path.exists()

    def save(self, report: Report) -> bool:
        """Write the report; False, with a line on standard error, if that failed after all."""
        if self._to_stdout:
            click.echo(report.to_json())
            return True
        if self._path is None:
            return True
        try:
            self._save(report, self._path)
        except OSError as error:
            click.echo(f"workermanager: --json {self._path}: not saved: {error.strerror}", err=True)
            return False
        return True

    def _save(self, report: Report, path: Path) -> None:
        if not self._is_plain(path):
            report.save(path)
            return
        draft = _make_draft(path)
        try:
            report.save(draft)
            draft.chmod(0o666 & ~_umask())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _make_draft(path: Path) -> Path:
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    return Path(draft)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
