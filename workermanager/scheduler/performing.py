"""One fire on a thread: run, timed, judged, and told to whoever wants to hear of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from instrumentation.errors import Cancelled
from workermanager.redaction import one_line
from workermanager.timetables.fires import Ending, FireState
from workermanager.timetables.moments import format_moment, to_datetime

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from workermanager.cancelling import Context
    from workermanager.scheduler.jobs import Job
    from workermanager.timetables.fires import Fire
    from workermanager.timetables.schedule import Schedule

__all__ = ["Duty", "FireResult", "describe_fire", "perform"]

_LONGEST_REASON: Final = 500
_MOST_EARLY_NS: Final = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FireResult:
    """What became of a fire, for hooks: ``state`` is ``ran``, ``late`` or ``failed``.

    ``report`` is that of the Worker's run, where the fire was a whole run.
    """

    schedule: str
    due: datetime
    planned: datetime
    started: datetime
    ended: datetime
    state: FireState
    attempt: int
    is_manual: bool
    error: BaseException | None
    report: Any


@dataclass(frozen=True, slots=True)
class Duty:
    """A schedule with what it runs, and who hears how that went."""

    schedule: Schedule
    job: Job
    on_success: tuple[Callable[[FireResult], object], ...] = ()
    on_failure: tuple[Callable[[FireResult], object], ...] = ()


def perform(
    duty: Duty,
    fire: Fire,
    scope: Context,
    now: Callable[[], int],
    note: Callable[[Ending, BaseException | None], None],
) -> None:
    """Run a fire to its end on this thread, when it is planned, and ``note`` how it ended."""
    early = fire.planned - now()
    if early > 0:  # or the clock was set back: then it is time all the same
        scope.wait(min(early, _MOST_EARLY_NS) / 1e9)
    started = now()

    def end(error: BaseException | None, report: object = None) -> None:
        ending = _judge(duty, fire, started, now(), error)
        note(ending, _tell(duty, ending, error, report) or error)

    duty.job.run(fire, scope, end)


def _judge(duty: Duty, fire: Fire, started: int, ended: int, error: BaseException | None) -> Ending:
    if error is None:
        is_late = started - fire.planned > duty.schedule.late_ns
        return Ending(fire, FireState.LATE if is_late else FireState.RAN, started, ended)
    called_off = isinstance(error, Cancelled)
    text = f"cancelled: {error}" if called_off else f"{type(error).__name__}: {error}"
    reason = one_line(text)[:_LONGEST_REASON]
    return Ending(fire, FireState.FAILED, started, ended, reason, called_off)


def _tell(
    duty: Duty, ending: Ending, error: BaseException | None, report: object
) -> BaseException | None:
    """Call the hooks; one that fails is logged, and the fire stays what it is.

    Gives what one raised to leave (SystemExit, KeyboardInterrupt).
    """
    if ending.state is FireState.FAILED:
        logger.warning("{}: {}", describe_fire(ending.fire), ending.reason)
    hooks = duty.on_failure if ending.state is FireState.FAILED else duty.on_success
    if not hooks:
        return None
    fire = ending.fire
    result = FireResult(
        schedule=fire.schedule,
        due=to_datetime(fire.due),
        planned=to_datetime(fire.planned),
        started=to_datetime(ending.started),
        ended=to_datetime(ending.ended),
        state=ending.state,
        attempt=fire.attempt,
        is_manual=fire.is_manual,
        error=error,
        report=report,
    )
    for hook in hooks:
        try:
            hook(result)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the fire has ended
            logger.error("{}: its hook failed: {!r}", describe_fire(fire), failure)
        except BaseException as leaving:  # noqa: BLE001 - as a step's
            return leaving
    return None


def describe_fire(fire: Fire) -> str:
    """Which fire it is, for logs: ``nightly due 2026-03-29T01:00:00.000Z``."""
    asked = " (asked for)" if fire.is_manual else ""
    again = f" (attempt {fire.attempt})" if fire.attempt > 1 else ""
    return f"{fire.schedule} due {format_moment(fire.due)}{asked}{again}"
