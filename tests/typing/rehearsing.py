"""Rehearsals as a user's typed test has them."""

from typing import Any, assert_type

from workermanager import Context, Exec, Report, Result, TaskParams, Worker
from workermanager.testing import Completed, Invocation, Rehearsal, VirtualClock


def step(ctx: Exec, params: TaskParams) -> None:
    ctx.sleep(1)


rehearsal = Rehearsal()
assert_type(rehearsal.run(Worker(step)), Report)
assert_type(rehearsal.run_once([step], price=3), Result)
assert_type(rehearsal.rows, dict[str, list[dict[str, Any]]])
assert_type(rehearsal.results, list[Result])
assert_type(rehearsal.durable, list[int])
assert_type(rehearsal.clock, VirtualClock)
Context(timeout="1h", clock=VirtualClock())


def answer(invocation: Invocation) -> str | Completed:
    return Completed(exit_code=1) if invocation.command == "false" else "hi"


assert_type(Rehearsal(commands=answer).run_once(step), Result)
