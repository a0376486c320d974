"""Run: one run of a plan, from the opened database to the checked accounts."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from instrumentation.errors import AccountingError, Cancelled, InvalidConfig
from workermanager import accounts
from workermanager.config import Environment
from workermanager.context import make_context
from workermanager.cursor import Cursor
from workermanager.failures import Failures
from workermanager.handoff import Bell, Handoff
from workermanager.nesting import Workplace
from workermanager.persistence import Opening, Persistence
from workermanager.plan import plan_once
from workermanager.pool import Pool
from workermanager.record import FINISHED, make_record
from workermanager.report import Report, make_report
from workermanager.runner import Job, Runner
from workermanager.telemetry import Figures, Recorder, merge
from workermanager.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from instrumentation.errors import WriteError
    from instrumentation.execution import RunContext
    from workermanager.plan import Plan
    from workermanager.record import RunRecord

__all__ = ["Run", "workplace"]

_STATES: Final = {"passed": FINISHED, "failed": "failed", "interrupted": "interrupted"}
_GIVE_UP_NS: Final = 1_000_000_000  # after "stop now": what has not ended then is left behind


class Run:
    """One run of a plan. `start` it, `wait` for it or `stop` it, and `finish` it for the report.

    A run started by a step of another run is nested in it: it is part of that exec, so a stop
    lets it end and "stop now" stops it too; it writes through the outer run's database unless it
    has one of its own.
    """

    def __init__(
        self,
        plan: Plan,
        parent: Run | None = None,
        *,
        resumed: RunRecord | None = None,
        origin: Mapping[str, Any] | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._environment = Environment(plan.env_file) if plan.env_file else None
        self._context: RunContext = make_context(
            plan,
            parent._context if parent else None,
            self._environment.values if self._environment else None,
            self._sleep,
        )
        self.plan = plan if resumed is None else plan.without(resumed.durable)
        self.skipped = 0 if resumed is None else len(resumed.durable)
        self.is_stopping = False
        self.rows_in_database: dict[str, int] = {}
        self._resumed = resumed
        self._origin = origin
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
        was_finished = resumed is not None and resumed.state == FINISHED
        self._is_called_back = plan.callback is None or was_finished
        self._report: Report | None = None
        self._persistence: Persistence | None = None
        self._outage: WriteError | None = None
        self._failures = Failures()
        plan = self.plan
        self._recorders = [Recorder() for _ in range(plan.threads)]
        self._runners: list[Runner] = []
        self._pool = Pool(plan.name, plan.threads, self._work, self._on_crash, self._bell)
        cursor = Cursor(plan.arrivals, plan.overrun, plan.threads)
        cursor.on_tick = self._on_tick if self._environment else None
        self._handoff = Handoff(cursor, self._elapsed, plan.threads)
        self.watch = Watch(self.figures, self._elapsed)

    @property
    def id(self) -> str:
        """The run's id, also in its report."""
        return self._context.id

    @property
    def env(self) -> Mapping[str, str]:
        """The environment as steps see it now."""
        return self._context.env

    @property
    def can_be_resumed(self) -> bool:
        """True if its database has a record of its durable execs."""
        kept = self._persistence
        return kept is not None and kept.has_ledger

    # Starting

    def start(self) -> Run:
        """Open the database, start the threads, and let the first arrivals fall due.

        Raises:
            InvalidConfig: the database cannot be opened, the system has not so many threads, or
                this run was started before.
        """
        if self._began:
            raise InvalidConfig(f"run {self.id} was started before: a Run runs once")
        self._persistence = self._open_persistence()
        if self._persistence is not None:
            self._context.transact = self._persistence.transact
        try:
            self._pool.start()
        except RuntimeError as error:
            self._close_database()
            raise InvalidConfig(
                f"threads: {self.plan.threads} are too many here: {error}"
            ) from None
        self._began = self._now()
        self._job = self._make_job()
        if self._persistence is not None:
            self._persistence.landings.job = self._job
        if self._parent is not None:
            self._parent._adopt(self)
        logger.debug("run {} of {} began: {} threads", self.id, self.plan.name, self.plan.threads)
        self._pool.open()
        if self._parent is None:
            self.watch.start()
        return self

    def _make_job(self) -> Job:
        plan, kept = self.plan, self._persistence
        return Job(
            context=self._context,
            arrivals=plan.arrivals,
            links=plan.links,
            arguments=plan.instrumentation.task_arguments,
            root=plan.name,
            now=self._now,
            began=self._began,
            land=None if kept is None else kept.landings.land,
            note=None if kept is None else kept.note,
            late_ns=plan.overrun.limit_ns if plan.overrun.kind == "late" else None,
            on_result=plan.on_result,
            on_failure=self._failures.note,
            stop=self.stop,
        )

    def _open_persistence(self) -> Persistence | None:
        parent, record = self._parent, self._resumed
        if record is None and parent is None and self.plan.has_ledger:
            record = make_record(self.plan, self._context, self._origin)
        opening = Opening(self.plan, self._now, self._halt.wait, self._on_crash, self._on_outage)
        around = parent._persistence if parent is not None else None
        return opening.choose(around, record, is_resumed=self._resumed is not None)

    # On the pool's threads

    def _work(self, slot: int) -> None:
        runner = Runner(self._job, self._recorders[slot])
        self._runners.append(runner)
        workplace.enter(self, runner)
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

    def _on_outage(self, refusal: WriteError) -> None:
        if self._is_left_behind:
            return
        logger.error("the run stops, because the database does not go on: {}", refusal)
        self._outage = refusal
        self.stop()

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
        if self._persistence is not None and not self._is_flushing:
            self._is_flushing = True
            self._persistence.landings.writer.flush(self._on_flushed)
        return self._is_flushed or self._persistence is None

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
            if self._persistence is not None:
                self._persistence.landings.is_fenced = True
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
            if not self._is_called_back and not self.is_stopping:
                report = self._call_back(report)
            self._report = report
            if self._persistence is not None and not self._is_left_behind:
                self.rows_in_database = self._persistence.finish(
                    _STATES[report.outcome],
                    may_be_finished=self._is_called_back,
                    counts_rows=read_back,
                )
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
        figures, planned, kept = self.figures(), self.plan.arrivals.total, self._persistence
        if self._parent is None:
            self.watch.end(figures)
        writer_crash = kept.landings.writer.crash if kept else None
        self._crash = self._pool.crash or writer_crash or self.watch.crash
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
            is_broken=self._crash is not None or self._outage is not None,
            is_resumed=self._resumed is not None,
            series=self.watch.series.windows,
        )

    def _call_back(self, report: Report) -> Report:
        """Run the callback as one exec; its failure is the run's."""
        assert self.plan.callback is not None  # noqa: S101 - for the type checker
        after = self._after = Run(
            plan_once(self.plan.callback, self.plan, {"report": report}, f"{self.id}.callback"),
            self,
        )
        followed = after.start().finish()
        self._is_called_back = followed.outcome == "passed"
        return report.followed_by(followed)

    def _close_database(self) -> None:
        if self._persistence is not None:
            self._persistence.close(1.0 if self._is_left_behind else None)

    # Watching

    def figures(self) -> Figures:
        """What happened so far; the counts add up at any moment. Takes about 1 ms, 16 threads."""
        recorders, kept = list(self._recorders), self._persistence
        if kept is not None:
            recorders.extend(kept.recorders)
        elapsed, counts = self._handoff.read(partial(_finished, recorders))
        return Figures(
            counts={**counts, "skipped": self.skipped},
            elapsed_ns=elapsed,
            tick=self.plan.arrivals.tick_at(elapsed),
            rows={} if kept is None else dict(kept.landings.rows),
            database=None if kept is None else kept.figures(),
            **merge(recorders),
        )


workplace: Final[Workplace[Run]] = Workplace()


def _finished(recorders: list[Recorder]) -> tuple[int, int, int, int]:
    return (
        sum(one.ok for one in recorders),
        sum(one.failed for one in recorders),
        sum(one.interrupted for one in recorders),
        sum(one.expired for one in recorders),
    )
