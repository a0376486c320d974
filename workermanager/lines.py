"""When execs are due on a rate line: exact integers, however the rate rises and falls.

N(t), the integral of the rate from 0 to t, is on each segment of the line a polynomial of degree 2
or less, and ``M·N(t) = P + Q·t + R·t²`` has integer coefficients. Arrival n is due at the last
whole nanosecond t with N(t) <= n, which the integer square root gives exactly:
``floor((√x + C) / E) = (isqrt(x) + C) // E`` for whole x, C and E > 0.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from math import ceil, isqrt, lcm
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from workermanager.clock import InOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Line", "Segment", "integral"]

_SHIFT: Final = 40  # fractions of an arrival are counted in 2^-40: 3 ns at one exec an hour
_ALMOST: Final = (1 << _SHIFT) - 1  # what rounds up


class Segment(NamedTuple):
    """A straight piece of a rate line, in nanoseconds and execs per nanosecond.

    ``duration_ns`` is None for a last one that goes on for ever, at a constant rate above 0.
    """

    duration_ns: int | None
    begin: Fraction
    end: Fraction


# Exact tuples: the interpreter unpacks a NamedTuple the slow way, 80 ns each time.
_Polynomial: TypeAlias = tuple[int, int, int, int]
"""N(t) on one segment as p, q, r, m: ``(p + q·t + r·t²) / m``, with t since the run began."""

_Inverse: TypeAlias = tuple[int, int, int, int, int]
"""The last t with N(t) <= n as a, b, c, e and the sign of the rate's slope.

It is ``(√(a·n + b) + c) // e`` where the rate rises, ``(c - √(a·n + b)) // e`` where it falls, and
``(a·n + b) // e`` where it is constant.
"""


def integral(segments: Sequence[Segment]) -> Fraction | None:
    """How many execs a line makes, before that is rounded up; None if it goes on for ever."""
    passed = Fraction(0)
    for duration, begin, end in segments:
        if duration is None:
            return None
        passed += (begin + end) * duration / 2
    return passed


class Line(InOrder):
    """Arrivals spread evenly along a rate line: a `clock.Layout`.

    The number of arrivals up to any moment is the integral of the rate up to then, rounded up.
    None falls into a pause, and all are due before the line ends, at ``end_ns`` (None: never).
    ``count`` ends the line earlier, after so many arrivals. Ticks only number the execs here:
    ``tick_ns`` is above 0.

    Threads may share it: what changes is one tuple, which is replaced as a whole.
    """

    __slots__ = (
        "_begins",
        "_firsts",
        "_inverses",
        "_most",
        "_polynomials",
        "_scale",
        "_shifted",
        "_tick",
        "end_ns",
        "tick_ns",
        "ticks",
        "total",
    )

    def __init__(self, segments: Sequence[Segment], tick_ns: int, count: int | None = None) -> None:
        self.tick_ns = tick_ns
        self._begins: list[int] = []
        self._polynomials: list[_Polynomial] = []
        self._inverses: list[_Inverse | None] = []  # None where no arrival is due
        self._firsts: list[int] = []
        self._shifted: list[int] = []
        at, passed = 0, Fraction(0)
        for segment in segments:
            if segment.duration_ns == 0:
                continue
            self._add(segment, at, passed)
            if segment.duration_ns is None:
                break
            at += segment.duration_ns
            passed += (segment.begin + segment.end) * segment.duration_ns / 2
        is_endless = segments[-1].duration_ns is None
        planned = None if is_endless else ceil(passed)
        is_cut = count is not None and (planned is None or count < planned)
        self.total = count if is_cut else planned
        self.end_ns = None if is_endless else at
        self._tick = (0, 0, 0)
        self._most: int | None = None
        self._scale = float(1 << _SHIFT)
        if self.total:
            length = Fraction(self.total) if is_cut else passed
            self._most = ceil(length * (1 << _SHIFT)) - 1
            self._scale *= float(length / self.total)
        self.ticks = self._count_ticks(is_cut=is_cut)

    def _add(self, segment: Segment, at: int, passed: Fraction) -> None:
        """Take a segment that begins at ``at``, when ``passed`` arrivals have gone by."""
        duration, begin, end = segment
        bend = Fraction(0) if duration is None else (end - begin) / (2 * duration)
        terms = (passed - begin * at + bend * at * at, begin - 2 * bend * at, bend)
        m = lcm(*(term.denominator for term in terms))
        p, q, r = (int(term * m) for term in terms)
        self._begins.append(at)
        self._polynomials.append((p, q, r, m))
        self._inverses.append(_invert(p, q, r, m) if begin or end else None)
        self._firsts.append(ceil(passed))
        self._shifted.append(ceil(passed * (1 << _SHIFT)))

    def _count_ticks(self, *, is_cut: bool) -> int | None:
        if is_cut and self.total:
            return self.due_ns(self.total - 1) // self.tick_ns + 1
        return None if self.end_ns is None else -(-self.end_ns // self.tick_ns)

    def due_ns(self, n: int) -> int:
        inverse = self._inverses[bisect_right(self._firsts, n) - 1]
        assert inverse is not None  # noqa: S101 - for the type checker: n is below the total
        a, b, c, e, slope = inverse
        if not slope:
            return (a * n + b) // e
        if slope > 0:
            return (isqrt(a * n + b) + c) // e
        return (c - isqrt(a * n + b)) // e

    def due_by(self, elapsed_ns: int) -> int:
        if elapsed_ns < 0:
            return 0
        t, total = elapsed_ns + 1, self.total
        if self.end_ns is not None and t >= self.end_ns:
            return total or 0
        p, q, r, m = self._polynomials[bisect_right(self._begins, t) - 1]
        # due_ns(n) <= e  <=>  N(e + 1) > n  <=>  n < ceil(N(e + 1))
        count = -(-(p + (q + r * t) * t) // m)
        return count if total is None or count < total else total

    def place(self, n: int) -> tuple[int, int]:
        tick, first, after = self._tick
        if not first <= n < after:
            tick = self.due_ns(n) // self.tick_ns
            first = self.first_of(tick)
            self._tick = (tick, first, self.first_of(tick + 1))
        return tick, n - first

    def first_of(self, tick: int) -> int:
        return self.due_by(tick * self.tick_ns - 1)

    def tick_at(self, elapsed_ns: int) -> int:
        tick = elapsed_ns // self.tick_ns
        return tick if self.ticks is None else min(tick, self.ticks - 1)

    def moment(self, count: float) -> int:
        """As `due_ns`, for fractions too.

        Where the integral is no whole number, all ``total`` arrivals are spread over what it is,
        so that the last one comes before the end as well.
        """
        m = int(count * self._scale)
        if self._most is not None and m > self._most:
            m = self._most
        inverse = self._inverses[bisect_right(self._shifted, m) - 1]
        assert inverse is not None  # noqa: S101 - for the type checker: m is below the integral
        a, b, c, e, slope = inverse
        x = a * m + (b << _SHIFT)
        if not slope:
            return x // (e << _SHIFT)
        if slope > 0:
            return (isqrt(x >> _SHIFT) + c) // e
        return (c - isqrt((x + _ALMOST) >> _SHIFT)) // e


def _invert(p: int, q: int, r: int, m: int) -> _Inverse:
    """What solves ``p + q·t + r·t² = m·n`` for t."""
    if not r:
        return m, -p, 0, q, 0
    a, b = 4 * r * m, q * q - 4 * r * p
    if r > 0:
        return a, b, -q, 2 * r, 1
    # The lower root: floor(q - √x) = q - ceil(√x) = q - 1 - isqrt(x - 1), where x > 0 for every
    # n that the segment holds.
    return a, b - 1, q - 1, -2 * r, -1
