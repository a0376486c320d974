"""The CockroachDB dialect: against a stand-in, or a real server where there is one.

``WORKERMANAGER_TEST_COCKROACH_URL`` names an empty database of a real CockroachDB, such as
``cockroachdb+psycopg://root@127.0.0.1:26257/defaultdb?sslmode=disable``; the tests are the same.
What a stand-in cannot show is told in ``tests/kit/cockroach.py`` and ``docs/guarantees.md``.
"""

import os
from itertools import count

import pytest
from sqlalchemy import Column, MetaData, String, Table, Uuid, create_engine, select, text
from sqlalchemy.pool import NullPool

from instrumentation.errors import Cancelled
from tests.kit.seeding import TARGET, Seeding, dump, example, whole_chains
from workermanager import Worker
from workermanager.cancelling import Context
from workermanager.database.store import read_run

REAL = os.environ.get("WORKERMANAGER_TEST_COCKROACH_URL")
EXECS = 600

_numbers = count()

own = MetaData()
notes = Table("notes", own, Column("id", Uuid, primary_key=True), Column("text", String))


@pytest.fixture
def url(request):
    """An empty database: a real server's, or one behind a stand-in that breaks COMMITs."""
    if REAL:
        engine = create_engine(REAL, poolclass=NullPool)
        ledger = Table("workermanager_runs", MetaData()), Table("workermanager_batches", MetaData())
        for schema in (example.schema, own):
            schema.drop_all(engine)
        for table in ledger:
            table.drop(engine, checkfirst=True)
        yield REAL
        return
    from tests.kit.cockroach import CockroachStandIn, prepare
    from tests.kit.wire import Faults

    server, name = request.getfixturevalue("postgres"), f"roach_{next(_numbers)}"
    prepare(server, name)
    faults = Faults(3, cut_before=0.02, cut_after=0.02, serialization=0.05, ambiguous=0.05)
    with CockroachStandIn(server, name, faults) as stand_in:
        yield stand_in.url


@pytest.fixture
def undisturbed(seed, tmp_path):
    quiet = f"sqlite:///{tmp_path}/undisturbed.db"
    seed(quiet, [EXECS], tick_duration="1s").run()
    return dump(quiet)


def test_the_example_leaves_the_rows_that_it_leaves_on_sqlite(url, seed, undisturbed):
    report = seed(url, [EXECS], tick_duration="1s").run()
    assert (report.counts["ok"], report.counts["failed"]) == (EXECS, 0)
    assert dump(url) == undisturbed


@pytest.mark.timeout(120)
def test_killed_and_resumed_it_does_so_too(url, undisturbed, tmp_path):
    plan = ("--execs-per-tick", f"{EXECS},", "--tick-duration", "1s", "--seed", 7)
    run = Seeding(tmp_path, "run", TARGET, "--run-id", "it", *plan, "--database", url)
    run.kill_after(EXECS // 3)
    durable = read_run(url, "it").durable
    assert not [n for n in run.acknowledged() if n not in durable]
    assert whole_chains(url) == len(durable)
    exit_code, said, _ = Seeding(tmp_path, "resume", "it", "--database", url).end()
    assert exit_code == 0, said
    assert dump(url) == undisturbed


def test_a_step_has_transactions_of_its_own(url):
    def step(ctx, params):
        row = {"id": ctx.uuid(), "text": f"note {ctx.n}"}

        def write(connection):
            known = connection.execute(select(notes).where(notes.c.id == row["id"])).first()
            if known is None:
                connection.execute(notes.insert(), row)
            return connection.scalar(select(notes.c.text).where(notes.c.id == row["id"]))

        assert ctx.transact(write) == row["text"]

    plan = {"execs_per_tick": [100], "tick_duration": 0, "threads": 4, "seed": 7}
    report = Worker(step, **plan, database=url, schema=own).run()
    assert (report.counts["ok"], report.counts["failed"]) == (100, 0)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        assert len(connection.execute(select(notes)).all()) == 100


def test_a_statement_of_a_step_ends_at_the_steps_deadline(url):
    def step(ctx, params):
        def sleep(connection):
            connection.execute(notes.insert(), {"id": ctx.uuid(), "text": "never"})
            connection.execute(text("SELECT pg_sleep(30)"))

        ctx.scope = Context(timeout=0.2)
        with pytest.raises(Cancelled, match="it took longer than 200ms"):
            ctx.transact(sleep)

    plan = {"execs_per_tick": [4], "tick_duration": 0, "threads": 2, "seed": 7}
    report = Worker(step, **plan, database=url, schema=own).run()
    assert (report.counts["ok"], report.errors) == (4, [])
    with create_engine(url, poolclass=NullPool).connect() as connection:
        assert connection.execute(select(notes)).all() == []
