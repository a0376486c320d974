"""A load run with everything on: is its rate kept, what does watching cost, and what do ramps?"""

import os
import time
from statistics import median

from benchmarks.chain import first_step, second_step
from benchmarks.engine import per_exec
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.lateness import FIGURES, reported
from workermanager import Ramp, Rate, Ticks, Worker
from workermanager.stages import make_layout

RATE, WARMUP_S = 10_000, 2
THREADS = 16
WAYS = ((THREADS, "drop"), (64, "drop"), (THREADS, "queue"))
LONGEST_LAG_MS = 5.0
THRESHOLDS = (
    "p99<50ms",
    "first_step.p99<10ms",
    "lag.p99<50ms over 5s",
    "failed<0.1%",
    "rate>=1/s",
)
LOOKS = 50
TIMED = 20_000
RAMP_S = 5
RAMP_RATE = 20_000
SHAPES = {
    "ticks": Ticks(RAMP_RATE, "1s", RAMP_S),
    "rate": Rate(RAMP_RATE, f"{RAMP_S}s"),
    "ramp": Ramp(0, RAMP_RATE, f"{RAMP_S}s"),
    "1,000 ramps": [
        Ramp(n % 2 * RAMP_RATE, (n + 1) % 2 * RAMP_RATE, RAMP_S / 1_000) for n in range(1_000)
    ],
}


# (a) the rate


def held(seconds, threads, overrun):
    """Every exec of a paced run in which all is watched that can be."""
    seen = []
    run = Worker(
        [first_step, second_step],
        shape=Rate(RATE, WARMUP_S + seconds),
        warmup=WARMUP_S,
        thresholds=THRESHOLDS,
        overrun=overrun,
        threads=threads,
    ).prepare()
    run.watch.tell(seen.append)
    wall, cpu = time.perf_counter(), time.process_time()
    report = run.start().finish()
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    assert len(report.thresholds) == len(THRESHOLDS)
    assert len(seen) >= seconds
    assert len(report.series) >= seconds
    both = [report.counts, report.warmup]
    dropped = sum(one["dropped"] for one in both)
    return {
        "due": sum(one["due"] for one in both),
        "missing": (WARMUP_S + seconds) * RATE - sum(one["ok"] for one in both) - dropped,
        "dropped": dropped,
        "cores": cores,
        **reported(report.lag),
    }


# (b) what watching costs


def unpaced(execs, is_watched):
    """Execs as fast as they go; where they are watched, what one look takes besides."""
    thresholds = THRESHOLDS if is_watched else ()
    begun = time.perf_counter()
    run = Worker(
        [first_step, second_step],
        execs_per_tick=[execs],
        tick_duration=0,
        threads=THREADS,
        thresholds=thresholds,
    ).prepare()
    for _ in range(2 * is_watched):
        run.watch.tell(lambda figures: figures.response.percentiles(50, 99))
    report = run.start().finish()
    figures = per_exec(begun, execs)
    assert report.counts["ok"] == execs
    return {**figures, "look ms": look_ms(run)}


def look_ms(run):
    """A look at what a run recorded, as it is done once a second, in ms of CPU."""
    took = []
    for _ in range(LOOKS):
        begun = time.thread_time()
        run.watch.look()
        took.append(time.thread_time() - begun)
    return median(took) * 1e3


def disturbed(seconds):
    """What one look makes a run drop, which is asked for more of them than one a second.

    Between looks there are pauses of as long, which show what is dropped anyway.
    """
    run = Worker(
        [first_step, second_step],
        shape=Rate(RATE, seconds + 1),
        thresholds=THRESHOLDS,
        overrun="drop",
        threads=THREADS,
    ).prepare()
    run.watch.start = lambda: None  # its own looks would fall into the others
    cursor = run._handoff.cursor
    dropped, took = {"look": [], "pause": []}, [0.0]
    ways = {"look": run.watch.look, "pause": lambda: time.sleep(took[-1])}
    run.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, disturb in ways.items():
            time.sleep(0.05)
            before, begun = cursor.dropped, time.perf_counter()
            disturb()
            if name == "look":
                took.append(time.perf_counter() - begun)
            time.sleep(0.003)  # what fell due meanwhile is dropped only when a thread looks
            dropped[name].append(cursor.dropped - before)
    run.finish()
    return {
        "looks": len(dropped["look"]),
        "took": median(took[1:]) * 1e3,
        **{name: sum(found) / len(found) for name, found in dropped.items()},
        **{f"median {name}": median(found) for name, found in dropped.items()},
    }


# (c) what shapes cost


def arithmetic(name):
    """One call of each question that a run asks its layout, in ns."""
    layout = make_layout(SHAPES[name], 1_000_000_000)
    total = layout.total
    ns = [n * total // TIMED for n in range(TIMED)]
    moments = [layout.due_ns(n) for n in ns]
    assert all(layout.due_by(moment) > n for n, moment in zip(ns, moments, strict=True))
    return {
        "due_ns": per_call(layout.due_ns, ns),
        "due_by": per_call(layout.due_by, moments),
        "place": per_call(layout.place, ns),
    }


def per_call(ask, about):
    rounds = []
    for _ in range(7):
        begun = time.perf_counter_ns()
        for one in about:
            ask(one)
        rounds.append((time.perf_counter_ns() - begun) / len(about))
    return median(rounds)


def shaped(name):
    """A real run along a shape: are all there, and how late."""
    worker = Worker([first_step, second_step], shape=SHAPES[name], threads=THREADS)
    wall, cpu = time.perf_counter(), time.process_time()
    report = worker.run()
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return {
        "wanted": RAMP_RATE * RAMP_S // (1 if name in {"ticks", "rate"} else 2),
        "ok": report.counts["ok"],
        "cores": cores,
        **reported(report.lag),
    }


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    return [
        *run_held(rounds or 1, 5 if quick else 30, WAYS[: 1 if quick else None]),
        *run_disturbed(rounds or 1, 5 if quick else 20),
        *run_unpaced(rounds or (1 if quick else 7), 500_000 if quick else 2_000_000),
        *run_shapes(rounds or (1 if quick else 3)),
    ]


def run_held(rounds, seconds, ways):
    load = os.getloadavg()[0]
    found = compare(
        [
            Candidate(f"{threads} threads, {overrun}", held, (seconds, threads, overrun))
            for threads, overrun in ways
        ],
        rounds,
    )
    counts = ("due", "missing", "dropped")
    print_table(
        f"load: {RATE:,} no-ops a second, evenly, for {seconds} s after {WARMUP_S} s of warm-up,"
        f" {len(THRESHOLDS)} thresholds, an observer;\nload average {load:.1f} at the start;"
        " lag in ms; cores = CPU time / wall time",
        ("", *counts, *FIGURES, "cores"),
        [
            one.row(
                *(one.cell(figure, "{:,.0f}") for figure in counts),
                *(one.cell(figure) for figure in (*FIGURES, "cores")),
            )
            for one in found
        ],
    )
    mine = found[0]
    if not mine.problem:
        lost = sum(each["missing"] + each["dropped"] for each in mine.rounds)
        lag = mine.median("p99")
        print_target(
            f"{mine.name}: nothing dropped, lag p99 under {LONGEST_LAG_MS:g} ms",
            f"{lost:.0f} lost, {lag:.2f} ms",
            is_met=not lost and lag < LONGEST_LAG_MS,
        )
    return found


def run_disturbed(rounds, seconds):
    found = compare([Candidate("ours", disturbed, (seconds,))], rounds)
    figures = ("look", "median look", "pause", "median pause")
    print_table(
        f"load: arrivals dropped during a look, and during a pause of as long, {RATE:,} a second,"
        f" {THREADS} threads, drop;\nmean and median",
        ("", "looks", "ms each", *figures),
        [
            one.row(
                one.cell("looks", "{:,.0f}"),
                one.cell("took"),
                *(one.cell(figure, "{:,.1f}") for figure in figures),
            )
            for one in found
        ],
    )
    return found


def run_unpaced(rounds, execs):
    bare, watched = found = compare(
        [
            Candidate("bare", unpaced, (execs, False)),
            Candidate(f"{len(THRESHOLDS)} thresholds, 2 observers", unpaced, (execs, True)),
        ],
        rounds,
    )
    print_table(
        f"load: {execs:,} execs of two steps as fast as they go, {THREADS} threads;"
        " x is to 'bare';\na look comes once a second, ms of CPU",
        ("", "µs per exec", "its rounds", "x", "a look"),
        [
            one.row(
                one.cell("µs"),
                one.range_cell("µs"),
                one.ratio_cell("µs", bare, "{:.3f}"),
                one.cell("look ms"),
            )
            for one in (bare, watched)
        ],
    )
    return found


def run_shapes(rounds):
    asked = compare([Candidate(name, arithmetic, (name,)) for name in SHAPES], rounds)
    questions = ("due_ns", "due_by", "place")
    print_table(
        "load: what a shape's arithmetic costs, ns a call; x is due_ns to that of the first row",
        ("", *questions, "x"),
        [
            one.row(
                *(one.cell(question, "{:,.0f}") for question in questions),
                one.ratio_cell("due_ns", asked[0], "{:.1f}"),
            )
            for one in asked
        ],
    )
    ran = compare([Candidate(name, shaped, (name,)) for name in SHAPES], rounds)
    print_table(
        f"load: real runs of {RAMP_S} s, {RAMP_RATE:,}/s or a ramp from 0 up to that,"
        f" {THREADS} threads: lag in ms",
        ("", "wanted", "ok", *FIGURES, "cores"),
        [
            one.row(
                *(one.cell(figure, "{:,.0f}") for figure in ("wanted", "ok")),
                *(one.cell(figure) for figure in (*FIGURES, "cores")),
            )
            for one in ran
        ],
    )
    measured = [one for one in ran if not one.problem]
    off = sum(abs(each["wanted"] - each["ok"]) for one in measured for each in one.rounds)
    print_target("every shape runs exactly its integral", f"{off:.0f} off", is_met=not off)
    return [*asked, *ran]
