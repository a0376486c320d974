"""Conducts a run on the command line: start, watch, stop on a signal, report, exit code."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from workermanager.cli.logs import Logs
from workermanager.cli.outputs import Exports, open_sinks
from workermanager.cli.progress import Lines, Silence
from workermanager.cli.summary import show
from workermanager.config import PREFIX, parse_setting
from workermanager.durations import format_duration
from workermanager.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from workermanager.cli.outputs import Output
    from workermanager.cli.sink import Sink
    from workermanager.config import Config
    from workermanager.report import Report
    from workermanager.run import Run

__all__ = ["conduct"]

_IN_MEMORY: Final = ("sqlite://", "sqlite:///:memory:")
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def conduct(prepare: Callable[[], Run], output: Output, config: Config) -> int:
    """Run what is prepared, show how it goes, report in every case, and give the exit code."""
    sinks = open_sinks(output)
    logs = Logs(
        output.log_level or config.log_level or "info",
        output.log_format or config.log_format or "text",
    )
    run = prepare()
    progress = _choose_progress(quiet=output.quiet)
    with Exports(output, run) as exports:
        run.open()
        _stop_on_signals(run, says_so=isinstance(progress, Lines))
        for address in exports.addresses:
            click.echo(address, err=True)
        with progress:
            logs.write = progress.write
            exports.attach()
            run.begin()
            _watch(run, progress, None if output.log_level else logs)
            report = run.finish(read_back=not output.quiet)
        logs.write = Silence().write
        exports.end(report)
        # Now, because what is exported last may keep us waiting.
        is_saved = _tell(run, report, sinks, output, keeps=config.history != "off")
    _ignore_signals()
    return _exit_code(run, report, is_saved=is_saved)


def _tell(run: Run, report: Report, sinks: list[Sink], output: Output, *, keeps: bool) -> bool:
    """Save the report, and show it; True if it is wherever it was wanted."""
    saved = [sink for sink in sinks if sink.save(report)]
    if keeps and not output.no_history:
        _keep(report)
    if not output.quiet:
        show(report, run.rows_in_database, on_stderr=any(sink.is_stdout for sink in sinks))
        _say_what_to_do(run, report)
        for sink in saved:
            if not sink.is_stdout:
                click.echo(f"report: {_shortest(sink.path)}")
    return len(saved) == len(sinks)


def _watch(run: Run, progress: Silence, logs: Logs | None) -> None:
    """Show how a run goes until it has ended; ``logs`` follow the level that ``.env`` sets."""
    while not run.wait(progress.every_s):
        with suppress(OSError):  # whoever watched is gone: the run is not
            progress.show(run)
        if logs is not None:
            _follow_log_level(run, logs)


def _keep(report: Report) -> None:
    from workermanager.history import save_quietly  # noqa: PLC0415 - SQLite: after the run

    save_quietly(report, os.environ)


def _shortest(path: Path) -> Path:
    """The path from here, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _say_what_to_do(run: Run, report: Report) -> None:
    """How to finish a run that is not, where its ledger makes that possible."""
    is_left = run.can_be_resumed and not run.is_finished
    if is_left and report.outcome != "passed" and run.plan.database not in _IN_MEMORY:
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

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, commands have no status
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
