"""Execs whose rows are on their way to the database: what became of them, told by the writer."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from instrumentation.execution import Outcome
from workermanager.telemetry import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from instrumentation.errors import WriteError
    from workermanager.database.inserts import Rows
    from workermanager.database.transactions import Transactions
    from workermanager.database.writer import Writer
    from workermanager.runner import Job, Landing

__all__ = ["Landings", "TransactionTimes"]

T = TypeVar("T")


class Landings:
    """Hands execs with rows to the writer, and records how each one ended.

    ``recorder`` and ``rows`` (inserted rows by table, those of runs nested in ``around`` counted
    there too) are written to by the writer's thread alone.
    """

    def __init__(self, writer: Writer, around: Landings | None) -> None:
        self.writer = writer
        self.recorder = Recorder()
        self.rows: Counter[str] = Counter()
        self.tables: dict[str, Any] = {}
        self.is_fenced = False
        self._around = around

    def land(self, job: Job, landing: Landing) -> None:
        """Give an exec's rows to the writer; waits while too many are on their way.

        Once ``is_fenced`` is set, the accounts are closed: the rows of a late exec are not written,
        and nobody is told of those that still were.
        """
        if self.is_fenced:
            return
        ctx = landing.ctx
        marked = (
            ctx.n if self._around is None else None
        )  # an exec of a nested run is no exec of ours
        self.writer.submit(marked, ctx.rows or (), partial(self._settle, job, landing))

    def _settle(
        self, job: Job, landing: Landing, refused: WriteError | None, inserted: Rows
    ) -> None:
        if self.is_fenced:
            return
        recorder, ended = self.recorder, job.now()
        recorder.response.record(ended - landing.due)
        if refused is None:
            recorder.ok += 1
            self._count(inserted)
        else:
            recorder.failed += 1
            job.on_failure(recorder, landing.ctx, refused)
        if job.on_result is not None:
            outcome = Outcome.OK if refused is None else Outcome.FAILED
            job.on_result(job.result(landing, outcome, refused, ended))

    def _count(self, inserted: Rows) -> None:
        counted: Landings | None = self
        while counted is not None:
            for table, _ in inserted:
                counted.tables[table.name] = table
                counted.rows[table.name] += 1
            counted = counted._around


class TransactionTimes:
    """Times what steps do with ``ctx.transact``, each step's as a figure of its own.

    ``recorder`` has a step ``NAME.transact`` for every step that uses it; a transaction's time is
    all of it, retries and waits included. Any thread may write to it.
    """

    def __init__(
        self,
        transactions: Transactions,
        names: Mapping[str, str],
        now: Callable[[], int],
        wait: Callable[[float], bool],
    ) -> None:
        self.recorder = Recorder()
        self._transactions = transactions
        self._names = names
        self._now = now
        self._wait = wait
        self._lock = threading.Lock()

    def __call__(self, path: str, work: Callable[[Any], T], isolation: str | None, /) -> T:
        """Run the work of the step at ``path`` in a transaction of its own."""
        begun = self._now()
        try:
            result = self._transactions.run(work, isolation=isolation, wait=self._wait)
        except Exception:
            self._record(path, begun, failed=1)
            raise
        self._record(path, begun, failed=0)
        return result

    def _record(self, path: str, begun: int, failed: int) -> None:
        ended = self._now()
        name = self._names.get(path) or path.rpartition("/")[2]
        with self._lock:
            figures = self.recorder.step(f"{name}.transact")
            figures.service.record(ended - begun)
            figures.failed += failed
