"""One execution of a chain: who it is, what it may draw from, and how it ended.

The only file that draws randomness. Everything random is derived from (run seed, n, step path),
so an exec gives the same values on any thread, in any order, and on every attempt.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from instrumentation.errors import Cancelled, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faker import Faker
    from loguru import Logger

    from instrumentation.params import TaskParams

__all__ = ["Exec", "Outcome", "Result", "RunContext", "derive_seed", "make_faker", "seeded_random"]


class Outcome(StrEnum):
    """How an arrival ended: the closed set that every count of a report is made of."""

    OK = "ok"
    FAILED = "failed"
    DROPPED = "dropped"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"


class NamedTable(Protocol):
    """What ``ctx.insert`` writes to: any table with a name, as SQLAlchemy's ``Table``."""

    @property
    def name(self) -> str:
        """The table's name, as the report shows it."""
        ...


@dataclass(slots=True)
class RunContext:
    """What every exec of a run shares; a step sees it as ``ctx.run``.

    ``env`` is the environment with ``.env`` below it, read anew at tick boundaries. ``epoch`` and
    ``planned_ns`` (the offset at which exec n is planned) make ``ctx.now``. ``sleep`` waits
    for seconds unless the run is stopped meanwhile. ``cancelled`` turns true on "stop now".
    """

    id: str
    name: str
    seed: int
    epoch: datetime
    planned_ns: Callable[[int], int]
    sleep: Callable[[float], None]
    started_at: datetime
    has_database: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cancelled: bool = False


class Exec:
    """One execution of the chain; a step gets it as ``ctx``.

    ``n`` is its identity within the run (from 0), ``tick`` and ``exec`` say the same as a place
    (the tick, and the place in the tick), ``attempt`` counts the tries of the current step
    (from 1), ``path`` is the current step's place in the chain, ``grown`` how many steps joined
    the chain since the exec began.
    """

    __slots__ = ("_drawn", "attempt", "exec", "grown", "n", "path", "rows", "run", "tick")

    def __init__(self, run: RunContext, n: int, tick: int, exec_: int) -> None:
        self.run = run
        self.n = n
        self.tick = tick
        self.exec = exec_
        self.attempt = 1
        self.path = ""
        self.grown = 0
        self.rows: list[tuple[NamedTable, Mapping[str, Any]]] | None = None
        self._drawn: _Drawn | None = None

    @property
    def random(self) -> Random:
        """A generator of this step's own: the same draws on any thread and on every attempt."""
        return self._source().random

    @property
    def faker(self) -> Faker:
        """Faker's generator, seeded for this step; unweighted, because weighting costs ten times.

        Each thread keeps one and reseeds it (about 5 µs for each step that asks), so use it
        within the step and do not keep it. (It is a ``faker.generator.Generator``, typed as
        ``Faker`` because that type knows the providers.)
        """
        return self._source().faker

    def uuid(self) -> UUID:
        """A version-4 UUID derived from the run's seed, n, the step, and how many came before."""
        return self._source().next_uuid()

    @property
    def now(self) -> datetime:
        """The moment this exec is planned for: the run's epoch plus its offset, in UTC."""
        return self.run.epoch + timedelta(microseconds=self.run.planned_ns(self.n) // 1000)

    @property
    def key(self) -> str:
        """The exec's identity for the outside world: hand it on as an idempotency key."""
        return f"{self.run.id}:{self.n}"

    @property
    def log(self) -> Logger:
        """loguru's logger, bound to this exec (run, tick, exec, n, step)."""
        from loguru import logger  # noqa: PLC0415 - 70 ms that most steps never need

        return logger.bind(
            run=self.run.id, tick=self.tick, exec=self.exec, n=self.n, step=self.path
        )

    @property
    def cancelled(self) -> bool:
        """True once the run was told to stop now: a long step should look at it and leave."""
        return self.run.cancelled

    def check(self) -> None:
        """Raise Cancelled if the run was told to stop now."""
        if self.run.cancelled:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the run lives.

        Raises:
            Cancelled: the run was told to stop now.
        """
        self.run.sleep(seconds)
        self.check()

    def insert(self, table: NamedTable, row: Mapping[str, Any]) -> None:
        """Write a row when the exec succeeds: all its rows in one transaction, or none.

        The exec counts as ok only once that transaction is committed.

        Raises:
            InvalidConfig: the run has no database.
            TypeError: ``row`` is no mapping.
        """
        if not self.run.has_database:
            raise InvalidConfig("ctx.insert needs a database: Worker(database=…) or --database URL")
        if self.rows is None:
            self.rows = []
        self.rows.append((table, dict(row)))  # the caller may use its dict again

    def child_seed(self) -> int:
        """A seed for the next run that this step starts, so that nested runs repeat too."""
        return self._source().next_uuid().int >> 64

    def _source(self) -> _Drawn:
        drawn = self._drawn
        if drawn is None or drawn.path is not self.path or drawn.attempt != self.attempt:
            drawn = self._drawn = _Drawn(self.run.seed, self.n, self.path, self.attempt)
        return drawn


@dataclass(frozen=True, slots=True)
class Result:
    """How one exec ended. Times are nanoseconds since the run began; ``params`` are the last ones.

    ``error`` is None unless the outcome is failed.
    """

    n: int
    tick: int
    exec: int
    outcome: Outcome
    params: TaskParams
    error: Exception | None
    due_ns: int
    started_ns: int
    ended_ns: int

    @property
    def lag_ns(self) -> int:
        """How late it started."""
        return self.started_ns - self.due_ns

    @property
    def service_ns(self) -> int:
        """How long it ran."""
        return self.ended_ns - self.started_ns

    @property
    def response_ns(self) -> int:
        """What a waiting user feels: from when it was due until it ended."""
        return self.ended_ns - self.due_ns


def derive_seed(*parts: object) -> int:
    """A 64-bit seed for the purpose that ``parts`` name: blake2b of their text."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def seeded_random(*parts: object) -> Random:
    """A generator for a purpose named by ``parts``; costs about 5 µs."""
    return Random(derive_seed(*parts))  # noqa: S311 - fake data and jitter, no secrets


class _Drawn:
    """What one attempt of one step has drawn from so far; each source is seeded when asked for."""

    __slots__ = ("_faker", "_random", "_uuids", "attempt", "n", "path", "seed")

    def __init__(self, seed: int, n: int, path: str, attempt: int) -> None:
        self.seed = seed
        self.n = n
        self.path = path
        self.attempt = attempt
        self._random: Random | None = None
        self._faker: Faker | None = None
        self._uuids = 0

    @property
    def random(self) -> Random:
        if self._random is None:
            self._random = seeded_random(self.seed, self.n, self.path, "random")
        return self._random

    @property
    def faker(self) -> Faker:
        if self._faker is None:
            self._faker = _thread_faker()
            self._faker.seed_instance(derive_seed(self.seed, self.n, self.path, "faker"))
        return self._faker

    def next_uuid(self) -> UUID:
        text = f"{self.seed}/{self.n}/{self.path}/uuid/{self._uuids}"
        self._uuids += 1
        return UUID(bytes=blake2b(text.encode(), digest_size=16).digest(), version=4)


_local = threading.local()


def _thread_faker() -> Faker:
    """This thread's Faker generator: one per thread, because a shared one draws in any order."""
    faker: Faker | None = getattr(_local, "faker", None)
    if faker is None:
        faker = _local.faker = make_faker()
    return faker


def make_faker() -> Faker:
    """A generator of its own: 120 ms for the first one in a process, then 1 ms."""
    from faker import Faker  # noqa: PLC0415 - its import is most of those 120 ms

    return Faker("en_US", use_weighting=False)["en_US"]
