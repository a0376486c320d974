"""Sets of execs as runs of consecutive numbers: a million in order are one pair."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Spans"]

_PAIR: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


class Spans:
    """A set of whole numbers, immutable, in ``pairs`` of a first number and the one past the last.

    Its text is ``0-499,503``, both ends included.
    """

    __slots__ = ("_before", "_firsts", "pairs")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.pairs = tuple(_join(sorted(pairs)))
        self._firsts = [first for first, _ in self.pairs]
        self._before = [0, *accumulate(end - first for first, end in self.pairs)]

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Self:
        """The set of these numbers."""
        return cls((number, number + 1) for number in numbers)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0-499,503``.

        Raises:
            ValueError: it is nothing of the kind.
        """
        return cls(_parse_pair(part) for part in text.split(",")) if text else cls()

    @classmethod
    def union(cls, sets: Iterable[Spans]) -> Self:
        """All numbers of all sets."""
        return cls(pair for one in sets for pair in one.pairs)

    @property
    def end(self) -> int:
        """One past the largest number; 0 if there is none."""
        return self.pairs[-1][1] if self.pairs else 0

    def gaps(self) -> Spans:
        """The numbers from 0 to the largest that are missing."""
        ends = [0, *(end for _, end in self.pairs)]
        return Spans((before, first) for before, first in zip(ends, self._firsts, strict=False))

    def slice(self, start: int, stop: int) -> Iterator[int]:
        """The numbers at these places, in order."""
        place = start
        while place < stop:
            pair = bisect_right(self._before, place) - 1
            first, end = self.pairs[pair]
            here = first + place - self._before[pair]
            last = min(end, here + stop - place)
            yield from range(here, last)
            place += last - here

    def __contains__(self, number: int) -> bool:
        pair = bisect_right(self._firsts, number) - 1
        return pair >= 0 and number < self.pairs[pair][1]

    def __len__(self) -> int:
        return self._before[-1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __str__(self) -> str:
        return ",".join(
            str(first) if end == first + 1 else f"{first}-{end - 1}" for first, end in self.pairs
        )

    def __repr__(self) -> str:
        return f"Spans({self})"


def _join(pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted pairs, with those that touch or overlap made one and the empty ones left out."""
    first = end = -1
    for next_first, next_end in pairs:
        if next_first >= next_end:
            continue
        if next_first > end:
            if end > first:
                yield first, end
            first, end = next_first, next_end
        else:
            end = max(end, next_end)
    if end > first:
        yield first, end


def _parse_pair(text: str) -> tuple[int, int]:
    match = _PAIR.fullmatch(text)
    if match is None:
        raise ValueError(f"no span of execs: {text!r}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"a span of execs that ends before it begins: {text!r}")
    return first, last + 1
