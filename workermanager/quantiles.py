"""A histogram as people and JSON see it: a few figures in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from workermanager.histogram import Histogram

__all__ = ["Durations", "in_ms"]


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram in milliseconds; all 0 where nothing was recorded."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @classmethod
    def of(cls, histogram: Histogram) -> Durations:
        """Summarise a histogram of nanoseconds."""
        p50, p90, p95, p99, p999, largest = histogram.percentiles(50, 90, 95, 99, 99.9, 100)
        return cls(
            count=histogram.count,
            mean_ms=in_ms(histogram.mean),
            p50_ms=in_ms(p50),
            p90_ms=in_ms(p90),
            p95_ms=in_ms(p95),
            p99_ms=in_ms(p99),
            p999_ms=in_ms(p999),
            max_ms=in_ms(largest),
        )


def in_ms(nanoseconds: float) -> float:
    """Nanoseconds in milliseconds, to a tenth of a microsecond."""
    return round(nanoseconds / 1e6, 4)
