"""The rate line of a shape: when its execs are due, and the one text for it.

The text is its points, ``TIME:RATE``, each time since the start:
``0:10/s,30s:100/s,60s:100/s`` rises from 10/s to 100/s in 30 s, holds that, and ends at 60 s. Two
points at one time are a jump. ``...`` after the last point goes on at its rate until stopped, and
``count=1000`` at the very end stops after so many execs in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from instrumentation.errors import InvalidConfig
from workermanager.clock import Steady, Varied
from workermanager.durations import parse_duration
from workermanager.lines import Line, Segment, integral
from workermanager.rates import SECOND, format_decimal, format_rate, parse_rate
from workermanager.shapes import MOST_EXECS, Ramp, Rate, Ticks

if TYPE_CHECKING:
    from workermanager.clock import Layout
    from workermanager.shapes import Shape

__all__ = ["end_of", "format_stages", "make_layout", "parse_stages"]

_MOST_SEGMENTS: Final = 10_000
_MOST_DIGITS: Final = 20  # of 2^62
_GOES_ON: Final = ("...", "…")
_COUNT: Final = "count="

_Part: TypeAlias = Rate | Ramp | Ticks


@dataclass(frozen=True, slots=True)
class _Plan:
    """A rate line, and the number of execs that ends it earlier, if one does."""

    segments: tuple[Segment, ...]
    count: int | None


def make_layout(shape: Shape, tick_ns: int, name: str = "shape") -> Layout:
    """When the execs of a shape are due, in ticks of ``tick_ns``; lone Ticks have their own.

    ``name`` is what a refusal calls the shape.

    Raises:
        InvalidConfig: it has no exec, too many, or goes on where something follows.
    """
    parts = _parts(shape, name)
    if len(parts) == 1 and isinstance(parts[0], Ticks):
        return _lay_out_ticks(parts[0], name)
    if tick_ns <= 0:
        raise InvalidConfig(f"tick_duration: 0 needs Ticks; the rates of {name} take their time")
    plan = _draw(parts, name)
    return Line(plan.segments, tick_ns, plan.count)


def _lay_out_ticks(ticks: Ticks, name: str) -> Layout:
    execs = ticks.execs
    if isinstance(execs, int):
        layout: Layout = Steady(execs, ticks.ticks, ticks.tick_ns)
    else:
        layout = Varied(execs, ticks.tick_ns)
    _check_total(layout.total, name)
    return layout


def _parts(shape: object, name: str) -> Sequence[_Part]:
    if isinstance(shape, str):
        return parse_stages(shape, name)
    if isinstance(shape, _Part):
        return (shape,)
    if not isinstance(shape, Sequence) or isinstance(shape, bytes):
        raise _not_a_shape(shape, name)
    if not shape:
        raise InvalidConfig(f"{name}: it is empty; give it a Rate, a Ramp or Ticks")
    for part in shape:
        if not isinstance(part, _Part):
            raise _not_a_shape(part, name)
    return shape


def _not_a_shape(value: object, name: str) -> InvalidConfig:
    return InvalidConfig(
        f"{name}: {value!r} is no Rate, Ramp or Ticks, nor a list of them, nor text like "
        f"'0:10/s,30s:100/s'"
    )


def _draw(parts: Sequence[_Part], name: str) -> _Plan:
    """The rate line of shapes one after the other, checked."""
    segments: list[Segment] = []
    for place, part in enumerate(parts, 1):
        is_last = place == len(parts)
        of_part = _segments(part, f"{name}: part {place}")
        is_open = of_part[-1].duration_ns is None or (isinstance(part, Rate) and part.count)
        if is_open and not is_last:
            raise InvalidConfig(
                f"{name}: part {place} of {len(parts)} must have a duration and no count: "
                f"only the last may go on, or end by a count"
            )
        segments.extend(of_part)
        if len(segments) > _MOST_SEGMENTS:
            raise InvalidConfig(f"{name}: it has more than {_MOST_SEGMENTS:,} pieces")
    last, count = parts[-1], None
    if isinstance(last, Rate) and last.count is not None:
        count = ceil(integral(segments[:-1]) or 0) + last.count
    plan = _simplify(segments, count)
    _check_total(_total(plan), name)
    return plan


def _segments(part: _Part, name: str) -> list[Segment]:
    if isinstance(part, Rate):
        return [Segment(part.duration_ns, part.per_ns, part.per_ns)]
    if isinstance(part, Ramp):
        return [Segment(part.duration_ns, part.start_per_ns, part.end_per_ns)]
    if not part.tick_ns:
        raise InvalidConfig(f"{name}: Ticks(tick_duration=…): 0 is for Ticks alone")
    if isinstance(part.execs, int):
        rate = Fraction(part.execs, part.tick_ns)
        return [Segment(None if part.ticks is None else part.ticks * part.tick_ns, rate, rate)]
    rates = [Fraction(count, part.tick_ns) for count in part.execs]
    return [Segment(part.tick_ns, rate, rate) for rate in rates]


def _simplify(segments: Sequence[Segment], count: int | None) -> _Plan:
    """The same line in as few segments as can be, and its count only where that ends it."""
    fewest: list[Segment] = []
    for segment in segments:
        joined = _join(fewest[-1], segment) if fewest else None
        if joined is None:
            fewest.append(segment)
        else:
            fewest[-1] = joined
    planned = integral(fewest)
    is_cut = count is not None and (planned is None or count < ceil(planned))
    return _Plan(tuple(fewest), count if is_cut else None)


def _join(one: Segment, other: Segment) -> Segment | None:
    """Two segments as one, if they are one straight line."""
    if one.end != other.begin or one.duration_ns is None:
        return None
    if other.duration_ns is None:
        return Segment(None, other.begin, other.end) if one.begin == one.end else None
    here, there = one.end - one.begin, other.end - other.begin
    if here * other.duration_ns != there * one.duration_ns:
        return None
    return Segment(one.duration_ns + other.duration_ns, one.begin, other.end)


def _total(plan: _Plan) -> int | None:
    planned = integral(plan.segments)
    return plan.count if plan.count or planned is None else ceil(planned)


def _check_total(total: int | None, name: str) -> None:
    if total == 0:
        raise InvalidConfig(f"{name}: it has no exec")
    if total is not None and total > MOST_EXECS:
        raise InvalidConfig(f"{name}: {total} execs are too many in all")


def format_stages(shape: Shape, name: str = "shape") -> str:
    """A shape as the one text for its rate line, which `parse_stages` reads back.

    Shapes with the same arrivals have the same text, but for the ticks that they count them to.

    Raises:
        InvalidConfig: as `make_layout`, and for Ticks of no length.
    """
    plan = _draw(_parts(shape, name), name)
    points: list[tuple[int, Fraction]] = []
    at = 0
    for duration, begin, end in plan.segments:
        points.append((at, begin))
        if duration is not None:
            at += duration
            points.append((at, end))
    is_endless = plan.segments[-1].duration_ns is None
    texts = [f"{_format_time(at)}:{format_rate(rate)}" for at, rate in points]
    texts = [text for text, _ in groupby(texts)]  # where two segments meet
    texts += ["..."] * is_endless
    texts += [] if plan.count is None else [f"count={plan.count}"]
    return ",".join(texts)


def end_of(shape: Shape, name: str = "shape") -> int | None:
    """When a shape ends, in nanoseconds; None if it goes on, or until a count.

    Raises:
        InvalidConfig: as `format_stages`.
    """
    plan = _draw(_parts(shape, name), name)
    lengths = [segment.duration_ns for segment in plan.segments]
    if plan.count is not None or lengths[-1] is None:
        return None
    return sum(length for length in lengths if length is not None)


def _format_time(nanoseconds: int) -> str:
    return f"{format_decimal(Fraction(nanoseconds, SECOND))}s" if nanoseconds else "0"


def parse_stages(text: str, name: str) -> tuple[Rate | Ramp, ...]:
    """The shapes of a rate line, written as the module's docstring says.

    Raises:
        InvalidConfig: it is no rate line; the message begins with ``name`` and names the point.
    """
    items = [item.strip() for item in text.split(",")]
    count = items.pop() if items[-1].startswith(_COUNT) else None
    is_endless = bool(items) and items[-1] in _GOES_ON
    points = _parse_points(items[:-1] if is_endless else items, name)
    if len(points) + is_endless < 2:  # noqa: PLR2004 - a line has two ends
        raise InvalidConfig(
            f"{name}: {text!r} is one point; give it another, as 0:10/s,30s:100/s, or '...'"
        )
    parts = [_between(*ends) for ends in pairwise(points) if ends[0].at_ns < ends[1].at_ns]
    if is_endless:
        parts.append(_go_on(points, name))
    if not parts:
        raise InvalidConfig(f"{name}: {text!r} is over at once: its last point is at 0")
    if count is not None:
        parts.append(_cut(parts, parts.pop(), count, name))
    _draw(parts, name)
    return tuple(parts)


class _Point(NamedTuple):
    """A point of a rate line, and the rate as it was written."""

    at_ns: int
    rate: str


def _parse_points(items: Sequence[str], name: str) -> list[_Point]:
    points: list[_Point] = []
    for number, item in enumerate(items, 1):
        where = f"{name}: point {number} {item!r}"
        time, colon, rate = (part.strip() for part in item.partition(":"))
        if not colon or not time or not rate:
            raise InvalidConfig(f"{where}: wanted TIME:RATE, as 30s:100/s")
        parse_rate(rate, where)
        points.append(_Point(parse_duration(time, where), rate))
        _check_order([point.at_ns for point in points[-3:]], where)
    return points


def _check_order(latest: Sequence[int], where: str) -> None:
    if len(latest) == 1 and latest[0]:
        raise InvalidConfig(f"{where}: the first point must be at 0, when the run begins")
    if latest[-1] < latest[-2:][0]:
        raise InvalidConfig(
            f"{where}: it comes before the point in front of it; times are since the start"
        )
    if len(latest) == 3 and len(set(latest)) == 1:  # noqa: PLR2004 - this one and two more
        raise InvalidConfig(f"{where}: it is the third at this time; two make a jump")


def _between(one: _Point, other: _Point) -> Rate | Ramp:
    length = _format_time(other.at_ns - one.at_ns)
    if parse_rate(one.rate, "") == parse_rate(other.rate, ""):
        return Rate(one.rate, length)
    return Ramp(one.rate, other.rate, length)


def _go_on(points: Sequence[_Point], name: str) -> Rate:
    last = points[-1]
    if not parse_rate(last.rate, ""):
        raise InvalidConfig(
            f"{name}: point {len(points)} goes on at {last.rate}: the run would never end"
        )
    return Rate(last.rate)


def _cut(before: Sequence[Rate | Ramp], last: Rate | Ramp, text: str, name: str) -> Rate:
    """The last shape, ended by a count that is of all."""
    digits = text.removeprefix(_COUNT)
    if not digits.isdecimal() or not digits.isascii() or len(digits) > _MOST_DIGITS:
        raise InvalidConfig(f"{name}: {text!r} is no count; write count=1000")
    passed = integral([segment for part in before for segment in _segments(part, name)])
    left = int(digits) - ceil(passed or 0)
    if left < 1 or not isinstance(last, Rate) or not last.per_ns:
        raise InvalidConfig(
            f"{name}: {text!r} must end the last piece, which has a constant rate above 0; "
            f"{ceil(passed or 0)} execs come before that"
        )
    return Rate(last.rate, last.duration, left)
