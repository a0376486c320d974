"""A run as the live page sees it, with tags, thresholds and a warm-up as a test wants them."""

from contextlib import contextmanager

from workermanager.thresholds import Verdict
from workermanager.web.address import Address
from workermanager.web.server import Dashboard


class _Plan:
    def __init__(self, plan, tags):
        self._plan = plan
        self.tags = tags

    def __getattr__(self, name):
        return getattr(self._plan, name)


class WatchedRun:
    """A real run; what a test says of it goes first."""

    def __init__(self, run, *, tags=None, verdicts=()):
        self._run = run
        self.plan = _Plan(run.plan, tags or {})
        self.is_warming_up = False
        self.given = list(verdicts)
        self.looks = 0

    def __getattr__(self, name):
        return getattr(self._run, name)

    def verdicts(self):
        return self.given

    def figures(self):
        self.looks += 1
        return self._run.figures()


def verdict(expression="response.p99<200ms", **changes):
    facts = {"value": 12.5, "unit": "ms", "passed": True, **changes}
    return Verdict(expression=expression, **facts)


@contextmanager
def show(worker, **seen):
    """Starts a worker and its page; whatever happens, the run is over at the end."""
    with Dashboard(Address("127.0.0.1", 0)) as dashboard:
        run = WatchedRun(worker.start(), **seen)
        try:
            dashboard.show(run)
            yield dashboard, run
        finally:
            run.stop(now=True)
            run.finish()
