"""A chain drawn as a tree: its parts with their numbers, and beside each what is set for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workermanager.outline import Part

__all__ = ["draw", "is_plain"]

_WIDEST: Final = 40  # what is longer pushes its own settings aside, and nobody else's
_WORDS: Final = {
    "command": "runs {}",
    "async": "async",
    "retry": "up to {}",
    "item": "as {}",
    "most": "{} at once",
    "errors": "{}s errors",
}
_UNSAID: Final = (("item", "item"), ("errors", "raise"), ("when", "Exception"))
_ASCII: Final = str.maketrans("├└─│µ", "|`-|u")


def is_plain(chain: Part) -> bool:
    """True if a list of paths says all there is to say of it."""
    return all(part["kind"] == "step" and not part["settings"] for part in chain["parts"])


def draw(chain: Part, *, is_ascii: bool = False) -> list[str]:
    """The tree, a part a line; ``is_ascii`` is for terminals that have no lines to draw with."""
    rows = [*_rows(chain, "")]
    widths = [cell_len(label) for label, _ in rows]
    room = max((width for width in widths if width <= _WIDEST), default=0)
    lines = [one_line(chain["name"])]
    for label, words in rows:
        gap = " " * (max(0, room - cell_len(label)) + 2)
        lines.append(f"{label}{gap}{words}" if words else label)
    return [line.translate(_ASCII) for line in lines] if is_ascii else lines


def _rows(part: Part, before: str) -> Iterator[tuple[str, str]]:
    """What stands at the left, and what is said of it, for each part below."""
    last = len(part["parts"]) - 1
    for place, one in enumerate(part["parts"]):
        number, _, _ = one["path"].removeprefix(f"{part['path']}/").partition("/")
        branch, trunk = ("├─ ", "│  ") if place < last else ("└─ ", "   ")
        yield f"{before}{branch}{number} {one_line(one['name'])}", _in_words(one)
        yield from _rows(one, before + trunk)


def _in_words(part: Part) -> str:
    kind = part["kind"]
    is_named = kind != "step" and part["name"].partition("#")[0] != kind
    words = [part["role"], kind if is_named else ""]
    words += [
        one_line(_WORDS.get(key, key + " {}").format(value))
        for key, value in part["settings"].items()
        if (key, value) not in _UNSAID
    ]
    return ", ".join(filter(None, words))
