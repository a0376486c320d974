"""What a run executes: a dispatcher and its nested callbacks, as a value; and each part's place.

"Instrumentation" is go-workers' word for what is run. It has nothing to do with telemetry.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from instrumentation.composing import (
    Branch,
    Chained,
    Compensated,
    Composition,
    Each,
    Finally,
    Group,
    Recovered,
)
from instrumentation.errors import InvalidConfig, InvalidStep
from instrumentation.nodes import Knot, Link, Node, links_of
from instrumentation.signatures import look_at
from instrumentation.steps import Step, check_name

if TYPE_CHECKING:
    from instrumentation.composing import Chain
    from instrumentation.execution import Exec
    from instrumentation.nodes import Wrap
    from instrumentation.params import TaskParams

__all__ = [
    "DEEPEST",
    "Instrumentation",
    "as_instrumentation",
    "follow",
    "place",
]

DEEPEST: Final = 100


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
        for key in self.task_arguments:
            if not isinstance(key, str):
                raise InvalidConfig(f"Instrumentation(task_arguments=…): {key!r} is no name")
        if self.func_name == "":
            first = next(_line(self.func_dispatcher), None)
            object.__setattr__(self, "func_name", _first_name(first))
        check_name(self.func_name, "Instrumentation", "func_name")

    def parts(self) -> Iterator[Step | Composition]:
        """The whole chain, one part after the other."""
        yield from _whole(self, depth=0)

    def nodes(self, wrap: Wrap | None = None) -> tuple[Node, ...]:
        """The whole chain with names made unique and paths set, ``wrap`` around every step.

        Raises:
            InvalidStep: the chain is empty, a step cannot be called as ``(ctx, params)``, or a
                part stands where it cannot.
        """
        parts = tuple(self.parts())
        if not parts:
            raise InvalidStep(f"{self.func_name}: the chain has no step")
        return place(parts, self.func_name, wrap=wrap)

    def links(self) -> tuple[Link, ...]:
        """The steps of `nodes`, in the order they are declared."""
        return links_of(self.nodes())


def as_instrumentation(chain: Chain) -> Instrumentation:
    """Any chain as an Instrumentation: one that is one already stays as it is."""
    if isinstance(chain, Instrumentation):
        return chain
    return Instrumentation(func_dispatcher=chain)


def follow(returned: object, params: TaskParams, name: str) -> tuple[Step | Composition, ...]:
    """Take up what the step ``name`` returned: merge its params, and give what to run next.

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
        return () if following is None else _next_parts(following)
    if inspect.iscoroutine(returned):
        returned.close()  # or Python warns, at some other place, that nobody awaited it
        raise InvalidStep(
            f"step {name!r} is no async function, but returned a coroutine: "
            "make what is around the async function an async def that awaits it"
        )
    try:
        return _next_parts(returned)
    except InvalidStep:
        raise InvalidStep(
            f"step {name!r} returned {type(returned).__name__}; a step returns params, None, "
            f"a next step, or (params, next step)"
        ) from None


def _next_parts(chain: object) -> tuple[Step | Composition, ...]:
    return tuple(_together((chain,), is_inner=True, depth=0))


def _is_params_and_next(pair: tuple[object, ...]) -> bool:
    return len(pair) == 2 and (pair[0] is None or isinstance(pair[0], Mapping))  # noqa: PLR2004 - a pair


# From what was written to one part after the other


class _NoStep(InvalidStep):
    """A part of a chain is nothing that can be run; whoever knows where it stands adds that."""


def _line(chain: object, *, is_inner: bool = False, depth: int = 0) -> Iterator[Step | Composition]:
    """The parts of a chain; one inside another stays together where it has a life of its own."""
    if depth > DEEPEST:
        raise InvalidStep(f"a chain is nested more than {DEEPEST} levels deep")
    if isinstance(chain, Step):
        yield chain
    elif isinstance(chain, Chained):
        yield from _unchained(chain, is_inner=is_inner, depth=depth)
    elif isinstance(chain, Composition):
        yield chain
    elif isinstance(chain, Instrumentation):
        yield from _with_arguments(chain, is_inner=is_inner, depth=depth)
    elif isinstance(chain, Sequence) and not isinstance(chain, str | bytes):
        yield from _together(chain, is_inner=is_inner, depth=depth)
    elif callable(chain) and not isinstance(chain, type):
        yield Step(chain)
    else:
        found = repr(chain) if isinstance(chain, str | int | float) else type(chain).__name__
        raise _NoStep(f"not a step: wanted a function (ctx, params), found {found}")


def _together(parts: Sequence[Any], *, is_inner: bool, depth: int) -> Iterator[Step | Composition]:
    line: list[Step | Composition] = []
    for number, part in enumerate(parts, 1):
        try:
            line.extend(_line(part, is_inner=True, depth=depth + 1))
        except _NoStep as error:
            raise _NoStep(f"part {number}: {error}") from None
    if is_inner and any(isinstance(one, Finally) for one in line):
        yield Chained(name="chain", parts=tuple(line))
    else:
        yield from line


def _unchained(chain: Chained, *, is_inner: bool, depth: int) -> Iterator[Step | Composition]:
    if chain.name or chain.timeout is not None:
        yield replace(chain, name=chain.name or "chain")
    else:
        yield from _together(chain.parts, is_inner=is_inner, depth=depth)


def _whole(whole: Instrumentation, depth: int) -> Iterator[Step | Composition]:
    """The parts of an Instrumentation: those of its dispatcher, then those of its callbacks."""
    dispatcher, callback = whole.func_dispatcher, whole.nested_callback
    yield from _line(dispatcher, is_inner=callback is not None, depth=depth)
    if callback is not None:
        yield from _line(callback, depth=depth)


def _with_arguments(
    nested: Instrumentation, *, is_inner: bool, depth: int
) -> Iterator[Step | Composition]:
    """The parts of an Instrumentation inside a chain; its first one also brings its arguments."""
    parts = list(_together(tuple(_whole(nested, depth + 1)), is_inner=is_inner, depth=depth))
    arguments = dict(nested.task_arguments)
    if not arguments or not parts:
        yield from parts
    elif isinstance(parts[0], Step):
        yield _bringing(arguments, parts[0])
        yield from parts[1:]
    else:
        yield Chained(name=nested.func_name, parts=tuple(parts), arguments=arguments)


def _bringing(arguments: dict[str, Any], first: Step) -> Step:
    is_async = _check_callable(first)

    def bring_arguments(ctx: Exec, params: TaskParams, /) -> object:
        params.update(arguments)
        return first.fn(ctx, params)

    async def bring_arguments_async(ctx: Exec, params: TaskParams, /) -> object:
        params.update(arguments)
        return await first.fn(ctx, params)

    return replace(first, fn=bring_arguments_async if is_async else bring_arguments)


def _first_name(part: Step | Composition | None) -> str:
    """The name of the first step in a part, or of a chain that has one."""
    if part is None:
        return "chain"
    if isinstance(part, Step) or (isinstance(part, Chained) and part.name):
        return part.name
    match part:
        case Chained(parts=parts):
            first: Chain = parts[0]
        case Branch(then=then):
            first = then
        case Each(part=body):
            first = body
        case _:
            first = _parts_of(part)[0]
    return _first_name(next(_line(first), None))


# From one part after the other to names and paths


def place(
    parts: Sequence[Step | Composition],
    base: str,
    first: int = 1,
    wrap: Wrap | None = None,
) -> tuple[Node, ...]:
    """The parts of a chain as nodes, at their places below ``base``, counted from ``first``.

    ``wrap`` is put around the function of every step.

    Raises:
        InvalidStep: a step cannot be called as ``(ctx, params)``, or a part stands where it cannot.
    """
    nodes = _place(parts, base, {}, first, 0)
    return nodes if wrap is None else tuple(_wrapped(node, wrap) for node in nodes)


def _wrapped(node: Node, wrap: Wrap) -> Node:
    if isinstance(node, Link):
        return node._replace(fn=wrap(node.fn))
    return replace(node, members=tuple(_wrapped(member, wrap) for member in node.members))


def _place(
    parts: Sequence[Step | Composition], base: str, names: dict[str, int], first: int, depth: int
) -> tuple[Node, ...]:
    is_ending = False
    for part in parts:
        if is_ending and not isinstance(part, Finally):
            raise InvalidStep(f"{base}: {part.name!r} comes after finally_, which ends its chain")
        is_ending = isinstance(part, Finally)
    if depth > DEEPEST:
        raise InvalidStep(f"{base}: nested more than {DEEPEST} levels deep")
    return tuple(
        _place_one(part, f"{base}/{number}", names, depth)
        for number, part in enumerate(parts, first)
    )


def _place_one(part: Step | Composition, base: str, names: dict[str, int], depth: int) -> Node:
    path = f"{base}/{part.name}"
    name = _unused(part.name, names)
    if isinstance(part, Step):
        is_async = _check_callable(part)
        return Link(part.fn, name, path, part.retry, part.timeout, part.limit, is_async=is_async)
    return Knot(part, name, path, _members(part, path, names, depth + 1))


def _members(part: Composition, path: str, names: dict[str, int], depth: int) -> tuple[Node, ...]:
    if isinstance(part, Chained):
        inner = list(_together(part.parts, is_inner=False, depth=depth))
        return _place(inner, path, names, 1, depth)
    if isinstance(part, Branch):
        return _branches(part, path, names, depth)
    if isinstance(part, Each):
        below = f"{path}/*"
        return (_place_one(_as_one(part.part, below, depth), below, names, depth),)
    places = [(f"{path}/{number}", one) for number, one in enumerate(_parts_of(part), 1)]
    return tuple(
        _place_one(_as_one(one, below, depth), below, names, depth) for below, one in places
    )


def _branches(part: Branch, path: str, names: dict[str, int], depth: int) -> tuple[Node, ...]:
    sides = (part.then,) if part.otherwise is None else (part.then, part.otherwise)
    parts = (
        Step(part.predicate),
        *(_as_one(side, f"{path}/{n}", depth) for n, side in enumerate(sides, 1)),
    )
    return tuple(
        _place_one(one, f"{path}/{number}", names, depth) for number, one in enumerate(parts)
    )


def _parts_of(part: Composition) -> Sequence[Chain]:
    """What the other compositions are made of."""
    match part:
        case Group(parts=parts):
            return parts
        case Recovered(part=body, handler=handler):
            return (body, handler)
        case Compensated(part=body, undo=undo):
            return (body, undo)
        case Finally(part=body):
            return (body,)
    raise InvalidStep(f"{part.name}: {type(part).__name__} is no composition")


def _as_one(chain: Chain, path: str, depth: int) -> Step | Composition:
    """A chain as one part: a step or a composition as it is, anything longer as a chain."""
    try:
        parts = tuple(_line(chain, depth=depth))
    except _NoStep as error:
        raise InvalidStep(f"{path}: {error}") from None
    if not parts:
        raise InvalidStep(f"{path}: a chain inside another has no step")
    if len(parts) == 1 and not isinstance(parts[0], Finally):
        return parts[0]
    return Chained(name="chain", parts=parts)


def _unused(wanted: str, names: dict[str, int]) -> str:
    """The name, numbered if it is taken; each one is kept with how often it was wanted."""
    name, times = wanted, names.get(wanted, 0)
    while name in names:
        times += 1
        name = f"{wanted}#{times}"
    names[wanted] = times or 1
    names.setdefault(name, 1)
    return name


def _check_callable(step: Step) -> bool:
    """True if the step is async.

    Raises:
        InvalidStep: it cannot be called as ``(ctx, params)``.
    """
    looks = look_at(step.fn)
    if looks.fault:
        raise InvalidStep(f"step {step.name!r} {looks.fault}")
    return looks.is_async
