"""Run: one run of a plan, from the opened database to the checked accounts."""

from __future__ import annotations

import os
import secrets
import threading
import time
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from loguru import logger

from instrumentation.errors import AccountingError, Cancelled, InvalidConfig, WriteError
from instrumentation.execution import RunContext, make_faker
from workermanager import accounts
from workermanager.config import Environment
from workermanager.cursor import Cursor
from workermanager.failures import Failures
from workermanager.handoff import Bell, Handoff
from workermanager.landings import Landings
from workermanager.plan import plan_once
from workermanager.pool import Pool
from workermanager.report import Report, make_report
from workermanager.runner import Job, Runner
from workermanager.telemetry import Figures, Recorder, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workermanager.plan import Plan

__all__ = ["Run", "nesting"]

_GIVE_UP_NS: Final = 1_000_000_000  # after "stop now": what has not ended then is left behind


class Nesting(NamedTuple):
    """The run that this thread works for, and a seed for a run inside its current exec."""

    run: Run
    seed: int


_local = threading.local()


def nesting() -> Nesting | None:
    """Where a Worker started on this thread would be nested; None outside of any run."""
    runner: Runner | None = getattr(_local, "runner", None)
    if runner is None or runner.current is None:
        return None
    return Nesting(_local.run, runner.current.child_seed())


class Run:
    """One run of a plan. `start` it, `wait` for it or `stop` it, and `finish` it for the report.

    A run started by a step of another run is nested in it: it is part of that exec, so a stop
    lets it end and "stop now" stops it too; it writes through the outer run's database unless it
    has one of its own.
    """

    def __init__(
        self, plan: Plan, parent: Run | None = None, *, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.plan = plan
        self.is_stopping = False
        self.rows_in_database: dict[str, int] = {}
        self._parent = parent
        self._now = now
        self._began = 0
        self._bell = Bell()
        self._halt = threading.Event()
        self._children: set[Run] = set()
        self._stopped_at = 0
        self._is_flushing = False
        self._is_flushed = False
        self._is_left_behind = False
        self._crash: BaseException | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self._after: Run | None = None
        self._report: Report | None = None
        self._landings: Landings | None = None
        self._failures = Failures()
        self._environment = Environment(plan.env_file) if plan.env_file else None
        self._context = self._make_context()
        self._recorders = [Recorder() for _ in range(plan.threads)]
        self._runners: list[Runner] = []
        self._pool = Pool(plan.name, plan.threads, self._work, self._on_crash, self._bell)
        cursor = Cursor(plan.arrivals, plan.overrun, plan.threads)
        cursor.on_tick = self._on_tick if self._environment else None
        self._handoff = Handoff(cursor, self._elapsed, plan.threads)

    @property
    def id(self) -> str:
        """The run's id, also in its report."""
        return self._context.id

    @property
    def env(self) -> Mapping[str, str]:
        """The environment as steps see it now."""
        return self._context.env

    # Starting

    def start(self) -> Run:
        """Open the database, start the threads, and let the first arrivals fall due.

        Raises:
            InvalidConfig: the database cannot be opened, the system has not so many threads, or
                this run was started before.
        """
        if self._began:
            raise InvalidConfig(f"run {self.id} was started before: a Run runs once")
        self._landings = self._open_landings()
        self._context.has_database = self._landings is not None
        try:
            self._pool.start()
        except RuntimeError as error:
            self._close_database()
            raise InvalidConfig(
                f"threads: {self.plan.threads} are too many here: {error}"
            ) from None
        self._began = self._now()
        self._job = self._make_job()
        if self._parent is not None:
            self._parent._adopt(self)
        logger.debug("run {} of {} began: {} threads", self.id, self.plan.name, self.plan.threads)
        self._pool.open()
        return self

    def _make_context(self) -> RunContext:
        plan, around = self.plan, self._parent._context if self._parent else None
        started = datetime.now(UTC)
        epoch = plan.epoch or (around.epoch if around else started.replace(microsecond=0))
        if self._environment is not None:
            env = self._environment.values
        else:
            env = around.env if around else MappingProxyType(dict(os.environ))
        return RunContext(
            id=f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            name=plan.name,
            seed=plan.seed,
            epoch=epoch,
            planned_ns=plan.arrivals.due_ns,
            sleep=self._sleep,
            started_at=started,
            env=env,
        )

    def _make_job(self) -> Job:
        plan = self.plan
        return Job(
            context=self._context,
            arrivals=plan.arrivals,
            links=plan.links,
            arguments=plan.instrumentation.task_arguments,
            root=plan.name,
            now=self._now,
            began=self._began,
            land=self._landings.land if self._landings is not None else None,
            late_ns=plan.overrun.limit_ns if plan.overrun.kind == "late" else None,
            on_result=plan.on_result,
            on_failure=self._failures.note,
            stop=self.stop,
        )

    def _open_landings(self) -> Landings | None:
        """The parent's database where that serves, else one of our own, else none."""
        plan, parent = self.plan, self._parent
        around = parent._landings if parent is not None else None
        if around is not None and plan.database in (None, around.writer.database):
            if plan.schema is not None:
                around.writer.create(plan.schema)
            return Landings(around.writer, around)
        if plan.database is None:
            return None
        from workermanager.writer import Writer  # noqa: PLC0415 - 200 ms of SQLAlchemy

        make_faker()  # who seeds wants it: its import would make the first execs seem slow
        return Landings(Writer(plan.database, plan.schema, self._on_crash), None)

    # On the pool's threads

    def _work(self, slot: int) -> None:
        runner = Runner(self._job, self._recorders[slot])
        self._runners.append(runner)
        _local.run, _local.runner = self, runner
        runner.serve(self._handoff, slot)

    def _on_tick(self, tick: int) -> None:
        """Read ``.env`` again at a tick's start if it changed; a bad one is logged, not taken."""
        environment = self._environment
        assert environment is not None  # noqa: S101 - for the type checker
        try:
            if environment.refresh():
                self._context.env = environment.values
                logger.info("{} was read again at tick {}", self.plan.env_file, tick)
        except InvalidConfig as error:
            logger.error("{} was not read again at tick {}: {}", self.plan.env_file, tick, error)

    def _on_crash(self) -> None:
        self.stop(now=True)

    def _sleep(self, seconds: float) -> None:
        self._halt.wait(min(seconds, threading.TIMEOUT_MAX))

    def _elapsed(self) -> int:
        return self._now() - self._began

    # Stopping and waiting

    def stop(self, *, now: bool = False) -> None:
        """Take no new arrivals and let the running execs end; with ``now``, do not wait for them.

        Safe to call from any thread, from a signal handler, and again.
        """
        if not self.is_stopping:
            self._stopped_at = self._now()
            self.is_stopping = True
            self._handoff.close()
        if now and not self._context.cancelled:
            self._stopped_at = self._now()
            self._context.cancelled = True
            self._halt.set()
            for child in tuple(self._children):
                child.stop(now=True)
        self._bell.ring()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until every exec has ended, or was left behind; False if not after so long."""
        deadline = None if seconds is None else self._now() + int(seconds * 1e9)
        while not self._has_ended():
            patience = self._patience()
            limits = [limit for limit in (deadline, patience) if limit is not None]
            pause = (min(limits) - self._now()) / 1e9 if limits else 3_600.0
            if pause > 0:
                self._bell.wait(pause)
            elif patience is not None and self._now() >= patience:
                self._lose_patience()
            else:
                return False
        self._bell.ring()  # for whoever else waits
        return True

    def _has_ended(self) -> bool:
        if self._is_left_behind:
            return True
        if not self._pool.is_empty:
            return False
        if self._landings is not None and not self._is_flushing:
            self._is_flushing = True
            self._landings.writer.flush(self._on_flushed)
        return self._is_flushed or self._landings is None

    def _on_flushed(self) -> None:
        self._is_flushed = True
        self._bell.ring()

    def _patience(self) -> int | None:
        """Until when running execs may go on after a stop."""
        if not self.is_stopping:
            return None
        return self._stopped_at + (_GIVE_UP_NS if self._context.cancelled else self.plan.grace_ns)

    def _lose_patience(self) -> None:
        if self._context.cancelled:
            self._is_left_behind = True
            if self._landings is not None:
                self._landings.is_fenced = True
        else:
            self.stop(now=True)

    def _adopt(self, child: Run) -> None:
        self._children.add(child)
        if self._context.cancelled:
            child.stop(now=True)

    # Finishing

    def finish(self, *, read_back: bool = False) -> Report:
        """Wait for the end, check the accounts, run the callback, and report in every case.

        ``read_back`` counts the rows of the tables written to, into ``rows_in_database``. What
        went wrong with the run itself is kept for `raise_for_stop`.
        """
        if self._report is not None:
            return self._report
        try:
            self._wait_out()
            report = self._close_accounts()
            if self.plan.callback is not None and not self.is_stopping:
                report = self._call_back(report)
            self._report = report
            if read_back and self._landings is not None and not self._is_left_behind:
                self._read_back(self._landings)
        finally:
            self._close_database()
            if self._parent is not None:
                self._parent._children.discard(self)
        return report

    def raise_for_stop(self, report: Report) -> None:
        """Raise what ended the run before its time, if anything did.

        That is a crash of the engine or of ``on_result``, Ctrl-C, or what a step raised to leave
        (SystemExit, KeyboardInterrupt).

        Raises:
            Cancelled: the run was nested in one that was told to stop now.
        """
        stopper = self._stopper() or (self._after._stopper() if self._after else None)
        if stopper is not None:
            stopper.add_note(f"run {self.id} was stopped: {report.accounting}")
            raise stopper
        if self._parent is not None and self._parent._context.cancelled:
            raise Cancelled

    def _stopper(self) -> BaseException | None:
        from_steps = (runner.stopper for runner in self._runners if runner.stopper is not None)
        return self._crash or self._interrupt or next(from_steps, None)

    def _wait_out(self) -> None:
        """Wait for the end; the first Ctrl-C drains, the second does not wait."""
        while True:
            try:
                self.wait()
            except KeyboardInterrupt as interrupt:
                self._interrupt = interrupt
                self.stop(now=self.is_stopping)
            else:
                break
        if not self._is_left_behind:
            self._pool.join()

    def _close_accounts(self) -> Report:
        figures, planned = self.figures(), self.plan.arrivals.total
        self._crash = self._pool.crash or (self._landings.writer.crash if self._landings else None)
        try:
            accounts.check(
                figures.counts,
                planned=planned,
                is_stopped=self._handoff.is_closed,
                has_left=self._is_left_behind or self._crash is not None,
            )
        except AccountingError as error:
            self._crash = self._crash or error
        figures.counts = accounts.close(figures.counts)
        return make_report(
            figures,
            self._context,
            is_cut=accounts.is_cut(figures.counts, planned),
            has_crashed=self._crash is not None,
        )

    def _call_back(self, report: Report) -> Report:
        """Run the callback as one exec; its failure is the run's."""
        assert self.plan.callback is not None  # noqa: S101 - for the type checker
        after = self._after = Run(
            plan_once(self.plan.callback, self.plan, {"report": report}), self
        )
        return report.followed_by(after.start().finish())

    def _read_back(self, landings: Landings) -> None:
        try:
            self.rows_in_database = landings.writer.count(landings.tables.values())
        except WriteError as error:
            logger.error("the rows could not be counted: {}", error)

    def _close_database(self) -> None:
        if self._landings is not None and not self._landings.is_borrowed:
            self._landings.writer.close(1.0 if self._is_left_behind else None)

    # Watching

    def figures(self) -> Figures:
        """What happened so far; the counts add up at any moment. Takes about 1 ms, 16 threads."""
        recorders = list(self._recorders)
        if self._landings is not None:
            recorders.append(self._landings.recorder)
        elapsed, counts = self._handoff.read(partial(_finished, recorders))
        return Figures(
            counts=counts,
            elapsed_ns=elapsed,
            tick=self.plan.arrivals.tick_at(elapsed),
            rows=dict(self._landings.rows) if self._landings is not None else {},
            **merge(recorders),
        )


def _finished(recorders: list[Recorder]) -> tuple[int, int, int, int]:
    return (
        sum(one.ok for one in recorders),
        sum(one.failed for one in recorders),
        sum(one.interrupted for one in recorders),
        sum(one.expired for one in recorders),
    )
