"""Chains of three steps a second: plain, composed and fanned out, beside task queues' chains.

And how long ten thousand sleeps of a second take, all at the same time on one event loop.
"""

import asyncio
import time

from benchmarks import engine_peers
from benchmarks.chain import first_step, second_step
from benchmarks.engine import per_exec
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Step, Worker, chain, finally_, group, on_error

TARGET = 50.0
THREADS = 16
SLEEPS = 10_000
LONGEST_SLEEPS_S = 3.0


def third_step(ctx, params):
    return params


def plain(execs):
    return ours([first_step, second_step, third_step], execs)


def with_deadlines(execs):
    return ours([Step(step, timeout=60) for step in (first_step, second_step, third_step)], execs)


def named(execs):
    return ours([chain(first_step, second_step, third_step, name="named")], execs)


def composed(execs):
    """A chain with a name, with a step that may be recovered and one that ends it."""
    recoverable = on_error(second_step, third_step)
    return ours([chain(first_step, recoverable, finally_(third_step), name="composed")], execs)


def fanned_out(execs):
    return ours([first_step, group(second_step, third_step)], execs)


def ours(steps, execs):
    worker = Worker(steps, execs_per_tick=[execs], tick_duration=0, threads=THREADS)
    begun = time.perf_counter()
    report = worker.run()
    figures = per_exec(begun, execs)
    assert report.counts["ok"] == execs
    return figures


def our_sleeps(execs):
    async def sleep(ctx, params):
        await asyncio.sleep(1)

    worker = Worker(sleep, execs_per_tick=[execs], tick_duration=0, in_flight=execs)
    begun = time.perf_counter()
    report = worker.run()
    seconds = time.perf_counter() - begun
    assert report.counts["ok"] == execs
    return {"s": seconds}


def gathered_sleeps(execs):
    async def gather_all():
        await asyncio.gather(*[asyncio.sleep(1) for _ in range(execs)])

    begun = time.perf_counter()
    asyncio.run(gather_all())
    return {"s": time.perf_counter() - begun}


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    rounds = rounds or (2 if quick else 5)
    return [*run_chains(rounds), *run_sleeps(rounds)]


def run_chains(rounds: int) -> list[Measured]:
    """Each with as many chains as take about half a second."""
    results = compare(
        [
            Candidate("ours, plain", plain, (200_000,)),
            Candidate("ours, in a named chain", named, (40_000,)),
            Candidate("ours, each with a deadline", with_deadlines, (20_000,)),
            Candidate("ours, named chain, on_error, finally_", composed, (20_000,)),
            Candidate("ours, a step and a group of 2", fanned_out, (4_000,)),
            Candidate("dramatiq, stub, pipeline", engine_peers.dramatiq_pipeline, (3_000, 3)),
            Candidate("Celery, memory, chain", engine_peers.celery_chain, (700, 3)),
        ],
        rounds,
    )
    baseline = results[-2]
    print_table(
        f"chains: three steps that hand a dict on, {THREADS} threads; x is to '{baseline.name}'",
        ("", "chains/s", "µs per chain", "its rounds", "x as fast"),
        [
            one.row(
                one.problem or f"{1e6 / one.median('µs'):,.0f}",
                one.cell("µs"),
                one.range_cell("µs"),
                baseline.ratio_cell("µs", one, "{:.3g}"),
            )
            for one in results
        ],
    )
    if not (baseline.problem or results[0].problem):
        ratio = baseline.ratio("µs", results[0])
        print_target(
            f"ours, plain, at least {TARGET:g} times {baseline.name}",
            f"{ratio:.0f}",
            is_met=ratio >= TARGET,
        )
    return results


def run_sleeps(rounds: int) -> list[Measured]:
    results = compare(
        [
            Candidate("asyncio gather", gathered_sleeps, (SLEEPS,)),
            Candidate("ours, an async step", our_sleeps, (SLEEPS,)),
        ],
        rounds,
    )
    print_table(
        f"chains: {SLEEPS:,} sleeps of 1 s at the same time; x is to '{results[0].name}'",
        ("", "s", "its rounds", "x s"),
        [
            one.row(one.cell("s"), one.range_cell("s"), one.ratio_cell("s", results[0]))
            for one in results
        ],
    )
    if not results[1].problem:
        seconds = results[1].median("s")
        print_target(
            f"all end in under {LONGEST_SLEEPS_S:g} s",
            f"{seconds:.2f} s",
            is_met=seconds < LONGEST_SLEEPS_S,
        )
    return results
