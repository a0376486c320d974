"""Execs whose rows are on their way to the database: what became of them, told by the writer."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from instrumentation.errors import Cancelled, TimedOut
from instrumentation.execution import Outcome
from workermanager.cancelling import refuse_on_loop
from workermanager.database.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from instrumentation.errors import WriteError
    from instrumentation.execution import Exec
    from workermanager.assignment import Assignment, Landing
    from workermanager.database.transactions import Transactions
    from workermanager.database.writer import Writer
    from workermanager.telemetry import Phases

__all__ = ["Landings", "TransactionTimes"]

T = TypeVar("T")


class Landings:
    """Hands a run's execs with rows to the writer, and records how each one ended.

    ``assignment`` is set once the run begins. ``phases`` and ``rows`` (inserted rows by table,
    those of runs nested in this one included) are written to by the writer's thread alone.
    """

    assignment: Assignment

    def __init__(self, writer: Writer, around: Landings | None, phases: Phases) -> None:
        self.writer = writer
        self.phases = phases
        self.rows: Counter[str] = Counter()
        self.tables: dict[str, Any] = {}
        self.is_fenced = False
        self._around = around

    @property
    def is_nested(self) -> bool:
        """True if the writer is that of the run around."""
        return self._around is not None

    def land(self, landing: Landing) -> None:
        """Give an exec's rows to the writer; waits while too many are on their way.

        Once ``is_fenced`` is set, the accounts are closed: the rows of a late exec are not written,
        and nobody is told of those that still were.
        """
        if self.is_fenced:
            return
        ctx = landing.ctx
        marked = None if self.is_nested else ctx.n
        self.writer.submit(Entry(marked, ctx.rows or (), self, landing))

    def settle(self, entries: Sequence[Entry], refused: WriteError | None) -> None:
        """Record what became of execs whose rows were written, or refused, together."""
        if self.is_fenced:
            return
        assignment = self.assignment
        ended = assignment.now()
        if refused is None:
            self._count(entries)
        for entry in entries:
            landing = entry.cargo
            recorder = self.phases.of(landing.ctx.n)
            recorder.response.record(ended - landing.due)
            if refused is None:
                recorder.ok += 1
            else:
                recorder.failed += 1
                assignment.on_failure(recorder, landing.ctx, refused)
        if assignment.on_result is not None:
            outcome = Outcome.OK if refused is None else Outcome.FAILED
            for entry in entries:
                assignment.on_result(assignment.result(entry.cargo, outcome, refused, ended))

    def _count(self, entries: Sequence[Entry]) -> None:
        inserted = Counter(table for entry in entries for table, _ in entry.rows or ())
        counted: Landings | None = self
        while counted is not None:
            for table, count in inserted.items():
                counted.tables[table.name] = table
                counted.rows[table.name] += count
            counted = counted._around


class TransactionTimes:
    """Times what steps do with ``ctx.transact``, each step's as a figure of its own.

    ``phases`` have a step ``NAME.transact`` for every step that uses it; a transaction's time is
    all of it, retries and waits included. Any thread may write to them.
    """

    def __init__(
        self,
        transactions: Transactions,
        names: Mapping[str, str],
        now: Callable[[], int],
        wait: Callable[[float], bool],
        phases: Phases,
    ) -> None:
        self.phases = phases
        self._transactions = transactions
        self._names = names
        self._now = now
        self._wait = wait
        self._lock = threading.Lock()

    def __call__(
        self, ctx: Exec, path: str, work: Callable[[Any], T], isolation: str | None, /
    ) -> T:
        """Run the work of an exec's step at ``path`` in a transaction of its own."""
        refuse_on_loop("ctx.transact", "it in a plain step, which runs on a thread")
        begun = self._now()
        try:
            result = self._transactions.run(
                work, isolation=isolation, wait=self._wait, context=ctx.scope, fence=ctx.fence
            )
        except Exception:
            self._record(ctx.n, path, begun, failed=1)
            raise
        except Cancelled:
            if ctx.scope is not None and isinstance(ctx.scope.cause, TimedOut):
                self._record(ctx.n, path, begun, failed=1)  # the slowest must not be missing
            raise
        self._record(ctx.n, path, begun, failed=0)
        return result

    def _record(self, n: int, path: str, begun: int, failed: int) -> None:
        ended = self._now()
        name = self._names.get(path) or path.rpartition("/")[2]
        with self._lock:
            figures = self.phases.of(n).step(f"{name}.transact")
            figures.service.record(ended - begun)
            figures.failed += failed
