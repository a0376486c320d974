"""Rehearsal: a Worker or a chain, run on the calling thread in no time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from instrumentation.chains import as_instrumentation
from instrumentation.errors import Cancelled, InvalidConfig
from instrumentation.execution import Outcome, Result
from workermanager.plan import Plan, plan_once
from workermanager.testing.answering import execute_by
from workermanager.testing.clock import StageClock
from workermanager.testing.performance import Performance
from workermanager.worker import Worker

if TYPE_CHECKING:
    from instrumentation.composing import Chain
    from workermanager.report import Report
    from workermanager.testing.answering import Answer
    from workermanager.testing.clock import VirtualClock

__all__ = ["Rehearsal"]

_SEED: Final = 0
_RUN_ID: Final = "rehearsal"


class Rehearsal:
    """Runs Workers and chains in virtual time, and keeps what came of the latest run.

    ``clock`` is what time passes on: put it forward in a step for what its work takes. ``results``
    has a Result for each exec that ran to its end and ``rows`` the rows of those that were ok, by
    table; both in the order of the execs. No process is started: ``commands`` is called with the
    `Invocation` of each `Command`, and gives what that would write to its standard output, or a
    `Completed`.

    Raises:
        InvalidConfig: ``commands`` is no function.
    """

    def __init__(self, *, commands: Answer | None = None) -> None:
        self._clock = StageClock()
        self._execute = execute_by(commands, self._clock)
        self.clock: VirtualClock = self._clock
        self.results: list[Result] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}

    @property
    def durable(self) -> list[int]:
        """The numbers of the execs that were ok: in a real run, a resume would skip them."""
        return [result.n for result in self.results if result.outcome is Outcome.OK]

    def run(self, worker: Worker) -> Report:
        """Run a Worker as its `run` does, without threads, database and ledger.

        One without a seed gets the seed 0, so that a rehearsal repeats.

        Raises:
            InvalidConfig: it has no end, or async steps, and an event loop runs in this thread.
            RuntimeError: execs wait for what never comes.
            BaseException: what a step raised to leave the run (SystemExit, KeyboardInterrupt), or
                ``on_result`` raised.
        """
        given: object = worker
        if not isinstance(given, Worker):
            raise InvalidConfig(f"rehearsal: {given!r} is no Worker; run_once takes a chain")
        seed = _SEED if worker.seed is None else worker.seed
        plan = replace(worker, seed=seed, run_id=worker.run_id or _RUN_ID).plan()
        self.results, self.rows = [], {}
        performance = Performance(self._listening(plan), self._clock, self._execute)
        report = self._play(performance)
        if plan.callback is not None and not performance.is_stopping:
            once = plan_once(plan.callback, plan, {"report": report}, f"{plan.run_id}.callback")
            followed = self._play(
                Performance(once, self._clock, self._execute, performance.context)
            )
            report = report.followed_by(followed)
        return report

    def run_once(self, chain: Chain, /, **params: Any) -> Result:
        """Run a chain, or a single step, as one exec with these params.

        Raises:
            Cancelled: it was called off, and has no result.
            InvalidConfig: the chain cannot work.
        """
        instrumentation = as_instrumentation(chain)
        arguments = {**instrumentation.task_arguments, **params}
        self.run(Worker(replace(instrumentation, task_arguments=arguments)))
        if not self.results:
            raise Cancelled("the exec was called off")
        return self.results[0]

    def _listening(self, plan: Plan) -> Plan:
        """The plan with us hearing of every result, before whoever else does."""
        results, on_result = self.results, plan.on_result

        def hear(result: Result) -> None:
            results.append(result)
            if on_result is not None:
                on_result(result)

        return replace(plan, on_result=hear)

    def _play(self, performance: Performance) -> Report:
        try:
            return performance.play()
        finally:
            self.results.sort(key=lambda result: result.n)
            for table, rows in performance.memory.rows().items():
                self.rows.setdefault(table, []).extend(rows)
