"""What one no-op exec of a two-step chain costs, from the start of a run to its end."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import engine_peers
from benchmarks.chain import both, first_step, second_step
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Worker

TARGET = 6.0


def bare_loop(execs):
    begun = time.perf_counter()
    for n in range(execs):
        both({"n": n})
    return per_exec(begun, execs)


def ours(execs, threads):
    begun = time.perf_counter()
    report = Worker(
        [first_step, second_step], execs_per_tick=[execs], tick_duration=0, threads=threads
    ).run()
    figures = per_exec(begun, execs)
    assert report.counts["ok"] == execs
    assert sum(step.ok for step in report.steps.values()) == 2 * execs
    return figures


def submit(execs, threads):
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        futures = [pool.submit(both, {"n": n}) for n in range(execs)]
        for future in futures:
            future.result()
        return per_exec(begun, execs)


def asyncio_gather(execs):
    async def first(params):
        return params

    async def second(params):
        return params

    async def chain(params):
        return await second(await first(params))

    async def gather_all():
        await asyncio.gather(*[chain({"n": n}) for n in range(execs)])

    begun = time.perf_counter()
    asyncio.run(gather_all())
    return per_exec(begun, execs)


def per_exec(begun, execs):
    return {"µs": (time.perf_counter() - begun) / execs * 1e6}


def in_threads(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def candidates() -> list[Candidate]:
    """Each with as many execs as take about half a second."""
    return [
        Candidate("bare loop, 1 thread", bare_loop, (1_000_000,)),
        *(Candidate(f"ours, {in_threads(t)}", ours, (200_000, t)) for t in (1, 8, 16, 64)),
        *(Candidate(f"submit, {in_threads(t)}", submit, (50_000, t)) for t in (1, 8, 16, 64)),
        Candidate("asyncio gather", asyncio_gather, (50_000,)),
        Candidate("APScheduler 3, run now", engine_peers.apscheduler_run_now, (4_000,)),
        Candidate("dramatiq, stub, pipeline", engine_peers.dramatiq_pipeline, (4_000,)),
        Candidate("huey, memory, pipeline", engine_peers.huey_pipeline, (4_000,)),
        Candidate("Celery, memory, chain", engine_peers.celery_chain, (1_000,)),
    ]


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    results = compare(candidates(), rounds or (2 if quick else 5))
    by_name = {one.name: one for one in results}
    baseline = by_name["submit, 16 threads"]
    print_table(
        "engine: a no-op exec of two steps; peers with 16 threads; x is to 'submit, 16 threads'",
        ("", "µs per exec", "its rounds", "x as fast"),
        [
            one.row(one.cell("µs"), one.range_cell("µs"), baseline.ratio_cell("µs", one, "{:.3g}"))
            for one in results
        ],
    )
    if not (baseline.problem or by_name["ours, 16 threads"].problem):
        ratio = baseline.ratio("µs", by_name["ours, 16 threads"])
        print_target(
            f"ours at least {TARGET:g} times submit, 16 threads",
            f"{ratio:.2f}",
            is_met=ratio >= TARGET,
        )
    return results
