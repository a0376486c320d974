"""How much memory a million queued execs take."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Worker

TARGET_MIB = 5.0
THREADS = 2


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


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
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
