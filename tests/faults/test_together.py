"""F5 and F6: many threads on one file, and many processes on one run."""

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

from tests.kit.seeding import TARGET, Seeding, dump
from workermanager import Worker

EXECS = 1_500
PLAN = ("--execs-per-tick", f"{EXECS},", "--tick-duration", "1s")

schema = MetaData()
numbers = Table("numbers", schema, Column("n", Integer, primary_key=True))


def test_sixty_four_threads_and_their_transactions_never_find_the_file_locked(tmp_path):
    def step(ctx, params):
        ctx.insert(numbers, {"n": 2 * ctx.n})
        ctx.transact(lambda connection: connection.execute(numbers.insert(), {"n": 2 * ctx.n + 1}))
        ctx.transact(lambda connection: connection.scalars(select(numbers)).first())

    url = f"sqlite:///{tmp_path}/one.db"
    plan = {"execs_per_tick": [2_000], "tick_duration": 0, "threads": 64}
    report = Worker(step, **plan, database=url, schema=schema).run()
    assert (report.counts["ok"], report.errors) == (2_000, [])
    assert not report.database.retries


@pytest.fixture
def undisturbed(seed, tmp_path):
    url = f"sqlite:///{tmp_path}/undisturbed.db"
    seed(url, [EXECS], tick_duration="1s").run()
    return dump(url)


@pytest.fixture
def folders(tmp_path):
    """A place for each of three processes."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.mark.timeout(120)
def test_three_processes_that_resume_one_run_leave_the_same_database(
    make_url, undisturbed, folders
):
    url = make_url()
    where = ("--database", url)
    Seeding(folders[0], "run", TARGET, "--seed", 7, "--run-id", "it", *PLAN, *where).kill_after(300)
    together = [Seeding(folder, "resume", "it", *where) for folder in folders]
    for exit_code, said, report in [one.end() for one in together]:
        assert (exit_code, report["counts"]["failed"]) == (0, 0), said
    assert dump(url) == undisturbed


@pytest.mark.timeout(120)
def test_three_runs_of_one_seed_leave_the_same_database_too(make_url, undisturbed, folders):
    url = make_url()
    where = ("--database", url)
    together = [Seeding(folder, "run", TARGET, "--seed", 7, *PLAN, *where) for folder in folders]
    reports = [one.end() for one in together]
    for exit_code, said, report in reports:
        assert (exit_code, report["counts"]["ok"]) == (0, EXECS), said
    assert dump(url) == undisturbed
    written = sum(report["rows"].get("companies", 0) for _, _, report in reports)
    found = sum(report["database"]["found"].get("companies", 0) for _, _, report in reports)
    assert (written, found) == (EXECS, 2 * EXECS)
