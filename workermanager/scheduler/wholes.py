"""A Worker that is run as a whole for each fire of its schedule: all execs, to the report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from instrumentation.errors import Cancelled, InvalidConfig, RunFailed
from instrumentation.seeds import derive_seed
from workermanager.run import Run
from workermanager.scheduler.identity import make_run_id, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.cancelling import Context
    from workermanager.plan import Plan
    from workermanager.report import Report
    from workermanager.scheduler.backing import Backing, Done, Fire

__all__ = ["Planner", "Prepare", "Whole"]

Planner: TypeAlias = "Callable[[int], Plan]"
"""Makes the plan of a run from a seed, which serves where it has none of its own."""


class Prepare(Protocol):
    """Makes a run of what is left of one that the ledger has."""

    def __call__(self, *, resume: str, scope: Context) -> Run:
        """The run, to be started.

        Raises:
            InvalidConfig: it cannot be resumed.
        """
        ...


class Whole:
    """Runs a plan from its start to its report for each fire; the calling thread waits for it.

    ``name`` is the schedule's. The run's id is made of it and of when the fire was due, so that a
    fire which is run again goes on with its run, where a ledger has that: ``prepare`` makes it.
    """

    def __init__(
        self,
        name: str,
        plan_it: Planner,
        prepare: Prepare | None,
        backing: Backing,
        *,
        has_ledger: bool = True,
    ) -> None:
        self.name = name
        self._plan_it = plan_it
        self._prepare = prepare
        self._has_ledger = has_ledger
        self._backing = backing

    def run(self, fire: Fire, scope: Context, done: Done) -> None:
        """Run the plan to its end, and tell ``done``; a cancel of ``scope`` stops it now."""
        report = None
        try:
            run = self._make_run(fire, scope)
            if self._backing.loop is not None:
                run.use_loop(self._backing.loop)
            report = run.start().finish()
            run.raise_for_stop(report)
            _check(report, scope)
        except BaseException as error:  # noqa: BLE001 - it is what came of the fire
            done(error, report)
        else:
            done(None, report)

    def _make_run(self, fire: Fire, scope: Context) -> Run:
        plan = self._plan_it(derive_seed("schedule", self.name, fire.due))
        run_id = make_run_id(self.name, fire.due)
        if fire.attempt > 1 and self._prepare is not None and _is_known(plan, run_id):
            return self._prepare(resume=run_id, scope=scope)
        plan = replace(
            plan,
            run_id=run_id,
            epoch=plan.epoch or moment_of(fire.due),
            has_ledger=plan.has_ledger and self._has_ledger,
        )
        return Run(plan, scope=scope)

    def close(self, *, is_left_behind: bool = False) -> None:
        """No fire comes any more; a run has ended all that it began."""


def _is_known(plan: Plan, run_id: str) -> bool:
    """True if a ledger has the run: its process may have been lost before that."""
    if plan.database is None or not plan.has_ledger:
        return False
    from workermanager.database.store import read_run  # noqa: PLC0415 - 200 ms of SQLAlchemy

    try:
        read_run(plan.database, run_id)
    except InvalidConfig:  # what else may be wrong with the database, a new run is told as well
        return False
    return True


def _check(report: Report, scope: Context) -> None:
    """Raise what the report says, unless it says that the run has passed."""
    if report.outcome == "interrupted":
        scope.check()
        raise Cancelled
    if report.outcome == "failed":
        raise RunFailed(_tell(report), report)


def _tell(report: Report) -> str:
    """Why a run has failed, in a line: ``3 of 10 execs failed: addUser: ValueError: no name``."""
    missed = [verdict.expression for verdict in report.thresholds if not verdict.passed]
    if missed:
        return f"threshold {missed[0]} was missed: {report.accounting}"
    failed = report.counts["failed"]
    told = f"{failed} of {report.counts['due']} execs failed" if failed else "the run broke off"
    return ": ".join(
        [told, *(f"{one.step}: {one.type}: {one.example}" for one in report.errors[:1])]
    )
