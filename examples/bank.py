"""Opens accounts, then holds a load of transfers between them on the database.

    workermanager run examples/bank.py:opening --database sqlite:///bank.db
    workermanager run examples/bank.py:transfers --database sqlite:///bank.db --html bank.html

``opening`` seeds; ``transfers`` is a load run: a ramp, a plateau, and thresholds that it must keep
to. Its steps read and write in transactions of their own, each timed as a figure of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Integer, MetaData, String, Table, select

from workermanager import Exec, Instrumentation, Ramp, Rate, TaskParams, Worker

if TYPE_CHECKING:
    from sqlalchemy import Connection

ACCOUNTS = 1_000

schema = MetaData()
accounts = Table(
    "accounts",
    schema,
    Column("id", Integer, primary_key=True),
    Column("owner", String(100), nullable=False),
    Column("balance", Integer, nullable=False),
)


def open_account(ctx: Exec, params: TaskParams) -> None:
    """Open an account with some money in it."""
    row = {"id": ctx.n, "owner": ctx.pooled("name"), "balance": ctx.random.randrange(10_000)}
    ctx.insert(accounts, row)


def look_up(ctx: Exec, params: TaskParams) -> TaskParams:
    """Choose two accounts, and see what the first one can spare."""
    payer, payee = ctx.random.sample(range(ACCOUNTS), 2)
    balance = select(accounts.c.balance).where(accounts.c.id == payer)
    found = ctx.transact(lambda connection: connection.scalar(balance))
    return TaskParams(payer=payer, payee=payee, amount=(found or 0) // 10)


def transfer(ctx: Exec, params: TaskParams) -> None:
    """Move the money, in one transaction."""
    amount = params.get_as("amount", int)
    changes = {params.get_as("payer", int): -amount, params.get_as("payee", int): amount}

    def move(connection: Connection) -> None:
        for account in sorted(changes):  # in one order for all, or two of them might deadlock
            balance = accounts.c.balance + changes[account]
            changed = accounts.update().where(accounts.c.id == account).values(balance=balance)
            connection.execute(changed)

    ctx.transact(move)


opening = Worker(
    open_account, execs_per_tick=ACCOUNTS, ticks=1, tick_duration=0, seed=7, schema=schema
)

transfers = Worker(
    Instrumentation(func_dispatcher=look_up, nested_callback=transfer, func_name="transfers"),
    shape=[Ramp("0/s", "200/s", "5s"), Rate("200/s", "10s")],
    warmup="2s",
    thresholds=["p99<500ms", "transfer.p95<200ms", "failed<0.1%", "lag.p99<250ms over 5s"],
    abort_on=["failed<5% over 5s"],
    ledger=False,
)
