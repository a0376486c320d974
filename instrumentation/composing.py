"""Chains that branch, fan out, recover and clean up: plain values, made by plain functions.

Each part of a composed chain is a step, a chain, or another composition. What they mean is in
``docs/chains.md``; what runs them is not in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from instrumentation.errors import InvalidConfig, InvalidStep
from instrumentation.steps import check_name, check_timeout

if TYPE_CHECKING:
    from instrumentation.chains import Instrumentation
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import Step, StepFunction

__all__ = [
    "Branch",
    "Chain",
    "Chained",
    "Compensated",
    "Composition",
    "Each",
    "Errors",
    "Finally",
    "Group",
    "Over",
    "Predicate",
    "Recovered",
    "branch",
    "chain",
    "compensate",
    "each",
    "finally_",
    "group",
    "on_error",
]

Chain: TypeAlias = "StepFunction | Step | Composition | Instrumentation | Sequence[Chain]"
"""Whatever stands for a chain: a function, a Step, a composition, or a list of these."""

Errors: TypeAlias = Literal["raise", "collect"]
Predicate: TypeAlias = "Callable[[Exec, TaskParams], object]"
Over: TypeAlias = "str | Callable[[TaskParams], Iterable[Any]]"

_MOST_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A part of a chain that is made of parts. ``name`` is what it is called in paths."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chained(Composition):
    """Parts one after the other; ``arguments`` are merged on first."""

    parts: tuple[Chain, ...]
    timeout: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Composition):
    """Parts at the same time, and then together again."""

    parts: tuple[Chain, ...]
    errors: Errors
    most: int | None
    into: str | None
    timeout: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Each(Composition):
    """A part for each item, several at the same time."""

    part: Chain
    over: Over
    item: str
    errors: Errors
    most: int
    into: str | None
    timeout: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Composition):
    """One of two parts."""

    predicate: Predicate
    then: Chain
    otherwise: Chain | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered(Composition):
    """A part, and another one if it fails."""

    part: Chain
    handler: Chain
    when: type[Exception] | tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finally(Composition):
    """A part that ends its chain, whatever happened before."""

    part: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensated(Composition):
    """A part, and what undoes it if a later one fails."""

    part: Chain
    undo: Chain


def chain(*parts: Chain, name: str = "", timeout: float | None = None) -> Chained:
    """Parts one after the other, as one part.

    With a name it has a place of its own in paths and figures; without one, its parts stand in the
    chain around as if they had been listed there. ``timeout`` is in seconds, for all of it.

    Raises:
        InvalidStep: there is no part.
        InvalidConfig: ``timeout`` is no number of seconds, or ``name`` no text on one line.
    """
    _check_parts("chain", parts)
    if name != "":
        check_name(name, "chain")
    return Chained(name=name, parts=parts, timeout=check_timeout(timeout, "chain"))


def group(
    *parts: Chain,
    errors: Errors = "raise",
    most: int | None = None,
    into: str | None = None,
    name: str = "group",
    timeout: float | None = None,
) -> Group:
    """Parts at the same time, each with a clone of the params; goes on when all have ended.

    What the parts changed in their params is merged on in their order. ``into`` names a param for
    the list of these changes, one for each part. If a part fails, the others are cancelled and the
    group fails (``errors="raise"``); with ``"collect"`` all run to their ends, the group goes on,
    and the list has a StepError for each that failed. ``most`` is how many run at the same time.

    Raises:
        InvalidStep: there is no part.
        InvalidConfig: a setting that cannot work.
    """
    _check_parts("group", parts)
    if most is not None:
        _check_most("group", most)
    _check_collecting("group", errors, into)
    return Group(
        name=check_name(name, "group"),
        parts=parts,
        errors=errors,
        most=most,
        into=into,
        timeout=check_timeout(timeout, "group"),
    )


def each(  # noqa: PLR0913 - all but the part are keywords
    part: Chain,
    *,
    over: Over,
    item: str = "item",
    most: int = _MOST_AT_ONCE,
    errors: Errors = "raise",
    into: str | None = None,
    name: str = "each",
    timeout: float | None = None,
) -> Each:
    """A part for each item of a list in the params, at most ``most`` at the same time.

    ``over`` names the param with the items, or is a function of the params that gives them; they
    are taken one by one, as there is room. Each runs with a clone of the params that has its item
    as ``item``. ``into`` names a param for the list of what each of them changed, in the order of
    the items; without it nothing is kept. ``errors`` is as in `group`.

    Raises:
        InvalidConfig: a setting that cannot work.
    """
    if not callable(over) and not _is_text(over):
        raise InvalidConfig(f"each(over={over!r}): wanted the name of a param, or a function")
    if not _is_text(item):
        raise InvalidConfig(f"each(item={item!r}): wanted the name of a param")
    _check_most("each", most)
    _check_collecting("each", errors, into)
    return Each(
        name=check_name(name, "each"),
        part=part,
        over=over,
        item=item,
        errors=errors,
        most=most,
        into=into,
        timeout=check_timeout(timeout, "each"),
    )


def branch(
    predicate: Predicate, then: Chain, otherwise: Chain | None = None, *, name: str = "branch"
) -> Branch:
    """``then`` if ``predicate(ctx, params)`` is true, else ``otherwise`` (nothing, if not given).

    Raises:
        InvalidStep: the predicate cannot be called.
    """
    if not callable(predicate):
        raise InvalidStep(f"branch: the predicate is no function: it is {predicate!r}")
    return Branch(
        name=check_name(name, "branch"), predicate=predicate, then=then, otherwise=otherwise
    )


def on_error(
    part: Chain,
    handler: Chain,
    *,
    when: type[Exception] | tuple[type[Exception], ...] = Exception,
    name: str = "on_error",
) -> Recovered:
    """A part, and ``handler`` if it fails with an error of the types ``when``.

    The handler begins with the params and the rows as they were before the part, and has the
    StepError as ``ctx.error``. It recovers, and the chain goes on; or it raises, ``ctx.error``
    again if it wants.

    Raises:
        InvalidConfig: ``when`` is no type of exceptions.
    """
    kinds: tuple[object, ...] = when if isinstance(when, tuple) else (when,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise InvalidConfig(f"on_error(when={when!r}): wanted a type of exceptions, or a tuple")
    return Recovered(name=check_name(name, "on_error"), part=part, handler=handler, when=when)


def finally_(part: Chain, *, name: str = "finally") -> Finally:
    """A part that runs at the end of its chain, also after a failure, a timeout or a stop.

    It stands last in its chain. No deadline and no stop reaches it, but for a timeout of its own.
    """
    return Finally(name=check_name(name, "finally_"), part=part)


def compensate(part: Chain, undo: Chain, *, name: str = "compensate") -> Compensated:
    """A part, and what undoes it if the exec fails after it, unless that is recovered before.

    When a chain fails, what was completed in it is undone in reverse, each with the params as they
    were at its completion and the error as ``ctx.error``; then come the chain's `finally_` parts.
    """
    return Compensated(name=check_name(name, "compensate"), part=part, undo=undo)


def _check_parts(where: str, parts: tuple[Chain, ...]) -> None:
    if not parts:
        raise InvalidStep(f"{where}(): wanted at least one step")


def _check_most(where: str, most: int) -> None:
    given: object = most
    if not isinstance(given, int) or isinstance(given, bool) or most < 1:
        raise InvalidConfig(f"{where}(most={most!r}): must be 1 or more")


def _check_collecting(where: str, errors: str, into: str | None) -> None:
    if errors not in ("raise", "collect"):
        raise InvalidConfig(f"{where}(errors={errors!r}): is unknown; use raise or collect")
    if into is not None and not _is_text(into):
        raise InvalidConfig(f"{where}(into={into!r}): wanted the name of a param")
    if errors == "collect" and into is None:
        raise InvalidConfig(f'{where}(errors="collect"): into="…" must name a param for them')


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
