"""Judges a run by its thresholds: as it goes, window by window, and at its end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from workermanager.thresholds import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workermanager.telemetry import Figures
    from workermanager.thresholds import Sample, Threshold

__all__ = ["Judge"]

_MOST_SAMPLES: Final = 60
_SLACK_NS: Final = 50_000_000  # looks come once a second, give or take


class Judge:
    """Holds the figures of a run against its thresholds.

    `look` is called about once a second after the warm-up, which ends at ``begun_ns``. A window
    slides with the looks, or by a sixtieth of its length if that is longer; a run shorter than a
    window is judged as a whole.
    """

    def __init__(self, thresholds: Sequence[Threshold], begun_ns: int) -> None:
        self.abortion: Threshold | None = None
        self._begun_ns = begun_ns
        self._cases = [_Case(threshold, begun_ns) for threshold in thresholds]

    def look(self, figures: Figures, *, is_last: bool = False, may_abort: bool = True) -> None:
        """Take the figures so far; ``abortion`` is then the threshold that ends the run, if any.

        A run that is being stopped, or is over, is not to be ended any more (``may_abort``).
        """
        now = figures.elapsed_ns
        seconds = (now - self._begun_ns) / 1e9
        if seconds <= 0 and not is_last:
            return
        for case in self._cases:
            is_broken = case.look(figures, now, seconds, is_last=is_last)
            may_end = may_abort and not is_last and self.abortion is None
            if is_broken and case.threshold.aborts and may_end:
                self.abortion = case.threshold

    def verdicts(self) -> list[Verdict]:
        """How each threshold stands, as of the last look."""
        return [case.verdict(self.abortion) for case in self._cases]


class _Case:
    """One threshold with its latest or worst value."""

    def __init__(self, threshold: Threshold, begun_ns: int) -> None:
        self.threshold = threshold
        self._value: float | None = None
        self._at_ns: int | None = None
        self._was_full = False
        self._window_ns = threshold.window_ns or 0
        self._every_ns = self._window_ns // _MOST_SAMPLES - _SLACK_NS
        self._samples: deque[tuple[int, Sample | None]] = deque([(begun_ns, None)])

    def look(self, figures: Figures, now: int, seconds: float, *, is_last: bool) -> bool:
        """Take the value; True if the threshold is broken and will stay so."""
        threshold = self.threshold
        sample = threshold.read(figures, seconds)
        value = threshold.value(sample)
        if threshold.is_gauge:
            self._keep_worst(value, now)
            return threshold.is_broken_for_good(self._value)
        if not self._window_ns:
            self._value = value
            return threshold.is_broken_for_good(value)
        if (in_window := self._slide(now, sample)) is not None:
            self._was_full = True
            self._keep_worst(threshold.value(in_window), now)
        elif is_last and not self._was_full:
            self._value = value
        return self._value is not None and not threshold.holds(self._value)

    def _slide(self, now: int, sample: Sample) -> Sample | None:
        """What fell into the window that ends now; None if it is not full yet."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - self._window_ns + _SLACK_NS:
            samples.popleft()
        then, before = samples[0]
        if now - samples[-1][0] >= self._every_ns:
            samples.append((now, sample))
        if now - then < self._window_ns - _SLACK_NS:
            return None
        return sample if before is None else sample.since(before)

    def _keep_worst(self, value: float | None, now: int) -> None:
        if value is None:
            return
        if self._value is None or self.threshold.worse(self._value, value) != self._value:
            self._value, self._at_ns = value, now

    def verdict(self, abortion: Threshold | None) -> Verdict:
        """How the threshold stands."""
        threshold = self.threshold
        return Verdict(
            expression=threshold.expression,
            value=None if self._value is None else round(self._value, 4),
            unit=threshold.unit,
            passed=threshold.holds(self._value),
            at_s=None if self._at_ns is None else round(self._at_ns / 1e9, 3),
            aborted=threshold is abortion,
        )
