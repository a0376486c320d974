"""What a report says of a stall, beside what a tool says that counts from each exec's start."""

import time

from benchmarks.harness import Candidate, Measured, compare, print_table
from benchmarks.lateness import FIGURES, reported
from workermanager import Worker

RATE, SECONDS, THREADS = 100, 10, 5
STALL_S = (4.0, 6.0)
BODY_S = 0.01


def ours():
    begun = time.monotonic()

    def call_a_server_that_stalls_once(ctx, params):
        into = time.monotonic() - begun
        if STALL_S[0] <= into < STALL_S[1]:
            time.sleep(STALL_S[1] - into)
        time.sleep(BODY_S)

    report = Worker(
        call_a_server_that_stalls_once,
        execs_per_tick=RATE,
        ticks=SECONDS,
        tick_duration="1s",
        threads=THREADS,
    ).run()
    assert report.counts["ok"] == RATE * SECONDS
    columns = {"response": report.response, "lag": report.lag, "service": report.service}
    return {
        f"{name} {figure}": value
        for name, durations in columns.items()
        for figure, value in {
            **reported(durations),
            "x": durations.p99_ms / report.service.p99_ms,
        }.items()
    }


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    (found,) = compare([Candidate("ours", ours)], rounds or 1)
    rows = (
        ("response (end - due)", "response"),
        ("lag (start - due)", "lag"),
        ("service (end - start), all that many tools have", "service"),
    )
    print_table(
        f"stall: {RATE} a second on {THREADS} threads for {SECONDS} s with one stall of all of"
        f" {STALL_S[1] - STALL_S[0]:g} s, ms;\nx is the p99 to that of 'service'",
        ("", *FIGURES, "x p99"),
        [
            (
                title,
                *(found.cell(f"{name} {figure}") for figure in FIGURES),
                found.cell(f"{name} x", "{:.1f}"),
            )
            for title, name in rows
        ],
    )
    return [found]
