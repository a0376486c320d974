"""One execution of a chain: who it is, what it may draw from, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from instrumentation.draws import Draws, uuid7_order
from instrumentation.errors import Cancelled, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random
    from uuid import UUID

    from faker import Faker
    from loguru import Logger

    from instrumentation.engine import Fence, NamedTable, RunContext, Scope
    from instrumentation.params import TaskParams

__all__ = ["Exec", "Outcome", "Result"]

T = TypeVar("T")

_POOL_SIZE = 1_024


class Outcome(StrEnum):
    """How an arrival ended: the closed set that every count of a report is made of."""

    OK = "ok"
    FAILED = "failed"
    DROPPED = "dropped"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"


class Bookmark(NamedTuple):
    """How much an exec had written and used up at some point, to go back to."""

    rows: int
    uniques: int


class Exec:
    """One execution of the chain; a step gets it as ``ctx``.

    ``n`` is its identity within the run (from 0), ``tick`` and ``exec`` say the same as a place
    (the tick, and the place in the tick), ``attempt`` counts the tries of the current step
    (from 1), ``path`` is the current step's place in the chain, ``grown`` how many steps joined
    the chain since the exec began. ``error`` is what is being recovered from, undone or cleaned up
    after, None in a chain that goes well. ``scope`` is until when the step may go on, None where
    only the end of the run ends it. ``params`` is set where there is middleware, for it to see.
    """

    __slots__ = (
        "_drawn",
        "_now",
        "_order",
        "_tag",
        "_uniques",
        "attempt",
        "error",
        "exec",
        "fence",
        "grown",
        "is_transacting",
        "n",
        "params",
        "path",
        "rows",
        "run",
        "scope",
        "tick",
    )

    def __init__(self, run: RunContext, n: int, tick: int, exec_: int) -> None:
        self.run = run
        self.n = n
        self.tick = tick
        self.exec = exec_
        self.attempt = 1
        self.path = ""
        self.grown = 0
        self.rows: list[tuple[NamedTable, Mapping[str, Any]]] | None = None
        self._drawn: Draws | None = None
        self._now: datetime | None = None
        self._order: int | None = None
        self._uniques = 0
        self._tag = ""
        self.is_transacting = False
        self.error: BaseException | None = None
        self.params: TaskParams | None = None
        self.scope: Scope | None = None
        self.fence: Fence | None = None

    @property
    def random(self) -> Random:
        """A generator of this step's own: the same draws on any thread and on every attempt."""
        return self._source().random

    @property
    def faker(self) -> Faker:
        """Faker's generator, seeded for this step; unweighted, because weighting costs ten times.

        Each thread keeps one and reseeds it (about 5 µs for each step that asks), so use it
        within the step and do not keep it. (It is a ``faker.generator.Generator``, typed as
        ``Faker`` because that type knows the providers.) Providers whose values depend on the
        clock, the process or the order of calls refuse, and say what to use.
        """
        return self._source().faker

    def pooled(self, provider: str, *args: Any, of: int = _POOL_SIZE, **kwargs: Any) -> Any:
        """One of ``of`` values that Faker made once for the run: ``ctx.pooled("company")``.

        Ten to a hundred times as fast as ``ctx.faker.company()``, and as repeatable; the same
        value comes again and again, and is shared, so do not change it. ``args`` and ``kwargs``
        go to the provider.

        Raises:
            InvalidConfig: Faker has no such provider, or it refuses as in ``ctx.faker``.
        """
        pools = self.run.pools
        table = None if args or kwargs else pools.plain.get((provider, of))
        return self._source().pick(table or pools.table(provider, of, args, kwargs))

    def unique(self, text: str) -> str:
        """The text made unique by run seed, n, and how many came before in this exec.

        ``ctx.unique("bob@example.com")`` is ``bob.7-41-0@example.com``: a field with a unique
        constraint that repeats at any thread count, where ``faker.unique`` depends on the order.
        """
        tag = f"{_base36(self.run.seed)}-{_base36(self.n)}-{self._tag}{self._uniques}"
        self._uniques += 1
        name, at, domain = text.partition("@")
        return f"{name}.{tag}{at}{domain}"

    def uuid(self) -> UUID:
        """A version-4 UUID derived from the run's seed, n, the step, and how many came before."""
        return self._source().next_uuid()

    def uuid7(self) -> UUID:
        """A version-7 UUID: as repeatable, and in the order of ``now`` and n (not if nested).

        Indexes of SQLite and PostgreSQL take keys in order several times as fast as random ones;
        CockroachDB prefers them random.
        """
        order = self._order
        if order is None:
            milliseconds = self.run.epoch_ms + self.run.planned_ns(self.n) // 1_000_000
            order = self._order = uuid7_order(milliseconds, 0 if self.run.is_nested else self.n)
        return self._source().next_uuid7(order, self.run.hashed_bits)

    @property
    def now(self) -> datetime:
        """The moment this exec is planned for: the run's epoch plus its offset, in UTC."""
        now = self._now
        if now is None:
            offset = timedelta(microseconds=self.run.planned_ns(self.n) // 1000)
            now = self._now = self.run.epoch + offset
        return now

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
        """True once the step is called off: a long one should look at it and leave.

        That is when the run was told to stop now, when a deadline has passed (the step's, or one
        further out), or when a part beside it in a group has failed.
        """
        return self.run.cancelled if self.scope is None else self.scope.cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds until the nearest deadline, never below 0; None where there is none.

        For what has a timeout of its own: ``requests.get(url, timeout=ctx.remaining)``.
        """
        return None if self.scope is None else self.scope.remaining

    def check(self) -> None:
        """Raise Cancelled, with the cause, once the step is called off."""
        if self.scope is not None:
            self.scope.check()
        elif self.run.cancelled:
            raise Cancelled(self.run.cause)

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the step may go on.

        Raises:
            Cancelled: it was called off meanwhile.
        """
        if self.scope is not None:
            self.scope.sleep(seconds)
        else:
            self.run.sleep(seconds)
            self.check()

    def insert(self, table: NamedTable, row: Mapping[str, Any]) -> None:
        """Write a row when the exec succeeds: all its rows in one transaction, or none.

        The exec counts as ok only once that transaction is committed.

        Raises:
            InvalidConfig: the run has no database.
            TypeError: ``row`` is no mapping.
        """
        if self.fence is not None and self.fence.is_closed:
            raise Cancelled("the step has timed out: it may change nothing more")
        if self.run.transact is None:
            raise InvalidConfig("ctx.insert needs a database: Worker(database=…) or --database URL")
        if self.rows is None:
            self.rows = []
        self.rows.append((table, dict(row)))  # the caller may use its dict again

    def transact(self, fn: Callable[[Any], T], *, isolation: str | None = None) -> T:
        """Run ``fn(connection)`` in a transaction of its own, now, and give what it returns.

        ``connection`` is a SQLAlchemy Connection out of a pool. After a conflict, a deadlock or a
        lost connection ``fn`` runs again from its start, and draws the same values from its ctx.
        It may also run again when a killed run is resumed, so rows that it inserts should take
        their keys from ``ctx.uuid()`` and be inserted ``ON CONFLICT DO NOTHING``. ``isolation``
        is the database's, such as ``"SERIALIZABLE"``.

        Raises:
            InvalidConfig: the run has no database, or ``fn`` is in a transaction already.
            Cancelled: the step was called off; nothing was committed.
            Exception: whatever ``fn`` or the database raised and no retry could mend.
        """
        transact = self.run.transact
        if transact is None:
            raise InvalidConfig(
                "ctx.transact needs a database: Worker(database=…) or --database URL"
            )
        if self.is_transacting:
            raise InvalidConfig("ctx.transact: a transaction cannot be begun inside another one")
        path, step, bookmark = self.path, self._source(), self.bookmark()
        paused = step.pause()

        def attempt(connection: Any) -> T:
            self.rewind(bookmark)
            self._source().take_over(step)
            return fn(connection)

        step.transactions += 1
        self.path = f"{path}/transact-{step.transactions}"
        self.is_transacting = True
        try:
            return transact(self, path, attempt, isolation)
        except Exception:
            self.check()  # what fails because the run was told to stop now has not failed
            raise
        finally:
            self.is_transacting = False
            self.path, self._drawn = path, step
            step.go_on(paused)

    def bookmark(self) -> Bookmark:
        """Where the exec stands, to `rewind` to."""
        return Bookmark(len(self.rows or ()), self._uniques)

    def rewind(self, bookmark: Bookmark) -> None:
        """Forget what was written and drawn since the bookmark: the work is done again."""
        self._drawn = None
        self._uniques = bookmark.uniques
        if self.rows is not None:
            del self.rows[bookmark.rows :]

    def apart(self, scope: Scope, fence: Fence | None) -> Exec:
        """The same exec for one step that may time out: what it writes is apart, for `adopt`."""
        ctx = Exec(self.run, self.n, self.tick, self.exec)
        ctx.attempt, ctx.path, ctx.error = self.attempt, self.path, self.error
        ctx.scope, ctx.fence = scope, fence
        ctx._now, ctx._order = self._now, self._order
        ctx._tag, ctx._uniques = self._tag, self._uniques
        return ctx

    def member(self, number: int, scope: Scope) -> Exec:
        """The same exec for one of the parts that run at the same time, for `adopt` in order."""
        ctx = self.apart(scope, self.fence)
        ctx._tag, ctx._uniques = f"{self._tag}{self._uniques}.{number}-", 0
        return ctx

    def adopt(self, part: Exec) -> None:
        """Take on what a part of the exec wrote."""
        if part.rows:
            self.rows = self.rows or []
            self.rows.extend(part.rows)
        if part._tag == self._tag:
            self._uniques = part._uniques

    def part_with(self) -> None:
        """Count the parts that begin now as one use of `unique`, so that later ones differ."""
        self._uniques += 1

    def child_seed(self) -> int:
        """A seed for the next run that this step starts, so that nested runs repeat too."""
        return self._source().next_uuid().int >> 64

    def _source(self) -> Draws:
        drawn = self._drawn
        if drawn is None or drawn.path is not self.path or drawn.attempt != self.attempt:
            drawn = self._drawn = Draws(self.run.seed, self.n, self.path, self.attempt)
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


def _base36(number: int) -> str:
    """A whole number in few characters."""
    digits, rest = "", abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"m{digits}" if number < 0 else digits
