"""The parts of a chain at their places: steps as links, compositions as knots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from instrumentation.composing import Composition
    from instrumentation.steps import Limiter, Retry, StepFunction

__all__ = ["Knot", "Link", "Node", "Wrap", "every_node", "links_of"]

_PLAIN: Final = (None, None, None, False)


class Link(NamedTuple):
    """A step at its place: ``name`` is unique in the declared chain, ``path`` in the exec."""

    fn: StepFunction
    name: str
    path: str
    retry: Retry | None = None
    timeout: float | None = None
    limit: Limiter | None = None
    is_async: bool = False

    @property
    def is_plain(self) -> bool:
        """True if it is only called, and that is all."""
        return self[3:] == _PLAIN


@dataclass(frozen=True, slots=True)
class Knot:
    """A composition at its place, with its members at theirs.

    A group has a member for each part, a chain as well; what is done for each item is one member,
    whose path has ``*`` for the item's number. ``branch`` has the predicate (with the number 0),
    then, and otherwise; ``on_error`` the part and its handler; ``compensate`` the part and what
    undoes it.
    """

    part: Composition
    name: str
    path: str
    members: tuple[Node, ...]


Node: TypeAlias = Link | Knot
Wrap: TypeAlias = "Callable[[StepFunction], StepFunction]"


def every_node(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes and all below them, in the order they are declared."""
    for node in nodes:
        yield node
        if isinstance(node, Knot):
            yield from every_node(node.members)


def links_of(nodes: Sequence[Node]) -> tuple[Link, ...]:
    """The steps among the nodes and below them, in the order they are declared."""
    return tuple(node for node in every_node(nodes) if isinstance(node, Link))
