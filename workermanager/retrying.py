"""A step with a retry policy, as a function that tries until it succeeds or the policy gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumentation.seeds import seeded_random

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import Retry, StepFunction
    from workermanager.telemetry import StepFigures

__all__ = ["Retrying"]


class Retrying:
    """Calls a step again after failures, each time with the params, rows and draws it began with.

    Every attempt's time goes to ``figures``; the waits between them do not. What the last attempt
    raised is raised.
    """

    __slots__ = ("_figures", "_fn", "_now", "_retry")

    def __init__(
        self, fn: StepFunction, retry: Retry, figures: StepFigures, now: Callable[[], int]
    ) -> None:
        self._fn = fn
        self._retry = retry
        self._figures = figures
        self._now = now

    def __call__(self, ctx: Exec, params: TaskParams, /) -> object:
        """Run the step; raise its last error when the policy gives up."""
        params_before, bookmark = dict(params), ctx.bookmark()
        begun = self._now()
        while True:
            try:
                returned = self._attempt(ctx, params)
            except Exception as error:
                wait = self._wait_after(error, ctx, (self._now() - begun) / 1e9)
                if wait is None:
                    raise
            else:
                ctx.attempt = 1
                return returned
            self._figures.retried += 1
            ctx.sleep(wait)
            ctx.attempt += 1
            params.clear()
            params.update(params_before)
            ctx.rewind(bookmark)

    def _attempt(self, ctx: Exec, params: TaskParams) -> object:
        begun = self._now()
        try:
            returned = self._fn(ctx, params)
        except Exception:
            self._figures.service.record(self._now() - begun)
            raise
        self._figures.service.record(self._now() - begun)
        return returned

    def _wait_after(self, error: Exception, ctx: Exec, elapsed: float) -> float | None:
        random = seeded_random(ctx.run.seed, ctx.n, ctx.path, "retry", ctx.attempt)
        return self._retry.wait(ctx.attempt, elapsed, error, random)
