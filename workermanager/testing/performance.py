"""One run of a plan in virtual time: what `workermanager.run.Run` is in real time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from instrumentation.errors import InvalidConfig
from workermanager import accounts
from workermanager.assignment import Assignment
from workermanager.config import Environment
from workermanager.context import make_context, reread
from workermanager.cursor import Cursor
from workermanager.failures import Failures
from workermanager.handoff import Bell, Handoff
from workermanager.judging import Judge
from workermanager.landings import Landings
from workermanager.report import Ending, make_report
from workermanager.stopping import Stopping, open_scope
from workermanager.telemetry import Phases
from workermanager.testing.memory import Memory, MemoryBooks, refuse_transaction
from workermanager.testing.stage import Stage
from workermanager.watching import Watch

if TYPE_CHECKING:
    from instrumentation.engine import Execute, RunContext
    from workermanager.database.writer import Writer
    from workermanager.plan import Plan
    from workermanager.report import Report
    from workermanager.testing.clock import StageClock

__all__ = ["Performance"]

_SECOND_NS: Final = 1_000_000_000


class Performance:
    """Plays a plan once. ``memory`` has the rows then, ``context`` is what its execs share.

    ``execute`` is what commands call. The plan's database and ledger are left alone.

    Raises:
        InvalidConfig: the plan has no end.
    """

    def __init__(
        self,
        plan: Plan,
        clock: StageClock,
        execute: Execute,
        around: RunContext | None = None,
    ) -> None:
        if plan.arrivals.total is None and plan.source_context is None:
            raise InvalidConfig("ticks: a rehearsal needs an end; say how many ticks there are")
        self.memory = Memory()
        self._plan = plan
        self._clock = clock
        self._began = clock.now()
        self._scope = open_scope(plan, None, clock)
        environment = Environment(plan.env_file) if plan.env_file else None
        env = None if environment is None else environment.values
        self.context = make_context(plan, around, env, self._scope.sleep)
        self.context.transact = refuse_transaction
        self.context.execute = execute
        cursor = Cursor(plan.arrivals, plan.overrun, self._places, plan.warm_end)
        if environment is not None:
            cursor.on_tick = partial(reread, environment, self.context)
        self._handoff = Handoff(cursor, self._elapsed, 0)
        self._books = MemoryBooks(plan, self._handoff, skipped=0)
        self._stopping = Stopping(
            self.context, self._scope, self._handoff, Bell(), plan.grace_ns, clock.now
        )
        judge = Judge(plan.thresholds, plan.warmup_ns)
        self._watch = Watch(self._books, judge, self._elapsed, plan.warmup_ns, self._stop)
        self._landings = self._make_landings()
        assignment = self._landings.assignment = self._assign()
        phases = self._books.slots[0]
        self._stage = Stage(assignment, phases, self._handoff, clock, self._places)

    @property
    def _places(self) -> int:
        """How many execs run at once."""
        return self._plan.in_flight if self._plan.is_async else self._plan.threads

    def _make_landings(self) -> Landings:
        # Of a writer, `Landings` uses no more than `submit`.
        writer = cast("Writer", self.memory)
        landings = Landings(writer, None, Phases(self._plan.warm_end))
        self._books.slots.append(landings.phases)
        self._books.rows = landings.rows
        return landings

    def _assign(self) -> Assignment:
        plan = self._plan
        return Assignment(
            context=self.context,
            scope=self._scope,
            arrivals=plan.arrivals,
            nodes=plan.nodes,
            links=plan.links,
            names=plan.names,
            is_plain=False,
            exec_timeout=plan.exec_timeout,
            tick_timeout=plan.tick_timeout,
            arguments=plan.instrumentation.task_arguments,
            root=plan.name,
            now=self._clock.now,
            began=self._began,
            crew=cast("Any", None),  # the stage does without these four
            alarms=cast("Any", None),
            wait_for=cast("Any", None),
            wait_for_room=cast("Any", None),
            wrap=plan.wrap,
            land=self._landings.land,
            note=None,
            late_ns=plan.overrun.limit_ns if plan.overrun.kind == "late" else None,
            on_result=plan.on_result,
            on_failure=Failures().note,
            stop=self._stop,
        )

    @property
    def is_stopping(self) -> bool:
        """True once the run was told to stop."""
        return self._stopping.is_stopping

    def _elapsed(self) -> int:
        return self._clock.now() - self._began

    # Playing

    def play(self) -> Report:
        """Run every exec to its end, and report.

        Raises:
            BaseException: what ended the run before its time: a step that raised SystemExit or
                KeyboardInterrupt, or an ``on_result`` that failed.
            RuntimeError: execs wait for what never comes.
        """
        self._scope.on_cancel(self._note_end)
        self._stopping.heed(self._plan.source_context)
        if self._scope.deadline_ns is not None:
            self._stage.agenda.enter(self._scope.deadline_ns, self._look_at_deadline)
        if self._plan.thresholds:
            self._enter_look()
        try:
            self._stage.play()
        finally:
            self._stopping.end()
        report = self._close_accounts()
        if self._stage.stopper is not None:
            raise self._stage.stopper
        return report

    def _look_at_deadline(self) -> None:
        if not self._stage.is_over:
            self._scope.cancel(self._scope.cause or "the run took too long")

    def _stop(self) -> None:
        self._note_end()
        self._stopping.stop()

    def _note_end(self) -> None:
        self._stage.ended = max(self._stage.ended, self._clock.now())

    def _enter_look(self) -> None:
        """Have the thresholds looked at on every whole second, and where the warm-up ends."""
        elapsed, warmup = self._elapsed(), self._plan.warmup_ns
        second = (elapsed // _SECOND_NS + 1) * _SECOND_NS
        moment = min(second, warmup) if elapsed < warmup else second
        self._stage.agenda.enter(self._began + moment, self._look)

    def _look(self) -> None:
        if not self._stage.is_over:
            self._watch.look()
            self._enter_look()

    def _close_accounts(self) -> Report:
        figures, planned = self._watch.end(), self._plan.arrivals.total
        counts = accounts.add(figures.counts, figures.warmup)
        is_stopped = self._handoff.is_closed
        accounts.check(counts, planned=planned, is_stopped=is_stopped, has_left=False)
        figures.counts = accounts.close(figures.counts)
        figures.warmup = None if figures.warmup is None else accounts.close(figures.warmup)
        ending = Ending(
            is_cut=accounts.is_cut(accounts.close(counts), planned),
            is_broken=False,
            is_resumed=False,
            verdicts=self._watch.judge.verdicts(),
            stuck=self._stage.stuck,
        )
        windows = self._watch.series.windows
        return make_report(figures, self.context, self._plan, ending, windows)
