"""F2: PostgreSQL is restarted without warning, five times in mid-run."""

import time

import pytest

from tests.kit.seeding import dump
from workermanager.database.store import read_run
from workermanager.spans import Spans

EXECS = 6_000


@pytest.mark.timeout(120)
def test_a_server_that_crashes_five_times_costs_nothing(
    postgres, make_postgres_url, seed, tmp_path
):
    quiet = f"sqlite:///{tmp_path}/undisturbed.db"
    seed(quiet, [EXECS], tick_duration="3s").run()
    url = make_postgres_url()
    run = seed(url, [EXECS], tick_duration="3s").start()
    for restart in range(1, 6):
        wait_until(lambda restart=restart: run.figures().counts["ok"] >= restart * EXECS // 7, run)
        postgres.restart(mode="immediate")
    report = run.finish()
    assert (report.counts["ok"], report.counts["failed"]) == (EXECS, 0)
    assert dump(url) == dump(quiet)
    assert read_run(url, report.run.id).durable == Spans([(0, EXECS)])
    assert sum(report.database.retries.values()) >= 5


def wait_until(is_so, run):
    while not is_so():
        assert not run.wait(0), "the run ended too early for this test"
        time.sleep(0.002)
