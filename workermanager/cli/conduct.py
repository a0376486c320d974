"""Conducts a run on the command line: start, watch, stop on a signal, report, exit code."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import rich_click as click

from workermanager.cli.logs import Logs
from workermanager.cli.progress import Lines, Silence
from workermanager.cli.sink import JsonSink
from workermanager.cli.summary import show
from workermanager.config import PREFIX, parse_setting
from workermanager.durations import format_duration
from workermanager.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from workermanager.config import Config
    from workermanager.report import Report
    from workermanager.run import Run

__all__ = ["Output", "conduct"]

_IN_MEMORY: Final = ("sqlite://", "sqlite:///:memory:")
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Output(NamedTuple):
    """What the flags say of output: where the JSON report goes, how much is said, and how."""

    json_path: str | None
    quiet: bool
    log_level: str | None
    log_format: str | None


def conduct(prepare: Callable[[], Run], output: Output, config: Config) -> int:
    """Run what is prepared, show how it goes, report in every case, and give the exit code."""
    sink = JsonSink(output.json_path)
    logs = Logs(
        output.log_level or config.log_level or "info",
        output.log_format or config.log_format or "text",
    )
    run = prepare()
    run.open()
    progress = _choose_progress(quiet=output.quiet)
    _stop_on_signals(run, says_so=isinstance(progress, Lines))
    with progress:
        run.begin()
        logs.write = progress.write
        while not run.wait(progress.every_s):
            with suppress(OSError):  # whoever watched is gone: the run is not
                progress.show(run)
            if output.log_level is None:
                _follow_log_level(run, logs)
        report = run.finish(read_back=not output.quiet)
    logs.write = Silence().write
    is_saved = sink.save(report)
    if not output.quiet:
        show(report, run.rows_in_database, on_stderr=output.json_path == "-")
        _say_what_to_do(run, report)
        if is_saved and output.json_path not in (None, "-"):
            click.echo(f"report: {output.json_path}")
    _ignore_signals()
    return _exit_code(run, report, is_saved=is_saved)


def _say_what_to_do(run: Run, report: Report) -> None:
    """How to finish a run that is not, where its ledger makes that possible."""
    if run.can_be_resumed and report.outcome != "passed" and run.plan.database not in _IN_MEMORY:
        url = redact(str(run.plan.database))
        click.echo(f"to finish it: workermanager resume {run.id} --database {url}", err=True)


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
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines()
    from workermanager.cli.live import Live  # noqa: PLC0415 - only where there is a terminal

    return Live()


def _follow_log_level(run: Run, logs: Logs) -> None:
    variable = f"{PREFIX}LOG_LEVEL"
    if text := run.env.get(variable):
        logs.level = parse_setting("log_level", text, variable)
