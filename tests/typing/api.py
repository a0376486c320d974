"""Programs as users write them, checked by mypy --strict and never run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, assert_type
from uuid import UUID

from sqlalchemy import Connection, text

from workermanager import (
    Context,
    Exec,
    Instrumentation,
    Limit,
    Ramp,
    Rate,
    Report,
    Result,
    Retry,
    Run,
    Step,
    TaskParams,
    Ticks,
    Worker,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
    think,
)

if TYPE_CHECKING:
    from workermanager.shapes import Shape


def first(ctx: Exec, params: TaskParams) -> TaskParams:
    assert_type(params.get_as("company_id", str), str)
    assert_type(params.get_as("count", int, 0), int)
    params["name"] = ctx.faker.company()
    return params


def second(ctx: Exec, params: TaskParams) -> None:
    ctx.log.info("exec {}", ctx.n)
    assert_type(ctx.transact(count_rows), int)
    assert_type(ctx.uuid7(), UUID)
    assert_type(ctx.unique("bob"), str)


def count_rows(connection: Connection) -> int:
    return connection.scalar(text("SELECT 1")) or 0


def grows(ctx: Exec, params: TaskParams) -> tuple[TaskParams, Step]:
    return params, Step(
        second, retry=Retry(attempts=5, when=lambda error: isinstance(error, OSError))
    )


def hear(result: Result) -> None:
    assert_type(result.error, Exception | None)


worker = Worker(
    Instrumentation(
        func_dispatcher=first,
        nested_callback=[second, Step(grows, "growing")],
        task_arguments={"company_id": "1"},
        func_name="example",
    ),
    execs_per_tick=[1, 2, 3],
    tick_duration=timedelta(milliseconds=10),
    callback=second,
    on_result=hear,
)
report = worker.run()
assert_type(report, Report)
assert_type(report.counts, dict[str, int])
assert_type(report.exit_code, int)
assert_type(worker.start(), Run)
Worker(first).run()
Worker([first, second], execs_per_tick=5, ticks=2, spread="burst", overrun="late:1s").run()
assert_type(think(1, 5), Step)
Worker([first, think(mean=0.5), second, think(2)]).run()
shapes: list[Shape] = [
    "0:10/s,30s:100/s,...",
    Rate("100/s", duration="1m", count=50),
    [Ramp(0, Fraction(1, 3), timedelta(seconds=10)), Rate(0.5, 10), Ticks([1, 2, 3])],
    (Ticks(5, "500ms", 10), Rate("1/h")),
]


async def awaits(ctx: Exec, params: TaskParams) -> TaskParams | None:
    assert_type(ctx.remaining, float | None)
    assert_type(ctx.error, BaseException | None)
    return None


def is_big(ctx: Exec, params: TaskParams) -> bool:
    return params.get_as("count", int) > 1


def timed(call_next: Callable[[], Any], ctx: Exec) -> Any:
    return call_next()


payments = Limit("payments", 5)
composed = chain(
    on_error(compensate(first, second), second, when=(OSError, ValueError)),
    group(awaits, [second, second], most=2, into="both", errors="collect"),
    each(Step(second, timeout=5, limit=payments.weighing(2)), over="users", most=8),
    each(second, over=lambda params: range(params.get_as("count", int))),
    branch(is_big, first, [second]),
    finally_(second),
    name="composed",
    timeout=60,
)


async def run_it() -> None:
    with Context(timeout="5s") as context:
        worker = Worker(
            composed,
            exec_timeout="2s",
            tick_timeout=3,
            in_flight=100,
            source_context=context,
            middleware=[timed],
        )
        assert_type(await worker.run_async(), Report)
