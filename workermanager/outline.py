"""A chain as an outline: what each of its parts is, in JSON-ready values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TypedDict

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
from instrumentation.nodes import Link
from workermanager.durations import format_duration
from workermanager.limits import Limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instrumentation.nodes import Node
    from instrumentation.steps import Limiter, Retry

__all__ = ["Part", "outline"]

_KINDS: Final[dict[type[Composition], str]] = {
    Branch: "branch",
    Chained: "chain",
    Compensated: "compensate",
    Each: "each",
    Finally: "finally",
    Group: "group",
    Recovered: "on_error",
}
_ROLES: Final[dict[type[Composition], tuple[str, ...]]] = {
    Branch: ("if", "then", "otherwise"),
    Compensated: ("", "undo"),
    Recovered: ("", "handler"),
}


class Part(TypedDict):
    """A part of a chain. ``name`` is what it is called in figures, ``path`` where it stands.

    ``kind`` is step, or the function that makes such a composition; ``role`` is what it is for in
    the composition around it. ``settings`` has what was set, or is so unless set.
    """

    name: str
    kind: str
    path: str
    role: str
    settings: dict[str, Any]
    parts: list[Part]


def outline(name: str, nodes: Sequence[Node]) -> Part:
    """The outline of a whole chain, with the parts below it."""
    parts = [_part(node) for node in nodes]
    return Part(name=name, kind="chain", path=name, role="", settings={}, parts=parts)


def _part(node: Node, role: str = "") -> Part:
    if isinstance(node, Link):
        kind, settings = "step", _of_step(node)
        parts = []
    else:
        whole = type(node.part)
        kind, settings = _KINDS[whole], _of_composition(node.part)
        roles = _ROLES.get(whole, ("",) * len(node.members))
        parts = [_part(*member) for member in zip(node.members, roles, strict=False)]
    given = {key: value for key, value in settings.items() if value is not None}
    return Part(name=node.name, kind=kind, path=node.path, role=role, settings=given, parts=parts)


def _of_step(link: Link) -> dict[str, Any]:
    return {
        "command": _program(link.fn),
        "async": link.is_async or None,
        "retry": None if link.retry is None else _attempts(link.retry),
        "timeout": _seconds(link.timeout),
        "limit": None if link.limit is None else _limit(link.limit),
    }


def _of_composition(part: Composition) -> dict[str, Any]:
    match part:
        case Group(most=most, errors=errors, into=into, timeout=timeout):
            settings = {"most": most, "errors": errors, "into": into}
        case Each(most=most, errors=errors, into=into, timeout=timeout):
            over = part.over if isinstance(part.over, str) else _called(part.over)
            settings = {"over": over, "item": part.item}
            settings |= {"most": most, "errors": errors, "into": into}
        case Recovered(when=when):
            kinds = when if isinstance(when, tuple) else (when,)
            return {"when": " or ".join(kind.__name__ for kind in kinds)}
        case Chained(timeout=timeout):
            settings = {}
        case _:
            return {}
    return {**settings, "timeout": _seconds(timeout)}


def _attempts(retry: Retry) -> str:
    attempts = f"{retry.attempts:,} attempt{'s' if retry.attempts > 1 else ''}"
    return attempts if retry.deadline is None else f"{attempts} in {_seconds(retry.deadline)}"


def _seconds(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(round(seconds * 1e9))


def _limit(limit: Limiter) -> str:
    if not isinstance(limit, Limit):
        return limit.name
    weight = f", weight {limit.weight}" if limit.weight > 1 else ""
    return f"{limit.name} ({limit}{weight})"


def _program(fn: object) -> str | None:
    """The program, if it is a Command; without them, they are not imported."""
    commands = sys.modules.get("instrumentation.commands")
    return fn.command if commands is not None and isinstance(fn, commands.Command) else None


def _called(fn: object) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
