"""Conducts a scheduler on the command line: start, tell, stop on a signal, report, exit code."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack, closing, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import rich_click as click
from loguru import logger

from workermanager.cli.logs import Logs
from workermanager.cli.schedule_tables import show_moment, show_report, zone_of
from workermanager.cli.sink import Sink
from workermanager.durations import format_duration
from workermanager.scheduler.scheduler import Scheduler
from workermanager.timetables.fires import FireState

if TYPE_CHECKING:
    from types import FrameType

    from workermanager.cli.schedule_file import Declaration
    from workermanager.scheduler.performing import FireResult
    from workermanager.scheduler.report import ScheduleReport

__all__ = ["Conduct", "conduct"]

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LONGEST_WAIT_S: Final = 3_600.0


class Conduct(NamedTuple):
    """What the flags say of a scheduler's course, apart from what it runs."""

    log_level: str
    log_format: str
    verbose: bool
    quiet: bool
    for_ns: int | None
    fires: int | None
    health: str | None
    json_path: str | None


def conduct(declaration: Declaration, how: Conduct) -> int:
    """Run the schedules until they are done or told to stop, and give the exit code."""
    sink = None if how.json_path is None else Sink("--json", how.json_path, _render)
    Logs(how.log_level, how.log_format)
    course = _Course(declaration, how)
    with closing(course.scheduler), ExitStack() as resources:
        course.add_all()
        if how.health is not None:
            _open_health(how.health, course.scheduler, resources)
        report = course.run()
    _ignore_signals()
    is_saved = sink is None or sink.save(report)
    if not how.quiet:
        names = [one.name for one in declaration.schedules]
        show_report(report, names, on_stderr=sink is not None and sink.is_stdout)
    for told in report.unfinished:
        click.echo(f"unfinished: {told}", err=True)
    return report.exit_code if is_saved else report.exit_code or 1


class _Course:
    """A scheduler under way: what is told of it, and what stops it."""

    def __init__(self, declaration: Declaration, how: Conduct) -> None:
        self._how = how
        self._ended = count(1)
        self._is_stopping = False
        self._schedules = declaration.schedules
        settings = declaration.settings
        self._drain = settings.drain
        self.scheduler = Scheduler(
            store=settings.store,
            grace=settings.drain,
            on_success=self._on_success,
            on_failure=self._on_end,
            **({} if settings.threads is None else {"threads": settings.threads}),
        )

    def add_all(self) -> None:
        """Enter the schedules.

        Raises:
            InvalidConfig: one cannot be run.
        """
        for one in self._schedules:
            self.scheduler.add(one.what, one.when, name=one.name, target=one.target, **one.policies)

    def run(self) -> ScheduleReport:
        """From the first fire to the last, or to a stop."""
        self._heed_signals()
        self.scheduler.start()
        deadline = None if self._how.for_ns is None else time.monotonic() + self._how.for_ns / 1e9
        self._say_ready()
        while True:
            left = _LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
            if self.scheduler.join(max(0.0, left)):
                break
            if deadline is not None and time.monotonic() >= deadline:
                deadline = None
                self._stop()
        self.scheduler.close()
        return self.scheduler.report()

    def _say_ready(self) -> None:
        if self._how.quiet:
            return
        zones = {one.name: zone_of(one.when) for one in self._schedules}
        many = len(zones)
        ready = f"ready: {many} schedule{'s' * (many != 1)}"
        for moment, name in self.scheduler.next(1):
            ready += f", next {name} at {show_moment(moment, zones[name])}"
        click.echo(ready, err=True)

    # What is told of fires; the scheduler itself logs those that fail or are skipped

    def _on_success(self, fire: FireResult) -> None:
        if fire.state is FireState.LATE:
            late = format_duration(round((fire.started - fire.planned).total_seconds() * 1e9))
            logger.info("{} due {}: ran {} late", fire.schedule, fire.due.isoformat(), late)
        elif self._how.verbose:
            ran = format_duration(round((fire.ended - fire.started).total_seconds() * 1e9))
            logger.info("{} due {}: ran for {}", fire.schedule, fire.due.isoformat(), ran)
        self._on_end(fire)

    def _on_end(self, _fire: FireResult) -> None:
        if next(self._ended) == self._how.fires:
            self._stop()

    # What stops it

    def _stop(self) -> None:
        self._is_stopping = True
        self.scheduler.stop()

    def _heed_signals(self) -> None:
        grace = self._drain
        shown = grace if isinstance(grace, str) else f"{grace} s"
        line = f"stopping: what runs may go on for {shown}; once more stops now\n"

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._is_stopping:
                self.scheduler.stop(now=True)
                return
            self._stop()
            if not self._how.quiet:
                with suppress(OSError):  # not through the log: its lock may be held just now
                    os.write(2, line.encode())

        # Where it is ignored, commands have no status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's word stands
                signal.signal(number, stop)


def _open_health(address: str, scheduler: Scheduler, resources: ExitStack) -> None:
    from workermanager.scheduler.health import Health  # noqa: PLC0415 - few are asked for it

    health = resources.enter_context(Health(address, scheduler.health, name="--health"))
    click.echo(f"health: {health.url}", err=True)


def _ignore_signals() -> None:
    """All is done: a late signal must not change the exit code on the way out."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _render(report: Any) -> str:
    return json.dumps(report.to_dict(), indent=2) + "\n"
