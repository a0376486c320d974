"""Execs whose rows are on their way to the database: what became of them, told by the writer."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from instrumentation.execution import Outcome
from workermanager.telemetry import Recorder

if TYPE_CHECKING:
    from instrumentation.errors import WriteError
    from instrumentation.execution import Exec
    from workermanager.runner import Job, Landing
    from workermanager.writer import Writer

__all__ = ["Landings"]


class Landings:
    """Hands execs with rows to the writer, and records how each one ended.

    ``recorder`` and ``rows`` (durable rows by table, those of runs nested in ``around`` counted
    there too) are written to by the writer's thread alone.
    """

    def __init__(self, writer: Writer, around: Landings | None) -> None:
        self.writer = writer
        self.recorder = Recorder()
        self.rows: Counter[str] = Counter()
        self.tables: dict[str, Any] = {}
        self.is_fenced = False
        self._around = around

    @property
    def is_borrowed(self) -> bool:
        """True if the writer is that of the run around."""
        return self._around is not None

    def land(self, job: Job, landing: Landing) -> None:
        """Give an exec's rows to the writer; waits while too many are on their way.

        Once ``is_fenced`` is set, the accounts are closed: the rows of a late exec are not written.
        """
        if self.is_fenced:
            return
        self.writer.submit(landing.ctx.rows or (), partial(self._settle, job, landing))

    def _settle(self, job: Job, landing: Landing, refusal: WriteError | None) -> None:
        recorder, ended = self.recorder, job.now()
        recorder.response.record(ended - landing.due)
        if refusal is None:
            recorder.ok += 1
            self._count_rows(landing.ctx)
        else:
            recorder.failed += 1
            job.on_failure(recorder, landing.ctx, refusal)
        if job.on_result is not None:
            outcome = Outcome.OK if refusal is None else Outcome.FAILED
            job.on_result(job.result(landing, outcome, refusal, ended))

    def _count_rows(self, ctx: Exec) -> None:
        for table, _ in ctx.rows or ():
            counted: Landings | None = self
            while counted is not None:
                counted.tables[table.name] = table
                counted.rows[table.name] += 1
                counted = counted._around
