"""The ledger: runs and their durable execs, in tables of the user's own database."""

import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from workermanager import InvalidConfig, Worker
from workermanager.database.ledger import Ledger, Marks
from workermanager.database.store import Database, read_run, read_runs
from workermanager.record import RunRecord
from workermanager.spans import Spans

FACTS = {"version": 1, "seed": "7", "epoch": datetime(2026, 1, 1, tzinfo=UTC).isoformat()}


def record(run_id="it", started_at="2026-01-01T00:00:00.000Z", planned=1_000):
    return RunRecord(
        id=run_id, name="chain", started_at=started_at, planned=planned, facts=FACTS, origin=None
    )


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def database(url):
    database = Database(url)
    database.enter(record(), is_resumed=False)
    yield database
    database.close()


def mark(database, marks, number, execs, *, is_acknowledged=True):
    database.transactions.run(lambda connection: marks.write(connection, number, execs))
    if is_acknowledged:
        marks.acknowledge(number, execs)


def end(database, state, *, may_be_finished=True):
    database.transactions.run(partial(Ledger.end, "it", state, may_be_finished=may_be_finished))


def test_marks_are_merged_and_none_is_forgotten(database, url, tmp_path):
    marks = Marks("it", database.inserter)
    for number in range(1, 1_001):
        mark(database, marks, number, Spans.of([number - 1]))
        if number % 100 == 0:
            assert read_run(url, "it").durable == Spans([(0, number)])
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        rows = connection.execute("SELECT count(*) FROM workermanager_batches").fetchone()[0]
    connection.close()
    assert rows < 300


def test_a_mark_whose_commit_was_not_acknowledged_is_never_merged_away(database, url):
    marks = Marks("it", database.inserter)
    for number in range(1, 601):
        mark(database, marks, number, Spans.of([number]), is_acknowledged=number % 50 != 0)
    assert read_run(url, "it").durable == Spans([(1, 601)])


def test_every_process_has_its_own_marks_and_sees_those_of_others(database):
    ours, theirs = Marks("it", database.inserter), Marks("it", database.inserter)
    mark(database, ours, 1, Spans.parse("0-9"))
    mark(database, theirs, 1, Spans.parse("5-20"))
    mark(database, theirs, 2, Spans.parse("500"))
    found = database.transactions.run(
        lambda connection: ours.durable(connection, Spans.parse("8-12"))
    )
    assert found == (Spans.parse("0-9"), Spans.parse("5-20"))


def test_a_run_is_entered_once_however_its_commit_was_answered(database):
    mine = record("mine")
    database.enter(mine, is_resumed=False)
    database.enter(mine, is_resumed=False)  # as after a commit without an answer
    with pytest.raises(InvalidConfig, match="run mine is in this database already"):
        database.enter(record("mine"), is_resumed=False)


@pytest.mark.parametrize(
    ("durable", "ended", "state"),
    [("0-999", "interrupted", "finished"), ("0-998", "interrupted", "interrupted")],
)
def test_a_run_is_finished_once_all_its_execs_are_durable(database, url, durable, ended, state):
    mark(database, Marks("it", database.inserter), 1, Spans.parse(durable))
    end(database, ended)
    assert read_run(url, "it").state == state


def test_a_run_whose_callback_has_not_run_is_not_finished(database, url):
    mark(database, Marks("it", database.inserter), 1, Spans.parse("0-999"))
    end(database, "failed", may_be_finished=False)
    assert read_run(url, "it").state == "failed"


def test_a_resumed_run_is_unfinished_again(database, url):
    end(database, "failed")
    database.enter(record(), is_resumed=True)
    assert read_run(url, "it").state == "unfinished"


def test_runs_are_listed_the_latest_first(database, url):
    database.enter(record("later", "2026-01-03T00:00:00.000Z", None), is_resumed=False)
    mark(database, Marks("it", database.inserter), 1, Spans.parse("0-9"))
    later, it = read_runs(url)
    assert (later.id, later.planned, later.last_commit) == ("later", None, None)
    assert (it.id, len(it.durable), it.seed) == ("it", 10, 7)
    assert it.last_commit is not None


def test_a_database_without_a_ledger_says_so(tmp_path):
    path = tmp_path / "other.db"
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(InvalidConfig, match="no run is recorded"):
        read_runs(f"sqlite:///{path}")


def test_looking_for_runs_creates_no_file(tmp_path):
    with pytest.raises(InvalidConfig, match="there is no such file"):
        read_runs(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overrun", ["drop", "late:1ms"])
def test_a_resumed_run_drops_none_of_what_is_missing(url, overrun, calls):
    fails = True

    def step(ctx, params):
        if fails and ctx.n % 2 == 0:
            raise OSError
        calls(ctx, params)

    plan = {"execs_per_tick": [100], "tick_duration": 0, "threads": 4, "seed": 7, "run_id": "r"}
    worker = Worker(step, **plan, overrun="queue", database=url)
    assert worker.run().counts["failed"] == 50
    fails = False
    report = replace(worker, overrun=overrun).run(resume="r")
    assert (report.counts["due"], report.counts["ok"], report.counts["skipped"]) == (50, 50, 50)
    assert calls.sorted == list(range(100))


def test_marks_beyond_the_plan_are_damage(url):
    worker = Worker(nothing, execs_per_tick=[10], tick_duration=0, database=url, run_id="r", seed=7)
    worker.run()
    damage(url, "UPDATE workermanager_batches SET execs = '0-5000', last = 5000")
    with pytest.raises(InvalidConfig, match="damaged, exec 5000 of 10"):
        worker.run(resume="r")


@pytest.mark.parametrize("facts", ["{}", "[]", "x", '{"seed": "x"}', '{"seed": "7", "epoch": "x"}'])
def test_a_damaged_record_is_told_in_one_line(url, facts):
    Worker(nothing, database=url, run_id="r").run()
    damage(url, f"UPDATE workermanager_runs SET facts = '{facts}'")
    with pytest.raises(InvalidConfig, match="the ledger is damaged"):
        read_run(url, "r")


def test_looking_at_runs_waits_for_no_writer_and_changes_nothing(url, tmp_path):
    Worker(nothing, database=url, run_id="r").run()
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert [run.id for run in read_runs(url)] == ["r"]
        other.execute("ROLLBACK")
    other.close()


def nothing(ctx, params):
    pass


def damage(url, statement):
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(statement)
    connection.close()


# The callback, which is no exec of the ledger


def test_a_callback_that_failed_runs_again_when_the_run_is_resumed(url):
    fails, called = True, []

    def callback(ctx, params):
        called.append(ctx.key)
        if fails:
            raise OSError

    plan = {"execs_per_tick": [10], "tick_duration": 0, "seed": 7, "run_id": "r"}
    worker = Worker(nothing, **plan, database=url, callback=callback)
    assert worker.run().exit_code == 1
    assert read_run(url, "r").state == "failed"
    fails = False
    assert worker.run(resume="r").exit_code == 0
    assert read_run(url, "r").state == "finished"
    worker.run(resume="r")
    assert called == ["r.callback:0"] * 2


# What a resumed run must not change


def test_clocks_that_are_put_back_do_not_change_ctx_now(url):
    before = datetime(2026, 10, 25, 2, 59, 59, tzinfo=ZoneInfo("Europe/Berlin"))
    seen = {}

    def step(ctx, params):
        seen.setdefault(ctx.n, []).append(ctx.now)
        if ctx.n == 2 and len(seen[2]) == 1:
            raise OSError

    plan = {"execs_per_tick": 1, "ticks": 3, "tick_duration": "1ms", "seed": 7, "run_id": "r"}
    worker = Worker(step, **plan, database=url, epoch=before)
    worker.run()
    worker.run(resume="r")
    assert seen[2] == [before.astimezone(UTC) + timedelta(milliseconds=2)] * 2
    assert seen[2][0].tzinfo is UTC


def test_a_nested_run_has_the_same_keys_again(tmp_path):
    def keys(name):
        found = []
        inner = Worker(lambda ctx, params: found.append((ctx.key, ctx.uuid7())), seed=3)
        plan = {"execs_per_tick": [3], "tick_duration": 0, "threads": 1, "seed": 7, "run_id": "r"}
        url = f"sqlite:///{tmp_path}/{name}.db"
        Worker(lambda ctx, params: inner.run(), **plan, database=url).run()
        return found

    first = keys("first")
    assert first == keys("second")
    assert len({key for key, _ in first}) == 3
    assert all(key.startswith("r.") for key, _ in first)


def test_a_seed_of_its_own_gives_a_nested_run_its_own_pooled_values():
    def values(outer_seed):
        found = []
        inner = Worker(lambda ctx, params: found.append(ctx.pooled("name")), seed=3)
        Worker(lambda ctx, params: inner.run(), seed=outer_seed).run()
        return found

    assert values(1) == values(2)


def test_stop_now_ends_the_wait_for_the_last_words_to_the_ledger(url, tmp_path):
    """Another program locks the file just when all execs are durable."""
    other = sqlite3.connect(
        tmp_path / "ledger.db", isolation_level=None, check_same_thread=False, timeout=30
    )
    locked = threading.Event()

    def lock(_result):
        other.execute("BEGIN IMMEDIATE")
        locked.set()

    run = Worker(inserts, database=url, schema=things.metadata, run_id="r", on_result=lock).start()
    reports = []
    finishing = threading.Thread(target=lambda: reports.append(run.finish(read_back=True)))
    finishing.start()
    assert locked.wait(20)
    run.stop()
    run.stop(now=True)
    finishing.join(20)
    assert not finishing.is_alive()
    assert reports[0].counts["ok"] == 1
    other.execute("ROLLBACK")
    other.close()
    for thread in threading.enumerate():
        if thread.name == "writer":  # still waiting for the lock, until now
            thread.join(20)
    assert read_run(url, "r").durable == Spans([(0, 1)])


things = Table("things", MetaData(), Column("id", Integer, primary_key=True))


def inserts(ctx, params):
    ctx.insert(things, {"id": ctx.n})
