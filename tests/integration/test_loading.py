"""What the command line makes of a run that it resumes: its record, and flags above that."""

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from workermanager import Rate, Worker
from workermanager.cli.loading import load

TARGETS = Path(__file__).parents[1] / "acceptance" / "targets.py"

schema = MetaData()
things = Table("things", schema, Column("id", Integer, primary_key=True))


def inserts(ctx, params):
    ctx.insert(things, {"id": ctx.n})


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Run a Worker for a moment, and give what resuming it on the command line comes to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def loaded(flags=None, **settings):
        url = "sqlite:///kept.db"
        run = Worker(inserts, database=url, schema=schema, run_id="x", seed=7, **settings).start()
        run.wait(0.05)
        run.stop()
        run.finish()
        flags = {"database": url, **(flags or {})}
        return load(f"{TARGETS}:ok", None, (), flags, resume="x").worker

    return loaded


SETTINGS = {
    "RATE": "5/s",
    "DURATION": "3s",
    "TICKS": "3",
    "COUNT": "4",
    "STAGES": "0:1/s,1s:1/s",
    "EXECS_PER_TICK": "3",
    "TICK_DURATION": "7s",
    "SPREAD": "burst",
    "SEED": "8",
}


@pytest.mark.parametrize(
    "plan",
    [
        {"execs_per_tick": 5, "tick_duration": "10ms"},
        {"execs_per_tick": 5, "ticks": 4, "tick_duration": "10ms"},
        {"execs_per_tick": [2, 0, 3], "tick_duration": "10ms", "spread": "poisson"},
        {"shape": Rate("100/s")},
        {"shape": Rate("100/s", "50ms")},
        {"shape": "0:0/s,50ms:100/s", "tick_duration": "20ms"},
    ],
    ids=["no end", "ticks", "list", "rate without end", "rate", "ramp"],
)
def test_nothing_that_is_set_now_changes_the_load_of_a_resumed_run(plan, loaded, monkeypatch):
    for name, text in SETTINGS.items():
        monkeypatch.setenv(f"WORKERMANAGER_{name}", text)
    then = Worker(inserts, seed=7, **plan).plan()
    now = loaded(**plan).plan()
    assert (now.execs_per_tick, now.shape) == (then.execs_per_tick, then.shape)
    assert (now.arrivals.total, now.arrivals.ticks) == (then.arrivals.total, then.arrivals.ticks)
    assert (now.arrivals.tick_ns, now.spread) == (then.arrivals.tick_ns, then.spread)
    assert [now.arrivals.due_ns(n) for n in range(4)] == [then.arrivals.due_ns(n) for n in range(4)]
    assert (now.seed, now.run_id) == (7, "x")


def test_flags_are_above_the_record(loaded):
    worker = loaded({"rate": "5/s", "count": 3}, execs_per_tick=5, tick_duration="10ms")
    assert worker.shape == Rate("5/s", count=3)
    assert worker.execs_per_tick is None
