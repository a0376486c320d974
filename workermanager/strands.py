"""Strands: each one way of an exec through its chain; and what a walk asks of its driver."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from workermanager.cancelling import Context

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from instrumentation.composing import Composition
    from instrumentation.errors import StepError
    from instrumentation.execution import Exec
    from instrumentation.nodes import Knot, Link, Node
    from instrumentation.params import TaskParams
    from instrumentation.steps import Limiter, Step, StepFunction
    from workermanager.joining import Join
    from workermanager.telemetry import StepFigures

__all__ = [
    "Attempt",
    "Call",
    "Desk",
    "Enter",
    "Pause",
    "Strand",
    "Trace",
    "Undo",
    "Walk",
    "Wanted",
    "Way",
    "throwable",
]


class Call(NamedTuple):
    """Call a step's function, time it, and send what it returns."""

    link: Link
    ctx: Exec
    params: TaskParams


class Pause(NamedTuple):
    """Wait so many seconds, or raise Cancelled."""

    seconds: float
    scope: Context


class Enter(NamedTuple):
    """Wait until there is room in a limit, or raise Cancelled."""

    limit: Limiter
    scope: Context


Wanted: TypeAlias = "Call | Pause | Enter | Join[Strand]"
Walk: TypeAlias = Generator[Wanted, Any, None]
Attempt: TypeAlias = Generator[Wanted, Any, object]
Way: TypeAlias = "Node | Step | Composition"


def throwable(error: BaseException) -> BaseException:
    """What a step raised, as it can be thrown into a walk.

    StopIteration and GeneratorExit are a generator's own words, and would end it without a trace.
    """
    if not isinstance(error, StopIteration | GeneratorExit):
        return error
    told = RuntimeError(f"the step raised {type(error).__name__}")
    told.__cause__ = error
    return told


class Trace(Protocol):
    """Follows one exec."""

    def step(self, path: str) -> AbstractContextManager[None]:
        """Follow a step, while it runs."""
        ...

    def end(self, error: BaseException | None, ended_ns: int) -> None:
        """The exec's chain has ended."""
        ...


class Desk(Protocol):
    """Where a walk is at the moment: the thread that drives it, with its figures."""

    def now(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def figures(self, name: str) -> StepFigures:
        """The figures of a step or a composition."""
        ...

    def note(self, ctx: Exec, error: StepError) -> None:
        """Count an error that does not fail its exec by itself."""
        ...


class Undo(NamedTuple):
    """What undoes something that was completed, and where it stands."""

    node: Node
    params: TaskParams
    root: str
    declared: str


class Strand:
    """One way through a chain: the exec's own, or that of a member which runs beside others.

    Its steps are below the path ``root``, where declared paths have ``declared``; they differ in
    what is done for each item. ``places`` is how many of them were declared: what joins the chain
    later is counted from there, and ``depth`` is how many compositions it is in. ``walk`` is set by
    whoever begins it, ``desk`` by whatever drives it.
    """

    __slots__ = (
        "ctx",
        "declared",
        "depth",
        "desk",
        "join",
        "number",
        "params",
        "places",
        "root",
        "trace",
        "undos",
        "walk",
        "wrap",
    )

    desk: Desk
    walk: Walk

    def __init__(  # noqa: PLR0913, PLR0917 - one of two places that make it
        self,
        ctx: Exec,
        params: TaskParams,
        root: str,
        declared: str,
        places: int,
        wrap: Callable[[StepFunction], StepFunction] | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.ctx = ctx
        self.params = params
        self.root = root
        self.declared = declared
        self.places = places
        self.wrap = wrap
        self.trace = trace
        self.undos: list[Undo] = []
        self.join: Join[Strand] | None = None
        self.number = 0
        self.depth = 0

    @property
    def scope(self) -> Context:
        """Until when it may go on."""
        scope = self.ctx.scope
        assert isinstance(scope, Context)  # noqa: S101 - for the type checker
        return scope

    def path_of(self, declared: str) -> str:
        """Where a declared part stands in this strand."""
        return self.root + declared[len(self.declared) :]

    def member(self, number: int, knot: Knot, sign: str, scope: Context) -> Strand:
        """A strand for a member of a composition, which begins with what this one has now."""
        member = Strand(
            self.ctx.member(number, scope),
            self.params.clone(),
            f"{self.path_of(knot.path)}/{number}",
            f"{knot.path}/{sign}",
            1,
            self.wrap,
            self.trace,
        )
        member.number = number
        return member
