"""What every exec of a run shares: its identity, its seed, its clock, its environment."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from loguru import logger

from instrumentation.engine import RunContext
from instrumentation.errors import InvalidConfig
from instrumentation.fakes import Pools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workermanager.config import Environment
    from workermanager.plan import Plan

__all__ = ["make_context", "reread"]


def make_context(
    plan: Plan,
    around: RunContext | None,
    env: Mapping[str, str] | None,
    sleep: Callable[[float], None],
) -> RunContext:
    """The context of a run of the plan; a nested one takes from that ``around`` what it has not."""
    started = datetime.now(UTC)
    if env is None:
        env = around.env if around else MappingProxyType(dict(os.environ))
    epoch = plan.epoch or (around.epoch if around else started.replace(microsecond=0))
    return RunContext(
        id=plan.run_id or f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        name=plan.name,
        seed=plan.seed,
        epoch=epoch.astimezone(UTC),  # or clocks that are put back would count in it
        planned_ns=plan.arrivals.due_ns,
        sleep=sleep,
        started_at=started,
        pools=_pools(plan, around),
        is_nested=around is not None,
        env=env,
    )


def _pools(plan: Plan, around: RunContext | None) -> Pools:
    """The tables of the run around, where the seed is derived from its seed as well."""
    if around is None:
        return Pools(plan.seed)
    return around.pools.of(plan.seed) if plan.has_own_seed else around.pools


def reread(environment: Environment, context: RunContext, tick: int) -> None:
    """Read ``.env`` again at a tick's start if it changed; a bad one is logged, not taken."""
    try:
        if environment.refresh():
            context.env = environment.values
            logger.info("{} was read again at tick {}", environment.path, tick)
    except InvalidConfig as error:
        logger.error("{} was not read again at tick {}: {}", environment.path, tick, error)
