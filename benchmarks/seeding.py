"""What one durable chain of three rows costs, values made, from start to everything committed."""

import tempfile
import time
from pathlib import Path

from benchmarks import seeding_peers as peers
from benchmarks.fakes import stock_faker
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.seeding_schema import (
    companies,
    fresh_database,
    per_chain,
    profile_pictures,
    users,
)
from workermanager import Worker

THREADS = 16
LIVE, POOLED = "ours, live, 16 threads", "ours, pooled, 16 threads"
CORE = "Core, commit per chain, 16 threads"
DBWORKLOAD = "dbworkload, picked, 16 workers"
NO_LEDGER = "ours, pooled, 16 threads, no ledger"
TARGETS_SQLITE = {LIVE: 8.0, POOLED: 30.0}
TARGET_DBWORKLOAD = 8.0
TARGET_LEDGER = 1.05
LEDGER_ROUNDS = 3  # times as many as for the tables: it costs less than a round's noise


def add_company_live(ctx, params):
    fake = ctx.faker
    company_id = params["company_id"] = ctx.uuid7()
    company = {
        "id": company_id,
        "name": fake.company(),
        "catch_phrase": fake.catch_phrase(),
        "country": fake.country_code(),
        "created_at": ctx.now,
    }
    ctx.insert(companies, company)


def add_user_live(ctx, params):
    fake = ctx.faker
    company_id, picture_id = params["company_id"], ctx.uuid7()
    picture = {"id": picture_id, "company_id": company_id, "url": fake.image_url()}
    ctx.insert(profile_pictures, picture)
    user = {
        "id": ctx.uuid7(),
        "company_id": company_id,
        "profile_picture_id": picture_id,
        "name": fake.name(),
        "email": ctx.unique(f"{fake.user_name()}@example.com"),
        "job": fake.job(),
        "created_at": ctx.now,
    }
    ctx.insert(users, user)


def add_company_pooled(ctx, params):
    company_id = params["company_id"] = ctx.uuid7()
    company = {
        "id": company_id,
        "name": ctx.pooled("company"),
        "catch_phrase": ctx.pooled("catch_phrase"),
        "country": ctx.pooled("country_code"),
        "created_at": ctx.now,
    }
    ctx.insert(companies, company)


def add_user_pooled(ctx, params):
    company_id, picture_id = params["company_id"], ctx.uuid7()
    picture = {"id": picture_id, "company_id": company_id, "url": ctx.pooled("image_url")}
    ctx.insert(profile_pictures, picture)
    user = {
        "id": ctx.uuid7(),
        "company_id": company_id,
        "profile_picture_id": picture_id,
        "name": ctx.pooled("name"),
        "email": ctx.unique(f"{ctx.pooled('user_name')}@example.com"),
        "job": ctx.pooled("job"),
        "created_at": ctx.now,
    }
    ctx.insert(users, user)


STEPS = {
    "live": [add_company_live, add_user_live],
    "pooled": [add_company_pooled, add_user_pooled],
}


def ours(server, chains, values, threads, has_ledger):
    stock_faker()  # the peers' time does not count Faker's import either
    with fresh_database(server) as url:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        report = Worker(
            STEPS[values],
            execs_per_tick=[chains],
            tick_duration=0,
            threads=threads,
            seed=7,
            database=url,
            ledger=has_ledger,
        ).run()
        cpu = time.process_time() - begun_cpu
        figures = {**per_chain(begun, url, chains), "CPU µs": cpu / chains * 1e6}
        assert report.counts["ok"] == chains
        return figures


def on_sqlite() -> list[Candidate]:
    """Each with as many chains as take half a second or more."""
    return [
        Candidate(LIVE, ours, (None, 10_000, "live", THREADS, True)),
        Candidate("ours, live, 1 thread", ours, (None, 10_000, "live", 1, True)),
        Candidate(POOLED, ours, (None, 30_000, "pooled", THREADS, True)),
        Candidate("ours, pooled, 1 thread", ours, (None, 30_000, "pooled", 1, True)),
        Candidate(NO_LEDGER, ours, (None, 30_000, "pooled", THREADS, False)),
        Candidate(CORE, peers.core_by_chain, (None, 1_000, THREADS)),
        Candidate("Core, commit per 500", peers.core_by_group, (None, 2_000)),
        Candidate(
            "Core, commit per 500, made beforehand",
            peers.core_by_group_beforehand,
            (None, 20_000),
        ),
        Candidate("factory_boy, commit per chain", peers.factory_boy, (None, 500, 1)),
        Candidate(
            "factory_boy, commit per 500", peers.factory_boy, (None, 1_000, peers.PER_COMMIT)
        ),
        Candidate("executemany, made beforehand", peers.sqlite_executemany, (None, 50_000)),
    ]


def on_postgres(server: str) -> list[Candidate]:
    return [
        Candidate(LIVE, ours, (server, 10_000, "live", THREADS, True)),
        Candidate(POOLED, ours, (server, 30_000, "pooled", THREADS, True)),
        Candidate(CORE, peers.core_by_chain, (server, 1_000, THREADS)),
        Candidate(DBWORKLOAD, peers.dbworkload, (server, 3_200, THREADS)),
        Candidate("COPY, made beforehand", peers.postgres_copy, (server, 50_000)),
    ]


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    rounds = rounds or (1 if quick else 5)
    return [*run_sqlite(rounds), *run_ledger(rounds), *run_postgres(rounds)]


def run_sqlite(rounds):
    results = compare(on_sqlite(), rounds)
    by_name = tabulated("SQLite, WAL, synchronous=FULL", results)
    for name, target in TARGETS_SQLITE.items():
        tell_target(by_name[name], by_name[CORE], target)
    return results


def run_ledger(rounds):
    wanted = [one for one in on_sqlite() if one.name in {POOLED, NO_LEDGER}]
    with_, without = results = compare(wanted, rounds * LEDGER_ROUNDS)
    if not (with_.problem or without.problem):
        ratio = with_.ratio("µs", without)
        print_target(
            f"the ledger costs less than {TARGET_LEDGER - 1:.0%} (SQLite, {POOLED})",
            f"{ratio - 1:+.1%}, and {with_.ratio('CPU µs', without) - 1:+.1%} of the CPU time",
            is_met=ratio < TARGET_LEDGER,
        )
    return results


def run_postgres(rounds):
    from tests.kit.postgres import PostgresServer

    with tempfile.TemporaryDirectory() as folder:
        try:
            server = PostgresServer(Path(folder) / "server", is_durable=True)
        except RuntimeError as missing:
            print(f"\nseeding: PostgreSQL: {missing}")
            return []
        with server:
            results = compare(on_postgres(server.url("postgres")), rounds)
    by_name = tabulated("PostgreSQL, fsync and synchronous_commit on", results)
    tell_target(by_name[POOLED], by_name[DBWORKLOAD], TARGET_DBWORKLOAD)
    return results


def tabulated(database, results):
    """Print the table; give what was measured by name."""
    by_name = {one.name: one for one in results}
    baseline = by_name[CORE]
    print_table(
        f"seeding: {database}: a durable chain of 3 rows, values made;\nx is to '{CORE}'",
        ("", "µs per chain", "its rounds", "x as fast"),
        [
            one.row(
                one.cell("µs", "{:,.1f}"),
                one.range_cell("µs", "{:,.1f}"),
                baseline.ratio_cell("µs", one, "{:.3g}"),
            )
            for one in results
        ],
    )
    return by_name


def tell_target(mine, theirs, target):
    if mine.problem or theirs.problem:
        return
    ratio = theirs.ratio("µs", mine)
    print_target(
        f"{mine.name}: at least {target:g} times '{theirs.name}'",
        f"{ratio:.1f}",
        is_met=ratio >= target,
    )
