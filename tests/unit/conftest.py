"""What the unit tests share: hypothesis as they run it, and execs without a run around them."""

from datetime import UTC, datetime

import pytest
from hypothesis import settings

from instrumentation.engine import RunContext
from instrumentation.execution import Exec
from instrumentation.fakes import Pools

# No deadline, because none of these tests is about speed; derandomized, so that a failure is a
# change's and not the day's.
settings.register_profile("unit", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("unit")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_run():
    """Builds the part of a run that execs see; its ``sleep`` returns at once."""

    def build(**changes):
        facts = {
            "id": "run-1",
            "name": "chain",
            "seed": 7,
            "epoch": EPOCH,
            "planned_ns": lambda n: n * 1_000_000_000,
            "sleep": lambda _seconds: None,
            "started_at": EPOCH,
            "transact": lambda _ctx, _path, work, _isolation: work(None),
        }
        facts.update(changes)
        return RunContext(**facts, pools=Pools(facts["seed"]))

    return build


@pytest.fixture
def make_exec(make_run):
    """Builds exec ``n``, about to run the step at ``path``; the rest goes to its run."""

    def build(n=0, path="chain/1/step", **of_run):
        ctx = Exec(make_run(**of_run), n, tick=0, exec_=n)
        ctx.path = path
        return ctx

    return build
