"""F10: one bad row in a batch fails only its exec."""

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select
from sqlalchemy.pool import NullPool

from workermanager import Worker

schema = MetaData()
items = Table(
    "items",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False, unique=True),
)
BAD = 137


@pytest.mark.parametrize("bad", [None, "item 3"], ids=["missing value", "taken value"])
def test_one_bad_row_in_a_batch_of_256_fails_only_its_exec(make_url, bad):
    def step(ctx, params):
        ctx.insert(items, {"id": 2 * ctx.n, "name": f"item {2 * ctx.n}"})
        ctx.insert(items, {"id": 2 * ctx.n + 1, "name": f"item {2 * ctx.n + 1}"})
        if ctx.n == BAD:
            ctx.rows[-1][1]["name"] = bad

    url, results = make_url(), []
    worker = Worker(
        step,
        execs_per_tick=[256],
        tick_duration=0,
        database=url,
        schema=schema,
        on_result=results.append,
    )
    report = worker.run()
    assert [result.n for result in results if result.error is not None] == [BAD]
    assert (report.counts["ok"], report.counts["failed"]) == (255, 1)
    with create_engine(url, poolclass=NullPool).connect() as connection:
        there = connection.scalars(select(items.c.id).order_by(items.c.id)).all()
    assert there == [n for n in range(512) if n not in (2 * BAD, 2 * BAD + 1)]
