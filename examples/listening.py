"""Loads messages into a database and then listens: a callback runs a Worker that reads them.

    python examples/listening.py
    workermanager run examples/listening.py:loading --database sqlite:///messages.db

The callback runs once, after the last exec and its rows. The Worker that it runs is nested in the
run around: it works on the same database, its draws come from the same seed, and a stop reaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, func, select

from workermanager import Exec, Instrumentation, TaskParams, Worker

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from workermanager import Report

schema = MetaData()
messages = Table(
    "messages",
    schema,
    Column("id", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("heard", Boolean, nullable=False),
)


def load(ctx: Exec, params: TaskParams) -> None:
    """Write a message."""
    ctx.insert(messages, {"id": ctx.n, "text": f"message {ctx.n}", "heard": False})


def listen(ctx: Exec, params: TaskParams) -> TaskParams:
    """Read the message with this exec's number, and mark it as heard, in one transaction."""
    mine = messages.c.id == ctx.n

    def hear(connection: Connection) -> str | None:
        connection.execute(messages.update().where(mine).values(heard=True))
        return connection.scalar(select(messages.c.text).where(mine))

    return TaskParams(text=ctx.transact(hear))


def shout(ctx: Exec, params: TaskParams) -> None:
    """Say what was heard."""
    print(params.get_as("text", str).upper())


def listen_to_all(ctx: Exec, params: TaskParams) -> TaskParams:
    """Run a Worker that listens to as many messages as were loaded."""
    loaded: Report = params["report"]
    listening = Worker(
        Instrumentation(func_dispatcher=listen, nested_callback=shout, func_name="listening"),
        execs_per_tick=[loaded.counts["ok"]],
        tick_duration=0,
        threads=1,  # so that the messages are heard in their order
    )
    return TaskParams(heard=listening.run().accounting)


def count(ctx: Exec, params: TaskParams) -> None:
    """Say how both went, and what the database says."""
    heard = select(func.count()).select_from(messages).where(messages.c.heard)
    loaded: Report = params["report"]
    print("loading:", loaded.accounting)
    print("listening:", params["heard"])
    print("heard, says the database:", ctx.transact(lambda connection: connection.scalar(heard)))


loading = Worker(
    Instrumentation(func_dispatcher=load, func_name="loading"),
    execs_per_tick=[2, 4],
    tick_duration="100ms",
    callback=[listen_to_all, count],
    database="sqlite://",
    schema=schema,
)

if __name__ == "__main__":
    loading.run()
