"""What a run's threads recorded, merged whenever somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager.handoff import Ended
from workermanager.telemetry import Figures, Phases, Recorder, merge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workermanager.handoff import Handoff
    from workermanager.persistence import Persistence
    from workermanager.plan import Plan

__all__ = ["Books"]


class Books:
    """The records of a run: ``slots`` has what each thread writes, the database's come with it.

    ``skipped`` counts execs that were durable before the run began.
    """

    def __init__(self, plan: Plan, handoff: Handoff, skipped: int) -> None:
        self.slots = [Phases(plan.warm_end) for _ in range(plan.threads)]
        self.kept: Persistence | None = None
        self._plan = plan
        self._handoff = handoff
        self._skipped = skipped

    def add_slot(self) -> Phases:
        """The records of one more thread."""
        phases = Phases(self._plan.warm_end)
        self.slots.append(phases)
        return phases

    @property
    def is_closed(self) -> bool:
        """True once the run was told to stop: no exec is begun any more."""
        return self._handoff.is_closed

    def read(self, *, is_warmup: bool = False) -> Figures:
        """What happened so far, in about 1 ms for 16 threads; the counts add up at any moment.

        With ``is_warmup``, what happened in the warm-up, which is otherwise left out.
        """
        kept = self.kept
        phases = [*self.slots, *(kept.phases if kept else ())]
        measured = [one.measured for one in phases]
        warm = [one.warmup for one in phases]
        reading = self._handoff.read(lambda: (_ended(measured), _ended(warm)))
        counts = reading.warmup if is_warmup and reading.warmup is not None else reading.counts
        return Figures(
            counts={**counts, "skipped": self._skipped},
            elapsed_ns=reading.now,
            tick=self._plan.arrivals.tick_at(reading.now),
            rows={} if kept is None else dict(kept.landings.rows),
            database=None if kept is None else kept.figures(),
            warmup=reading.warmup,
            **merge(warm if is_warmup else measured),
        )


def _ended(recorders: Iterable[Recorder]) -> Ended:
    recorders = list(recorders)
    return Ended(
        sum(one.ok for one in recorders),
        sum(one.failed for one in recorders),
        sum(one.interrupted for one in recorders),
        sum(one.expired for one in recorders),
    )
