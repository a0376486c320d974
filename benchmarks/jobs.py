"""What a job that does nothing costs in a pool, until the last result is read."""

import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Job, WorkerPool

TARGET = 2.0


def nothing(context, number):
    return number


def plain(number):
    return number


def ours(jobs, threads, ahead, ordered):
    pool = WorkerPool(threads, ahead=ahead, ordered=ordered)
    begun = time.perf_counter()
    results = pool.generate_from(Job(number, nothing, number) for number in range(jobs))
    return per_job(begun, jobs, (result.value for result in results))


def executor_map(jobs, threads):
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        return per_job(begun, jobs, pool.map(plain, range(jobs)))


def executor_submit(jobs, threads):
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        futures = as_completed([pool.submit(plain, number) for number in range(jobs)])
        return per_job(begun, jobs, (future.result() for future in futures))


def per_job(begun, jobs, values):
    assert sum(values) == jobs * (jobs - 1) // 2
    return {"µs": (time.perf_counter() - begun) / jobs * 1e6}


def candidates() -> list[Candidate]:
    """Each with as many jobs as take about half a second."""
    return [
        *(
            Candidate(f"ours, {threads} threads", ours, (100_000, threads, None, False))
            for threads in (4, 16)
        ),
        Candidate("ours, 1 thread", ours, (100_000, 1, None, False)),
        Candidate("ours, 4 threads, in order", ours, (100_000, 4, None, True)),
        Candidate("ours, 4 threads, ahead=1024", ours, (100_000, 4, 1024, False)),
        *(
            Candidate(f"map, {threads} threads", executor_map, (30_000, threads))
            for threads in (4, 16)
        ),
        *(
            Candidate(f"submit, {threads} threads", executor_submit, (30_000, threads))
            for threads in (4, 16)
        ),
    ]


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    results = compare(candidates(), rounds or (2 if quick else 7))
    by_name = {one.name: one for one in results}
    baseline, measured = by_name["map, 4 threads"], by_name["ours, 4 threads"]
    print_table(
        "jobs: a job that does nothing, its result read; x is to 'map, 4 threads'",
        ("", "µs per job", "its rounds", "x as fast"),
        [
            one.row(one.cell("µs"), one.range_cell("µs"), baseline.ratio_cell("µs", one, "{:.3g}"))
            for one in results
        ],
    )
    if not (baseline.problem or measured.problem):
        ratio = baseline.ratio("µs", measured)
        print_target(
            f"ours at least {TARGET:g} times map, 4 threads",
            f"{ratio:.2f}",
            is_met=ratio >= TARGET,
        )
    return results
