"""Periodic jobs on one database: orders come in, are summed up, and old ones go.

    python examples/upkeep.py
    workermanager schedule examples/upkeep.toml

As a program it runs for three seconds, with schedules in memory; ``upkeep.toml`` has the same ones
in a store, so that what was due while it was down is made up for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Column, DateTime, Float, Integer, MetaData, Table, Uuid, func, select

from workermanager import Exec, Retry, Scheduler, Step, TaskParams, Worker, every

if TYPE_CHECKING:
    from sqlalchemy import Connection

DATABASE = "sqlite:///orders.db"

schema = MetaData()
orders = Table(
    "orders",
    schema,
    Column("id", Uuid, primary_key=True),
    Column("amount", Float, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
)
sums = Table(
    "sums",
    schema,
    Column("due", DateTime(timezone=True), primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("amount", Float, nullable=False),
)


def place_order(ctx: Exec, params: TaskParams) -> None:
    """Insert an order."""
    amount = round(ctx.random.uniform(5, 500), 2)
    ctx.insert(orders, {"id": ctx.uuid(), "amount": amount, "placed_at": ctx.now})


def sum_up(ctx: Exec, params: TaskParams) -> None:
    """Write down how many orders there are, and what they come to, once for each due time."""

    def note(connection: Connection) -> tuple[int, float]:
        count, amount = connection.execute(
            select(func.count(), func.coalesce(func.sum(orders.c.amount), 0.0))
        ).one()
        connection.execute(sums.insert().values(due=ctx.now, orders=count, amount=amount))
        return count, amount

    count, amount = ctx.transact(note)
    print(f"{ctx.now:%H:%M:%S} {count} orders, {amount:,.2f} in all")


def forget_old(ctx: Exec, params: TaskParams) -> None:
    """Delete the orders of before yesterday."""
    oldest = ctx.now - timedelta(days=1)
    ctx.transact(
        lambda connection: connection.execute(orders.delete().where(orders.c.placed_at < oldest))
    )


shop = Worker(
    place_order, execs_per_tick=20, ticks=1, tick_duration="500ms", database=DATABASE, schema=schema
)
summing = Worker(Step(sum_up, retry=Retry(attempts=3)), database=DATABASE, schema=schema)
upkeep = Worker(forget_old, database=DATABASE, schema=schema)

if __name__ == "__main__":
    scheduler = Scheduler()
    scheduler.add(shop, every("1s", immediately=True), name="shop", overlap="queue-one")
    scheduler.add(summing, every("1s"), name="summing")
    scheduler.add(upkeep, every("1h", immediately=True), name="upkeep", pause_after=3)
    with scheduler:
        scheduler.join(3.5)
    print(scheduler.report().accounting)
