"""F3: connections cut before and after COMMIT, 40001 and 40003 in place of an answer."""

from contextlib import ExitStack

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Uuid, create_engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.pool import NullPool

from tests.kit.seeding import dump
from tests.kit.wire import Fault, Faults, Script, WireProxy
from workermanager import Worker
from workermanager.database.store import read_run
from workermanager.spans import Spans

schema = MetaData()
orders = Table(
    "orders",
    schema,
    Column("id", Uuid, primary_key=True),
    Column("n", Integer, nullable=False),
)
without_key = Table("without_key", schema, Column("n", Integer, nullable=False))


@pytest.fixture
def through(postgres, make_postgres_url):
    """Gives a proxy with a schedule of faults before a new database, and the database's own URL."""
    with ExitStack() as proxies:

        def through(schedule):
            url = make_postgres_url()
            proxy = WireProxy(("127.0.0.1", postgres.port), schedule)
            return proxies.enter_context(proxy).url(url), url

        yield through


def test_rows_survive_every_fault_at_commit(through, seed, tmp_path, is_long):
    ticks = [500] * (12 if is_long else 3)
    plan = {"execs_per_tick": ticks, "tick_duration": "500ms"}
    quiet = f"sqlite:///{tmp_path}/undisturbed.db"
    seed(quiet, **plan_of(plan)).run()
    faults = Faults(11)
    broken, url = through(faults)
    report = seed(broken, **plan_of(plan)).run()
    assert set(faults.injected) == set(Fault)
    assert (report.counts["ok"], report.counts["failed"]) == (sum(ticks), 0)
    assert dump(url) == dump(quiet)
    assert read_run(url, report.run.id).durable == Spans([(0, sum(ticks))])
    assert report.rows == {name: len(rows) for name, rows in dump(url).items()}
    assert {"40001", "40003", "connection lost"} <= set(report.database.retries)


def plan_of(plan):
    return {"execs": plan["execs_per_tick"], "tick_duration": plan["tick_duration"]}


@pytest.mark.parametrize("fault", Fault)
def test_rows_of_a_table_without_a_key_come_once_too(through, fault):
    """The batch's mark is what tells that a commit happened, not the rows' keys."""

    def step(ctx, params):
        ctx.insert(without_key, {"n": ctx.n})

    broken, url = through(Script([None, None, fault, None, fault, fault]))
    worker = Worker(step, execs_per_tick=[20], tick_duration=0, database=broken, schema=schema)
    report = worker.run()
    assert (report.counts["ok"], report.counts["failed"]) == (20, 0)
    assert read(url, select(without_key.c.n).order_by(without_key.c.n)) == list(range(20))


def test_rows_of_nested_runs_come_once_as_well(through):
    """Their execs are in no ledger, but the batch that they are in is."""

    def inner(ctx, params):
        ctx.insert(without_key, {"n": ctx.n})

    def outer(ctx, params):
        Worker(inner, execs_per_tick=[5], tick_duration=0).run()

    faults = [None, None, Fault.AMBIGUOUS, Fault.CUT_AFTER, Fault.CUT_BEFORE, Fault.AMBIGUOUS]
    broken, url = through(Script(faults))
    worker = Worker(outer, execs_per_tick=[4], tick_duration=0, database=broken, schema=schema)
    assert worker.run().counts["ok"] == 4
    assert read(url, select(without_key.c.n).order_by(without_key.c.n)) == sorted([*range(5)] * 4)


def test_transactions_of_a_step_are_done_again_as_a_whole(through):
    def step(ctx, params):
        def order(connection):
            row = {"id": ctx.uuid(), "n": ctx.n}
            connection.execute(insert(orders).values(row).on_conflict_do_nothing())
            return connection.scalar(select(func.count()).select_from(orders))

        assert ctx.transact(order) > 0

    faults = Faults(5)
    broken, url = through(faults)
    worker = Worker(
        step, execs_per_tick=[400], tick_duration=0, seed=7, database=broken, schema=schema
    )
    report = worker.run()
    assert set(faults.injected) == set(Fault)
    assert (report.counts["ok"], report.counts["failed"]) == (400, 0)
    assert read(url, select(orders.c.n).order_by(orders.c.n)) == list(range(400))
    assert report.steps["step.transact"].ok == 400


def read(url, query):
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return list(connection.scalars(query))
