"""How late ticks start on idle threads, and how far they have drifted at the end."""

import time
from datetime import datetime, timedelta
from threading import Event

from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.lateness import FIGURES, lateness, reported
from workermanager import Worker

SHAPES = ((100, 100, 30), (10, 300, 3))  # a tick in ms, how many, the body in ms
LONGEST_P99_MS, LONGEST_DRIFT_MS = 0.3, 1.0


def bare_sleep(tick_ms, ticks, body_ms):
    """No engine: how late this machine wakes a thread that sleeps until each tick."""
    started = []
    origin = time.monotonic_ns()
    for tick in range(ticks):
        due = origin + tick * tick_ms * 1_000_000
        while (ahead := due - time.monotonic_ns()) > 0:
            time.sleep(ahead / 1e9)
        started.append(time.monotonic_ns())
        time.sleep(body_ms / 1e3)
    return against_plan(started, origin, tick_ms)


def ours(tick_ms, ticks, body_ms):
    late = [0] * ticks

    def body(ctx, params):
        time.sleep(body_ms / 1e3)

    def note(result):
        late[result.n] = result.lag_ns

    report = Worker(
        body,
        execs_per_tick=1,
        ticks=ticks,
        tick_duration=f"{tick_ms}ms",
        spread="burst",
        threads=4,
        on_result=note,
    ).run()
    assert report.counts["ok"] == ticks
    return {**reported(report.lag), "drift": late[-1] / 1e6}


def apscheduler_interval(tick_ms, ticks, body_ms):
    from apscheduler.schedulers.background import BackgroundScheduler

    started, ended = [], Event()

    def body():
        started.append(time.time_ns())
        time.sleep(body_ms / 1e3)
        if len(started) == ticks:
            ended.set()

    scheduler = BackgroundScheduler()
    scheduler.start()
    begin = datetime.now().astimezone() + timedelta(seconds=0.5)
    scheduler.add_job(
        body, "interval", seconds=tick_ms / 1e3, start_date=begin, misfire_grace_time=None
    )
    ended.wait(60)
    scheduler.shutdown()
    return against_plan(started[:ticks], int(begin.timestamp() * 1e6) * 1000, tick_ms)


def sleep_the_rest(tick_ms, ticks, body_ms):
    started = []
    origin = time.monotonic_ns()
    for _ in range(ticks):
        started.append(time.monotonic_ns())
        time.sleep(body_ms / 1e3)
        elapsed_ns = time.monotonic_ns() - started[-1]
        time.sleep(max(0.0, tick_ms / 1e3 - elapsed_ns / 1e9))
    return against_plan(started, origin, tick_ms)


def against_plan(started_ns, origin_ns, tick_ms):
    late = [at - origin_ns - n * tick_ms * 1_000_000 for n, at in enumerate(started_ns)]
    return {**lateness(late), "drift": late[-1] / 1e6}


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    results = []
    for tick_ms, ticks, body_ms in SHAPES:
        shape = (tick_ms, ticks // 3 if quick else ticks, body_ms)
        found = compare(
            [
                Candidate("sleep until due, no engine", bare_sleep, shape),
                Candidate("ours", ours, shape),
                Candidate("APScheduler 3, interval", apscheduler_interval, shape),
                Candidate("sleep(tick - elapsed) loop", sleep_the_rest, shape),
            ],
            rounds or (1 if quick else 3),
        )
        print_ticks(shape, found)
        results += found
    return results


def print_ticks(shape: tuple[int, int, int], found: list[Measured]) -> None:
    tick_ms, ticks, body_ms = shape
    columns = (*FIGURES, "drift")
    print_table(
        f"ticks: {tick_ms} ms x {ticks}, a body that sleeps {body_ms} ms: |start - due| in ms,\n"
        "drift is the last tick's start - due; x is the p99 to that of the first row",
        ("", *columns, "x p99"),
        [
            one.row(
                *(one.cell(figure) for figure in columns),
                one.ratio_cell("p99", found[0], "{:.1f}"),
            )
            for one in found
        ],
    )
    mine = found[1]
    if not mine.problem:
        p99, drift = mine.median("p99"), mine.median("drift")
        print_target(
            f"p99 under {LONGEST_P99_MS:g} ms, no drift (under {LONGEST_DRIFT_MS:g} ms)",
            f"{p99:.2f} ms, {drift:.2f} ms",
            is_met=p99 < LONGEST_P99_MS and drift < LONGEST_DRIFT_MS,
        )
