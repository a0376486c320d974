"""What a run is going to do, settled and checked before it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from instrumentation.nodes import Link, every_node, links_of
from instrumentation.seeds import derive_seed
from workermanager.cancelling import Context
from workermanager.clock import SPREADS, Arrivals, Spread, arrivals
from workermanager.cursor import Overrun
from workermanager.durations import format_duration, parse_duration
from workermanager.middleware import wrap_with
from workermanager.outline import outline
from workermanager.redaction import hide, redact
from workermanager.remaining import Remaining
from workermanager.shapes import MOST_EXECS
from workermanager.stages import end_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import MetaData

    from instrumentation.chains import Instrumentation
    from instrumentation.execution import Result
    from instrumentation.nodes import Node, Wrap
    from workermanager.durations import Duration
    from workermanager.middleware import Middleware
    from workermanager.spans import Spans
    from workermanager.thresholds import Threshold

__all__ = [
    "Plan",
    "check_context",
    "check_execs",
    "check_in_flight",
    "check_run_id",
    "check_seconds",
    "check_seed",
    "check_spread",
    "check_tags",
    "check_threads",
    "check_warmup",
    "plan_once",
]

MOST_THREADS: Final = 10_000
MOST_IN_FLIGHT: Final = 1_000_000
DEFAULT_THREADS: Final = 16
DEFAULT_IN_FLIGHT: Final = 10_000
_RUN_ID: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is going to do: the chain, when each exec is due, and what it may use.

    Either ``execs_per_tick`` or ``shape``, the text of a rate line, says how many execs there are.
    ``threads`` is how many execs run at once. ``seed`` is the run's, drawn if it was given none of
    its own.
    ``epoch`` is None where it is to be the run's start. The rest is as the Worker has it.
    """

    instrumentation: Instrumentation
    nodes: tuple[Node, ...]
    arrivals: Arrivals
    execs_per_tick: int | tuple[int, ...] | None
    shape: str | None
    spread: Spread
    overrun: Overrun
    threads: int
    seed: int
    has_own_seed: bool
    grace_ns: int
    epoch: datetime | None
    database: str | None
    schema: MetaData | None
    has_ledger: bool
    run_id: str | None
    env_file: Path | None
    callback: Instrumentation | None
    on_result: Callable[[Result], None] | None
    exec_timeout: float | None = None
    tick_timeout: float | None = None
    source_context: Context | None = None
    middleware: tuple[Middleware, ...] = ()
    in_flight: int = DEFAULT_IN_FLIGHT
    warmup_ns: int = 0
    thresholds: tuple[Threshold, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called in figures and logs."""
        return self.instrumentation.func_name

    @property
    def links(self) -> tuple[Link, ...]:
        """The steps of the chain, in the order they are declared."""
        return links_of(self.nodes)

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts of the chain are called in figures, in the order they are declared."""
        return tuple(node.name for node in every_node(self.nodes))

    @property
    def is_plain(self) -> bool:
        """True if the chain is steps one after the other that are only called."""
        if self.exec_timeout is not None or self.tick_timeout is not None:
            return False
        return all(isinstance(node, Link) and node.is_plain for node in self.nodes)

    @property
    def is_async(self) -> bool:
        """True if a step of the chain is async."""
        return any(link.is_async for link in self.links)

    @property
    def wrap(self) -> Wrap | None:
        """What is put around every step."""
        return wrap_with(self.middleware) if self.middleware else None

    @property
    def end_ns(self) -> int | None:
        """When the plan ends; None if it does not."""
        if self.shape is not None:
            return end_of(self.shape)
        ticks = self.arrivals.ticks
        return None if ticks is None else ticks * self.arrivals.tick_ns

    @property
    def warm_end(self) -> int:
        """The first n that is not of the warm-up."""
        return self.arrivals.due_by(self.warmup_ns - 1) if self.warmup_ns else 0

    def without(self, done: Spans) -> Plan:
        """The plan of what is left once some execs are durable: no drops and no warm-up.

        Where nothing is left there is nothing to measure, and no threshold to break.
        """
        left = Remaining(self.arrivals, done)
        threads = self.threads if left.total is None else max(1, min(self.threads, left.total))
        return replace(
            self,
            arrivals=left,
            threads=threads,
            overrun=Overrun(),
            warmup_ns=0,
            thresholds=() if left.total == 0 else self.thresholds,
        )

    def describe(self) -> dict[str, Any]:
        """The plan as JSON-ready values: what ``workermanager check`` shows."""
        ticks, tick_ns = self.arrivals.ticks, self.arrivals.tick_ns
        load = (
            {"execs_per_tick": self.execs_per_tick} if self.shape is None else {"shape": self.shape}
        )
        return {
            "name": self.name,
            "execs": self.arrivals.total,
            "ticks": ticks,
            **load,
            "tick_duration": format_duration(tick_ns),
            "duration": None if self.end_ns is None else format_duration(self.end_ns),
            "spread": self.spread,
            "overrun": str(self.overrun),
            "threads": self.threads,
            "in_flight": self.in_flight if self.is_async else None,
            "exec_timeout": _in_words(self.exec_timeout),
            "tick_timeout": _in_words(self.tick_timeout),
            "warmup": format_duration(self.warmup_ns) if self.warmup_ns else None,
            "thresholds": [threshold.expression for threshold in self.thresholds],
            "tags": dict(self.tags),
            "seed": self.seed,
            "database": None if self.database is None else redact(self.database),
            "steps": [link.path for link in self.links],
            "chain": outline(self.name, self.nodes),
            "retries": {link.name: str(link.retry) for link in self.links if link.retry},
            "params": {name: hide(name, value) for name, value in self.sample_params().items()},
        }

    def sample_params(self) -> dict[str, Any]:
        """The params that the first exec will get."""
        ticks = self.arrivals.ticks
        tick, place = self.arrivals.place(0)
        return {
            **self.instrumentation.task_arguments,
            "current_tick": tick,
            "ticks_left": None if ticks is None else ticks - tick,
            "current_exec": place,
        }


def _in_words(timeout: float | None) -> str | None:
    return None if timeout is None else format_duration(round(timeout * 1e9))


def check_execs(
    execs_per_tick: int | Sequence[int] | None, ticks: int | None, tick_ns: int
) -> tuple[int | tuple[int, ...], int | None]:
    """Execs per tick and the number of ticks, as they are meant; neither given means one exec.

    Raises:
        InvalidConfig: a number that cannot be, or numbers that contradict each other.
    """
    if ticks is not None and (not _is_whole(ticks) or ticks < 1):
        raise InvalidConfig(f"ticks: {ticks!r} is out of range: it must be 1 or more")
    if execs_per_tick is None:
        return 1, ticks or 1
    if isinstance(execs_per_tick, Sequence) and not isinstance(execs_per_tick, str | bytes):
        return _check_list(execs_per_tick, ticks), len(execs_per_tick)
    if not isinstance(execs_per_tick, int) or isinstance(execs_per_tick, bool):
        raise InvalidConfig(f"execs_per_tick: {execs_per_tick!r} is no whole number, nor a list")
    if execs_per_tick < 1:
        raise InvalidConfig(
            f"execs_per_tick: {execs_per_tick} is out of range: it must be 1 or more"
        )
    if execs_per_tick * (ticks or 1) > MOST_EXECS:
        raise InvalidConfig(f"execs_per_tick: {execs_per_tick} a tick are too many in all")
    if ticks is None and tick_ns == 0:
        raise InvalidConfig("tick_duration: 0 needs a number of ticks, or the run would never end")
    return execs_per_tick, ticks


def _check_list(execs: Sequence[int], ticks: int | None) -> tuple[int, ...]:
    if ticks is not None and ticks != len(execs):
        raise InvalidConfig(f"ticks: {ticks}, but execs_per_tick lists {len(execs)} of them")
    for tick, count in enumerate(execs):
        if not _is_whole(count) or count < 0:
            raise InvalidConfig(f"execs_per_tick: {count!r} (tick {tick}) must be 0 or more")
    if sum(execs) > MOST_EXECS:
        raise InvalidConfig(f"execs_per_tick: {sum(execs)} are too many in all")
    if not any(execs):
        raise InvalidConfig("execs_per_tick: no tick has an exec")
    return tuple(execs)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_in_flight(in_flight: int | None) -> int:
    """How many async execs may run at once, if it can be; the default for None.

    Raises:
        InvalidConfig: it cannot.
    """
    if in_flight is None:
        return DEFAULT_IN_FLIGHT
    if not _is_whole(in_flight) or not 1 <= in_flight <= MOST_IN_FLIGHT:
        raise InvalidConfig(
            f"in_flight: {in_flight!r} is out of range: it must be from 1 to {MOST_IN_FLIGHT}"
        )
    return in_flight


def check_context(context: Context | None) -> Context | None:
    """The context, if it is one.

    Raises:
        InvalidConfig: it is not.
    """
    if context is not None and not isinstance(context, Context):
        raise InvalidConfig(f"source_context: {context!r} is no workermanager.Context")
    return context


def check_seconds(timeout: Duration | None, name: str) -> float | None:
    """A timeout in seconds, if it is a duration above 0, or none.

    Raises:
        InvalidConfig: it is not.
    """
    if timeout is None:
        return None
    if not (nanoseconds := parse_duration(timeout, name)):
        raise InvalidConfig(f"{name}: 0 leaves no time for anything; leave it out for no limit")
    return nanoseconds / 1e9


def check_threads(threads: int | None) -> int | None:
    """The number of threads, if it can be.

    Raises:
        InvalidConfig: it cannot.
    """
    if threads is not None and (not _is_whole(threads) or not 1 <= threads <= MOST_THREADS):
        raise InvalidConfig(
            f"threads: {threads!r} is out of range: it must be from 1 to {MOST_THREADS}"
        )
    return threads


def check_seed(seed: int) -> int:
    """The seed, if it is a whole number.

    Raises:
        InvalidConfig: it is not.
    """
    if not _is_whole(seed):
        raise InvalidConfig(f"seed: {seed!r} is no whole number")
    return seed


def check_run_id(run_id: str | None) -> None:
    """Raise InvalidConfig unless the id, if any, is one that a ledger and a shell can take."""
    if run_id is not None and not _RUN_ID.fullmatch(str(run_id)):
        raise InvalidConfig(
            f"run_id: {run_id!r} must be 1 to 64 letters, digits, dots, dashes or underscores"
        )


def check_spread(spread: str) -> None:
    """Raise InvalidConfig unless the spread is one there is."""
    if spread not in SPREADS:
        raise InvalidConfig(f"spread: {spread!r} is unknown; use {', '.join(SPREADS)}")


def check_warmup(warmup_ns: int, due: Arrivals) -> int:
    """The length of the warm-up, if something of the run is left after it.

    Raises:
        InvalidConfig: nothing is.
    """
    if warmup_ns and due.total is not None and due.due_by(warmup_ns - 1) >= due.total:
        text = format_duration(warmup_ns)
        raise InvalidConfig(f"warmup: {text} is all of the run: every exec is due before that")
    return warmup_ns


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags, if they are text.

    Raises:
        InvalidConfig: they are not.
    """
    if not isinstance(tags, Mapping):
        raise InvalidConfig(f"tags: {tags!r} is no dict; wanted names with their texts")
    for name, value in tags.items():
        if not name or not f"{name}{value}".isprintable():
            raise InvalidConfig(f"tags: {name!r}={value!r}: wanted a name and a text on one line")
    return {str(name): str(value) for name, value in tags.items()}


def plan_once(
    chain: Instrumentation, after: Plan, arguments: Mapping[str, Any], run_id: str
) -> Plan:
    """A plan to run a chain once, on one thread, as the callback of another plan's run."""
    chain = replace(chain, task_arguments={**chain.task_arguments, **arguments})
    return replace(
        after,
        instrumentation=chain,
        nodes=chain.nodes(after.wrap),
        exec_timeout=None,
        tick_timeout=None,
        arrivals=arrivals(1, 1, 0, "even", 0),
        execs_per_tick=1,
        shape=None,
        overrun=Overrun(),
        threads=1,
        seed=derive_seed(after.seed, "callback"),
        callback=None,
        on_result=None,
        env_file=None,
        warmup_ns=0,
        thresholds=(),
        run_id=run_id,
        has_own_seed=False,
    )
