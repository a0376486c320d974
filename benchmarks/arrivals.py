"""An open model: no-op arrivals that are due at a fixed rate, however the engine copes."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.chain import both, first_step, second_step
from benchmarks.clock_thread import run_clock_thread
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.lateness import FIGURES, lateness, reported
from workermanager import Worker

RATES = (10_000, 50_000)
THREADS = 16
LONGEST_LAG_MS = 2.0


def ours(rate, seconds):
    worker = Worker(
        [first_step, second_step],
        execs_per_tick=rate,
        ticks=seconds,
        tick_duration="1s",
        threads=THREADS,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    report = worker.run()
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    counts = report.counts
    return {
        "missing": rate * seconds - counts["ok"],
        "dropped": counts["dropped"],
        "cores": cores,
        **reported(report.lag),
    }


def clock_thread(rate, seconds):
    late = []

    def body(n, due):
        late.append(time.monotonic_ns() - due)
        both({"n": n})

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        origin = time.monotonic_ns()
        due = (origin + n * 1_000_000_000 // rate for n in range(rate * seconds))
        run_clock_thread(due, lambda n, due: pool.submit(body, n, due))
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return {
        "missing": rate * seconds - len(late),
        "dropped": 0,
        "cores": cores,
        **lateness(late),
    }


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    results = []
    seconds = 3 if quick else 10
    for rate in RATES:
        found = compare(
            [
                Candidate("ours", ours, (rate, seconds)),
                Candidate("clock thread + submit", clock_thread, (rate, seconds)),
            ],
            rounds or (1 if quick else 2),
        )
        print_arrivals(rate, seconds, found)
        results += found
    return results


def print_arrivals(rate: int, seconds: int, found: list[Measured]) -> None:
    mine = found[0]
    counts = ("missing", "dropped")
    print_table(
        f"arrivals: {rate:,} no-ops a second, evenly, for {seconds} s, {THREADS} threads:\n"
        "lag in ms; cores = CPU time / wall time; x is the cores to those of 'ours'",
        ("", *counts, *FIGURES, "cores", "x cores"),
        [
            one.row(
                *(one.cell(figure, "{:,.0f}") for figure in counts),
                *(one.cell(figure) for figure in (*FIGURES, "cores")),
                one.ratio_cell("cores", mine),
            )
            for one in found
        ],
    )
    if not mine.problem:
        lost = sum(one["missing"] + one["dropped"] for one in mine.rounds)
        lag, cores = mine.median("p99"), mine.median("cores")
        print_target(
            f"every arrival run, lag p99 under {LONGEST_LAG_MS:g} ms, about one core at most",
            f"{lost:.0f} lost, {lag:.2f} ms, {cores:.2f} cores",
            is_met=not lost and lag < LONGEST_LAG_MS and cores < 1.2,
        )
