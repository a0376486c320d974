"""When execs are due: exact integer arithmetic on nanoseconds since the run began.

No time is read and no thread is known here. n counts arrivals from 0 and is an exec's identity
whatever the spread. The even spread is ``t(n) = floor(n · tick / execs)``, never a sum of periods,
so it cannot drift; a run of k execs a tick for m ticks has exactly k·m arrivals, all of them
before the last tick ends.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from instrumentation.seeds import seeded_random

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "SPREADS",
    "Arrivals",
    "Burst",
    "InOrder",
    "Layout",
    "Poisson",
    "Spread",
    "Steady",
    "Varied",
    "arrivals",
    "bend",
    "lay_out",
]

Spread: TypeAlias = Literal["even", "burst", "poisson"]
SPREADS: Final[tuple[Spread, ...]] = ("even", "burst", "poisson")


class Arrivals(Protocol):
    """The arrivals of a run. ``total`` and ``ticks`` are None where the run has no end."""

    @property
    def total(self) -> int | None:
        """How many arrivals there are."""
        ...

    @property
    def ticks(self) -> int | None:
        """How many ticks there are."""
        ...

    @property
    def tick_ns(self) -> int:
        """How long a tick is."""
        ...

    def due_ns(self, n: int) -> int:
        """When arrival n is due."""
        ...

    def due_by(self, elapsed_ns: int) -> int:
        """How many arrivals are due at ``elapsed_ns`` or before: the inverse of `due_ns`."""
        ...

    def slice(self, start: int, stop: int) -> Iterator[int]:
        """The n of the arrivals at these places in line: the places themselves, unless resumed.

        Threads may share the iterator; each n comes out of it once.
        """
        ...

    def place(self, n: int) -> tuple[int, int]:
        """The tick that arrival n is counted to, and its place in it, both from 0."""
        ...

    def first_of(self, tick: int) -> int:
        """The first n of a tick."""
        ...

    def tick_at(self, elapsed_ns: int) -> int:
        """The tick that is on at a moment; after the end the last one, of ticks of no length 0."""
        ...


class Layout(Arrivals, Protocol):
    """Arrivals spread evenly, which the other spreads are bent from."""

    def moment(self, count: float) -> int:
        """When the even spread has let ``count`` arrivals pass: `due_ns` for fractions too."""
        ...


class InOrder:
    """Arrivals that stand in line in the order of their n, with none left out."""

    __slots__ = ()

    def slice(self, start: int, stop: int) -> Iterator[int]:
        return iter(range(start, stop))


class Steady(InOrder):
    """The same number of execs on every tick, spread evenly; without ``ticks``, for ever."""

    __slots__ = ("execs", "tick_ns", "ticks", "total")

    def __init__(self, execs: int, ticks: int | None, tick_ns: int) -> None:
        self.execs = execs
        self.ticks = ticks
        self.tick_ns = tick_ns
        self.total = None if ticks is None else execs * ticks

    def due_ns(self, n: int) -> int:
        return n * self.tick_ns // self.execs

    def due_by(self, elapsed_ns: int) -> int:
        if elapsed_ns < 0:
            return 0
        if not self.tick_ns:
            return self.total or 0
        # floor(n·T/k) <= e  <=>  n·T < (e+1)·k  <=>  n < ceil((e+1)·k / T)
        count = -(-(elapsed_ns + 1) * self.execs // self.tick_ns)
        return count if self.total is None else min(count, self.total)

    def place(self, n: int) -> tuple[int, int]:
        return divmod(n, self.execs)

    def first_of(self, tick: int) -> int:
        return tick * self.execs

    def tick_at(self, elapsed_ns: int) -> int:
        tick = elapsed_ns // self.tick_ns if self.tick_ns else 0
        return tick if self.ticks is None else min(tick, self.ticks - 1)

    def moment(self, count: float) -> int:
        return int(count * self.tick_ns / self.execs)


class Varied(InOrder):
    """A number of execs for each tick (0 is a pause), spread evenly over their own tick."""

    __slots__ = ("_firsts", "execs", "tick_ns", "ticks", "total")

    def __init__(self, execs: Sequence[int], tick_ns: int) -> None:
        self.execs = tuple(execs)
        self.ticks = len(self.execs)
        self.tick_ns = tick_ns
        self._firsts = (0, *accumulate(self.execs))
        self.total = self._firsts[-1]

    def due_ns(self, n: int) -> int:
        tick, place = self.place(n)
        return tick * self.tick_ns + place * self.tick_ns // self.execs[tick]

    def due_by(self, elapsed_ns: int) -> int:
        if elapsed_ns < 0:
            return 0
        tick, into = divmod(elapsed_ns, self.tick_ns) if self.tick_ns else (self.ticks, 0)
        if tick >= self.ticks:
            return self.total
        execs = self.execs[tick]
        return self._firsts[tick] + min(execs, -(-(into + 1) * execs // self.tick_ns))

    def place(self, n: int) -> tuple[int, int]:
        tick = bisect_right(self._firsts, n) - 1
        return tick, n - self._firsts[tick]

    def first_of(self, tick: int) -> int:
        return self._firsts[tick]

    def tick_at(self, elapsed_ns: int) -> int:
        return min(elapsed_ns // self.tick_ns, self.ticks - 1) if self.tick_ns else 0

    def moment(self, count: float) -> int:
        tick, place = self.place(int(count))
        into = place + count % 1
        return tick * self.tick_ns + int(into * self.tick_ns / self.execs[tick])


class _Bent(InOrder):
    """A layout whose execs come at other moments; ticks and places stay."""

    __slots__ = ("layout",)

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def total(self) -> int | None:
        return self.layout.total

    @property
    def ticks(self) -> int | None:
        return self.layout.ticks

    @property
    def tick_ns(self) -> int:
        return self.layout.tick_ns

    def place(self, n: int) -> tuple[int, int]:
        return self.layout.place(n)

    def first_of(self, tick: int) -> int:
        return self.layout.first_of(tick)

    def tick_at(self, elapsed_ns: int) -> int:
        return self.layout.tick_at(elapsed_ns)


class Burst(_Bent):
    """All execs of a tick at its start, as go-workers has it."""

    __slots__ = ()

    def due_ns(self, n: int) -> int:
        return self.layout.place(n)[0] * self.layout.tick_ns

    def due_by(self, elapsed_ns: int) -> int:
        if elapsed_ns < 0:
            return 0
        tick_ns, ticks = self.layout.tick_ns, self.layout.ticks
        begun = elapsed_ns // tick_ns + 1 if tick_ns else ticks or 0
        return self.layout.first_of(begun if ticks is None else min(begun, ticks))


_BLOCK: Final = 1_024


class Poisson(_Bent):
    """A seeded Poisson process at the layout's rate, random access in bounded memory.

    A run with an end gets exactly its ``total``, all before the end: the process given its count,
    which is ``total`` independent uniform moments in order. The gaps come in blocks: a block of b
    gaps lasts Gamma(b), and inside it the moments are again uniform (L. Devroye, Non-Uniform
    Random Variate Generation, 1986, V.2-3 and VI.1). The tick of an exec is the one it is counted
    to; its moment may fall in a neighbouring one.
    """

    __slots__ = ("_blocks", "_due", "_scale", "_seed", "_starts")

    def __init__(self, layout: Layout, seed: int) -> None:
        super().__init__(layout)
        self._seed = seed
        self._starts = [0.0]
        self._blocks: dict[int, list[float]] = {}
        self._due = 0
        self._scale = 1.0
        if layout.total:
            blocks, rest = divmod(layout.total, _BLOCK)
            self._extend_to(blocks)
            end = self._starts[-1] + self._length(blocks, rest + 1)
            self._scale = layout.total / end * (1 - 1e-12)  # rounding must not reach the end

    def due_ns(self, n: int) -> int:
        block, place = divmod(n, _BLOCK)
        return self.layout.moment(self._moments(block)[place] * self._scale)

    def due_by(self, elapsed_ns: int) -> int:
        # Asked for moments near the last one: gallop back, then on, from its answer, then halve.
        total = self.layout.total
        low, stride = self._due, 1
        while low and self.due_ns(low - 1) > elapsed_ns:
            low, stride = max(0, low - stride), stride * 2
        stride = 1
        while (total is None or low < total) and self.due_ns(low) <= elapsed_ns:
            high = low + stride if total is None else min(low + stride, total)
            if self.due_ns(high - 1) > elapsed_ns:
                low += bisect_right(range(low, high), elapsed_ns, key=self.due_ns)
                break
            low, stride = high, stride * 2
        self._due = low
        return low

    def _moments(self, block: int) -> list[float]:
        moments = self._blocks.get(block)
        if moments is None:
            moments = self._draw(block)
            if len(self._blocks) >= 8:  # noqa: PLR2004 - the few blocks that threads are in
                self._blocks.clear()
            self._blocks[block] = moments
        return moments

    def _draw(self, block: int) -> list[float]:
        self._extend_to(block)
        total = self.layout.total
        arrivals_here = _BLOCK if total is None else min(_BLOCK, total - block * _BLOCK)
        is_full = arrivals_here == _BLOCK
        length = self._length(block, _BLOCK if is_full else arrivals_here + 1)
        random = seeded_random(self._seed, "poisson", block, "moments")
        start = self._starts[block]
        inside = arrivals_here - 1 if is_full else arrivals_here
        moments = sorted(start + length * random.random() for _ in range(inside))
        return [*moments, start + length] if is_full else moments

    def _extend_to(self, block: int) -> None:
        # Threads need no lock here: whoever hands out arrivals asks `due_by` first, under its own,
        # so every block that is asked for later has its start already.
        while len(self._starts) <= block:
            last = len(self._starts) - 1
            self._starts.append(self._starts[last] + self._length(last, _BLOCK))

    def _length(self, block: int, gaps: int) -> float:
        return seeded_random(self._seed, "poisson", block, "length").gammavariate(gaps, 1.0)


def arrivals(
    execs: int | Sequence[int], ticks: int | None, tick_ns: int, spread: Spread, seed: int
) -> Arrivals:
    """The arrivals of a plan: ``execs`` for every tick (an int), or one number for each tick."""
    return bend(lay_out(execs, ticks, tick_ns), spread, seed)


def lay_out(execs: int | Sequence[int], ticks: int | None, tick_ns: int) -> Layout:
    """The even spread of ``execs`` for every tick (an int), or of one number for each tick."""
    return Steady(execs, ticks, tick_ns) if isinstance(execs, int) else Varied(execs, tick_ns)


def bend(layout: Layout, spread: Spread, seed: int) -> Arrivals:
    """The arrivals of a layout at other moments: those of ``spread``."""
    if spread == "burst":
        return Burst(layout)
    if spread == "poisson" and layout.tick_ns:
        return Poisson(layout, seed)
    return layout
