"""The plan of a chain that a schedule was given without a Worker: it is run one time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from instrumentation.chains import as_instrumentation
from workermanager.clock import arrivals
from workermanager.cursor import Overrun
from workermanager.limits import Limit, check_limits
from workermanager.plan import Plan

if TYPE_CHECKING:
    from instrumentation.composing import Chain

__all__ = ["plan_chain"]

_GRACE_NS: Final = 30_000_000_000


def plan_chain(chain: Chain, seed: int) -> Plan:
    """One exec of a chain, at once, on one thread.

    Raises:
        InvalidConfig: it is no chain, or one that cannot be run.
    """
    instrumentation = as_instrumentation(chain)
    plan = Plan(
        instrumentation=instrumentation,
        nodes=instrumentation.nodes(),
        arrivals=arrivals(1, 1, 0, "even", 0),
        execs_per_tick=1,
        shape=None,
        spread="even",
        overrun=Overrun(),
        threads=1,
        seed=seed,
        has_own_seed=False,
        grace_ns=_GRACE_NS,
        epoch=None,
        database=None,
        schema=None,
        has_ledger=False,
        run_id=None,
        env_file=None,
        callback=None,
        on_result=None,
    )
    check_limits(link.limit for link in plan.links if isinstance(link.limit, Limit))
    return plan
