"""How late fires of an interval begin, and what a fire costs, in memory and with a store."""

from benchmarks import schedule_peers as peers
from benchmarks.harness import Candidate, Measured, compare, print_table, print_target
from benchmarks.lateness import FIGURES
from benchmarks.ticks import bare_sleep

PERIOD_MS, FIRES = 100, 50
SHOTS = 1_000
MINUTE = (1_000, 60)
MINUTE_TARGET_MS = 5
ACCURATE_TARGET = 1.0
STORE_TARGET = 5.0
BARE = "sleep until due, no engine"
OURS, OURS_STORED = "ours", "ours, SQLite"
THEIRS, THEIRS_STORED = "APScheduler", "APScheduler, SQLite"


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    return [
        *run_interval(rounds or (2 if quick else 5), FIRES // 2 if quick else FIRES),
        *([] if quick else run_minute()),
        *run_shots(rounds or (2 if quick else 5)),
    ]


def run_interval(rounds: int, fires: int) -> list[Measured]:
    shape = (PERIOD_MS, fires)
    found = compare(
        [
            Candidate(BARE, bare_sleep, (*shape, 0)),
            Candidate(OURS, peers.ours_interval, (*shape, False)),
            Candidate(OURS_STORED, peers.ours_interval, (*shape, True)),
            Candidate(THEIRS, peers.apscheduler_interval, (*shape, False)),
            Candidate(THEIRS_STORED, peers.apscheduler_interval, (*shape, True)),
            Candidate("schedule", peers.schedule_interval, shape),
        ],
        rounds,
    )
    by_name = {one.name: one for one in found}
    mine, theirs = by_name[OURS], by_name[THEIRS]
    columns = (*FIGURES, "drift")
    print_table(
        f"schedule: every {PERIOD_MS} ms, {fires} fires that do nothing: |start - due| in ms,\n"
        f"drift is the last one's start - due; x is to '{THEIRS}'",
        ("", *columns, "x p50", "x p99", "ms CPU a fire"),
        [
            one.row(
                *(one.cell(figure) for figure in columns),
                one.ratio_cell("p50", theirs),
                one.ratio_cell("p99", theirs),
                "" if one.name == BARE else one.cell("ms CPU"),
            )
            for one in found
        ],
    )
    if not (mine.problem or theirs.problem):
        p50, p99 = mine.ratio("p50", theirs), mine.ratio("p99", theirs)
        print_target(
            f"ours at most {ACCURATE_TARGET:g} times as late as {THEIRS}, p50 and p99",
            f"{p50:.2f}, {p99:.2f}",
            is_met=max(p50, p99) <= ACCURATE_TARGET,
        )
    return found


def run_minute() -> list[Measured]:
    found = compare(
        [
            Candidate(OURS, peers.ours_interval, (*MINUTE, False)),
            Candidate(OURS_STORED, peers.ours_interval, (*MINUTE, True)),
            Candidate(THEIRS, peers.apscheduler_interval, (*MINUTE, False)),
        ],
        rounds=1,
    )
    columns = (*FIGURES, "drift")
    print_table(
        "schedule: every second for a minute: |start - due| in ms",
        ("", *columns),
        [one.row(*(one.cell(figure) for figure in columns)) for one in found],
    )
    mine = found[0]
    if not mine.problem:
        p99 = mine.median("p99")
        print_target(
            f"ours: p99 under {MINUTE_TARGET_MS} ms", f"{p99:.2f}", is_met=p99 < MINUTE_TARGET_MS
        )
    return found


def run_shots(rounds: int) -> list[Measured]:
    found = compare(
        [
            Candidate(OURS, peers.ours_shots, (SHOTS, False)),
            Candidate(OURS_STORED, peers.ours_shots, (SHOTS, True)),
            Candidate(THEIRS, peers.apscheduler_shots, (SHOTS, False)),
            Candidate(THEIRS_STORED, peers.apscheduler_shots, (SHOTS, True)),
            Candidate("schedule", peers.schedule_shots, (SHOTS,)),
            Candidate("huey, SQLite", peers.huey_shots, (SHOTS,)),
        ],
        rounds,
    )
    by_name = {one.name: one for one in found}
    mine, theirs = by_name[OURS_STORED], by_name[THEIRS_STORED]
    print_table(
        f"schedule: {SHOTS:,} one-shots that do nothing, all due at once,\n"
        f"{peers.THREADS} threads: µs a fire; x is to '{THEIRS_STORED}'",
        ("", "to run", "its rounds", "x as fast", "of CPU", "to add"),
        [
            one.row(
                one.cell("µs", "{:,.0f}"),
                one.range_cell("µs", "{:,.0f}"),
                theirs.ratio_cell("µs", one, "{:.3g}"),
                one.cell("µs CPU", "{:,.0f}"),
                one.cell("add µs", "{:,.0f}"),
            )
            for one in found
        ],
    )
    if not (mine.problem or theirs.problem):
        ratio = theirs.ratio("µs", mine)
        print_target(
            f"{OURS_STORED} at least {STORE_TARGET:g} times as fast as {THEIRS_STORED}",
            f"{ratio:.1f}",
            is_met=ratio >= STORE_TARGET,
        )
    return found
