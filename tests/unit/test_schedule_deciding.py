"""What becomes of each due time: every policy, in virtual time, and a year of fires."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.schedule_player import Player, S
from workermanager.timetables.deciding import decide, settle
from workermanager.timetables.fires import Ending, Fire, FireState
from workermanager.timetables.moments import to_moment
from workermanager.timetables.schedule import FOREVER, Progress, make_schedule
from workermanager.timetables.timetable import after, at, cron, every

T0 = to_moment(datetime(2026, 1, 1, tzinfo=UTC))


def _job(timetable=None, **policies):
    return make_schedule("job", timetable or every("10s"), **policies)


def _seconds(dues):
    return [(due - T0) // S for due in dues]


def _player(schedule, **settings):
    return Player([schedule], now=T0, **settings)


# Overlap: every 10 s, and each run takes 25 s


@pytest.mark.parametrize(
    ("overlap", "began", "skipped"),
    [
        ("skip", [(10, 10), (40, 40), (70, 70)], {"overlap": 5}),
        ("queue-one", [(10, 10), (20, 35), (40, 60), (60, 85)], {"overlap": 4}),
        ("queue", [(10, 10), (20, 35), (30, 60), (40, 85)], {}),
        ("allow", [(due, due) for due in range(10, 90, 10)], {}),
    ],
)
def test_a_fire_that_comes_while_another_runs_does_as_its_overlap_says(overlap, began, skipped):
    player = _player(_job(overlap=overlap), takes=25 * S)
    player.play(T0 + 89 * S)
    assert [((due - T0) // S, (started - T0) // S) for _, due, started in player.began] == began
    assert {reason: count for (_, reason), count in player.skips.items()} == skipped
    counts = player.counts("job")
    assert counts["due"] == 8


def test_the_latest_fire_calls_off_the_one_that_runs():
    player = _player(_job(overlap="cancel-running"), takes=25 * S)
    player.play(T0 + 45 * S)
    assert _seconds(player.dues()) == [10, 20, 30, 40]
    assert _seconds([fire.due for fire in player.cancelled]) == [10, 20, 30]
    assert player.counts("job") == {"due": 4, "failed": 3, "running": 1}


def test_of_fires_that_wait_for_one_that_does_not_heed_its_cancel_only_the_latest_runs():
    player = _player(_job(overlap="cancel-running"), takes=32 * S, is_deaf=True)
    player.play(T0 + 45 * S)
    assert player.skips == {("job", "overlap"): 2}
    assert _seconds(player.dues()) == [10, 40]


def test_a_queue_has_an_end():
    player = _player(_job(every("1s"), overlap="queue"), takes=5_000 * S)
    player.play(T0 + 1_500 * S)
    assert player.counts("job") == {"due": 1500, "skipped": 499, "running": 1, "waiting": 1000}
    assert player.skips == {("job", "queue full"): 499}


# Misfires: every 10 s, and nobody looks from 35 s to 95.5 s


@pytest.mark.parametrize(
    ("misfire", "began", "missed"),
    [
        ("latest", [10, 20, 30, 90, 100], 5),
        ("skip", [10, 20, 30, 100], 6),
        ("all", [10, 20, 30, 40, 50, 60, 70, 80, 90, 100], 0),
        ("all(2)", [10, 20, 30, 80, 90, 100], 4),
    ],
)
def test_fires_that_nobody_saw_are_made_up_for_as_their_misfire_says(misfire, began, missed):
    player = _player(_job(misfire=misfire))
    player.play(T0 + 105 * S, stall=(T0 + 35 * S, T0 + 95 * S + S * 5 // 2))
    assert _seconds(player.dues()) == began
    assert player.skips == ({("job", "missed"): missed} if missed else {})
    counts = player.counts("job")
    assert counts["due"] == 10
    assert counts.get("late", 0) == len(began) - 4


def test_one_that_is_on_time_runs_beside_those_that_were_missed():
    player = _player(_job(misfire="all(1)", overlap="queue"))
    player.play(T0 + 95 * S, stall=(T0 + 35 * S, T0 + 90 * S + S // 2))
    assert _seconds(player.dues()) == [10, 20, 30, 80, 90]
    assert player.counts("job")["ran"] == 4


def test_what_was_missed_is_one_record():
    player = _player(_job(misfire="skip"))
    player.play(T0 + 364 * 86_400 * S + 100 * S, stall=(T0 + 5 * S, T0 + 364 * 86_400 * S + 5 * S))
    record = player.store.history("job", most=100_000)
    skipped = [one for one in record if one.state == "skipped"]
    assert [(one.count, one.reason) for one in skipped] == [(364 * 8_640, "missed")]
    assert player.counts("job")["due"] == 364 * 8_640 + 10


def test_a_fire_that_did_not_begin_within_its_grace_is_skipped():
    slow = make_schedule("a-slow", every("60s", start=datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)))
    player = Player([slow, _job(grace="15s", overlap="queue")], now=T0, threads=1)
    player.takes = lambda fire: (40 if fire.schedule == "a-slow" else 0) * S
    player.play(T0 + 61 * S)
    # The slow one has the only thread from 10 s to 50 s.
    assert _seconds(player.dues()) == [40, 50, 60]
    assert player.skips == {("job", "grace"): 3}


def test_without_a_grace_a_fire_waits_for_a_thread_as_long_as_it_takes():
    jobs = [make_schedule(f"job-{n}", after("10s")) for n in range(100)]
    player = Player(jobs, now=T0, threads=10, takes=S // 2)
    player.play(T0 + 100 * S)
    assert len(player.began) == 100
    assert max(started for _, _, started in player.began) == T0 + 10 * S + 9 * S // 2
    assert not player.skips


def test_threads_go_to_those_that_have_waited_longest():
    jobs = [make_schedule(f"job-{n}", after(f"{10 + n}s")) for n in range(5)]
    player = Player(jobs, now=T0, threads=1, takes=7 * S)
    player.play(T0 + 100 * S)
    assert [name for name, _, _ in player.began] == [f"job-{n}" for n in range(5)]


# Pauses


def test_what_falls_due_in_a_pause_is_skipped_and_told():
    player = _player(_job())
    player.play(T0 + 25 * S)
    player.store.pause("job", player.now)
    player.play(T0 + 65 * S)
    player.store.resume("job", player.now)
    player.play(T0 + 85 * S)
    assert _seconds(player.dues()) == [10, 20, 70, 80]
    assert player.skips == {("job", "paused"): 4}
    (record,) = [one for one in player.store.history("job") if one.state == "skipped"]
    assert (record.count, *_seconds([record.due, record.last])) == (4, 30, 60)


def test_a_pause_may_have_an_end():
    player = _player(_job())
    player.store.pause("job", player.now, T0 + 35 * S)
    player.play(T0 + 55 * S)
    assert _seconds(player.dues()) == [40, 50]


def test_a_fire_that_is_asked_for_runs_in_a_pause():
    player = _player(_job())
    player.store.pause("job", player.now)
    player.play(T0 + 15 * S)
    asked = player.store.request("job", player.now)
    player.roster.enter("job", player.now, allows_overlap=False)
    player.play(T0 + 16 * S)
    assert player.dues() == [asked.due]
    assert player.counts("job") == {"due": 2, "ran": 1, "skipped": 1}


def test_failures_in_a_row_pause_a_schedule():
    player = _player(_job(pause_after=3, pause_for="60s"), fails=True)
    player.play(T0 + 115 * S)
    assert _seconds(player.dues()) == [10, 20, 30, 100, 110]
    assert player.skips == {("job", "paused"): 6}


def test_a_success_ends_the_row_of_failures():
    player = _player(_job(pause_after=3), fails=lambda fire: fire.due % (30 * S) != T0 % (30 * S))
    player.play(T0 + 200 * S)
    assert player.counts("job")["failed"] > 3
    assert not player.skips


# A year


def _year(schedule, **settings):
    player = _player(schedule, **settings)
    player.play(to_moment(datetime(2027, 1, 1, tzinfo=UTC)) - 1)
    return player


def test_a_year_of_fires_has_no_drift_though_each_begins_with_jitter():
    player = _year(_job(every("1h", jitter="10m")))
    assert len(player.began) == 8_759
    for n, (_, due, started) in enumerate(player.began, 1):
        assert due == T0 + n * 3_600 * S
        assert 0 <= started - due <= 600 * S
    delays = [started - due for _, due, started in player.began]
    assert 280 * S < sum(delays) / len(delays) < 320 * S
    assert len(set(delays)) > 8_700


@pytest.mark.parametrize(
    ("zone", "text", "fires"),
    [
        ("Europe/Berlin", "30 2 * * *", 365),
        ("America/New_York", "30 1 * * *", 365),
        ("America/New_York", "30 2 * * *", 365),
        ("Australia/Lord_Howe", "45 1 * * *", 365),
        ("Australia/Lord_Howe", "15 2 * * *", 365),
        ("Europe/Berlin", "0 * * * *", 8_760),
        ("UTC", "0 0 29 2 *", 0),
        ("UTC", "0 0 L * *", 12),
        ("UTC", "0 0 31 * *", 7),
    ],
)
def test_a_year_by_the_clock_of_a_zone_has_each_fire_once(zone, text, fires):
    player = _year(_job(cron(text, tz=zone)))
    assert len(player.began) == fires
    assert len(set(player.dues())) == fires
    assert not player.skips


def test_every_fifth_minute_of_a_year_has_neither_hole_nor_double():
    timetable = cron("*/5 * * * *", tz="Europe/Berlin")
    player = _player(_job(timetable))
    player.play(T0 + 120 * 86_400 * S)  # over the change to summer time
    assert {later - earlier for earlier, later in pairwise(player.dues())} == {300 * S}


def test_a_leap_day_comes():
    moment = to_moment(datetime(2028, 1, 1, tzinfo=UTC))
    player = Player([_job(cron("0 0 29 2 *", tz="UTC"))], now=moment)
    player.play(to_moment(datetime(2029, 1, 1, tzinfo=UTC)))
    assert player.dues() == [to_moment(datetime(2028, 2, 29, tzinfo=UTC))]


def test_a_single_time_that_has_just_passed_is_made_up_for():
    player = _player(_job(at(datetime(2025, 12, 31, tzinfo=UTC))))
    player.play(T0 + 10 * S)
    assert player.counts("job") == {"due": 1, "late": 1}


# Everything at once


@settings(max_examples=120, deadline=None)
@given(
    period=st.integers(1, 20),
    takes=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    overlap=st.sampled_from(["skip", "queue-one", "queue", "cancel-running", "allow"]),
    misfire=st.sampled_from(["latest", "skip", "all", "all(3)"]),
    grace=st.none() | st.integers(0, 30),
    threads=st.integers(1, 3),
    stall=st.none() | st.tuples(st.integers(0, 200), st.integers(1, 200)),
    others=st.integers(0, 3),
)
def test_whatever_happens_every_fire_is_accounted_for_once(  # noqa: PLR0913, PLR0917 - drawn
    period, takes, overlap, misfire, grace, threads, stall, others
):
    policies = {"overlap": overlap, "misfire": misfire, "grace": grace}
    jobs = [
        make_schedule("job", every(f"{period}s"), **policies),
        *(make_schedule(f"other-{n}", every("7s"), **policies) for n in range(others)),
    ]
    player = Player(jobs, now=T0, threads=threads)
    player.takes = lambda fire: takes[(fire.due // S) % len(takes)] * S
    pause = None if stall is None else (T0 + stall[0] * S, T0 + sum(stall) * S)
    player.play(T0 + 400 * S, stall=pause)
    for job, seconds in zip(jobs, [period, *[7] * others], strict=True):
        counts = player.counts(job.name)
        assert counts.get("due", 0) == 400 // seconds
        dues = player.dues(job.name)
        assert len(set(dues)) == len(dues)
        assert dues == sorted(dues)
        skipped = sum(n for (name, _), n in player.skips.items() if name == job.name)
        assert counts.get("due", 0) == len(dues) + skipped + counts.get("waiting", 0)
        records = player.store.history(job.name, most=10_000)
        assert sum(one.count for one in records) == counts.get("due", 0) - counts.get(
            "waiting", 0
        ) - counts.get("running", 0)
    assert len(player.running) <= threads


# Looked at ahead


@pytest.mark.parametrize("overlap", ["skip", "queue-one", "queue", "cancel-running", "allow"])
def test_only_the_next_fire_is_decided_ahead_of_its_time(overlap):
    schedule = _job(every("5ms").anchored(T0), overlap=overlap)
    progress = Progress(T0)
    decision = decide(schedule, progress, [], 0, now=T0 + 1_000_000, room=9, ahead_ns=20_000_000)
    assert [fire.due for fire in decision.starts] == [T0 + 5_000_000]
    assert (decision.skips, decision.waits, decision.dropped) == ([], [], [])
    assert decision.next_look == T0 + 10_000_000


def test_a_failure_does_not_shorten_a_pause_that_somebody_made():
    schedule = _job(pause_after=1, pause_for="1m")
    progress = Progress(T0, paused_until=FOREVER)
    fire = Fire("job", T0, T0, is_manual=True)
    assert settle(schedule, progress, Ending(fire, FireState.FAILED, T0, T0, "it failed"))
    assert progress.paused_until == FOREVER


def test_a_fire_that_was_asked_for_waits_without_a_look_though_the_grace_is_over():
    schedule = _job(every("10s").anchored(T0), grace="90ms")
    asked = Fire("job", T0 + 1, T0 + 1, is_manual=True)
    decision = decide(schedule, Progress(T0), [asked], 1, now=T0 + S, room=9)
    assert decision.next_look == T0 + 10 * S
