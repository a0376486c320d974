"""Lines of text that fit a terminal: cut, padded, side by side, in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.cli.charts import Line, Span

__all__ = [
    "ROOM",
    "TableColumn",
    "beside",
    "crop",
    "cut_inside",
    "flow",
    "pad",
    "shorten",
    "tabulate",
    "width_of",
]

ROOM: Final = 12  # for what stands before a line: its label
_GAP: Final = "  "
_NAME: Final = 20  # tells most names apart, cut or not
_MORE: Final = len(_GAP) + len("and 99,999 more")


class TableColumn(NamedTuple):
    """A column of figures. Where there is no room, the one of the highest ``spare`` goes first.

    One of ``spare`` 0 stays.
    """

    title: str
    cells: Sequence[Span]
    spare: int = 0

    @property
    def width(self) -> int:
        """As wide as its widest cell, and no less than most, or it would jump about."""
        return max(len(self.title), 6, *(len(text) for text, _ in self.cells))


def width_of(line: Line) -> int:
    """How many cells of the terminal a line takes."""
    return sum(cell_len(text) for text, _ in line)


def crop(line: Line, width: int) -> Line:
    """As much of a line as fits; ``…`` stands for the rest."""
    if width_of(line) <= width:
        return line
    kept: Line = []
    room = width - 1
    for text, ink in line:
        if cell_len(text) > room:
            kept.append((set_cell_size(text, max(0, room)) + "…" * (width > 0), ink))
            break
        kept.append((text, ink))
        room -= cell_len(text)
    return kept


def shorten(text: str, width: int) -> str:
    """As much of a text as fits; ``…`` stands for the rest."""
    return "".join(part for part, _ in crop([(text, "")], width))


def cut_inside(text: str, width: int) -> str:
    """As much of a name's beginning and end as fits: numbered ones differ in their ends."""
    end = width // 3
    if cell_len(text) <= width or end < 1:
        return text
    return shorten(text, width - end) + set_cell_size(text[-end:], end)


def pad(line: Line, width: int) -> Line:
    """A line that is exactly so wide."""
    line = crop(line, width)
    return [*line, (" " * (width - width_of(line)), "")]


def beside(left: Sequence[Line], right: Sequence[Line], width: int, gap: int) -> list[Line]:
    """Two blocks of as many lines, each ``width`` wide."""
    return [
        [*pad(one, width), (" " * gap, ""), *crop(other, width)]
        for one, other in zip(left, right, strict=True)
    ]


def flow(label: str, items: Sequence[Line], width: int, most: int = 1_000) -> list[Line]:
    """Items one after the other behind a label, on at most so many lines."""
    lines: list[Line] = []
    line: Line = [(f"{label:<{ROOM}}", "dim")]
    is_new = True
    for place, item in enumerate(items):
        is_last = place == len(items) - 1
        room = width - (_MORE if len(lines) == most - 1 and not is_last else 0)
        if not is_new and width_of(line) + len(_GAP) + width_of(item) > room:
            if len(lines) == most - 1:
                line = [*line, (f"{_GAP}and {len(items) - place:,} more", "dim")]
                break
            lines.append(line)
            line, is_new = [(" " * ROOM, "")], True
        line = [*line, *([] if is_new else [(_GAP, "")]), *item]
        is_new = False
    return [crop(one, width) for one in [*lines, line]] if items else []


def tabulate(names: Sequence[Span], columns: Sequence[TableColumn], width: int) -> list[Line]:
    """Names at the left, figures in columns at the right; the first line is the titles.

    Where there is no room, long names are cut first, then columns left out.
    """
    columns = list(columns)
    longest = max((cell_len(name) for name, _ in names), default=0)
    while True:
        room = width - sum(column.width + len(_GAP) for column in columns)
        spare = max(columns, key=lambda column: column.spare)
        if room >= min(longest, _NAME) or not spare.spare:
            break
        columns.remove(spare)
    room = min(max(room, 8), longest)
    lines: list[Line] = [
        [(" " * room, ""), *((f"{_GAP}{one.title:>{one.width}}", "dim") for one in columns)]
    ]
    for row, (name, ink) in enumerate(names):
        cells = [(one.cells[row], one.width) for one in columns]
        figures = [(f"{_GAP}{text:>{wide}}", cell_ink) for (text, cell_ink), wide in cells]
        lines.append([*pad([(cut_inside(name, room), ink)], room), *figures])
    return [crop(line, width) for line in lines]
