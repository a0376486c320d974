"""What a chain means, in a few lines: everything one after the other, and nothing is clever."""

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace

from instrumentation.chains import as_instrumentation, follow, place
from instrumentation.composing import Branch, Compensated, Each, Finally, Group, Recovered
from instrumentation.errors import StepError
from instrumentation.nodes import Knot, Link
from instrumentation.params import TaskParams


@dataclass
class Stand:
    """Where a line of parts stands. ``lane`` are the members it is in, which others run beside."""

    params: TaskParams
    rows: list = field(default_factory=list)
    lane: tuple = ()
    error: StepError | None = None

    def restore(self, params, rows):
        self.params.clear()
        self.params.update(params)
        del self.rows[rows:]


class Model:
    """One exec of a chain, whose steps tell ``ctx.effects`` what they see, and write ``ctx.rows``.

    ``is_racing`` is True if it depends on the moment what becomes of the members of a group.
    """

    def __init__(self, chain, params):
        whole = as_instrumentation(chain)
        self.effects, self.steps, self.is_racing, self.error = [], {}, False, None
        at = Stand(TaskParams({**whole.task_arguments, **params}))
        try:
            self.line(whole.nodes(), at)
        except StepError as error:
            self.error = error
        self.params, self.rows = at.params, at.rows

    def line(self, nodes, at):
        """Parts one after the other; gives what would undo them."""
        finals = [one for one in nodes if isinstance(one, Knot) and isinstance(one.part, Finally)]
        left, done, failure = list(nodes[: len(nodes) - len(finals)]), [], None
        try:
            while left:
                left[:0] = self.part(left.pop(0), at, done)
        except StepError as error:
            self.undo(done, at, error)
            for final in finals:
                self.clean(final.members, replace(at, error=error))
            raise
        for final in finals:
            undos, failed = self.clean(final.members, replace(at, error=failure))
            done, failure = done + undos, failure or failed
        if failure is not None:
            self.undo(done, at, failure)
            raise failure
        return done

    def undo(self, done, at, error):
        for undo, params in reversed(done):
            self.clean([undo], replace(at, params=params, error=error))

    def clean(self, nodes, at):
        """Parts after all others: what would undo them if all went well, and their failure.

        That is noted on the error that they are there for.
        """
        try:
            done = self.line(nodes, at)
        except StepError as another:
            if at.error is not None:
                at.error.add_note(another.path)
            return [], another
        return ([] if at.error else done), None

    def part(self, node, at, done):
        """One part; gives the parts that it has grown."""
        if isinstance(node, Link):
            return self.step(node, at)
        match node.part, node.members:
            case (Group() | Each(), _):
                self.join(node, at, done)
            case (Compensated(), (body, undo)):
                done += self.line([body], at)
                done.append((undo, at.params.clone()))
            case (Branch(), (question, *sides)):
                done += self.line(sides[:1] if self.attempt(question, at) else sides[1:], at)
            case (Recovered(when=when), (body, handler)):
                before, rows = at.params.clone(), len(at.rows)
                try:
                    done += self.line([body], at)
                except StepError as error:
                    if not isinstance(error.cause, when):
                        raise
                    at.restore(before, rows)
                    done += self.line([handler], replace(at, error=error))
            case _:
                at.params.update(getattr(node.part, "arguments", {}))
                done += self.line(node.members, at)
        return []

    def join(self, node, at, done):
        """Members, each from a clone of the params; what they changed comes together at the end."""
        part, came, changed, rows = node.part, [], {}, []
        try:
            members = _members(node, at.params)
        except Exception as error:
            raise StepError(node.path, 1, error) from error
        for number, (member, params) in enumerate(members):
            lane = at.lane if part.most == 1 else (*at.lane, (node.path, number))
            own = Stand(params.clone(), lane=lane, error=at.error)
            try:
                done += self.line([member], own)
            except StepError as error:
                came.append(error)
                if part.errors == "raise":
                    self.is_racing |= part.most != 1 and len(members) > 1
                    raise
            else:
                came.append(own.params.changes_since(params))
                changed.update(came[-1])
                rows += own.rows
        at.rows += rows
        at.params.update(changed if isinstance(part, Group) else {})
        at.params.update({} if part.into is None else {part.into: came})

    def step(self, link, at):
        returned = self.attempt(link, at)
        try:
            grown = follow(returned, at.params, link.name)
            return place(grown, "grown")
        except Exception as error:
            self.steps[link.name].update(ok=-1, failed=1)
            raise StepError(link.path, 1, error) from error

    def attempt(self, link, at):
        """Call a step until it succeeds, or is not to be tried again."""
        count, before = self.steps.setdefault(link.name, Counter()), at.params.clone()
        rows, number = len(at.rows), 0
        while True:
            number += 1
            ctx = SimpleNamespace(path=link.path, attempt=number, error=at.error, rows=at.rows)
            ctx.effects, ctx.lane = self.effects, at.lane
            try:
                returned = link.fn(ctx, at.params)
            except Exception as error:
                is_last = not link.retry or link.retry.wait(number, 0, error, Random(0)) is None
                count["failed" if is_last else "retried"] += 1
                if is_last and error is at.error:
                    raise
                if is_last:
                    raise StepError(link.path, number, error) from error
                at.restore(before, rows)
            else:
                count["ok"] += 1
                return returned


def _members(node, params):
    """The members of a group or an each, with the params that they begin with."""
    if isinstance(node.part, Group):
        return [(member, params) for member in node.members]
    over, (body,) = node.part.over, node.members
    items = over(params) if callable(over) else params[over]
    return [
        (
            _moved(body, f"{node.path}/*", f"{node.path}/{number}"),
            TaskParams({**params, node.part.item: item}),
        )
        for number, item in enumerate(items, 1)
    ]


def _moved(node, star, place):
    """A part with all in it at another place."""
    path = place + node.path.removeprefix(star)
    if isinstance(node, Link):
        return node._replace(path=path)
    members = tuple(_moved(member, star, place) for member in node.members)
    return replace(node, path=path, members=members)
