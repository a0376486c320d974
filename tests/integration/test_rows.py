"""Rows of an exec: all or none, many execs to a commit, and ok only once they are durable."""

import sqlite3
import threading

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, text

from workermanager import InvalidConfig, Retry, Step, Worker, WriteError, compensate

schema = MetaData()
parents = Table(
    "parents",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
)
children = Table(
    "children",
    schema,
    Column("id", Integer, primary_key=True),
    Column("parent_id", ForeignKey("parents.id"), nullable=False),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.db"


def read(path, sql):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def write(step, path, execs=100, **settings):
    settings = {"database": f"sqlite:///{path}", "schema": schema, **settings}
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


def parent_and_child(ctx, params):
    ctx.insert(parents, {"id": ctx.n, "name": f"p{ctx.n}"})
    ctx.insert(children, {"id": ctx.n, "parent_id": ctx.n})


def test_rows_are_written_and_counted(path):
    report = write(parent_and_child, path, 2_000).run()
    assert report.rows == {"parents": 2_000, "children": 2_000}
    assert read(path, "SELECT count(*) FROM children JOIN parents ON parent_id = parents.id") == [
        (2_000,)
    ]
    assert report.response.count == 2_000


def test_an_exec_is_ok_only_once_its_rows_are_there(path):
    missing = []

    def look(result):
        if not read(path, f"SELECT 1 FROM children WHERE id = {result.n}"):
            missing.append(result.n)

    report = write(parent_and_child, path, 200, on_result=look).run()
    assert report.counts["ok"] == 200
    assert not missing


def test_a_bad_row_fails_only_its_exec_and_takes_its_other_rows_along(path):
    def step(ctx, params):
        ctx.insert(parents, {"id": ctx.n, "name": None if ctx.n % 100 == 7 else f"p{ctx.n}"})
        ctx.insert(children, {"id": ctx.n, "parent_id": ctx.n})

    results = []
    report = write(step, path, 1_000, on_result=results.append).run()
    failed = sorted(result.n for result in results if result.error is not None)
    assert failed == list(range(7, 1_000, 100))
    assert all(isinstance(result.error, WriteError) for result in results if result.error)
    assert report.rows == {"parents": 990, "children": 990}
    assert read(path, "SELECT count(*) FROM children") == [(990,)]
    assert report.exit_code == 1
    assert [(kind.step, kind.type, kind.count) for kind in report.errors] == [
        ("(commit)", "IntegrityError", 10)
    ]


def test_a_chain_whose_rows_are_refused_at_its_end_is_not_undone(path):
    undone = []

    def book(ctx, params):
        ctx.insert(parents, {"id": 1, "name": None})

    def cancel(ctx, params):
        undone.append(ctx.n)

    report = write(compensate(book, cancel), path, 2).run()
    assert (report.counts["failed"], undone) == (2, [])


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "no_such_column": 1},
        {"id": 1, "name": "x", "nmae": "misspelt"},
        {"id": 1, "name": object()},
        {"id": 1},
    ],
    ids=["unknown column", "one column too many", "unbindable value", "missing value"],
)
def test_rows_that_no_database_could_take_fail_their_exec_too(row, path):
    def step(ctx, params):
        ctx.insert(parents, row if ctx.n == 1 else {"id": ctx.n, "name": str(ctx.n)})

    report = write(step, path, 10).run()
    assert (report.counts["ok"], report.counts["failed"]) == (9, 1)


def test_rows_of_an_exec_may_refer_to_each_other_in_any_order_they_were_inserted(path):
    def step(ctx, params):
        ctx.insert(parents, {"id": 1, "name": "one"})
        ctx.insert(a_table, {"id": 1})
        ctx.insert(b_table, {"id": 1, "a_id": 1})
        ctx.insert(a_table, {"id": 2, "b_id": 1})

    tables = MetaData()
    a_table = Table(
        "a",
        tables,
        Column("id", Integer, primary_key=True),
        Column("b_id", ForeignKey("b.id")),
    )
    b_table = Table(
        "b",
        tables,
        Column("id", Integer, primary_key=True),
        Column("a_id", ForeignKey("a.id", use_alter=True)),
    )
    parents.to_metadata(tables)
    assert write(step, path, 1, schema=tables).run().counts["ok"] == 1


def test_a_dict_may_be_used_again_after_the_insert(path):
    def step(ctx, params):
        row = {}
        for number in range(3):
            row["id"], row["name"] = number, f"p{number}"
            ctx.insert(parents, row)

    assert write(step, path, 1).run().rows == {"parents": 3}
    assert read(path, "SELECT id FROM parents ORDER BY id") == [(0,), (1,), (2,)]


def test_what_is_no_table_fails_the_exec(path):
    report = write(lambda ctx, params: ctx.insert("parents", {"id": 1}), path, 1).run()
    assert "wanted a SQLAlchemy table, found str" in report.errors[0].example


def test_a_nested_run_brings_its_own_tables_and_they_are_read_back(path):
    def outer(ctx, params):
        ctx.insert(parents, {"id": 1, "name": "one"})
        return nested

    def nested(ctx, params):
        Worker(own, schema=own_schema).run()

    def own(ctx, params):
        ctx.insert(own_table, {"id": 1})

    own_schema = MetaData()
    own_table = Table("own", own_schema, Column("id", Integer, primary_key=True))
    run = write(outer, path, 1).start()
    report = run.finish(read_back=True)
    assert report.rows == run.rows_in_database == {"own": 1, "parents": 1}


def test_a_failed_exec_writes_nothing(path):
    def fails(ctx, params):
        parent_and_child(ctx, params)
        if ctx.n % 2:
            raise ValueError

    report = write(fails, path, 10).run()
    assert report.rows == {"parents": 5, "children": 5}
    assert read(path, "SELECT count(*) FROM parents WHERE id % 2") == [(0,)]


def test_a_retried_step_writes_its_rows_once(path):
    def flaky(ctx, params):
        ctx.insert(parents, {"id": 10 * ctx.attempt, "name": "only once"})
        if ctx.attempt < 3:
            raise OSError

    step = Step(flaky, retry=Retry(attempts=3, base=0))
    assert write(step, path, 1).run().rows == {"parents": 1}
    assert read(path, "SELECT id FROM parents") == [(30,)]


def test_sixty_four_threads_never_find_the_database_locked(path):
    report = write(parent_and_child, path, 3_000, threads=64).run()
    assert report.counts["ok"] == 3_000
    assert not report.errors


def test_an_in_memory_database_serves_too():
    report = write(parent_and_child, "", 50, database="sqlite://").run()
    assert report.rows == {"parents": 50, "children": 50}


def test_a_nested_run_writes_through_the_database_around_it(path):
    def inner(ctx, params):
        ctx.insert(children, {"id": 1_000 * ctx.run.seed % 2**31 + ctx.n, "parent_id": 1})

    def outer(ctx, params):
        assert Worker(inner, execs_per_tick=[3], tick_duration=0).run().rows == {"children": 3}

    def first(ctx, params):
        ctx.insert(parents, {"id": 1, "name": "one"})

    write(first, path, 1).run()
    report = write(outer, path, 5, threads=3, seed=1).run()
    assert report.rows == {"children": 15}


def test_without_a_database_an_insert_says_what_to_do():
    report = Worker(parent_and_child).run()
    assert "needs a database" in report.errors[0].example


def test_a_database_that_cannot_be_opened_is_known_before_the_run(tmp_path):
    with pytest.raises(InvalidConfig, match="cannot be opened"):
        write(parent_and_child, tmp_path / "no" / "such" / "folder.db").run()


def test_a_password_is_never_shown():
    secret = "canary-5f2e"
    with pytest.raises(InvalidConfig) as refusal:
        write(parent_and_child, "", database=f"postgresql://me:{secret}@127.0.0.1:1/db").run()
    assert secret not in str(refusal.value)
    assert secret not in str(
        write(parent_and_child, "", database=f"x://me:{secret}@y/z").plan().describe()
    )


def test_a_writer_that_is_behind_holds_the_threads_back(path):
    """At most a bounded number of execs wait for their commit, so memory is bounded too."""
    most_waiting = 0
    lock = threading.Lock()
    begun, ended = [0], [0]

    def step(ctx, params):
        nonlocal most_waiting
        with lock:
            begun[0] += 1
            most_waiting = max(most_waiting, begun[0] - ended[0])
        parent_and_child(ctx, params)

    def settled(result):
        with lock:
            ended[0] += 1

    write(step, path, 30_000, on_result=settled, threads=8).run()
    assert most_waiting <= 4_000 + 2_000 + 2 * 8


def test_sqlite_is_set_up_to_lose_nothing(path):
    """See docs/guarantees.md: write-ahead log, synchronous=FULL (2), enforced foreign keys."""
    seen = {}

    def step(ctx, params):
        for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
            ask = text(f"PRAGMA {pragma}")
            seen[pragma] = ctx.transact(lambda connection, ask=ask: connection.scalar(ask))

    assert write(step, path, 1).run().counts["ok"] == 1
    assert seen == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 60_000,
    }
