"""`ctx.transact`: a step's own transactions, done again as a whole, with the same draws."""

import sqlite3
import threading
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, select, text
from sqlalchemy.exc import OperationalError

from workermanager import Retry, Step, Worker

DATABASE = "transact"

schema = MetaData()
accounts = Table(
    "accounts",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String(60), nullable=False, unique=True),
)
notes = Table("notes", schema, Column("id", Integer, primary_key=True))


@pytest.fixture(scope="module")
def postgres_url(postgres):
    postgres.create_database(DATABASE)
    return postgres.url(DATABASE)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/transact.db"


@pytest.fixture
def clean_postgres(postgres_url):
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres_url


def work_of(step, url, execs=1, **settings):
    settings = {"database": url, "schema": schema, "seed": 7, **settings}
    return Worker(step, execs_per_tick=[execs], tick_duration=0, **settings)


def rows_of(url, table):
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(select(table).order_by(table.c.id)).all()
    engine.dispose()
    return [tuple(row) for row in rows]


def conflict():
    """A serialization failure, as SQLAlchemy raises it."""
    return OperationalError("UPDATE …", {}, psycopg.errors.SerializationFailure("try again"))


class Fails:
    """Raises a serialization failure the first so many times it is called."""

    def __init__(self, times):
        self.left = times

    def __call__(self):
        if self.left:
            self.left -= 1
            raise conflict()


def add(number, name="one"):
    return lambda connection: connection.execute(accounts.insert(), {"id": number, "name": name})


# What it gives


def test_it_gives_what_its_function_returns_and_commits_before_it_does(url, tmp_path):
    given = []

    def step(ctx, params):
        given.append(ctx.transact(lambda c: (add(5)(c), c.scalar(select(accounts.c.name)))[1]))
        with closing(sqlite3.connect(tmp_path / "transact.db")) as other:
            given.append(other.execute("SELECT id FROM accounts").fetchall())

    assert work_of(step, url).run().counts["ok"] == 1
    assert given == ["one", [(5,)]]


def test_it_has_figures_of_its_own_beside_the_steps(url):
    def pays(ctx, params):
        ctx.transact(add(2 * ctx.n, f"{ctx.n} a"))
        ctx.transact(add(2 * ctx.n + 1, f"{ctx.n} b"))

    def rests(ctx, params):
        pass

    report = work_of([pays, rests], url, 10).run()
    assert set(report.steps) == {"pays", "pays.transact", "rests"}
    assert report.steps["pays.transact"].service.count == 20
    assert report.steps["pays.transact"].failed == 0
    assert report.steps["pays"].service.count == 10


def test_a_failed_transaction_is_in_its_figures_too(url):
    def step(ctx, params):
        ctx.transact(add(1 if ctx.n else 2, f"{ctx.n}"))
        ctx.transact(add(1, "again"))

    report = work_of(step, url, 2, threads=1).run()
    assert report.counts["failed"] == 1
    assert report.steps["step.transact"].failed == 1


def test_the_report_counts_transactions_and_what_made_them_try_again(url):
    fails = Fails(3)

    def step(ctx, params):
        ctx.transact(lambda connection: fails())

    database = work_of(step, url, ledger=False).run().database
    assert database.retries == {"40001": 3}
    assert database.transactions == database.commits + 3


def test_without_a_database_it_says_what_to_do():
    report = Worker(lambda ctx, params: ctx.transact(lambda connection: None)).run()
    assert report.counts["failed"] == 1
    assert report.errors[0].type == "InvalidConfig"
    assert report.errors[0].example == (
        "ctx.transact needs a database: Worker(database=…) or --database URL"
    )


def test_a_nested_run_uses_the_database_around_it(url):
    def outer(ctx, params):
        Worker(inner, execs_per_tick=[3], tick_duration=0).run()

    def inner(ctx, params):
        ctx.transact(add(ctx.n, f"{ctx.n}"))

    work_of(outer, url).run()
    assert [number for number, _ in rows_of(url, accounts)] == [0, 1, 2]


# Draws


def draw(ctx):
    return [
        ctx.uuid(),
        ctx.random.random(),
        ctx.faker.name(),
        ctx.pooled("company", of=64),
        ctx.unique("a@b.c"),
        ctx.child_seed(),
    ]


def draw_own(ctx):
    return [ctx.uuid(), ctx.random.random(), ctx.pooled("company", of=64)]


def draws_of(url, fails=None, *, transacts=True, policy=None):
    """What a step of the same exec draws before, within and after its transactions."""
    drawn = {}

    def step(ctx, params):
        def work(connection):
            drawn["first"] = draw(ctx)
            if fails is not None:
                fails()

        drawn["before"] = draw_own(ctx)
        if transacts:
            ctx.transact(work)
            ctx.transact(lambda connection: drawn.update(second=draw(ctx)))
        drawn["after"] = draw_own(ctx)
        if policy is not None and ctx.attempt == 1:
            raise OSError

    report = work_of(Step(step, retry=policy), url).run()
    assert report.counts["ok"] == 1, report.errors
    return drawn


def test_a_function_that_runs_again_draws_the_same_again(url):
    assert draws_of(url, Fails(2)) == draws_of(url)


def test_a_step_that_runs_again_draws_the_same_in_its_transactions(url):
    assert draws_of(url, policy=Retry(attempts=2, base=0)) == draws_of(url)


def test_the_draws_of_the_step_are_the_same_with_and_without_transactions(url):
    with_one, without = draws_of(url), draws_of(url, transacts=False)
    assert (with_one["before"], with_one["after"]) == (without["before"], without["after"])


def test_each_transaction_draws_for_itself(url):
    drawn = draws_of(url)
    for place, (first, second) in enumerate(zip(drawn["first"], drawn["second"], strict=True)):
        if place != 3:  # of 64 companies one may well come again
            assert first != second
    for place in (0, 1):
        assert len({drawn[when][place] for when in drawn}) == 4


def test_texts_stay_unique_across_attempts_and_transactions(url):
    fails, made = Fails(1), []

    def step(ctx, params):
        def work(connection):
            inside[:] = [ctx.unique("a"), ctx.unique("a")]
            fails()

        inside = []
        made.append(ctx.unique("a"))
        ctx.transact(work)
        made.extend([*inside, ctx.unique("a")])

    work_of(step, url).run()
    assert len(set(made)) == 4
    assert [text.rpartition("-")[2] for text in made] == ["0", "1", "2", "3"]


# Rows beside a transaction


def test_rows_inserted_within_are_there_once_however_often_it_ran(url):
    fails = Fails(2)

    def step(ctx, params):
        def work(connection):
            ctx.insert(notes, {"id": 2})
            fails()

        ctx.insert(notes, {"id": 1})
        ctx.transact(work)
        ctx.insert(notes, {"id": 3})

    report = work_of(step, url).run()
    assert report.rows == {"notes": 3}
    assert report.database.found == {}
    assert rows_of(url, notes) == [(1,), (2,), (3,)]


def test_sixteen_threads_with_transactions_and_rows_never_find_sqlite_locked(url):
    lock, inside = threading.Lock(), []

    def step(ctx, params):
        ctx.insert(notes, {"id": ctx.n})
        ctx.transact(add(2 * ctx.n, f"{ctx.n} a"))
        with lock:
            inside.append(threading.get_ident())
        ctx.transact(add(2 * ctx.n + 1, f"{ctx.n} b"))

    report = work_of(step, url, 320, threads=16).run()
    assert (report.counts["ok"], report.errors) == (320, [])
    assert report.database.retries == {}
    assert len(rows_of(url, accounts)) == 640
    assert len(rows_of(url, notes)) == 320


# What fails


@pytest.mark.parametrize("database", ["url", "clean_postgres"])
def test_a_function_that_fails_fails_only_its_exec_and_leaves_nothing(database, request):
    url = request.getfixturevalue(database)

    def step(ctx, params):
        def work(connection):
            add(ctx.n, f"{ctx.n}")(connection)
            if ctx.n == 3:
                raise ValueError("no luck today")

        ctx.insert(notes, {"id": ctx.n})
        ctx.transact(work)

    report = work_of(step, url, 10).run()
    assert (report.counts["ok"], report.counts["failed"]) == (9, 1)
    assert [(kind.step, kind.type, kind.example) for kind in report.errors] == [
        ("step", "ValueError", "no luck today")
    ]
    expected = [n for n in range(10) if n != 3]
    assert [number for number, _ in rows_of(url, accounts)] == expected
    assert [number for (number,) in rows_of(url, notes)] == expected


def test_a_step_may_catch_what_its_transaction_raised_and_go_on(url):
    def step(ctx, params):
        with pytest.raises(ValueError, match="inside"):
            ctx.transact(fails_inside)
        ctx.transact(add(ctx.n, f"{ctx.n}"))
        ctx.insert(notes, {"id": ctx.n})

    def fails_inside(connection):
        add(99, "never")(connection)
        raise ValueError("inside")

    report = work_of(step, url, 3).run()
    assert report.counts["ok"] == 3, report.errors
    assert [number for number, _ in rows_of(url, accounts)] == [0, 1, 2]


def test_the_values_of_a_refused_row_are_not_in_the_report(clean_postgres):
    def step(ctx, params):
        if ctx.n:
            ctx.insert(accounts, {"id": 2, "name": "canary-5f2e"})
            ctx.insert(accounts, {"id": 3, "name": "canary-5f2e"})
        else:
            ctx.transact(lambda c: (add(8, "canary-5f2e")(c), add(9, "canary-5f2e")(c)))

    report = work_of(step, clean_postgres, 2).run()
    assert report.counts["failed"] == 2
    assert {kind.step for kind in report.errors} == {"step", "(commit)"}
    assert {kind.type for kind in report.errors} == {"UniqueViolation"}
    assert "accounts_name_key" in report.to_json()
    assert "canary" not in report.to_json()


def test_a_real_conflict_on_postgresql_is_done_again(clean_postgres):
    both_read = threading.Barrier(2, timeout=20)
    attempts, lock = [], threading.Lock()

    def step(ctx, params):
        def work(connection):
            seen = len(connection.execute(select(accounts.c.id)).all())
            with lock:
                attempts.append(ctx.n)
                is_first = attempts.count(ctx.n) == 1
            if is_first:
                both_read.wait()
            add(ctx.n, f"saw {seen}")(connection)

        ctx.transact(work, isolation="SERIALIZABLE")

    report = work_of(step, clean_postgres, 2, threads=2).run()
    assert report.counts["ok"] == 2
    assert report.database.retries["40001"] >= 1
    assert sorted(name for _, name in rows_of(clean_postgres, accounts)) == ["saw 0", "saw 1"]


def test_a_stop_now_ends_the_waits_of_a_transaction(url):
    tried = threading.Event()

    def step(ctx, params):
        ctx.transact(always)

    def always(connection):
        tried.set()
        raise conflict()

    run = work_of(step, url).start()
    assert tried.wait(20)
    run.stop(now=True)
    report = run.finish()
    assert report.counts["ok"] == 0
    assert report.database.retries["40001"] >= 1


# What a step draws is its own, whatever its transactions draw


def draws_around(url, inside, times=0):
    drawn, fails = [], Fails(times)

    def step(ctx, params):
        fake, random = ctx.faker, ctx.random
        drawn.append((fake.name(), random.random()))

        def work(connection):
            inside(drawn, ctx, fake, random)
            fails()

        ctx.transact(work)
        drawn.append((fake.name(), random.random(), ctx.faker.name(), ctx.random.random()))

    assert work_of(step, url).run().errors == []
    return drawn


def draw_nothing(drawn, ctx, fake, random):
    pass


def draw_from_ctx(drawn, ctx, fake, random):
    drawn.append((ctx.faker.name(), ctx.random.random(), ctx.pooled("name"), ctx.unique("x")))


def draw_from_what_the_step_holds(drawn, ctx, fake, random):
    drawn.append((fake.name(), random.random()))


@pytest.mark.parametrize("inside", [draw_from_ctx, draw_from_what_the_step_holds])
def test_what_a_step_draws_after_does_not_depend_on_what_was_drawn_inside(url, inside):
    before, after = draws_around(url, draw_nothing)
    drawn = draws_around(url, inside)
    assert (drawn[0], drawn[-1]) == (before, after)
    assert drawn[1][0] not in (before[0], after[0])


@pytest.mark.parametrize("inside", [draw_from_ctx, draw_from_what_the_step_holds])
def test_a_retry_draws_the_same_from_whatever_it_draws(url, inside):
    undisturbed, drawn = draws_around(url, inside), draws_around(url, inside, times=3)
    assert drawn[1:5] == [undisturbed[1]] * 4
    assert drawn[-1] == undisturbed[-1]


# What would wait for itself


def test_a_transaction_inside_a_transaction_is_refused(url):
    report = work_of(
        lambda ctx, params: ctx.transact(lambda c: ctx.transact(lambda d: None)), url
    ).run()
    assert "cannot be begun inside another one" in report.errors[0].example


def test_a_worker_inside_a_transaction_is_refused(url):
    def inner(ctx, params):
        ctx.insert(notes, {"id": 1})

    report = work_of(lambda ctx, params: ctx.transact(lambda c: Worker(inner).run()), url).run()
    assert "cannot be started inside ctx.transact" in report.errors[0].example


def test_one_that_waits_to_try_again_is_interrupted_by_stop_now(url):
    begun = threading.Event()

    def step(ctx, params):
        def work(connection):
            begun.set()
            raise conflict()

        ctx.transact(work)

    run = work_of(step, url).start()
    begun.wait(20)
    run.stop(now=True)
    report = run.finish()
    assert (report.counts["interrupted"], report.counts["failed"]) == (1, 0)
