"""What an item costs on its way through three stages, from the source to whoever takes it."""

import queue
import threading
import time
from functools import partial

from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from workermanager import Pipeline

ITEMS = 200_000
TARGET = 20.0


def add(number):
    return number + 1


def double(number):
    return number * 2


def subtract(number):
    return number - 1


STAGES = (add, double, subtract)
SUM = sum(subtract(double(add(number))) for number in range(ITEMS))


def per_item(begun, total, items=ITEMS):
    took = (time.perf_counter() - begun) / items * 1e6
    assert total == (SUM if items == ITEMS else sum(2 * n + 1 for n in range(items)))
    return {"µs": took}


def generators():
    begun = time.perf_counter()
    items = iter(range(ITEMS))
    for stage in STAGES:
        items = through(stage, items)
    return per_item(begun, sum(items))


def through(stage, items):
    for item in items:
        yield stage(item)


def ours(workers, buffer):
    settings = {"workers": workers} if buffer is None else {"workers": workers, "buffer": buffer}
    begun = time.perf_counter()
    pipeline = Pipeline(range(ITEMS))
    for stage in STAGES:
        pipeline = pipeline.stage(stage, **settings)
    return per_item(begun, sum(pipeline))


def ours_ordered(workers):
    begun = time.perf_counter()
    pipeline = Pipeline(range(ITEMS // 10), ordered=True)
    for stage in STAGES:
        pipeline = pipeline.stage(stage, workers=workers)
    return per_item(begun, sum(pipeline), ITEMS // 10)


def ours_to_a_sink():
    total = 0

    def count(number):
        nonlocal total
        total += number

    begun = time.perf_counter()
    pipeline = Pipeline(range(ITEMS))
    for stage in STAGES:
        pipeline = pipeline.stage(stage)
    report = pipeline.sink(count).run()
    assert report.delivered == ITEMS
    return per_item(begun, total)


def ours_async(workers):
    async def later(stage, number):
        return stage(number)

    begun = time.perf_counter()
    pipeline = Pipeline(range(ITEMS // 10))
    for stage in STAGES:
        pipeline = pipeline.stage(partial(later, stage), name=stage.__name__, workers=workers)
    return per_item(begun, sum(pipeline), ITEMS // 10)


def queues(cap):
    """Threads as the standard library's manual has them: one a stage, a Queue between each two."""
    between = [queue.Queue(cap) for _ in range(len(STAGES) + 1)]

    def read():
        for number in range(ITEMS):
            between[0].put(number)
        between[0].put(None)

    def work(stage, inlet, outlet):
        while (item := inlet.get()) is not None:
            outlet.put(stage(item))
        outlet.put(None)

    threads = [threading.Thread(target=read)]
    for place, stage in enumerate(STAGES):
        ends = (stage, between[place], between[place + 1])
        threads.append(threading.Thread(target=work, args=ends))
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    total = sum(iter(between[-1].get, None))
    for thread in threads:
        thread.join()
    return per_item(begun, total)


def pypeln_threads(items):
    import pypeln

    begun = time.perf_counter()
    chain = range(items)
    for stage in STAGES:
        chain = pypeln.thread.map(stage, chain, workers=1, maxsize=1_024)
    return per_item(begun, sum(chain), items)


def candidates() -> list[Candidate]:
    return [
        Candidate("generator chain, no threads", generators),
        Candidate("ours, into a sink", ours_to_a_sink),
        Candidate("ours", ours, (1, None)),
        Candidate("ours, 4 workers a stage", ours, (4, None)),
        Candidate("ours, buffer=64", ours, (1, 64)),
        Candidate("ours, 4 workers a stage, ordered", ours_ordered, (4,)),
        Candidate("ours, async stages, 64 at once", ours_async, (64,)),
        Candidate("queue.Queue, cap 64", queues, (64,)),
        Candidate("queue.Queue, cap 1,024", queues, (1_024,)),
        Candidate("pypeln threads, maxsize 1,024", pypeln_threads, (ITEMS // 10,)),
    ]


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    results = compare(candidates(), rounds or (2 if quick else 7))
    by_name = {one.name: one for one in results}
    baseline = by_name["queue.Queue, cap 64"]
    print_table(
        f"pipeline: three stages, {ITEMS:,} integers (slow candidates a tenth), one thread a stage "
        "unless told;\nx is to 'queue.Queue, cap 64'",
        ("", "µs per item", "its rounds", "x as fast"),
        [
            one.row(one.cell("µs"), one.range_cell("µs"), baseline.ratio_cell("µs", one, "{:.3g}"))
            for one in results
        ],
    )
    for cap in ("64", "1,024"):
        other = by_name[f"queue.Queue, cap {cap}"]
        if not (other.problem or by_name["ours"].problem):
            ratio = other.ratio("µs", by_name["ours"])
            print_target(
                f"ours at least {TARGET:g} times queue.Queue with a cap of {cap}",
                f"{ratio:.2f}",
                is_met=ratio >= TARGET,
            )
    return results
