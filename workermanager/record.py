"""A run as its ledger keeps it: which execs are durable, and what its rows follow from."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from instrumentation.fakes import LOCALE, faker_version
from instrumentation.seeds import derive_seed
from workermanager.redaction import hide
from workermanager.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from instrumentation.engine import RunContext
    from workermanager.plan import Plan

__all__ = [
    "FINISHED",
    "UNFINISHED",
    "RunRecord",
    "check_same",
    "describe_facts",
    "format_moment",
    "make_record",
]

FINISHED: Final = "finished"
UNFINISHED: Final = "unfinished"
_LONGEST_NAME: Final = 200

_VERSION: Final = 1
# Without these an exec's n would mean something else: no --force.
_IDENTITY: Final = (
    "version",
    "seed",
    "epoch",
    "execs_per_tick",
    "ticks",
    "tick_duration",
    "spread",
    "shape",
)
_SHOWN: Final = {"faker": "Faker", "params": "param", "schema": "table", "steps": "step"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the ledger has it.

    ``facts`` are what its rows follow from (seed, epoch, plan, steps …), ``origin`` how the
    command line started it (None where a program did). ``planned`` is None for a run without end.
    ``durable`` and ``last_commit`` are empty in a new record, ``token`` tells it from others that
    want the same id.
    """

    id: str
    name: str
    started_at: str
    planned: int | None
    facts: Mapping[str, Any]
    origin: Mapping[str, Any] | None
    state: str = UNFINISHED
    durable: Spans = field(default_factory=Spans)
    last_commit: str | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.facts["seed"])

    @property
    def epoch(self) -> datetime:
        """Where the run's ``ctx.now`` starts."""
        return datetime.fromisoformat(self.facts["epoch"])


def make_record(plan: Plan, context: RunContext, origin: Mapping[str, Any] | None) -> RunRecord:
    """The record of a run that is about to begin; ``origin`` is how it was started."""
    return RunRecord(
        id=context.id,
        name=context.name[:_LONGEST_NAME],
        started_at=format_moment(context.started_at),
        planned=plan.arrivals.total,
        facts=describe_facts(plan, context.epoch),
        origin=origin,
    )


def describe_facts(plan: Plan, epoch: datetime) -> dict[str, Any]:
    """What the rows of a run follow from, as JSON-ready values.

    Params and tables are hashed: their names are told, their values are nobody's business. Of a
    secret param not even the hash is kept: a short secret can be guessed from it.
    """
    execs = plan.execs_per_tick
    return {
        "version": _VERSION,
        "seed": str(plan.seed),
        "epoch": epoch.astimezone(UTC).isoformat(),
        "execs_per_tick": list(execs) if isinstance(execs, tuple) else execs,
        "ticks": plan.arrivals.ticks,
        "tick_duration": _seconds(plan.arrivals.tick_ns),
        "spread": plan.spread,
        "shape": plan.shape,
        "steps": {str(place): link.path for place, link in enumerate(plan.links, 1)},
        "params": {
            str(name): _hash(value) if hide(str(name), "") == "" else "not kept"
            for name, value in plan.instrumentation.task_arguments.items()
        },
        "schema": {} if plan.schema is None else _describe_schema(plan.schema.sorted_tables),
        "faker": faker_version(),
        "locale": LOCALE,
    }


def check_same(
    run_id: str, then: Mapping[str, Any], now: Mapping[str, Any], *, force: bool
) -> None:
    """Refuse to resume a run whose rows would follow from something else now.

    With ``force``, only a change of what makes an exec's identity is refused.

    Raises:
        InvalidConfig: names the first difference.
    """
    for fact in then:
        is_identity = fact in _IDENTITY
        if force and not is_identity:
            continue
        for difference in _differences(fact, then[fact], now.get(fact)):
            advice = "" if is_identity else "; --force resumes it all the same"
            raise InvalidConfig(f"run {run_id} cannot be resumed: {difference}{advice}")


def _differences(fact: str, then: Any, now: Any) -> Iterator[str]:
    shown = _SHOWN.get(fact, fact)
    if not isinstance(then, dict):
        if then != now:
            yield f"{shown} is {_text(now)}, was {_text(then)}"
        return
    for name in {**then, **now}:
        if name not in now:
            yield f"{shown} {then[name] if fact == 'steps' else name} is missing"
        elif name not in then:
            yield f"{shown} {now[name] if fact == 'steps' else name} is new"
        elif then[name] != now[name]:
            if fact == "steps":
                yield f"step {name} is {now[name]}, was {then[name]}"
            else:
                yield f"{shown} {name} is not what it was"


def _seconds(nanoseconds: int) -> str:
    """A duration to the last nanosecond: ``0.25s``."""
    return f"{Decimal(nanoseconds).scaleb(-9).normalize():f}s"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe_schema(tables: list[Any]) -> dict[str, str]:
    return {
        table.name: _hash(
            [
                [column.name, repr(column.type), column.nullable, column.primary_key]
                for column in table.columns
            ]
        )
        for table in tables
    }


def _hash(value: object) -> str:
    try:
        text = json.dumps(value, sort_keys=True, default=lambda other: type(other).__qualname__)
    except (TypeError, ValueError, RecursionError):  # keys of several types, or a knot
        text = type(value).__qualname__
    return f"{derive_seed(text):016x}"


def format_moment(moment: datetime) -> str:
    """A moment in UTC, to the millisecond: ``2026-01-01T00:00:00.000Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
