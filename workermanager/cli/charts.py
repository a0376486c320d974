"""Charts out of characters: columns in eighths of a line, a bar, and the numbers on an axis.

A line is a list of spans, a span a text and its ink: the name of what it stands for, which whoever
prints it turns into a style. No terminal is known here.
"""

from __future__ import annotations

from itertools import groupby
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Column", "Line", "Span", "compact", "draw_bar", "draw_columns", "frame", "round_up"]

Span: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Span]

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_SHADE: Final = "░"
_STEPS: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_SIZES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Column(NamedTuple):
    """One column: solid up to ``solid``, light from there to ``light``, and a mark above both."""

    solid: float
    light: float = 0.0
    mark: float = 0.0


def draw_columns(
    columns: Sequence[Column], *, rows: int, top: float, thick: int = 1, is_shaded: bool = False
) -> list[Line]:
    """Columns side by side, the upper line first; ``top`` is the value at their upper edge.

    Each is ``thick`` characters wide. The inks are ``solid``, ``light``, ``both`` (solid below,
    light as its ground) and ``mark``. Where there are no colours, ``is_shaded`` makes the light
    part a shade, by whole characters. What is not 0 is seen, however little it is. A mark is
    drawn only where it is at least half a line above its column: a plan that was kept to would
    cross out every column.
    """
    levels = [_levels(column, rows * 8, top) for column in columns]
    drawn = []
    for row in reversed(range(rows)):
        cells = [_cell(level, row * 8, is_shaded=is_shaded) for level in levels]
        drawn.append(
            [
                ("".join(char * thick for char, _ in group), ink)
                for ink, group in groupby(cells, key=lambda cell: cell[1])
            ]
        )
    return drawn


def _levels(column: Column, highest: int, top: float) -> tuple[int, int, int]:
    solid, light, mark = (
        ceil(min(1.0, value / top) * highest) if value > 0 and top > 0 else 0 for value in column
    )
    return solid, light, mark if mark - max(solid, light) >= 4 else 0  # noqa: PLR2004 - half a line


def _cell(levels: tuple[int, int, int], base: int, *, is_shaded: bool) -> Span:
    solid, light = (min(8, max(0, level - base)) for level in levels[:2])
    if not solid and not light:
        return ("─", "mark") if 0 < levels[2] - base <= 8 else (" ", "")  # noqa: PLR2004 - a line
    if solid == 8 or not light:  # noqa: PLR2004 - a full line
        return _BLOCKS[solid], "solid"
    if is_shaded:
        return (_BLOCKS[solid], "solid") if solid else (_SHADE, "light")
    if not solid:
        return _BLOCKS[light], "light"
    if light == 8:  # noqa: PLR2004 - a full line
        return _BLOCKS[solid], "both"
    return _BLOCKS[light], "light"  # solid, light and empty do not go into one character


def frame(drawn: Sequence[Line], top: str, caption: str, width: int) -> list[Line]:
    """Drawn columns with their axes: ``top`` and 0 at the left, ``caption`` at the foot's end.

    ``width`` is that of the columns' place, which they need not fill.
    """
    room = len(top)
    edges = [f"{top} ┤", *[f"{'':{room}} │"] * (len(drawn) - 1)]
    lines = [[(edge, "dim"), *line] for edge, line in zip(edges, drawn, strict=True)]
    foot = f"{'0':>{room}} └" + "─" * max(0, width - len(caption) - 1) + f" {caption}"
    return [*lines, [(foot, "dim")]]


def draw_bar(share: float, width: int) -> tuple[str, str]:
    """How much is done, and what is left of ``width`` characters; ``share`` is from 0 to 1."""
    halves = floor(min(1.0, max(0.0, share)) * width * 2)
    done = "━" * (halves // 2) + "╸" * (halves % 2)
    return done, "─" * (width - len(done))


def round_up(value: float) -> float:
    """The next number that reads well on an axis: 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 or 10 of a kind."""
    if value <= 0:
        return 1.0
    power = floor(log10(value))
    for step in _STEPS:
        # By the quotient where the power is negative: 3 * 0.1 is not 0.3.
        rounded = step * 10.0**power if power >= 0 else step / 10.0**-power
        if value <= rounded:
            return rounded
    return 10.0 ** (power + 1)


def compact(number: float) -> str:
    """A number in about three digits: ``0.5``, ``250``, ``1.5k``, ``2M``."""
    for size, unit in _SIZES:
        if number >= size * 0.9995:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004 - two digits
