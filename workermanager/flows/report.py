"""What became of every item that a pipeline read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from instrumentation.errors import AccountingError
from workermanager.durations import format_duration

__all__ = ["FlowReport", "StageReport", "check"]


@dataclass(frozen=True, slots=True)
class StageReport:
    """How many items came to a stage, and what became of them there.

    ``entered = passed + filtered + failed + cancelled``.
    """

    name: str
    entered: int
    passed: int
    filtered: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class FlowReport:
    """How a pipeline went. ``read = delivered + filtered + failed + cancelled``.

    A read that failed counts as read and as failed. ``stages`` begins with the source. ``errors``
    are those that no dead letter took, the first one first. ``elapsed`` is in seconds.
    """

    name: str
    read: int
    delivered: int
    filtered: int
    failed: int
    cancelled: int
    elapsed: float
    stages: tuple[StageReport, ...]
    errors: tuple[BaseException, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.read:,} read = {self.delivered:,} delivered "
            f"+ {self.filtered:,} filtered + {self.failed:,} failed "
            f"+ {self.cancelled:,} cancelled in {format_duration(int(self.elapsed * 1e9))}"
        )


def check(report: FlowReport, *, is_called_off: bool) -> None:
    """Check that every item ended, once, and that none was lost between two stages.

    Raises:
        AccountingError: they do not add up.
    """
    ended = report.delivered + report.filtered + report.failed + report.cancelled
    is_sound = ended == report.read and (is_called_off or not report.cancelled)
    for stage in report.stages:
        at_stage = stage.passed + stage.filtered + stage.failed + stage.cancelled
        is_sound = is_sound and stage.entered == at_stage
    for before, after in pairwise(report.stages):
        is_sound = is_sound and before.passed == after.entered
    if not is_sound:
        raise AccountingError(f"{report}; {report.stages}")
