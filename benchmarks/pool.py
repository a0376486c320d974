"""What a process costs in a pool until its result is written, and what the pool itself needs."""

import sys

from benchmarks import pool_peers as peers
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.startup import command

TRUE_TARGET = 1.1
PARALLEL_TARGET = 5.0
START_TARGET = 8.0
GROWTH_TARGET_MIB = 15.0
OURS, XARGS, PARALLEL, THREADS = (
    "ours",
    "xargs -P",
    "GNU parallel",
    "threads, subprocess.run",
)


def candidates(more: int, *argv: str) -> list[Candidate]:
    return [
        Candidate(OURS, peers.ours, (more, *argv)),
        Candidate(XARGS, peers.xargs, (more, *argv)),
        Candidate(PARALLEL, peers.parallel, (more, *argv)),
        Candidate(THREADS, peers.threads, (more, *argv)),
    ]


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    return [
        *run_true(rounds or (3 if quick else 9)),
        *run_sleep(rounds or (1 if quick else 5)),
        *run_start(rounds or (2 if quick else 5)),
        *run_memory(rounds or 1, quick=quick),
    ]


def run_true(rounds: int) -> list[Measured]:
    found = compare(candidates(500, "true"), rounds)
    show(f"500 times 'true', {peers.AT_ONCE} at once", found)
    by_name = {one.name: one for one in found}
    mine, xargs, parallel = by_name[OURS], by_name[XARGS], by_name[PARALLEL]
    if not (mine.problem or xargs.problem):
        ratio = mine.ratio("ms", xargs)
        print_target(
            f"a task of ours costs at most {TRUE_TARGET:g} times one of xargs",
            f"{ratio:.2f}",
            is_met=ratio <= TRUE_TARGET,
        )
    if not (mine.problem or parallel.problem):
        ratio = parallel.ratio("ms", mine)
        print_target(
            f"ours at least {PARALLEL_TARGET:g} times as fast as GNU parallel",
            f"{ratio:.1f}",
            is_met=ratio >= PARALLEL_TARGET,
        )
    return found


def run_sleep(rounds: int) -> list[Measured]:
    found = compare(candidates(200, "sleep", "0.05"), rounds)
    least = 50 / peers.AT_ONCE
    show(f"200 times 'sleep 0.05', {peers.AT_ONCE} at once (at least {least} ms)", found)
    return found


def show(title: str, found: list[Measured]) -> None:
    baseline = next(one for one in found if one.name == XARGS)
    print_table(
        f"pool: {title};\nwithout the start, except 'all in s'; x is to '{XARGS}'",
        ("", "ms per task", "its rounds", "x", "all in s"),
        [
            one.row(
                one.cell("ms"),
                one.range_cell("ms"),
                one.ratio_cell("ms", baseline),
                one.cell("s"),
            )
            for one in found
        ],
    )


def run_start(rounds: int) -> list[Measured]:
    pool = (sys.executable, "-m", "workermanager", "pool", "[]")
    found = compare(
        [
            Candidate("python -c pass", command, (sys.executable, "-c", "pass")),
            Candidate("python -m workermanager pool '[]'", command, pool),
        ],
        rounds,
    )
    bare, started = found
    print_table(
        "pool: its start; x is to 'python -c pass'",
        ("", "ms", "x"),
        [one.row(one.cell("ms", "{:.1f}"), one.ratio_cell("ms", bare, "{:.1f}")) for one in found],
    )
    if not (bare.problem or started.problem):
        ratio = started.ratio("ms", bare)
        print_target(
            f"pool '[]' at most {START_TARGET:g} times bare Python",
            f"{ratio:.1f}",
            is_met=ratio <= START_TARGET,
        )
    (imported,) = compare([Candidate("its imports", peers.modules, ("pool", "[]"))], 1)
    if not imported.problem:
        print_target(
            "no SQLAlchemy, Faker or APScheduler is imported",
            f"{imported.median('modules'):.0f} modules, {imported.median('unwanted'):.0f} of these",
            is_met=not imported.median("unwanted"),
        )
    return [*found, imported]


def run_memory(rounds: int, *, quick: bool) -> list[Measured]:
    """With a program that is not there, all is as ever but the processes themselves."""
    many = 20_000 if quick else 100_000
    run_for_real = many // 10 if quick else many
    found = compare(
        [
            Candidate("1,000 tasks", peers.memory, (1_000, "true")),
            Candidate(f"{run_for_real:,} tasks", peers.memory, (run_for_real, "true")),
            Candidate(f"{many:,} that cannot start", peers.memory, (many, peers.NO_PROGRAM)),
        ],
        rounds,
    )
    print_table(
        "pool: the most memory that its process has, tasks in NDJSON",
        ("", "MiB", "took s"),
        [one.row(one.cell("MiB"), one.cell("s", "{:.1f}")) for one in found],
    )
    few, *more = found
    for one in more:
        if not (few.problem or one.problem):
            grown = one.median("MiB") - few.median("MiB")
            print_target(
                f"{one.name} take at most {GROWTH_TARGET_MIB:g} MiB more than {few.name}",
                f"{grown:.2f} MiB",
                is_met=grown <= GROWTH_TARGET_MIB,
            )
    return found
