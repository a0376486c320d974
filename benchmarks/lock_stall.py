"""The same stall for real, a table lock in PostgreSQL: what is told of it, beside what was.

The truth is computed from when the lock was held, not from anything that a tool measures.
"""

import heapq
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.lateness import rank
from benchmarks.seeding_schema import connected
from benchmarks.table_lock import TableLock
from workermanager import Rate, Worker

RATE, SECONDS, THREADS = 100, 10, 5
STALL_S = (4.0, 6.0)
TABLE = "events"
INSERT = f"INSERT INTO {TABLE} (n) VALUES (:n)"
TARGET_PERCENT = 5.0
FIGURES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


def empty_table(server):
    from sqlalchemy import text

    with connected(server) as engine, engine.begin() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {TABLE}"))
        connection.execute(text(f"CREATE TABLE {TABLE} (n bigint)"))


def rows_in(server):
    from sqlalchemy import text

    with connected(server) as engine, engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {TABLE}"))


def even_arrivals(begun):
    return [begun + n * 1_000_000_000 // RATE for n in range(RATE * SECONDS)]


def truth(due, held, service):
    """How long each arrival takes from when it is due, all in nanoseconds.

    Whoever is free takes the next one in line; one that begins while the lock is held waits for
    its end, and any takes ``service``.
    """
    free_at = [0] * THREADS
    for moment in due:
        begun = max(moment, heapq.heappop(free_at))
        is_held = held.begin <= begun < held.end
        end = (held.end if is_held else begun) + service
        heapq.heappush(free_at, end)
        yield end - moment


def ours(server):
    from sqlalchemy import text

    empty_table(server)
    insert, spans = text(INSERT), []

    def insert_one(ctx, params):
        begun = time.monotonic_ns()
        ctx.transact(lambda connection: connection.execute(insert, {"n": ctx.n}))
        spans.append((ctx.n, begun, time.monotonic_ns()))

    run = Worker(
        insert_one,
        shape=Rate(f"{RATE}/s", f"{SECONDS}s"),
        threads=THREADS,
        database=server,
        ledger=False,
    ).prepare()
    with TableLock(server, TABLE) as lock:
        run.open()
        begun = time.monotonic_ns()
        run.begin()
        lock.hold(begun + int(STALL_S[0] * 1e9), STALL_S[1] - STALL_S[0])
        held = lock.held()
        report = run.finish()
    assert report.counts["ok"] == rows_in(server) == RATE * SECONDS
    due = even_arrivals(begun)
    outside = [end - begin for _, begin, end in spans if end < held.begin or begin > held.end]
    true = sorted(truth(due, held, int(median(outside))))
    timed = sorted(end - due[n] for n, _, end in spans)
    told = {"response": report.response, "lag": report.lag, "service": report.service}
    return {
        **{f"{name} {one}": getattr(told[name], f"{one}_ms") for name in told for one in FIGURES},
        **{f"truth {one}": rank(true, percent) for one, percent in FIGURES.items()},
        **{f"timed {one}": rank(timed, percent) for one, percent in FIGURES.items()},
        "stall": (held.end - held.begin) / 1e6,
        "shown": report.response.p99_ms,
        "true": rank(true, 99),
        "ran": report.counts["ok"],
    }


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    from tests.kit.postgres import PostgresServer

    with tempfile.TemporaryDirectory() as folder:
        try:
            server = PostgresServer(Path(folder) / "server", is_durable=True)
        except RuntimeError as missing:
            print(f"\nlock_stall: PostgreSQL: {missing}")
            return []
        with server:
            found = compare(candidates(server.url("postgres"), quick=quick), rounds or 1)
    print_ours(found[0])
    print_peers(found)
    return found


def candidates(server, *, quick):
    from benchmarks import lock_stall_peers as peers
    from tests.kit.postgres import find_programs

    pgbench = str(find_programs() / "pgbench")
    others = [
        Candidate("Locust", peers.locust, (server,)),
        Candidate("dbworkload, paced in its script", peers.dbworkload, (server,)),
    ]
    return [
        Candidate("ours", ours, (server,)),
        Candidate("pgbench, from its log", peers.pgbench, (server, pgbench)),
        *([] if quick else others),
    ]


def print_ours(mine: Measured) -> None:
    rows = (
        ("response (end - due)", "response"),
        ("the truth: what the lock makes of it", "truth"),
        ("timed in the steps themselves", "timed"),
        ("lag (start - due)", "lag"),
        ("service (end - start), all that many tools have", "service"),
    )
    stall = mine.cell("stall", "{:,.0f}")
    print_table(
        f"lock_stall: {RATE} inserts a second on {THREADS} threads for {SECONDS} s, with a table"
        f" lock of {stall} ms, ms",
        ("", *FIGURES),
        [(title, *(mine.cell(f"{name} {one}") for one in FIGURES)) for title, name in rows],
    )
    if not mine.problem:
        off = [deviation(one["shown"], one["true"]) for one in mine.rounds]
        print_target(
            f"p99 within {TARGET_PERCENT:g} % of the truth",
            ", ".join(f"{one:+.2f} %" for one in off),
            is_met=max(map(abs, off)) < TARGET_PERCENT,
        )


def print_peers(found: list[Measured]) -> None:
    print_table(
        "lock_stall: the p99 that each tool shows, and that of all arrivals as they were due, ms",
        ("", "shown", "truth", "off by", f"ran of {RATE * SECONDS:,}"),
        [
            one.row(
                one.cell("shown"),
                one.cell("true"),
                one.problem or f"{deviation(one.median('shown'), one.median('true')):+.1f} %",
                one.cell("ran", "{:,.0f}"),
            )
            for one in found
        ],
    )


def deviation(shown, true):
    return (shown / true - 1) * 100
