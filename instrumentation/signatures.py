"""Whether a function can be a step, and of which kind; looked at once for each function."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

__all__ = ["Looks", "is_async", "look_at"]


class Looks(NamedTuple):
    """What a function is as a step: async or not, and what is wrong with it, if anything."""

    is_async: bool
    fault: str


# A chain may grow by the same few functions 100,000 times, and to look at one takes 10 µs.
_known: Final[WeakKeyDictionary[Any, Looks]] = WeakKeyDictionary()


def look_at(fn: object) -> Looks:
    """What a function is as a step."""
    try:
        looks = _known.get(fn)
        if looks is None:
            looks = _known[fn] = Looks(is_async(fn), _fault(fn))
    except TypeError:  # it cannot be hashed, or not referred to weakly
        return Looks(is_async(fn), _fault(fn))
    return looks


def is_async(fn: object) -> bool:
    """True if calling it gives a coroutine, as far as can be told without calling it."""
    while isinstance(fn, partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - what calling it would be is the question
    )


def _fault(fn: object) -> str:
    if not callable(fn):
        return f"is no function: it is {type(fn).__name__}"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return "is a generator; a step is a plain function (ctx, params), or an async one"
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return ""  # some builtins have no signature: calling them will tell
    try:
        signature.bind(None, None)
    except TypeError:
        return f"takes {signature}; wanted (ctx, params)"
    return ""
