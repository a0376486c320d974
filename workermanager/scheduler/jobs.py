"""What a schedule runs: a chain that stands ready for each fire, or a whole run of a Worker."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from instrumentation.chains import as_instrumentation
from instrumentation.seeds import derive_seed
from workermanager.scheduler.chained import plan_chain
from workermanager.scheduler.identity import EPOCH, make_run_id
from workermanager.scheduler.standing import Standing, can_stand
from workermanager.scheduler.wholes import Whole

if TYPE_CHECKING:
    from datetime import datetime

    from instrumentation.composing import Chain
    from workermanager.cancelling import Context
    from workermanager.plan import Plan
    from workermanager.run import Run
    from workermanager.scheduler.backing import Backing, Done, Fire
    from workermanager.scheduler.wholes import Planner

__all__ = ["Job", "Planned", "job_of", "name_of"]


class Job(Protocol):
    """What a schedule runs: made when that is added, closed when it is gone."""

    @property
    def name(self) -> str:
        """The schedule's."""
        ...

    def run(self, fire: Fire, scope: Context, done: Done, /) -> None:
        """Run a fire to its end on the calling thread; ``done`` is told what came of it, once.

        ``scope`` is the fire's own: whoever cancels it calls the fire off. Any number of fires may
        run at once.

        Raises:
            Abandoned: this thread was stuck in a step that took too long and has come back;
                another one has told ``done`` and has its place. Nothing else is raised.
        """
        ...

    def close(self, *, is_left_behind: bool = False) -> None:
        """No fire comes any more; ``is_left_behind`` where one is not waited for any longer."""
        ...


@runtime_checkable
class Planned(Protocol):
    """A Worker, as a schedule knows it."""

    @property
    def epoch(self) -> datetime | None:
        """Where ``ctx.now`` starts, if that was given."""
        ...

    def plan(self, seed: int | None = None) -> Plan:
        """What a run will do."""
        ...

    def prepare(self, *, resume: str, scope: Context) -> Run:
        """What is left of a run, to be started: it may go on until the scope is cancelled."""
        ...


def job_of(what: Planned | Chain, name: str, backing: Backing, *, has_ledger: bool = True) -> Job:
    """What the schedule ``name`` runs at each fire: a Worker, or one exec of a chain.

    A fire is one exec, without the cost of a run, where that comes to the same. Without
    ``has_ledger``, a Worker's runs are not recorded in its database: none will be resumed.

    Raises:
        InvalidConfig: it is neither, or cannot be run.
    """
    plan_it: Planner
    if isinstance(what, Planned):
        plan_it, prepare, epoch = what.plan, what.prepare, what.epoch
    else:
        plan_it, prepare, epoch = partial(plan_chain, what), None, None
    plan = plan_it(derive_seed("schedule", name))
    if epoch is None and can_stand(plan):
        return Standing(name, replace(plan, run_id=make_run_id(name), epoch=EPOCH), backing)
    return Whole(name, plan_it, prepare, backing, has_ledger=has_ledger)


def name_of(what: Planned | Chain) -> str:
    """What a schedule is called unless it has a name of its own: as its chain is."""
    if isinstance(what, Planned):
        return what.plan().name
    return as_instrumentation(what).func_name
