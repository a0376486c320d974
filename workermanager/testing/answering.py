"""What a rehearsal has in place of child processes: answers of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

from instrumentation.errors import InvalidConfig, TimedOut
from instrumentation.invocations import Completed, Invocation
from workermanager.durations import format_duration

if TYPE_CHECKING:
    from instrumentation.engine import Execute
    from instrumentation.execution import Exec
    from workermanager.testing.clock import StageClock

__all__ = ["Answer", "execute_by"]

Answer: TypeAlias = "Callable[[Invocation], str | bytes | Completed]"
"""What a command would have done: its standard output, or all of it."""


def execute_by(answer: Answer | None, clock: StageClock) -> Execute:
    """What commands call in a rehearsal: it starts nothing. Time passes where the answer says so.

    Raises:
        InvalidConfig: ``answer`` is no function.
    """
    if answer is not None and not callable(answer):
        raise InvalidConfig(f"Rehearsal(commands={answer!r}): wanted a function of an invocation")

    def execute(
        _ctx: Exec, invocation: Invocation, timeout: float | None, _max_output: int, /
    ) -> Completed:
        name = PurePath(invocation.command).name
        if answer is None:
            raise InvalidConfig(
                f"{name}: a rehearsal starts no process: "
                "say what it would print with Rehearsal(commands=lambda invocation: …)"
            )
        begun = clock.now()
        answered = answer(invocation)
        limit_ns = None if timeout is None else round(timeout * 1e9)
        if timeout is not None and limit_ns is not None and clock.now() - begun > limit_ns:
            clock.turn_to(begun + limit_ns)
            raise TimedOut(f"{name} took longer than {format_duration(limit_ns)}", timeout)
        return _as_completed(answered, name)

    return execute


def _as_completed(answered: object, name: str) -> Completed:
    if isinstance(answered, Completed):
        return answered
    if isinstance(answered, str | bytes):
        stdout = answered.encode() if isinstance(answered, str) else answered
        return Completed(stdout=stdout)
    found = type(answered).__name__
    raise InvalidConfig(
        f"{name}: Rehearsal(commands=…) answered {found}: wanted text, bytes or Completed(…)"
    )
