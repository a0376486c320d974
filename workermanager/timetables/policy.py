"""What a schedule does about fires that were missed, or that come while it is busy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast, get_args

from instrumentation.errors import InvalidConfig

__all__ = ["MOST_WAITING", "Lost", "Misfire", "Overlap", "check_lost", "check_overlap"]

MOST_WAITING: Final = 1_000

Overlap: TypeAlias = Literal["skip", "queue-one", "queue", "cancel-running", "allow"]
"""What a fire does that comes while an earlier one of its schedule runs or waits."""

Lost: TypeAlias = Literal["report", "rerun"]
"""What becomes of a run whose process died."""

_ALL: Final = re.compile(r"all(?:\((\d+)\))?")


@dataclass(frozen=True, slots=True)
class Misfire:
    """How many of the fires that nobody saw when they were due are made up for.

    ``latest`` has one run for all of them, ``skip`` none; ``all`` has the ``limit`` latest run.
    """

    kind: Literal["latest", "skip", "all"] = "latest"
    limit: int = 1

    @classmethod
    def parse(cls, text: str, name: str = "misfire") -> Misfire:
        """Read ``latest``, ``skip``, ``all`` or ``all(20)``; ``name`` is what a refusal calls it.

        Raises:
            InvalidConfig: it is none of them.
        """
        given: object = text
        if isinstance(given, str):
            if given == "latest":
                return cls()
            if given == "skip":
                return cls("skip", 0)
            found = _ALL.fullmatch(given)
            if found and 1 <= (limit := int(found[1] or MOST_WAITING)) <= MOST_WAITING:
                return cls("all", limit)
        raise InvalidConfig(
            f"{name}: {given!r} is unknown; use latest, skip, all, "
            f"or all(20) with a number from 1 to {MOST_WAITING}"
        )

    def __str__(self) -> str:
        return f"all({self.limit})" if self.kind == "all" else self.kind


def check_overlap(text: str, name: str = "overlap") -> Overlap:
    """The policy, if it is one.

    Raises:
        InvalidConfig: it is not.
    """
    return cast("Overlap", _check_known(text, get_args(Overlap), name))


def check_lost(text: str, name: str = "lost") -> Lost:
    """The policy, if it is one.

    Raises:
        InvalidConfig: it is not.
    """
    return cast("Lost", _check_known(text, get_args(Lost), name))


def _check_known(text: str, known: tuple[str, ...], name: str) -> str:
    if text not in known:
        raise InvalidConfig(f"{name}: {text!r} is unknown; use {', '.join(known)}")
    return text
