"""A Worker on a clock of its own, as go-workers has it: ``cron_scheduler_config``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from instrumentation.errors import InvalidConfig
from workermanager.timetables.timetable import every

if TYPE_CHECKING:
    from workermanager.scheduler.jobs import Planned
    from workermanager.scheduler.report import ScheduleReport
    from workermanager.scheduler.scheduler import Scheduler

__all__ = ["CronSchedulerConfig", "Execution", "TypeOfExecution", "run_on_schedule"]

R_co = TypeVar("R_co", covariant=True)  # what `Worker.run` gives then


@dataclass(frozen=True, slots=True)
class Execution(Generic[R_co]):
    """How a Worker on a schedule is run; there are two, in `TypeOfExecution`."""

    name: str


class TypeOfExecution:
    """Whether ``run()`` waits: SYNC until it is stopped, then it gives a ScheduleReport.

    ASYNC comes back at once with the Scheduler, to ``stop()``, ``join()`` and ``close()``.
    """

    SYNC: ClassVar[Execution[ScheduleReport]] = Execution("SYNC")
    ASYNC: ClassVar[Execution[Scheduler]] = Execution("ASYNC")


@dataclass(frozen=True, slots=True)
class CronSchedulerConfig(Generic[R_co]):
    """Runs a Worker now, and then once in so many seconds, however long each run takes.

    A run that takes longer than that is not overlapped: the times that it covers are skipped, and
    counted. For other times and policies there is `Scheduler`.

    Raises:
        InvalidConfig: the interval is no number of seconds above 0, or the type is none.
    """

    interval_in_seconds: float
    type_of_execution: Execution[R_co]

    def __post_init__(self) -> None:
        every(self.interval_in_seconds)
        given: object = self.type_of_execution
        if not isinstance(given, Execution):
            raise InvalidConfig(
                f"type_of_execution: {given!r}: use TypeOfExecution.SYNC or TypeOfExecution.ASYNC"
            )


def run_on_schedule(
    worker: Planned, config: CronSchedulerConfig[Any]
) -> ScheduleReport | Scheduler:
    """Run a Worker as its config says: to its end, or until the Scheduler is stopped."""
    from workermanager.scheduler.scheduler import Scheduler  # noqa: PLC0415 - 20 ms, for few

    scheduler = Scheduler(threads=1)
    scheduler.add(worker, every(config.interval_in_seconds, immediately=True))
    if config.type_of_execution == TypeOfExecution.SYNC:
        return scheduler.run()
    return scheduler.start()
