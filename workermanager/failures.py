"""Failed execs: counted by kind, and the first of each kind logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loguru import logger

from instrumentation.errors import StepError, text_of
from workermanager.redaction import one_line

if TYPE_CHECKING:
    from instrumentation.errors import WorkerManagerError
    from instrumentation.execution import Exec
    from workermanager.telemetry import Recorder

__all__ = ["Failures"]

logger.disable("workermanager")  # a library stays silent until its user enables it

_MOST_KINDS: Final = 1_000
COMMIT: Final = "(commit)"


class Failures:
    """Hears of every failed exec of a run, from any thread.

    Only the first failure of each kind (step and type) is logged, its traceback and what else
    failed beside and after it at debug level: a thousand failures a second must not drown the one
    that matters.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def note(self, recorder: Recorder, ctx: Exec, error: WorkerManagerError) -> None:
        """Count a failure, and log it if it is the first of its kind."""
        cause = error.__cause__ or error
        if isinstance(error, StepError):
            step, path, told = error.step, error.path, cause
        else:
            step, path, told = COMMIT, "", error
        kind, text = _words(told, cause)
        recorder.error(step, kind, text, path)
        if (step, kind) in self._seen or len(self._seen) >= _MOST_KINDS:
            return
        self._seen.add((step, kind))
        log = ctx.log.bind(step=path) if path else ctx.log
        log.error("failed (first of its kind): {}: {}", kind, one_line(text))
        log.opt(exception=cause).debug("the traceback of that failure")
        for note in getattr(error, "__notes__", ()):
            log.debug("{}", one_line(note))


def _words(told: BaseException, cause: BaseException) -> tuple[str, str]:
    """The kind and the text of an error: the driver's own, because SQLAlchemy's show the row."""
    driver_error = getattr(cause, "orig", None)
    if driver_error is None:
        return type(cause).__name__, text_of(told)
    primary = getattr(getattr(driver_error, "diag", None), "message_primary", None)
    return type(driver_error).__name__, primary or str(driver_error)
