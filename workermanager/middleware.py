"""Functions around every step: ``(call_next, ctx)``, the first one outermost."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from instrumentation.errors import InvalidConfig
from instrumentation.signatures import is_async

if TYPE_CHECKING:
    from collections.abc import Iterable

    from instrumentation.execution import Exec
    from instrumentation.nodes import Link, Wrap
    from instrumentation.params import TaskParams
    from instrumentation.steps import StepFunction

__all__ = ["Middleware", "check_middleware", "wrap_with"]

Middleware: TypeAlias = "Callable[[Callable[[], Any], Exec], Any]"


def wrap_with(middleware: Iterable[Middleware]) -> Wrap:
    """A function that puts the middleware around a step.

    It runs once for every attempt of a step, within its retries, its limit and its timeout, and
    gives what the step is to have returned. Around an async step, ``call_next()`` gives what is to
    be awaited, which a plain one hands on, and async middleware awaits.
    """
    innermost_first = tuple(reversed(tuple(middleware)))

    def wrap(fn: StepFunction) -> StepFunction:
        def run(ctx: Exec, params: TaskParams, /) -> Any:
            ctx.params = params
            call_next: Callable[[], Any] = partial(fn, ctx, params)
            for one in innermost_first:
                call_next = partial(one, call_next, ctx)
            return call_next()

        async def run_async(ctx: Exec, params: TaskParams, /) -> Any:
            returned = run(ctx, params)
            return await returned if inspect.isawaitable(returned) else returned

        return run_async if is_async(fn) else run

    return wrap


def check_middleware(
    middleware: Collection[Middleware], links: Iterable[Link]
) -> tuple[Middleware, ...]:
    """The middleware, if it can go around the steps.

    Raises:
        InvalidConfig: one is no function of ``(call_next, ctx)``, or is async where a step is not.
    """
    given: object = middleware
    if isinstance(given, str) or not isinstance(given, Collection):
        raise InvalidConfig(f"middleware: {given!r} is no list of functions (call_next, ctx)")
    for one in middleware:
        if not callable(one):
            raise InvalidConfig(f"middleware: {one!r} is no function (call_next, ctx)")
        _check_signature(one)
        plain = next((link.name for link in links if not link.is_async), None)
        if is_async(one) and plain is not None:
            raise InvalidConfig(
                f"middleware: {getattr(one, '__name__', one)} is async, but step {plain!r} is not"
            )
    return tuple(middleware)


def _check_signature(one: Middleware) -> None:
    try:
        signature = inspect.signature(one)
    except (TypeError, ValueError):
        return  # some builtins have no signature: calling them will tell
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(one, "__name__", one)
        raise InvalidConfig(
            f"middleware: {name} takes {signature}; wanted (call_next, ctx)"
        ) from None
