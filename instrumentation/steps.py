"""What a run executes: a dispatcher and its nested callbacks, as a value.

"Instrumentation" is go-workers' word for what is run. It has nothing to do with telemetry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from instrumentation.errors import InvalidConfig, InvalidStep

if TYPE_CHECKING:
    from random import Random

    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams

__all__ = ["Chain", "Instrumentation", "Link", "Retry", "Step", "as_instrumentation", "follow"]


class StepFunction(Protocol):
    """A plain function that a chain can call."""

    def __call__(self, ctx: Exec, params: TaskParams, /) -> Any:
        """Do the work; return params to merge, None, a next step, or ``(params, next step)``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When and how long to wait before a failed step is tried again.

    ``attempts`` (the first included) and ``deadline`` (seconds since the first attempt began)
    hold together. The wait before attempt k+1 is drawn evenly from 0 to ``base · 2^(k-1)``
    seconds, at most ``cap`` ("full jitter", M. Brooker, Exponential Backoff And Jitter, 2015),
    from the run's seed. ``when`` looks at the error: False or None gives up, True retries, a
    number of seconds retries after just that long.

    Raises:
        InvalidConfig: a figure that cannot work.
    """

    attempts: int = 3
    deadline: float | None = None
    base: float = 0.1
    cap: float = 30.0
    when: Callable[[Exception], bool | float | None] | None = None

    def __post_init__(self) -> None:
        attempts: object = self.attempts
        if not isinstance(attempts, int) or attempts < 1:
            raise InvalidConfig(f"Retry(attempts={attempts!r}): must be 1 or more")
        for name in ("deadline", "base", "cap"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and value >= 0
            if not is_number and not (name == "deadline" and value is None):
                raise InvalidConfig(f"Retry({name}={value!r}): must be 0 seconds or more")

    def wait(self, attempt: int, elapsed: float, error: Exception, random: Random) -> float | None:
        """Seconds to wait after ``attempt`` failed, ``elapsed`` seconds in; None to give up."""
        if attempt >= self.attempts:
            return None
        verdict = True if self.when is None else self.when(error)
        if verdict is False or verdict is None:
            return None
        ceiling = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        seconds = random.uniform(0, ceiling) if verdict is True else max(0.0, float(verdict))
        if self.deadline is not None and elapsed + seconds >= self.deadline:
            return None
        return seconds


@dataclass(frozen=True, slots=True)
class Step:
    """A function of a chain with its name and its retry policy.

    ``fn`` takes ``(ctx, params)``. The name is the function's own unless given.
    """

    fn: StepFunction
    name: str = ""
    retry: Retry | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", type(self.fn).__name__))


Chain: TypeAlias = "StepFunction | Step | Instrumentation | Sequence[Chain]"
"""Whatever stands for a chain: a function, a Step, an Instrumentation, or a list of these."""


class Link(NamedTuple):
    """A step at its place: ``name`` is unique in the declared chain, ``path`` in the exec."""

    fn: StepFunction
    name: str
    path: str
    retry: Retry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentation:
    """WHAT a Worker runs (not telemetry): a dispatcher, then its nested callbacks.

    ``func_dispatcher`` and ``nested_callback`` are chains; ``task_arguments`` are the params that
    every exec gets a clone of; ``func_name`` names the whole in paths, logs and figures (the
    first step's name unless given).
    """

    func_dispatcher: Chain
    nested_callback: Chain | None = None
    task_arguments: Mapping[str, Any] = field(default_factory=dict)
    func_name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.task_arguments, Mapping):
            raise InvalidConfig(
                f"Instrumentation(task_arguments=…): wanted a mapping, "
                f"found {type(self.task_arguments).__name__}"
            )
        if not self.func_name:
            first = next(_flatten(self.func_dispatcher), None)
            object.__setattr__(self, "func_name", first.name if first else "chain")

    def steps(self) -> tuple[Step, ...]:
        """The whole chain, flat, in the order it runs."""
        dispatched = _flatten(self.func_dispatcher)
        called_back = () if self.nested_callback is None else _flatten(self.nested_callback)
        return (*dispatched, *called_back)

    def links(self) -> tuple[Link, ...]:
        """The whole chain with names made unique and paths set.

        Raises:
            InvalidStep: the chain is empty, or a step cannot be called as ``(ctx, params)``.
        """
        steps = self.steps()
        if not steps:
            raise InvalidStep(f"{self.func_name}: the chain has no step")
        seen: set[str] = set()
        return tuple(self._link(step, place, seen) for place, step in enumerate(steps, 1))

    def _link(self, step: Step, place: int, seen: set[str]) -> Link:
        _check_callable(step)
        name, times = step.name, 1
        while name in seen:
            times += 1
            name = f"{step.name}#{times}"
        seen.add(name)
        return Link(step.fn, name, f"{self.func_name}/{place}/{step.name}", step.retry)


def as_instrumentation(chain: Chain) -> Instrumentation:
    """Any chain as an Instrumentation: one that is one already stays as it is."""
    if isinstance(chain, Instrumentation):
        return chain
    return Instrumentation(func_dispatcher=chain)


def follow(returned: object, params: TaskParams, name: str) -> tuple[Step, ...]:
    """Take up what the step ``name`` returned: merge its params, and give the steps to run next.

    A step returns params (merged), None (unchanged), a next step or chain (run before the rest),
    or ``(params, next)``.

    Raises:
        InvalidStep: it returned anything else.
    """
    if returned is None or returned is params:
        return ()
    if isinstance(returned, Mapping):
        params.update(returned)
        return ()
    if isinstance(returned, tuple) and _is_params_and_next(returned):
        merged, following = returned
        if merged is not None and merged is not params:
            params.update(merged)
        return () if following is None else tuple(_flatten(following))
    try:
        return tuple(_flatten(returned))
    except InvalidStep:
        raise InvalidStep(
            f"step {name!r} returned {type(returned).__name__}; a step returns params, None, "
            f"a next step, or (params, next step)"
        ) from None


def _is_params_and_next(pair: tuple[object, ...]) -> bool:
    return len(pair) == 2 and (pair[0] is None or isinstance(pair[0], Mapping))  # noqa: PLR2004 - a pair


def _flatten(chain: object) -> Iterator[Step]:
    if isinstance(chain, Step):
        yield chain
    elif isinstance(chain, Instrumentation):
        yield from _with_arguments(chain)
    elif isinstance(chain, Sequence) and not isinstance(chain, str | bytes):
        for part in chain:
            yield from _flatten(part)
    elif callable(chain) and not isinstance(chain, type):
        yield Step(chain)
    else:
        found = repr(chain) if isinstance(chain, str | int | float) else type(chain).__name__
        raise InvalidStep(f"not a step: wanted a function (ctx, params), found {found}")


def _with_arguments(nested: Instrumentation) -> Iterator[Step]:
    """The steps of an Instrumentation inside a chain; its first one also brings its arguments."""
    steps = nested.steps()
    arguments = dict(nested.task_arguments)
    if not arguments or not steps:
        yield from steps
        return
    first = steps[0]
    _check_callable(first)

    def bring_arguments(ctx: Exec, params: TaskParams, /) -> object:
        params.update(arguments)
        return first.fn(ctx, params)

    yield Step(bring_arguments, first.name, first.retry)
    yield from steps[1:]


def _check_callable(step: Step) -> None:
    fn = step.fn
    if not callable(fn):
        raise InvalidStep(f"step {step.name!r} is no function: it is {type(fn).__name__}")
    is_async = inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)
    if is_async or inspect.isgeneratorfunction(fn):
        kind = "async" if is_async else "a generator"
        raise InvalidStep(f"step {step.name!r} is {kind}; a step is a plain function (ctx, params)")
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return  # some builtins have no signature: calling them will tell
    try:
        signature.bind(None, None)
    except TypeError:
        raise InvalidStep(f"step {step.name!r} takes {signature}; wanted (ctx, params)") from None
