"""What happens to an item that fails: it is tried again, becomes a dead letter, or ends it all."""

from __future__ import annotations

import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from instrumentation.errors import Cancelled, InvalidConfig
from instrumentation.pipelines import DeadLetter
from instrumentation.seeds import seeded_random

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from instrumentation.pipelines import DeadLetters
    from instrumentation.steps import Retry
    from workermanager.cancelling import Context

__all__ = ["GaveUp", "Policy", "retrying", "retrying_async"]


class GaveUp(Exception):
    """Wraps the error of an item for which there was a Retry; it is never seen outside."""

    def __init__(self, error: Exception, attempts: int) -> None:
        super().__init__(error, attempts)
        self.error = error
        self.attempts = attempts


class Policy:
    """What a stage does with errors. ``fail`` ends the whole pipeline with one."""

    def __init__(
        self,
        stage: str,
        dead_letters: DeadLetters[Any] | None,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._stage = stage
        self._send = dead_letters.append if isinstance(dead_letters, list) else dead_letters
        self._fail = fail

    def refuse_coroutines(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``call``, for which a coroutine is an error: it would go on, and never be run."""

        def checked(item: Any) -> Any:
            result = call(item)
            if isinstance(result, CoroutineType):
                result.close()
                raise InvalidConfig(
                    f"stage {self._stage!r} returns a coroutine, which nobody runs;"
                    " write it as an async def"
                )
            return result

        return checked

    def bury(self, item: Any, error: BaseException) -> bool:
        """See to an item that failed for good; False if it did not fail, but was called off."""
        attempts = 1
        if isinstance(error, GaveUp):
            attempts = error.attempts
            error = error.error
        if self._send is None or not isinstance(error, Exception):
            self._fail(error)
            return not isinstance(error, Cancelled)
        try:
            self._send(DeadLetter(item, error, self._stage, attempts))
        except BaseException as second:  # noqa: BLE001 - it ends the pipeline
            self._fail(second)
        return True


def retrying(
    call: Callable[..., Any], retry: Retry, jitter: str, context: Context
) -> Callable[..., Any]:
    """``call``, tried again as the policy says; ``jitter`` is what the waits are drawn from.

    It raises GaveUp after the last attempt, and Cancelled where it is called off while waiting.
    """
    random = seeded_random("pipeline", jitter)

    def call_again(*item: Any) -> Any:
        began = time.monotonic()
        attempt = 1
        while True:
            try:
                return call(*item)
            except Exception as error:
                seconds = retry.wait(attempt, time.monotonic() - began, error, random)
                if seconds is None:
                    raise GaveUp(error, attempt) from error
            attempt += 1
            context.sleep(seconds)

    return call_again


def retrying_async(
    call: Callable[..., Awaitable[Any]], retry: Retry, jitter: str
) -> Callable[..., Awaitable[Any]]:
    """The same for what is awaited; who calls it off cancels the task."""
    from asyncio import sleep  # noqa: PLC0415 - 50 ms that most pipelines never need

    random = seeded_random("pipeline", jitter)

    async def call_again(*item: Any) -> Any:
        began = time.monotonic()
        attempt = 1
        while True:
            try:
                return await call(*item)
            except Exception as error:
                seconds = retry.wait(attempt, time.monotonic() - began, error, random)
                if seconds is None:
                    raise GaveUp(error, attempt) from error
            attempt += 1
            await sleep(seconds)

    return call_again
