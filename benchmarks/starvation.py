"""How late 100 ms ticks start while 16 threads build fake companies on the CPU."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.clock_thread import run_clock_thread
from benchmarks.fakes import build_with_ctx, build_with_stock_faker, stock_faker
from benchmarks.harness import Candidate, Measured, compare, print_table
from benchmarks.lateness import FIGURES, lateness
from instrumentation.fakes import make_faker
from workermanager import Worker

THREADS = 16
TICK_MS = 100
TICK_NS = TICK_MS * 1_000_000
BODY_MS = 4
LOADS = ((16, "burst"), (22, "even"))  # execs on each tick, and how they are spread over it
BUSY = (1, 16)  # threads


def ours_at_load(execs, spread, ticks):
    """One Worker: how late the first exec of each tick starts."""
    late = []

    def note(result):
        if result.exec == 0:
            late.append(result.lag_ns)

    make_faker()  # its import is no engine's
    report = Worker(
        build_company_with_ctx,
        execs_per_tick=execs,
        ticks=ticks,
        tick_duration=f"{TICK_MS}ms",
        spread=spread,
        threads=THREADS,
        on_result=note,
    ).run()
    assert report.counts["ok"] == execs * ticks
    return lateness(late)


def clock_thread_at_load(execs, spread, ticks):
    """A clock thread that submits: how late the first exec of each tick starts."""
    late = []

    def body(place, due):
        if place == 0:
            late.append(time.monotonic_ns() - due)
        build_with_stock_faker(BODY_MS)

    stock_faker()
    offsets = [place * TICK_NS // execs if spread == "even" else 0 for place in range(execs)]
    with ThreadPoolExecutor(THREADS) as pool:
        origin = time.monotonic_ns()
        due = [origin + tick * TICK_NS + offset for tick in range(ticks) for offset in offsets]
        run_clock_thread(due, lambda n, due: pool.submit(body, n % execs, due))
    return lateness(late)


def ours_beside_ctx_faker(threads, ticks, switch_ms=5):
    """A Worker with one empty exec a tick beside another that keeps so many threads busy."""
    sys.setswitchinterval(switch_ms / 1e3)
    make_faker()
    busy = Worker(
        build_company_with_ctx, execs_per_tick=[10_000_000], tick_duration=0, threads=threads
    ).start()
    figures = tick_with_ours(ticks)
    busy.stop()
    busy.finish()
    return figures


def ours_beside_stock_faker(threads, ticks):
    """A Worker with one empty exec a tick beside busy threads of stock Faker and uuid4."""
    return beside_stock_faker(tick_with_ours, threads, ticks)


def clock_thread_beside_stock_faker(threads, ticks):
    """How late a clock thread itself comes to each tick, beside the same."""
    return beside_stock_faker(tick_with_clock_thread, threads, ticks)


def build_company_with_ctx(ctx, params):
    build_with_ctx(ctx, BODY_MS)


def tick_with_ours(ticks):
    late = []
    Worker(
        lambda _ctx, _params: None,
        ticks=ticks,
        tick_duration=f"{TICK_MS}ms",
        threads=4,
        on_result=lambda result: late.append(result.lag_ns),
    ).run()
    return lateness(late)


def tick_with_clock_thread(ticks):
    origin = time.monotonic_ns()
    due = [origin + tick * TICK_NS for tick in range(ticks)]
    return lateness(run_clock_thread(due, lambda _n, _due: None))


def beside_stock_faker(tick, threads, ticks):
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            build_with_stock_faker(BODY_MS)

    stock_faker()
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(keep_busy)
        figures = tick(ticks)
        stop.set()
    return figures


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    rounds, ticks = rounds or (1 if quick else 4), 15 if quick else 30
    results = []
    for execs, spread in LOADS:
        found = compare(below_saturation(execs, spread, ticks), rounds)
        print_starvation(
            f"{THREADS} threads, {execs} execs a tick ({spread}) of {BODY_MS} ms CPU each,"
            f" {execs * BODY_MS} % of a core:\nhow late each tick's first exec starts",
            found,
        )
        results += found
    for threads in BUSY:
        found = compare(beside_busy_threads(threads, ticks), rounds)
        print_starvation(
            f"beside {threads} thread{'s' * (threads > 1)} of others that never pause:\n"
            "how late each tick's only exec, an empty one, starts",
            found,
        )
        results += found
    return results


def below_saturation(execs: int, spread: str, ticks: int) -> list[Candidate]:
    shape = (execs, spread, ticks)
    return [
        Candidate("clock thread + submit, stock Faker + uuid4", clock_thread_at_load, shape),
        Candidate("ours, ctx.faker + ctx.uuid", ours_at_load, shape),
    ]


def beside_busy_threads(threads: int, ticks: int) -> list[Candidate]:
    shape = (threads, ticks)
    clock = "clock thread, beside stock Faker + uuid4"
    return [
        Candidate(clock, clock_thread_beside_stock_faker, shape),
        Candidate("ours, beside stock Faker + uuid4", ours_beside_stock_faker, shape),
        Candidate("ours, beside ctx.faker + ctx.uuid", ours_beside_ctx_faker, shape),
        Candidate("... with setswitchinterval(1 ms)", ours_beside_ctx_faker, (*shape, 1)),
    ]


def print_starvation(title: str, found: list[Measured]) -> None:
    print_table(
        f"starvation: {TICK_MS} ms ticks, {title}, ms; x is the p99 to that of the first row",
        ("", *FIGURES, "p99 of its rounds", "x p99"),
        [
            one.row(
                *(one.cell(figure) for figure in FIGURES),
                one.range_cell("p99"),
                one.ratio_cell("p99", found[0], "{:.3g}"),
            )
            for one in found
        ],
    )
