"""Run: one run of a plan, from the opened database to the checked accounts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from loguru import logger

from instrumentation.errors import AccountingError, InvalidConfig
from workermanager import accounts
from workermanager.around import Around, workplace
from workermanager.assignment import Assignment
from workermanager.books import Books
from workermanager.cancelling import SYSTEM
from workermanager.config import Environment
from workermanager.context import make_context, reread
from workermanager.cursor import Cursor
from workermanager.failures import Failures
from workermanager.handoff import Bell, Handoff
from workermanager.judging import Judge
from workermanager.persistence import Opening, Persistence
from workermanager.plan import plan_once
from workermanager.record import FINISHED, make_record
from workermanager.report import Ending, Report, make_report
from workermanager.staff import Staff
from workermanager.stopping import Stopping, open_scope
from workermanager.watching import Watch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Mapping

    from instrumentation.engine import RunContext, Scope
    from instrumentation.errors import WriteError
    from workermanager.assignment import Tracer
    from workermanager.cancelling import Clock, Context
    from workermanager.plan import Plan
    from workermanager.record import RunRecord
    from workermanager.telemetry import Figures
    from workermanager.thresholds import Verdict

__all__ = ["Run"]


class Run:
    """One run of a plan. `start` it, `wait` for it or `stop` it, and `finish` it for the report.

    A run started by a step of another run is nested in it: it is part of that exec, so a stop
    lets it end and "stop now" stops it too; it writes through the outer run's database unless it
    has one of its own.
    """

    def __init__(  # noqa: PLR0913 - two places make it
        self,
        plan: Plan,
        parent: Around | None = None,
        *,
        resumed: RunRecord | None = None,
        origin: Mapping[str, Any] | None = None,
        scope: Scope | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        around = scope or (parent.scope if parent else None)
        self._scope: Context = open_scope(plan, around, clock)
        self._environment = Environment(plan.env_file) if plan.env_file else None
        self._context: RunContext = make_context(
            plan,
            parent.context if parent else None,
            self._environment.values if self._environment else None,
            self._sleep,
        )
        self.plan = plan if resumed is None else plan.without(resumed.durable)
        self.tracer: Tracer | None = None  # to be set before `begin`
        self.rows_in_database: dict[str, int] = {}
        self._resumed = resumed
        self._origin = origin
        self._parent = parent
        self._now = clock.now
        self._is_opened = False
        self._began = 0
        self._bell = Bell()
        self._is_done = False
        self._is_flushing = False
        self._is_flushed = False
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
        cursor = Cursor(plan.arrivals, plan.overrun, plan.threads, plan.warm_end)
        if self._environment is not None:
            cursor.on_tick = partial(reread, self._environment, self._context)
        self._handoff = Handoff(cursor, self._elapsed, plan.threads)
        skipped = 0 if resumed is None else len(resumed.durable)
        self._books = Books(plan, self._handoff, skipped)
        self._staff: Staff = Staff(
            plan,
            self._books,
            self._handoff,
            self._scope,
            lambda place: workplace.enter(self._inside, place),
            self._stop_now,
            self._bell,
            parent.commands if parent else None,
        )
        self._context.execute = self._staff.commands
        self._inside = Around(self._context, self._scope, self._staff.commands)
        self._stopping = Stopping(
            self._context, self._scope, self._handoff, self._bell, plan.grace_ns, clock.now
        )
        judge = Judge(plan.thresholds, plan.warmup_ns)
        self.watch = Watch(self._books, judge, self._elapsed, plan.warmup_ns, self.stop)

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

    @property
    def is_finished(self) -> bool:
        """True once nothing of its plan is left to do, whatever its thresholds say."""
        return self._is_done and self._is_called_back

    # Starting

    def start(self) -> Run:
        """Open the database, start the threads, and let the first arrivals fall due.

        Raises:
            InvalidConfig: the database cannot be opened, the system has not so many threads, or
                this run was started before.
        """
        self.open()
        self.begin()
        return self

    def use_loop(self, loop: AbstractEventLoop) -> None:
        """Have async steps run on a loop that runs already; to be called before `start`."""
        self._staff.loop = loop

    def open(self) -> None:
        """Open the database and start the threads, which wait for `begin`.

        Raises:
            InvalidConfig: as `start` does.
        """
        if self._is_opened:
            raise InvalidConfig(f"run {self.id} was started before: a Run runs once")
        self._is_opened = True
        self._persistence = self._books.kept = self._open_persistence()
        if self._persistence is not None:
            self._context.transact = self._persistence.transact
            self._inside = self._inside._replace(persistence=self._persistence)
        try:
            self._staff.pool.start()
        except RuntimeError as error:
            self._close_database()
            raise InvalidConfig(
                f"threads: {self.plan.threads} are too many here: {error}"
            ) from None

    def begin(self) -> None:
        """Let the first arrivals fall due."""
        self._began = self._now()
        assignment = self._staff.assignment = self._assign()
        if self._persistence is not None:
            self._persistence.landings.assignment = assignment
        self._stopping.heed(self.plan.source_context)
        logger.debug("run {} of {} began: {} threads", self.id, self.plan.name, self.plan.threads)
        if self._parent is None:
            self.watch.start()
        self._staff.begin()

    def _assign(self) -> Assignment:
        plan, kept = self.plan, self._persistence
        return Assignment(
            context=self._context,
            scope=self._scope,
            arrivals=plan.arrivals,
            nodes=plan.nodes,
            links=plan.links,
            names=plan.names,
            is_plain=plan.is_plain and self._scope.deadline_ns is None,
            exec_timeout=plan.exec_timeout,
            tick_timeout=plan.tick_timeout,
            arguments=plan.instrumentation.task_arguments,
            root=plan.name,
            now=self._now,
            began=self._began,
            crew=self._staff.crew,
            alarms=self._staff.alarms,
            wait_for=self._staff.wait_for,
            wait_for_room=self._staff.wait_for_room,
            wrap=plan.wrap,
            land=None if kept is None else kept.landings.land,
            note=None if kept is None else kept.note,
            late_ns=plan.overrun.limit_ns if plan.overrun.kind == "late" else None,
            on_result=plan.on_result,
            on_failure=self._failures.note,
            stop=self.stop,
            tracer=self.tracer,
        )

    def _open_persistence(self) -> Persistence | None:
        parent, record = self._parent, self._resumed
        is_recorded = self.plan.has_ledger and self.plan.database is not None
        if record is None and parent is None and is_recorded:
            record = make_record(self.plan, self._context, self._origin)
        wait = self._stopping.wait_for_halt
        opening = Opening(self.plan, self._now, wait, self._stop_now, self._on_outage)
        around = parent.persistence if parent is not None else None
        return opening.choose(around, record, is_resumed=self._resumed is not None)

    # On the pool's threads

    def _stop_now(self) -> None:
        self.stop(now=True)

    def _on_outage(self, refusal: WriteError) -> None:
        if self._stopping.is_left_behind:
            return
        logger.error("the run stops, because the database does not go on: {}", refusal)
        self._outage = refusal
        self.stop()

    def _sleep(self, seconds: float) -> None:
        self._scope.sleep(seconds)

    def _elapsed(self) -> int:
        return self._now() - self._began if self._began else 0

    # Stopping and waiting

    @property
    def is_stopping(self) -> bool:
        """True once the run was told to stop."""
        return self._stopping.is_stopping

    def stop(self, *, now: bool = False) -> None:
        """Take no new arrivals and let the running execs end; with ``now``, do not wait for them.

        Safe to call from any thread, from a signal handler, and again.
        """
        self._stopping.stop(now=now)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until every exec has ended, or was left behind; False if not after so long."""
        has_ended = self._stopping.wait(self._has_ended, seconds)
        if self._stopping.is_left_behind and self._persistence is not None:
            self._persistence.landings.is_fenced = True
        return has_ended

    def _has_ended(self) -> bool:
        if not self._staff.pool.is_empty:
            return False
        if self._persistence is not None and not self._is_flushing:
            self._is_flushing = True
            self._persistence.landings.writer.flush(self._on_flushed)
        return self._is_flushed or self._persistence is None

    def _on_flushed(self) -> None:
        self._is_flushed = True
        self._bell.ring()

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
            if self._persistence is not None and not self._stopping.is_left_behind:
                self.rows_in_database = self._persistence.finish(
                    self._state(report),
                    may_be_finished=self._is_called_back,
                    counts_rows=read_back,
                )
        finally:
            self._close_database()
            self._stopping.end()
        return report

    def _state(self, report: Report) -> str:
        """What the ledger calls the run: finished if every exec is, whatever thresholds say."""
        if self.is_finished:
            return FINISHED
        return "interrupted" if report.outcome == "interrupted" else "failed"

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
        if self._parent is not None and self._scope.parent is not None:
            self._scope.parent.check()

    def _stopper(self) -> BaseException | None:
        return self._crash or self._interrupt or self._staff.stopper

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
        self._staff.close(is_left_behind=self._stopping.is_left_behind)

    def _close_accounts(self) -> Report:
        figures, planned, kept = self.watch.end(), self.plan.arrivals.total, self._persistence
        counts = accounts.add(figures.counts, figures.warmup)
        writer_crash = kept.landings.writer.crash if kept else None
        self._crash = self._staff.crash or writer_crash or self.watch.crash
        try:
            accounts.check(
                counts,
                planned=planned,
                is_stopped=self._handoff.is_closed,
                has_left=self._stopping.is_left_behind or self._crash is not None,
            )
        except AccountingError as error:
            self._crash = self._crash or error
        figures.counts = accounts.close(figures.counts)
        figures.warmup = None if figures.warmup is None else accounts.close(figures.warmup)
        closed = accounts.close(counts)
        ending = Ending(
            is_cut=accounts.is_cut(closed, planned),
            is_broken=self._crash is not None or self._outage is not None,
            is_resumed=self._resumed is not None,
            verdicts=self.verdicts(),
            stuck=self._staff.stuck,
        )
        self._is_done = ending.ended_by == "plan" and not closed["failed"]
        return make_report(figures, self._context, self.plan, ending, self.watch.series.windows)

    def _call_back(self, report: Report) -> Report:
        """Run the callback as one exec; its failure is the run's."""
        assert self.plan.callback is not None  # noqa: S101 - for the type checker
        after = self._after = Run(
            plan_once(self.plan.callback, self.plan, {"report": report}, f"{self.id}.callback"),
            self._inside,
        )
        followed = after.start().finish()
        self._is_called_back = followed.outcome == "passed"
        return report.followed_by(followed)

    def _close_database(self) -> None:
        if self._persistence is not None:
            is_in_use = self._stopping.is_left_behind or self._staff.stuck
            self._persistence.close(1.0 if is_in_use else None)

    # Watching

    @property
    def is_warming_up(self) -> bool:
        """True in the warm-up, if there is one."""
        return self.watch.is_warming_up

    def figures(self) -> Figures:
        """What happened so far; the counts add up at any moment. Takes about 1 ms, 16 threads."""
        return self._books.read()

    def verdicts(self) -> list[Verdict]:
        """How each threshold stands, as of the last look, which is at most a second ago."""
        return self.watch.judge.verdicts()
