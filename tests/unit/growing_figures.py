"""Figures that grow as those of a run do, without a run: cumulative, a new value at every look."""

from workermanager.telemetry import Figures, Recorder, merge

MS = 1_000_000
SECOND = 1_000 * MS
COUNTS = ("due", "running", "queued", "ok", "failed", "dropped", "expired", "interrupted")


class Growing:
    """What happened so far; ``look`` gives it as `Figures`, which do not change any more."""

    def __init__(self):
        self.recorder = Recorder()
        self.counts = dict.fromkeys(COUNTS, 0)
        self.rows = {}

    def ends(self, *milliseconds, outcome="ok", step="add_user"):
        """Execs end, after so many ms each."""
        for took in milliseconds:
            for histogram in (self.recorder.lag, self.recorder.service, self.recorder.response):
                histogram.record(round(took * MS))
            figures = self.recorder.step(step)
            figures.service.record(round(took * MS))
            figures.failed += outcome == "failed"
            figures.timed_out += outcome == "failed" and took > 1
            self.counts["due"] += 1
            self.counts[outcome] += 1
        return self

    def counted(self, **counts):
        """So many more execs are due, and came to that."""
        for name, count in counts.items():
            self.counts[name] += count
            self.counts["due"] += count if name != "due" else 0
        return self

    def stand(self, **gauges):
        """So many are running, or queued."""
        for name, count in gauges.items():
            self.counts["due"] += count - self.counts[name]
            self.counts[name] = count
        return self

    def look(self, at_s):
        """The figures so far, ``at_s`` after the run began."""
        return Figures(
            counts={**self.counts, "skipped": 0},
            elapsed_ns=round(at_s * SECOND),
            tick=int(at_s),
            rows=dict(self.rows),
            database=None,
            **merge([self.recorder]),
        )
