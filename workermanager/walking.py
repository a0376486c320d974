"""The way of an exec through its chain: what comes next, what is undone, what is merged.

A walk is a generator. It yields what is to be done (`Call` a step, `Pause`, `Enter` a limit, `Join`
members that run at the same time) to whatever drives it, on threads, on an event loop or in a
test, and is sent what came of it. It starts no thread and waits for nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from instrumentation.chains import Knot, Link, follow, place
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
from instrumentation.errors import Cancelled, InvalidStep, StepError, TimedOut
from instrumentation.seeds import seeded_random
from workermanager.cancelling import Context
from workermanager.fencing import Fence
from workermanager.joining import Join

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from instrumentation.chains import Node
    from instrumentation.execution import Exec
    from instrumentation.params import TaskParams
    from instrumentation.steps import Limiter, Retry, Step, StepFunction
    from workermanager.telemetry import StepFigures

__all__ = ["Call", "Desk", "Enter", "Pause", "Strand", "Trace", "Walk", "walk_exec"]


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


Walk: TypeAlias = Generator["Call | Pause | Enter | Join[Strand]", Any, None]
Way: TypeAlias = "Node | Step | Composition"
_Attempt: TypeAlias = Generator["Call | Pause | Enter | Join[Strand]", Any, object]


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
    later is counted from there. ``desk`` is set by whatever drives it.
    """

    __slots__ = (
        "ctx",
        "declared",
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

    @property
    def scope(self) -> Context:
        """Until when it may go on."""
        scope = self.ctx.scope
        assert isinstance(scope, Context)  # noqa: S101 - for the type checker
        return scope

    def path_of(self, declared: str) -> str:
        """Where a declared part stands in this strand."""
        return self.root + declared[len(self.declared) :]

    def member(self, number: int, node: Node, knot: Knot, sign: str, scope: Context) -> Strand:
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
        member.walk = walk((node,), member)
        return member


def walk_exec(nodes: Sequence[Way], strand: Strand, own: Context | None) -> Walk:
    """The whole way of an exec; ``own`` is its own deadline, if it has one."""
    try:
        yield from walk(nodes, strand)
    except Cancelled as cancelled:
        if _has_timed_out(own, cancelled):
            raise _too_long(strand.root, cancelled) from _cause(cancelled)
        raise


def walk(nodes: Sequence[Way], strand: Strand) -> Walk:
    """One part after the other. If one fails, what was completed is undone; then come the finals.

    Raises:
        StepError: a part failed, and nothing recovered.
        Cancelled: it was called off.
    """
    finals = [node for node in nodes if isinstance(node, Knot) and isinstance(node.part, Finally)]
    mark = len(strand.undos)
    try:
        yield from _go_along(nodes[: len(nodes) - len(finals)], strand)
    except GeneratorExit:
        raise  # it was left behind: nothing more can be done
    except BaseException as error:
        yield from _undo(strand, mark, error)
        for final in finals:
            yield from _clean_up(final, strand, error)
        raise
    failure = None
    for final in finals:
        failed = yield from _clean_up(final, strand, failure)
        failure = failure or failed
    if failure is not None:
        yield from _undo(strand, mark, failure)
        raise failure


def _go_along(nodes: Sequence[Way], strand: Strand) -> Walk:
    pending: list[Way] = list(reversed(nodes))
    ctx = strand.ctx
    while pending:
        node = pending.pop()
        if not isinstance(node, Link | Knot):
            node = _place_grown(node, strand)
        if strand.scope.cancelled:
            ctx.check()
        if isinstance(node, Knot):
            yield from _tie(node, strand)
            continue
        returned = yield from _step(node, strand)
        if returned is not None and returned is not strand.params:
            try:
                pending.extend(reversed(follow(returned, strand.params, node.name)))
            except Exception as error:
                raise _failure(node, strand, error) from error


def _place_grown(part: Step | Composition, strand: Strand) -> Node:
    """A part that joined the chain as it ran, at its place."""
    strand.ctx.grown += 1
    number = strand.places + strand.ctx.grown
    try:
        return place((part,), strand.declared, set(), number, strand.wrap)[0]
    except InvalidStep as error:
        raise StepError(f"{strand.root}/{number}/{part.name}", 1, error, part.name) from error


# Steps


def _step(link: Link, strand: Strand) -> _Attempt:
    """Run a step until it succeeds, or its retry policy gives up."""
    ctx, params, retry = strand.ctx, strand.params, link.retry
    ctx.path = strand.path_of(link.path)
    ctx.attempt = 1
    if retry is None:
        try:
            return (yield from _attempt(link, strand))
        except Exception as error:
            raise _failure(link, strand, error) from error
    before, bookmark, begun = params.clone(), ctx.bookmark(), strand.desk.now()
    while True:
        try:
            returned = yield from _attempt(link, strand)
        except Exception as error:
            wait = _wait_after(error, retry, begun, strand)
            if wait is None:
                raise _failure(link, strand, error) from error
            if isinstance(wait, Exception):  # the policy's own
                raise _failure(link, strand, wait) from wait
        else:
            ctx.attempt = 1
            return returned
        strand.desk.figures(link.name).retried += 1
        yield Pause(wait, strand.scope)
        ctx.attempt += 1
        params.clear()
        params.update(before)
        ctx.rewind(bookmark)


def _wait_after(
    error: Exception, retry: Retry, begun: int, strand: Strand
) -> float | Exception | None:
    """Seconds to wait after an attempt; None to give up, or what the policy itself failed with."""
    ctx, elapsed = strand.ctx, (strand.desk.now() - begun) / 1e9
    random = seeded_random(ctx.run.seed, ctx.n, ctx.path, "retry", ctx.attempt)
    try:
        return retry.wait(ctx.attempt, elapsed, error, random)
    except Exception as failure:  # noqa: BLE001 - the user's predicate failed: the step has
        return failure


def _attempt(link: Link, strand: Strand) -> _Attempt:
    """Run a step once, within its limit and its deadline."""
    limit = link.limit
    if limit is None:
        return (yield from _in_time(link, strand))
    begun = strand.desk.now()
    yield Enter(limit, strand.scope)
    strand.desk.figures(f"{link.name}.limit").service.record(strand.desk.now() - begun)
    fence = Fence()
    try:
        return (yield from _in_time(link, strand, fence))
    finally:
        if not fence.is_closed:  # or its thread was given up, and leaves when it comes back
            limit.leave()


def _in_time(link: Link, strand: Strand, fence: Fence | None = None) -> _Attempt:
    """Run a step once; where there is a deadline, apart, so that nothing of a late one is seen."""
    ctx, params = strand.ctx, strand.params
    scope = strand.scope
    if link.timeout is None and scope.deadline_ns is None:
        return (yield Call(link, ctx, params))
    own = Context(scope, timeout=link.timeout, name=f"step {ctx.path}")
    apart, theirs = ctx.apart(own, fence or Fence()), params.clone()
    begun, returned, failure = strand.desk.now(), None, None
    try:
        returned = yield Call(link, apart, theirs)
    except Cancelled as cancelled:
        if _has_timed_out(own, cancelled):
            figures = strand.desk.figures(link.name)
            figures.service.record(strand.desk.now() - begun)  # a call that is left is not recorded
            figures.timed_out += 1
            raise _cause(cancelled) from None
        raise
    except Exception as error:  # noqa: BLE001 - it is raised below, unless it is too late
        failure = error
    finally:
        own.release()
    _refuse_late(own, link, strand, failure)
    ctx.adopt(apart)
    params.clear()
    params.update(theirs)
    if failure is not None:
        raise failure
    return None if returned is theirs else returned


def _refuse_late(own: Context, link: Link, strand: Strand, error: Exception | None) -> None:
    """Overlook what came of a step that ended after a deadline: its own, or one further out."""
    if own.remaining == 0:
        if own.is_owner and isinstance(own.cause, TimedOut):
            strand.desk.figures(link.name).timed_out += 1
            raise own.cause from error
        own.check()


def _has_timed_out(own: Context | None, cancelled: Cancelled) -> bool:
    return (
        own is not None
        and own.is_owner
        and own.remaining == 0
        and isinstance(cancelled.cause, TimedOut)
    )


def _too_long(path: str, cancelled: Cancelled, name: str = "") -> StepError:
    error = StepError(path, 1, _cause(cancelled), name)
    for note in getattr(cancelled, "__notes__", ()):  # of what failed while it was cleaned up
        error.add_note(note)
    return error


def _cause(cancelled: Cancelled) -> TimedOut:
    cause = cancelled.cause
    assert isinstance(cause, TimedOut)  # noqa: S101 - `_has_timed_out` said so
    return cause


def _failure(link: Link, strand: Strand, error: Exception) -> Exception:
    ctx = strand.ctx
    strand.desk.figures(link.name).failed += 1
    attempt, ctx.attempt = ctx.attempt, 1
    if isinstance(error, StepError) and error is ctx.error:
        return error  # a handler raised again what it was to handle
    return StepError(ctx.path, attempt, error, link.name)


# Compositions


def _tie(knot: Knot, strand: Strand) -> Walk:
    """Run a composition within its own deadline, and time it."""
    ctx, begun = strand.ctx, strand.desk.now()
    outer, path = strand.scope, strand.path_of(knot.path)
    timeout = getattr(knot.part, "timeout", None)
    own = None if timeout is None else Context(outer, timeout=timeout, name=path)
    ctx.scope = own or outer
    try:
        yield from _TIES[type(knot.part)](knot, strand)
    except Cancelled as cancelled:
        if not _has_timed_out(own, cancelled):
            raise
        figures = _record(knot, strand, begun)
        figures.failed += 1
        figures.timed_out += 1
        raise _too_long(path, cancelled, knot.name) from _cause(cancelled)
    except StepError:
        _record(knot, strand, begun).failed += 1
        raise
    else:
        _record(knot, strand, begun)
    finally:
        ctx.scope = outer
        if own is not None:
            own.release()


def _record(knot: Knot, strand: Strand, begun: int) -> StepFigures:
    figures = strand.desk.figures(knot.name)
    figures.service.record(strand.desk.now() - begun)
    return figures


def _chained(knot: Knot, strand: Strand) -> Walk:
    assert isinstance(knot.part, Chained)  # noqa: S101 - for the type checker
    strand.params.update(knot.part.arguments)
    yield from walk(knot.members, strand)


def _group(knot: Knot, strand: Strand) -> Walk:
    part = knot.part
    assert isinstance(part, Group)  # noqa: S101 - for the type checker
    with Context(strand.scope, name=strand.path_of(knot.path)) as scope:
        members = [
            strand.member(number, node, knot, str(number), scope)
            for number, node in enumerate(knot.members, 1)
        ]
        most = min(part.most or len(members), len(members))
        join = Join(iter(members), most, scope, is_collecting=part.errors == "collect")
        yield from _join(join, strand, part.into, is_merging=True, without="")


def _each(knot: Knot, strand: Strand) -> Walk:
    part = knot.part
    assert isinstance(part, Each)  # noqa: S101 - for the type checker
    path = strand.path_of(knot.path)
    try:
        found = part.over(strand.params) if callable(part.over) else strand.params[part.over]
        items = iter(found)
    except Exception as error:
        raise StepError(path, 1, error, knot.name) from error
    with Context(strand.scope, name=path) as scope:

        def members() -> Iterator[Strand]:
            number = 0
            while True:
                try:
                    item = next(items)
                except StopIteration:
                    return
                except Exception as error:
                    raise StepError(path, 1, error, knot.name) from error
                number += 1
                member = strand.member(number, knot.members[0], knot, "*", scope)
                member.params[part.item] = item
                yield member

        join = Join(members(), part.most, scope, is_collecting=part.errors == "collect")
        yield from _join(join, strand, part.into, is_merging=False, without=part.item)


def _join(
    join: Join[Strand], strand: Strand, into: str | None, *, is_merging: bool, without: str
) -> Walk:
    """Run the members and take on what they did, in their order, whichever ended first."""
    try:
        yield join
    finally:
        for member in join.completed():
            strand.undos.extend(member.undos)
    results: list[object] = []
    before = strand.params.clone()
    strand.ctx.part_with()
    for member, error in join.outcomes():
        if error is not None:
            results.append(error)
            continue
        changes = member.params.changes_since(before, without)
        strand.ctx.adopt(member.ctx)
        if is_merging:
            strand.params.update(changes)
        if into is not None:
            results.append(changes)
    if into is not None:
        strand.params[into] = results


def _branch(knot: Knot, strand: Strand) -> Walk:
    predicate, then, *otherwise = knot.members
    assert isinstance(predicate, Link)  # noqa: S101 - for the type checker
    is_true = yield from _step(predicate, strand)
    yield from walk((then,) if is_true else otherwise, strand)


def _recovered(knot: Knot, strand: Strand) -> Walk:
    part, ctx = knot.part, strand.ctx
    assert isinstance(part, Recovered)  # noqa: S101 - for the type checker
    before, bookmark = strand.params.clone(), ctx.bookmark()
    try:
        yield from walk(knot.members[:1], strand)
    except StepError as error:
        if not isinstance(error.cause, part.when):
            raise
        strand.params.clear()
        strand.params.update(before)
        ctx.rewind(bookmark)
        with _facing(ctx, error):
            yield from walk(knot.members[1:], strand)


def _compensated(knot: Knot, strand: Strand) -> Walk:
    yield from walk(knot.members[:1], strand)
    strand.undos.append(Undo(knot.members[1], strand.params.clone(), strand.root, strand.declared))


def _final(knot: Knot, strand: Strand) -> Walk:
    yield from walk(knot.members, strand)


_TIES: Final[dict[type[Composition], Callable[[Knot, Strand], Walk]]] = {
    Branch: _branch,
    Chained: _chained,
    Compensated: _compensated,
    Each: _each,
    Finally: _final,
    Group: _group,
    Recovered: _recovered,
}


# Cleaning up


def _undo(strand: Strand, mark: int, error: BaseException) -> Walk:
    """Undo what was completed since the mark, the latest first."""
    undos = strand.undos[mark:]
    del strand.undos[mark:]
    params, root, declared = strand.params, strand.root, strand.declared
    for undo in reversed(undos):
        strand.params, strand.root, strand.declared = undo.params, undo.root, undo.declared
        try:
            yield from _clean_up(undo.node, strand, error)
        finally:
            strand.params, strand.root, strand.declared = params, root, declared


def _clean_up(
    node: Node, strand: Strand, error: BaseException | None
) -> Generator[Any, Any, BaseException | None]:
    """Run what no deadline and no stop reaches; give its failure, which comes after ``error``.

    After an error nothing of it is undone any more: it is how that was cleaned up.
    """
    ctx, outer, mark = strand.ctx, strand.scope, len(strand.undos)
    ctx.scope = Context(name="clean-up", clock=outer.clock)
    try:
        with _facing(ctx, error):
            if isinstance(node, Knot):
                yield from _tie(node, strand)
            else:
                yield from walk((node,), strand)
    except (StepError, Cancelled) as failure:  # nobody calls it off, but it may leave by itself
        if error is not None:
            error.add_note(f"cleaning up failed as well: {failure}")
            if isinstance(failure, StepError):
                strand.desk.note(ctx, failure)
        return failure
    finally:
        ctx.scope = outer
        if error is not None:
            del strand.undos[mark:]
    return None


@contextmanager
def _facing(ctx: Exec, error: BaseException | None) -> Iterator[None]:
    """Show steps the error that they are there for."""
    before, ctx.error = ctx.error, error
    try:
        yield
    finally:
        ctx.error = before
