"""A seed fixes every row, whatever the number of threads."""

import sqlite3

import pytest

from examples import load_runner
from workermanager import Worker


def dump(path):
    connection = sqlite3.connect(path)
    try:
        tables = ("companies", "profile_pictures", "users")
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in tables
        ]
    finally:
        connection.close()


def seed_into(path, *, threads, seed=7, execs=1_000):
    report = Worker(
        load_runner.worker.instrumentation,
        execs_per_tick=[execs // 2, execs // 2],
        tick_duration="100ms",
        threads=threads,
        seed=seed,
        database=f"sqlite:///{path}",
        schema=load_runner.schema,
    ).run()
    assert report.counts["ok"] == execs
    return dump(path)


def test_a_thousand_execs_give_the_same_rows_on_1_and_on_64_threads(tmp_path):
    one = seed_into(tmp_path / "one.db", threads=1)
    many = seed_into(tmp_path / "many.db", threads=64)
    assert [len(rows) for rows in one] == [1_000, 1_000, 3_000]
    assert one == many


def test_another_seed_gives_other_rows(tmp_path):
    seven = seed_into(tmp_path / "7.db", threads=4, execs=20)
    eight = seed_into(tmp_path / "8.db", threads=4, seed=8, execs=20)
    assert not {row[0] for row in seven[0]} & {row[0] for row in eight[0]}


@pytest.mark.parametrize("draw", ["random", "uuid", "faker", "now"])
def test_what_a_step_draws_depends_on_its_place_alone(draw):
    draws = {
        "random": lambda ctx: [ctx.random.random() for _ in range(3)],
        "uuid": lambda ctx: [ctx.uuid() for _ in range(3)],
        "faker": lambda ctx: [ctx.faker.name(), ctx.faker.company()],
        "now": lambda ctx: [ctx.now],
    }

    def drawn(threads):
        seen = {}

        def step(ctx, params):
            seen[ctx.n, ctx.path] = tuple(draws[draw](ctx))

        Worker(
            [step, step], execs_per_tick=[20, 20], tick_duration="10ms", seed=3, threads=threads
        ).run()
        return seen

    first, second = drawn(1), drawn(16)
    assert first == second
    places = 80 if draw != "now" else 40  # both steps of an exec share its moment
    assert len(set(first.values())) == places
