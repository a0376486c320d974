"""What is left of a run's arrivals once some of its execs are durable. Pure arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workermanager.clock import Arrivals
    from workermanager.spans import Spans

__all__ = ["Remaining"]


class Remaining:
    """The arrivals of ``whole`` without those that are ``done``, for a run that is resumed.

    Whatever is missing before the furthest durable exec is due at once; from there on the plan
    goes on at its own pace, as if the run had been paused. n stays an exec's identity, so `due_ns`
    and `place` take the n of the whole plan, and `slice` gives it.
    """

    __slots__ = ("_gaps", "_next", "_pause", "whole")

    def __init__(self, whole: Arrivals, done: Spans) -> None:
        self.whole = whole
        self._gaps = done.gaps()
        self._next = done.end
        is_over = whole.total is not None and self._next >= whole.total
        self._pause = 0 if is_over or not self._next else whole.due_ns(self._next)

    @property
    def total(self) -> int | None:
        if self.whole.total is None:
            return None
        return len(self._gaps) + self.whole.total - self._next

    @property
    def ticks(self) -> int | None:
        return self.whole.ticks

    @property
    def tick_ns(self) -> int:
        return self.whole.tick_ns

    def due_ns(self, n: int) -> int:
        return max(0, self.whole.due_ns(n) - self._pause) if n >= self._next else 0

    def due_by(self, elapsed_ns: int) -> int:
        if elapsed_ns < 0:
            return 0
        begun = self.whole.due_by(elapsed_ns + self._pause) - self._next
        return len(self._gaps) + max(0, begun)

    def slice(self, start: int, stop: int) -> Iterator[int]:
        gaps = len(self._gaps)
        if start >= gaps:
            offset = self._next - gaps
            return iter(range(start + offset, stop + offset))
        late = self._gaps.slice(start, min(stop, gaps))
        # A list, because threads may share what this gives: a generator cannot be shared.
        return iter([*late, *range(self._next, self._next + stop - gaps)])

    def place(self, n: int) -> tuple[int, int]:
        return self.whole.place(n)

    def first_of(self, tick: int) -> int:
        return self.whole.first_of(tick)

    def tick_at(self, elapsed_ns: int) -> int:
        return self.whole.tick_at(elapsed_ns + self._pause)
