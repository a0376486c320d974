"""The way of an exec through its chain: what comes next, what is undone, what is merged.

A walk is a generator. It yields what is to be done (`Call` a step, `Pause`, `Enter` a limit, `Join`
members that run at the same time) to whatever drives it, on threads, on an event loop or in a
test, and is sent what came of it. It starts no thread and waits for nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from instrumentation.chains import DEEPEST, follow, place
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
from instrumentation.errors import Cancelled, InvalidStep, StepError, text_of
from instrumentation.nodes import Knot, Link
from workermanager.cancelling import Context
from workermanager.joining import Join
from workermanager.stepping import failed_step, own_timeout, take_step, too_long
from workermanager.strands import Strand, Undo

if TYPE_CHECKING:
    from instrumentation.execution import Exec
    from instrumentation.nodes import Node
    from instrumentation.steps import Step
    from workermanager.strands import Walk, Wanted, Way
    from workermanager.telemetry import StepFigures

__all__ = ["walk", "walk_exec"]


def walk_exec(nodes: Sequence[Way], strand: Strand, own: Context | None) -> Walk:
    """The whole way of an exec; ``own`` is its own deadline, if it has one."""
    try:
        yield from walk(nodes, strand)
    except Cancelled as cancelled:
        late = own_timeout(own, cancelled)
        if late is None:
            raise
        raise too_long(strand.root, late, cancelled) from late


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
        yield from _clean_up_all(strand, mark, finals, error)
        raise
    first = None
    for final in finals:
        failed = yield from _clean_up(final, strand, first)
        first = first or failed
    if first is not None:
        yield from _clean_up_all(strand, mark, [], first)
        raise first


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
        returned = yield from take_step(node, strand)
        if returned is not None and returned is not strand.params:
            try:
                pending.extend(reversed(follow(returned, strand.params, node.name)))
            except Exception as error:
                raise failed_step(node, strand, error) from error


def _place_grown(part: Step | Composition, strand: Strand) -> Node:
    """A part that joined the chain as it ran, at its place."""
    strand.ctx.grown += 1
    number = strand.places + strand.ctx.grown
    try:
        return place((part,), strand.declared, number, strand.wrap)[0]
    except InvalidStep as error:
        raise StepError(f"{strand.root}/{number}/{part.name}", 1, error, part.name) from error


# Compositions


def _tie(knot: Knot, strand: Strand) -> Walk:
    """Run a composition within its own deadline, and time it."""
    ctx, begun = strand.ctx, strand.desk.now()
    outer, path = strand.scope, strand.path_of(knot.path)
    if strand.depth > DEEPEST:
        raise StepError(path, 1, InvalidStep(f"nested more than {DEEPEST} levels deep"), knot.name)
    strand.depth += 1
    timeout = getattr(knot.part, "timeout", None)
    own = None if timeout is None else Context(outer, timeout=timeout, name=path)
    ctx.scope = own or outer
    try:
        yield from _TIES[type(knot.part)](knot, strand)
    except Cancelled as cancelled:
        late = own_timeout(own, cancelled)
        if late is None:
            raise
        figures = _record(knot, strand, begun)
        figures.failed += 1
        figures.timed_out += 1
        raise too_long(path, late, cancelled, knot.name) from late
    except StepError:
        _record(knot, strand, begun).failed += 1
        raise
    else:
        _record(knot, strand, begun)
    finally:
        strand.depth -= 1
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
            _begin_member(strand, number, node, knot, str(number), scope)
            for number, node in enumerate(knot.members, 1)
        ]
        most = min(part.most or len(members), len(members))
        is_collecting = part.errors == "collect"
        join = Join(iter(members), most, scope, is_collecting=is_collecting, is_kept=_always)
        yield from _join(join, strand, part.into, is_merging=True, without="")


def _begin_member(  # noqa: PLR0913, PLR0917 - what a member is
    strand: Strand, number: int, node: Node, knot: Knot, sign: str, scope: Context
) -> Strand:
    member = strand.member(number, knot, sign, scope)
    member.walk = walk((node,), member)
    return member


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
                member = _begin_member(strand, number, knot.members[0], knot, "*", scope)
                member.params[part.item] = item
                yield member

        join = Join(
            members(),
            part.most,
            scope,
            is_collecting=part.errors == "collect",
            is_kept=_always if part.into is not None else _has_left_something,
        )
        yield from _join(join, strand, part.into, is_merging=False, without=part.item)


def _always(_member: Strand) -> bool:
    return True


def _has_left_something(member: Strand) -> bool:
    """Of a million items, those that wrote nothing must not be remembered."""
    return bool(member.ctx.rows or member.undos)


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
        strand.ctx.adopt(member.ctx)
        if is_merging or into is not None:
            changes = member.params.changes_since(before, without)
            results.append(changes)
            if is_merging:
                strand.params.update(changes)
    if into is not None:
        strand.params[into] = results


def _branch(knot: Knot, strand: Strand) -> Walk:
    predicate, then, *otherwise = knot.members
    assert isinstance(predicate, Link)  # noqa: S101 - for the type checker
    is_true = yield from take_step(predicate, strand)
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


def _clean_up_all(strand: Strand, mark: int, finals: Sequence[Node], error: BaseException) -> Walk:
    """Undo what was completed since the mark, the latest first; then run the finals.

    All of them, also where one fails or wants to leave the run (SystemExit): that is raised then.
    """
    undos = strand.undos[mark:]
    del strand.undos[mark:]
    failures = []
    params, root, declared = strand.params, strand.root, strand.declared
    for undo in reversed(undos):
        strand.params, strand.root, strand.declared = undo.params, undo.root, undo.declared
        try:
            failures.append((yield from _clean_up(undo.node, strand, error)))
        finally:
            strand.params, strand.root, strand.declared = params, root, declared
    for final in finals:
        failures += [(yield from _clean_up(final, strand, error))]
    for failure in failures:
        if failure is not None and not isinstance(failure, StepError | Cancelled):
            raise failure from error


def _clean_up(
    node: Node, strand: Strand, error: BaseException | None
) -> Generator[Wanted, Any, BaseException | None]:
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
    except GeneratorExit:
        raise
    except BaseException as failure:  # noqa: BLE001 - the others are run all the same
        if error is not None:
            error.add_note(f"cleaning up failed as well: {text_of(failure)}")
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
