"""How much memory a million queued execs take, and ten million that were run and recorded."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.chain import first_step, second_step
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Worker

TARGET_MIB = 5.0
TARGET_RECORDED_MIB = 20.0
THREADS = 2
RUNNERS = 16
KINDS = 5  # of an exec of two steps: response, lag, service, and a service for each step
THRESHOLDS = (
    "p99<1h",
    "lag.p99<1h over 2s",
    "first_step.p99.9<1m",
    "failed<1%",
    "rate>=1/s over 5s",
)
LONG_S = 7_200  # a series is halved at 3,600 windows


def ours(execs):
    release, running = threading.Event(), threading.Semaphore(0)

    def block(ctx, params):
        running.release()
        release.wait()

    worker = Worker(block, execs_per_tick=[execs], tick_duration=0, threads=THREADS)
    before = resident_mib()
    run = worker.start()
    for _ in range(THREADS):
        running.acquire()
    queued = run.figures().counts["queued"]
    grown = resident_mib() - before
    run.stop()
    release.set()
    run.finish()
    return figures(grown, queued)


def submit(execs):
    release = threading.Event()
    before = resident_mib()
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(release.wait) for _ in range(execs)]
        while sum(one.running() for one in futures[:THREADS]) < THREADS:
            time.sleep(0.01)
        queued = pool._work_queue.qsize()
        grown = resident_mib() - before
        pool.shutdown(wait=False, cancel_futures=True)
        release.set()
    return figures(grown, queued)


def figures(grown, queued):
    return {"MiB": grown, "queued": queued, "bytes each": grown * 2**20 / queued}


def resident_mib():
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]) / 1024


def recorded(execs):
    """Real runs, with thresholds and a series: growth after the first tenth of them."""
    run = Worker(
        [first_step, second_step],
        execs_per_tick=[execs],
        tick_duration=0,
        threads=RUNNERS,
        thresholds=THRESHOLDS,
    ).start()
    while run.figures().counts["ok"] < execs // 10:
        time.sleep(0.01)
    before = resident_mib()
    report = run.finish()
    grown = resident_mib() - before
    assert report.counts["ok"] == execs == report.steps["second_step"].ok
    assert len(report.thresholds) == len(THRESHOLDS)
    assert report.series
    return {"MiB": grown, "samples": KINDS * execs, "s": report.run.duration_s}


def kept(execs):
    """One figure of each exec in a list, as tools do whose percentiles are exact."""
    every, begun = [], time.perf_counter()
    every.extend(time.perf_counter() - begun for _ in range(execs // 10))
    before = resident_mib()
    every.extend(time.perf_counter() - begun for _ in range(execs - execs // 10))
    took = time.perf_counter() - begun
    return {"MiB": resident_mib() - before, "samples": len(every), "s": took}


def watched(seconds):
    """A look for every second of a long run, at one that is over: the most that it grew.

    These looks come faster than a window slides, so no threshold has one.
    """
    run = Worker(
        [first_step, second_step],
        execs_per_tick=[100_000],
        tick_duration=0,
        threads=RUNNERS,
        thresholds=[one for one in THRESHOLDS if " over " not in one],
    ).start()
    run.finish()
    before, begun, most = resident_mib(), time.perf_counter(), 0.0
    for second in range(seconds):
        run.watch.look()
        if second % 200 == 199:
            most = max(most, resident_mib() - before)
    return {"MiB": most, "samples": seconds, "s": time.perf_counter() - begun}


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    return [*run_queued(rounds, quick=quick), *run_recorded(rounds, quick=quick)]


def run_recorded(rounds: int | None, *, quick: bool) -> list[Measured]:
    execs = 1_000_000 if quick else 10_000_000
    seconds = LONG_S // 10 if quick else LONG_S
    found = compare(
        [
            Candidate(f"ours, {execs:,} execs of two steps", recorded, (execs,)),
            Candidate(f"ours, the looks of {seconds:,} s", watched, (seconds,)),
            Candidate("a list of one figure of each exec", kept, (execs,)),
        ],
        rounds or 1,
    )
    print_table(
        f"memory: growth while samples are recorded, {RUNNERS} threads, {len(THRESHOLDS)}"
        " thresholds, a series;\nof execs after the first tenth, of looks the most",
        ("", "samples", "MiB", "took s"),
        [
            one.row(one.cell("samples", "{:,.0f}"), one.cell("MiB"), one.cell("s", "{:.1f}"))
            for one in found
        ],
    )
    mine = found[0]
    if not mine.problem:
        grown = max(one["MiB"] for one in mine.rounds)
        print_target(
            f"{execs:,} recorded execs take under {TARGET_RECORDED_MIB:g} MiB",
            f"{grown:.2f} MiB",
            is_met=grown < TARGET_RECORDED_MIB,
        )
    return found


def run_queued(rounds: int | None, *, quick: bool) -> list[Measured]:
    fewer = 100_000 if quick else 1_000_000  # a million of them take 2 GiB
    found = compare(
        [Candidate("ours", ours, (1_000_000,)), Candidate("submit", submit, (fewer,))],
        rounds or (1 if quick else 2),
    )
    mine, theirs = found
    print_table(
        f"memory: growth with execs queued behind {THREADS} blocked threads:\n"
        "x is the bytes of each to those of 'submit'",
        ("", "queued", "MiB", "bytes each", "x bytes"),
        [
            one.row(
                one.cell("queued", "{:,.0f}"),
                one.cell("MiB"),
                one.cell("bytes each"),
                one.ratio_cell("bytes each", theirs, "{:.5f}"),
            )
            for one in found
        ],
    )
    if not mine.problem:
        grown = mine.median("MiB")
        print_target(
            f"a million queued execs take under {TARGET_MIB:g} MiB",
            f"{grown:.2f} MiB",
            is_met=grown < TARGET_MIB,
        )
    return found
