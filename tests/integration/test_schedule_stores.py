"""Every store keeps schedules the same way: in memory, in a SQLite file, and on PostgreSQL."""

import sqlite3
import threading
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig, WriteError
from tests.kit.schedule_stores import (
    FAILED,
    T0,
    Hand,
    S,
    end,
    every_second,
    single,
    view,
)
from workermanager.database.schedule_store import ScheduleStore
from workermanager.scheduler.memory import MemoryStore
from workermanager.timetables.fires import Fire
from workermanager.timetables.schedule import FOREVER, make_schedule
from workermanager.timetables.store import Look
from workermanager.timetables.timetable import after

_numbers = count()
DAY = 86_400 * S


class Time:
    """A monotonic clock that only the test moves."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def pass_by(self, passing, *watching):
        """So much passes, and some look three times in it, but for the last one."""
        for _ in range(2):
            self.now += 5 * S
            for hand in watching:
                hand.look(T0, is_round=True, room=0)
        self.now += passing - 10 * S


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/schedules.db"
    server, name = request.getfixturevalue("postgres"), f"schedules_{next(_numbers)}"
    server.create_database(name)
    return server.url(name)


@pytest.fixture
def opened(url):
    """Opens stores on one database, each a scheduler of its own; all are closed at the end."""
    stores = []

    def opened(**options):
        stores.append(ScheduleStore(url, **options))
        return Hand(stores[-1])

    yield opened
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def hand(request, tmp_path):
    """One scheduler on each kind of store."""
    if request.param == "memory":
        store = MemoryStore()
    elif request.param == "sqlite":
        store = ScheduleStore(f"sqlite:///{tmp_path}/one.db")
    else:
        server, name = request.getfixturevalue("postgres"), f"schedules_{next(_numbers)}"
        server.create_database(name)
        store = ScheduleStore(server.url(name))
    yield Hand(store)
    store.close()


# What every store does


def test_a_fire_begins_when_it_is_due_and_is_counted_when_it_has_ended(hand):
    hand.enroll(every_second())
    assert hand.look(T0, "tick").starts == []
    [fire] = hand.look(T0 + S, "tick").starts
    assert fire == Fire("tick", T0 + S, T0 + S)
    assert hand.counts("tick") == {"due": 1, "running": 1}
    outlook = hand.look(T0 + S, "tick", ended=[fire]).outlooks["tick"]
    assert (outlook.next_look, outlook.waits_since, outlook.running) == (T0 + 2 * S, None, 0)
    assert hand.counts("tick") == {"due": 1, "ran": 1}
    assert hand.history("tick") == [("ran", None, T0 + S, T0 + S, 1)]


def test_room_is_shared_and_what_finds_none_waits(hand):
    hand.enroll(*(single(f"job-{n}") for n in range(5)))
    names = [f"job-{n}" for n in range(5)]
    findings = hand.look(T0, *names, room=3)
    assert [fire.schedule for fire in findings.starts] == names[:3]
    assert [findings.outlooks[name].waits_since for name in names] == [None, None, None, T0, T0]
    rest = hand.look(T0, *names[3:], ended=findings.starts, room=3).starts
    assert [fire.schedule for fire in rest] == names[3:]


def test_skips_in_a_row_are_one_record_that_grows(hand):
    hand.enroll(every_second())
    [fire] = hand.look(T0 + S, "tick").starts
    for n in range(2, 6):
        assert hand.look(T0 + n * S, "tick").skips == {("tick", "overlap"): 1}
    assert hand.history() == [("skipped", "overlap", T0 + 2 * S, T0 + 5 * S, 4)]
    hand.look(T0 + 6 * S, "tick", ended=[fire])
    hand.look(T0 + 7 * S, "tick")
    assert hand.counts("tick") == {"due": 7, "ran": 1, "skipped": 5, "running": 1}
    assert [record[3:] for record in hand.history()] == [
        (T0 + 7 * S, 1),
        (T0 + 5 * S, 4),
        (T0 + S, 1),
    ]


def test_skips_that_go_on_after_a_fire_has_ended_are_one_record(hand):
    hand.enroll(every_second())
    (fire,) = hand.look(T0 + S, "tick").starts
    hand.look(T0 + 2 * S, "tick")
    hand.look(T0 + 2 * S + 1, ended=[fire])
    hand.store.pause("tick", T0 + 2 * S + 2)
    hand.look(T0 + 3 * S, "tick")
    (again,) = [hand.store.request("tick", T0 + 3 * S + 1)]
    assert hand.look(T0 + 3 * S + 1, "tick").starts == [again]
    hand.look(T0 + 4 * S, "tick", ended=[again])
    skips = {(reason, count) for state, reason, _, _, count in hand.history() if state == "skipped"}
    assert skips == {("overlap", 1), ("paused", 2)}


def test_a_year_that_was_missed_is_one_record(hand):
    hand.enroll(every_second(misfire="latest"))
    now = T0 + 365 * DAY
    [fire] = hand.look(now, "tick").starts
    assert fire.due == now
    assert hand.history() == [("skipped", "missed", T0 + S, now - S, 365 * 86_400 - 1)]
    assert hand.counts("tick") == {"due": 365 * 86_400, "skipped": 365 * 86_400 - 1, "running": 1}


def test_failures_in_a_row_pause_and_a_resume_forgets_them(hand):
    hand.enroll(every_second(pause_after=2))
    for n in (1, 2):
        [fire] = hand.look(T0 + n * S, "tick").starts
        findings = hand.look(T0 + n * S, ended=[end(fire, T0 + n * S, FAILED, "no")])
    assert findings.pauses == ["tick"]
    assert hand.entry("tick").progress.paused_until == FOREVER
    assert hand.look(T0 + 3 * S, "tick").skips == {("tick", "paused"): 1}
    hand.store.resume("tick", T0 + 3 * S)
    assert len(hand.look(T0 + 4 * S, "tick").starts) == 1
    assert hand.counts("tick") == {"due": 4, "failed": 2, "skipped": 1, "running": 1}


def test_what_was_due_in_a_pause_stays_skipped_after_it(hand):
    hand.enroll(every_second())
    hand.store.pause("tick", T0, T0 + 3 * S)
    [fire] = hand.look(T0 + 4 * S, "tick").starts
    assert fire.due == T0 + 4 * S
    assert hand.history() == [("skipped", "paused", T0 + S, T0 + 3 * S, 3)]


def test_a_fire_that_was_asked_for_runs_while_the_schedule_is_paused(hand):
    hand.enroll(every_second())
    hand.store.pause("tick", T0)
    asked = hand.store.request("tick", T0 + 7)
    again = hand.store.request("tick", T0 + 7)
    assert (asked.is_manual, asked.due < again.due) == (True, True)
    assert hand.counts("tick") == {"due": 2, "waiting": 2}
    assert hand.look(T0 + 8, "tick").starts == [asked]
    assert hand.look(T0 + 9, "tick", ended=[asked]).starts == [again]


def test_the_next_fire_calls_off_the_one_that_runs_and_waits_for_its_end(hand):
    hand.enroll(every_second(overlap="cancel-running"))
    [first] = hand.look(T0 + S, "tick").starts
    findings = hand.look(T0 + 2 * S, "tick")
    assert (findings.starts, findings.cancels) == ([], [first])
    [second] = hand.look(
        T0 + 2 * S, "tick", ended=[end(first, T0 + 2 * S, FAILED, "cancelled")]
    ).starts
    assert second.due == T0 + 2 * S


def test_what_waited_longer_than_its_grace_is_skipped(hand):
    hand.enroll(single(grace="2s"))
    assert hand.look(T0, "once", room=0).outlooks["once"].waits_since == T0
    assert hand.look(T0 + 3 * S, "once").skips == {("once", "grace"): 1}
    assert hand.history() == [("skipped", "grace", T0, T0, 1)]


def test_a_name_that_nobody_has_is_refused_by_each_method_with_those_there_are(hand):
    hand.enroll(every_second("tick"), every_second("tock"))
    store = hand.store
    for refused in (
        lambda: store.pause("tack", T0),
        lambda: store.resume("tack", T0),
        lambda: store.request("tack", T0),
        lambda: store.remove("tack"),
        lambda: store.history("tack"),
    ):
        with pytest.raises(InvalidConfig, match="there is no schedule 'tack'; there are: tick, to"):
            refused()
    assert hand.look(T0 + S, "tack").outlooks == {}


def test_a_schedule_is_removed_with_its_history_unless_it_runs(hand):
    hand.enroll(every_second(), every_second("other"))
    fires = hand.look(T0 + S, "tick", "other").starts
    with pytest.raises(InvalidConfig, match="schedule 'tick' runs just now; pause it first"):
        hand.store.remove("tick")
    hand.look(T0 + S, ended=fires)
    hand.store.remove("tick")
    assert [one.schedule.name for one in hand.store.entries(T0)] == ["other"]
    assert [record.schedule for record in hand.store.history()] == ["other"]


def test_the_history_gives_the_latest_first_and_no_more_than_asked(hand):
    hand.enroll(every_second())
    for n in range(1, 6):
        hand.look(T0 + n * S, "tick", ended=hand.look(T0 + n * S, "tick").starts)
    assert [record.due for record in hand.store.history("tick", 2)] == [T0 + 5 * S, T0 + 4 * S]


def test_names_of_any_kind_are_kept(hand):
    names = ["päivä", "it's; DROP TABLE", "100%s %(x)s ?", "日" * 100]
    hand.enroll(*(single(name) for name in names))
    fires = hand.look(T0, *names).starts
    hand.look(T0, ended=fires)
    assert [one.schedule.name for one in hand.store.entries(T0)] == sorted(names)
    assert {record.schedule for record in hand.store.history()} == set(names)


# What a database does besides


def test_a_schedule_goes_on_where_it_was_when_its_process_comes_back(opened):
    hand = opened()
    [before] = hand.enroll(every_second())
    hand.look(T0 + S, "tick", ended=hand.look(T0 + S, "tick").starts)
    hand.store.leave([], T0 + S)
    later = opened()
    [again] = later.enroll(every_second(misfire="all", overlap="queue"), now=T0 + 3 * S + 5)
    assert again.timetable == before.timetable
    fires = [later.look(T0 + 3 * S + 5, "tick").starts[0]]
    fires += later.look(T0 + 3 * S + 6, "tick", ended=fires).starts
    assert [fire.due for fire in fires] == [T0 + 2 * S, T0 + 3 * S]


def test_a_schedule_that_is_due_at_other_times_begins_anew_with_its_counts(opened):
    hand = opened()
    hand.enroll(every_second())
    hand.look(T0 + S, "tick", ended=hand.look(T0 + S, "tick").starts)
    hand.enroll(every_second(period="2s"), now=T0 + 100 * S)
    assert hand.look(T0 + 101 * S, "tick").starts == []
    assert hand.look(T0 + 102 * S, "tick").starts == [Fire("tick", T0 + 102 * S, T0 + 102 * S)]
    assert hand.counts("tick") == {"due": 2, "ran": 1, "running": 1}


def test_an_anchored_schedule_is_known_too(opened):
    hand = opened()
    anchored = hand.enroll(every_second())
    assert hand.enroll(*anchored, now=T0 + 100 * S) == anchored


def test_a_single_time_that_is_done_stays_done(opened):
    hand = opened()
    hand.enroll(single())
    hand.look(T0, "once", ended=hand.look(T0, "once").starts)
    hand.enroll(single(), now=T0 + S)
    assert hand.look(T0 + S, "once").starts == []
    assert hand.entry("once").next_due is None


def test_a_delay_counts_from_the_first_time_that_it_was_entered(opened):
    delayed = make_schedule("soon", after("10s"))
    hand = opened()
    hand.enroll(delayed)
    hand.enroll(delayed, now=T0 + 5 * S)
    assert hand.entry("soon").next_due == T0 + 10 * S


def test_what_the_command_line_runs_is_kept_until_it_says_otherwise(opened):
    hand = opened()
    hand.store.enroll([every_second()], T0, targets={"tick": "app.py:worker"})
    hand.enroll(every_second())
    assert hand.entry("tick").target == "app.py:worker"
    hand.store.enroll([every_second()], T0, targets={"tick": "app.py:other"})
    assert hand.entry("tick").target == "app.py:other"


def test_two_processes_run_each_fire_once(opened):
    one, other = opened(), opened()
    one.enroll(every_second())
    other.enroll(every_second())
    [fire] = one.look(T0 + S, "tick").starts
    assert other.look(T0 + S, "tick").starts == []
    assert other.entry("tick").progress.counts.running == 1
    one.look(T0 + S, ended=[fire])
    assert one.history("tick") == other.history("tick")


def test_a_round_finds_what_others_have_asked_for(opened):
    server, visitor = opened(), opened()
    server.enroll(every_second())
    asked = visitor.store.request("tick", T0 + 7)
    findings = server.look(T0 + 8, is_round=True)
    assert (findings.starts, list(findings.outlooks)) == ([asked], ["tick"])


def test_a_round_looks_only_at_schedules_that_this_process_serves(opened):
    server, other = opened(), opened()
    server.enroll(every_second("mine"))
    other.enroll(every_second("theirs"))
    other.store.request("theirs", T0 + 7)
    assert server.look(T0 + 8, is_round=True).outlooks == {}


def test_a_schedule_that_was_removed_here_is_served_here_no_more(opened):
    server, other = opened(), opened()
    server.enroll(every_second())
    server.store.remove("tick")
    other.enroll(every_second())
    other.store.request("tick", T0 + 7)
    assert server.look(T0 + 8, is_round=True).outlooks == {}


def test_what_is_asked_for_at_a_due_time_is_due_beside_it(opened):
    hand = opened()
    hand.enroll(every_second(overlap="allow"))
    asked = hand.store.request("tick", T0 + S)
    assert asked.due == T0 + S + 1
    assert [fire.due for fire in hand.look(T0 + S + 1, "tick").starts] == [T0 + S + 1, T0 + S]


def test_what_runs_in_another_process_is_called_off_at_that_ones_round(opened):
    runner, other = opened(), opened()
    for hand in (runner, other):
        hand.enroll(every_second(overlap="cancel-running"))
    [fire] = runner.look(T0 + S, "tick").starts
    assert other.look(T0 + 2 * S, "tick").cancels == []
    assert runner.look(T0 + 2 * S, is_round=True).cancels == [fire]
    runner.look(T0 + 2 * S, ended=[end(fire, T0 + 2 * S, FAILED, "cancelled")])
    assert runner.look(T0 + 2 * S, is_round=True).cancels == []


def test_an_entry_is_served_while_a_process_has_it(opened):
    server, visitor = opened(), opened()
    server.enroll(every_second())
    assert visitor.entry("tick").is_served
    server.store.leave([], T0)
    assert not visitor.entry("tick").is_served


def test_whoever_stops_says_how_its_fires_ended_and_what_waits_stays(opened):
    hand, later = opened(), opened()
    hand.enroll(single("done"), single("cut"), single("waits"))
    done, _cut = hand.look(T0, "done", "cut", "waits", room=2).starts
    hand.store.leave([end(done, T0)], T0 + S)
    assert later.counts("done") == {"due": 1, "ran": 1}
    assert later.counts("waits") == {"due": 1, "waiting": 1}
    assert later.history("cut") == [
        ("failed", "cancelled: the scheduler stopped", T0, T0, 1),
    ]
    assert later.entry("cut").progress.failures == 0


def test_what_runs_when_its_process_stops_runs_again_if_the_schedule_says_so(opened):
    hand, later = opened(), opened()
    hand.enroll(single(lost="rerun"))
    [fire] = hand.look(T0, "once").starts
    hand.store.leave([], T0 + S)
    [again] = later.look(T0 + S, "once").starts
    assert (again.due, again.attempt) == (fire.due, 2)


# A process that is heard of no more


@pytest.fixture
def pair(opened):
    """One that falls silent and one that watches it, by a clock that is the test's."""
    time = Time()
    silent, watching = (opened(lease="15s", monotonic=time) for _ in range(2))
    return silent, watching, time


def test_a_process_that_was_not_heard_of_for_the_lease_is_dead(pair):
    silent, watching, time = pair
    silent.enroll(single(), every_second())
    [fire] = silent.look(T0, "once").starts
    watching.enroll(single())
    watching.look(T0 + 1, is_round=True)
    time.pass_by(15 * S - 1, watching)
    assert watching.look(T0 + 2, is_round=True).lost == []
    time.now += 1
    [lost] = watching.look(T0 + 3, is_round=True).lost
    assert (lost.fire, lost.reason, lost.ended) == (fire, "lost: its process ended", T0 + 3)
    assert watching.counts("once") == {"due": 1, "failed": 1}
    assert watching.look(T0 + 4, is_round=True).lost == []


def test_nobody_is_dead_because_whoever_watches_could_not_look(pair):
    silent, watching, time = pair
    silent.enroll(single())
    [fire] = silent.look(T0, "once").starts
    watching.enroll(single())
    watching.look(T0, is_round=True)
    time.now += 90 * S  # the database was locked, for both
    assert watching.look(T0, is_round=True).lost == []
    assert silent.look(T0, ended=[fire]).fenced == []
    time.pass_by(15 * S, watching)
    assert watching.look(T0, is_round=True).lost == []


def test_a_process_that_beats_lives(pair):
    silent, watching, time = pair
    silent.enroll(single())
    silent.look(T0, "once")
    watching.enroll(single())
    watching.look(T0 + 1, is_round=True)
    time.now += 14 * S
    silent.look(T0 + 2, is_round=True)
    watching.look(T0 + 2, is_round=True)
    time.now += 14 * S
    assert watching.look(T0 + 3, is_round=True).lost == []


def test_rounds_beat_every_third_of_the_lease_and_write_nothing_else(opened):
    time = Time()
    hand, watching = opened(lease="15s", monotonic=time), opened()
    hand.enroll(every_second(period="1d"))
    beats = []
    for _ in range(20):
        time.now += S
        hand.look(T0, is_round=True)
        [node] = watching.store._run(watching.store._tables.nodes)
        beats.append(node.beat)
    assert len(set(beats)) == 4
    assert [one - other for one, other in zip(beats[1:], beats[:-1], strict=True)].count(1) == 3


def test_whoever_was_taken_for_dead_ends_its_fires_too_late_and_enters_itself_anew(pair):
    silent, watching, time = pair
    silent.enroll(single(), every_second())
    [fire] = silent.look(T0, "once").starts
    watching.enroll(single())
    watching.look(T0, is_round=True)
    time.pass_by(15 * S, watching)
    watching.look(T0, is_round=True)
    assert not watching.entry("tick").is_served
    findings = silent.look(T0 + S, "tick", ended=[fire])
    assert [ending.fire for ending in findings.fenced] == [fire]
    assert [one.due for one in findings.starts] == [T0 + S]
    assert watching.entry("tick").is_served
    assert watching.counts("once") == {"due": 1, "failed": 1}
    watching.look(T0, is_round=True)
    assert silent.look(T0 + S, ended=findings.starts).fenced == []


def test_a_process_that_stirs_while_it_is_taken_for_dead_lives(pair, monkeypatch):
    silent, watching, _ = pair
    silent.enroll(single())
    silent.look(T0, "once")

    def find_dead(nodes):
        return [node._replace(beat=node.beat - 1) for node in nodes]

    monkeypatch.setattr(watching.store._watch, "find_dead", find_dead)
    assert watching.look(T0, is_round=True).lost == []
    assert watching.counts("once") == {"due": 1, "running": 1}


def test_nobody_ends_the_fires_of_others(opened):
    runner, other = opened(), opened()
    runner.enroll(single())
    [fire] = runner.look(T0, "once").starts
    assert [ending.fire for ending in other.look(T0, ended=[fire]).fenced] == [fire]
    assert runner.look(T0, ended=[fire]).fenced == []


def test_an_idle_process_that_was_taken_for_dead_enters_itself_anew_at_its_round(opened):
    time = Time()
    silent, watching = opened(lease="1d"), opened(monotonic=time)
    silent.enroll(every_second())
    silent.look(T0 + S, ended=silent.look(T0 + S, "tick").starts)
    watching.look(T0, is_round=True)
    time.pass_by(15 * S, watching)
    watching.look(T0, is_round=True)
    silent.look(T0, is_round=True)
    assert watching.entry("tick").is_served


def test_a_lost_fire_runs_again_at_most_three_times_in_all(pair):
    silent, watching, time = pair
    silent.enroll(single(lost="rerun"))
    watching.enroll(single(lost="rerun"))
    attempts = [silent.look(T0, "once").starts[0].attempt]
    watching.look(T0, is_round=True, room=0)
    for attempt in (2, 3):
        time.pass_by(15 * S, watching)
        findings = watching.look(T0, is_round=True, room=0)
        assert findings.lost == []
        assert findings.outlooks["once"].waits_since == T0
        attempts += [fire.attempt for fire in silent.look(T0, "once").starts]
        assert attempts[-1] == attempt
        watching.look(T0, is_round=True, room=0)
    time.pass_by(15 * S, watching)
    [lost] = watching.look(T0, is_round=True).lost
    assert lost.fire.attempt == 3
    assert attempts == [1, 2, 3]
    assert watching.counts("once") == {"due": 1, "failed": 1}


def test_an_earlier_attempt_says_nothing_of_the_one_that_runs(pair):
    silent, watching, time = pair
    silent.enroll(single(lost="rerun"))
    [first] = silent.look(T0, "once").starts
    watching.look(T0, is_round=True)
    time.pass_by(15 * S, watching)
    watching.look(T0, is_round=True)
    [second] = silent.look(T0, "once").starts
    assert silent.look(T0, ended=[first]).fenced != []
    assert silent.look(T0, ended=[second]).fenced == []


def test_of_two_who_find_a_dead_process_one_settles_its_fires(opened):
    time = Time()
    silent = opened()
    others = [opened(monotonic=time) for _ in range(2)]
    silent.enroll(*(single(f"job-{n}") for n in range(5)))
    silent.look(T0, *(f"job-{n}" for n in range(5)))
    for hand in others:
        hand.look(T0, is_round=True)
    time.pass_by(15 * S, *others)
    found = []
    threads = [
        threading.Thread(target=lambda hand=hand: found.extend(hand.look(T0, is_round=True).lost))
        for hand in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ending.fire.schedule for ending in found) == [f"job-{n}" for n in range(5)]


# Old records, damage, and databases that are not ours


def test_old_records_go_a_thousand_a_round_and_the_counts_stay(opened, url):
    hand, size = opened(keep="1d"), 100_000 if url.startswith("sqlite") else 5_000
    hand.enroll(every_second(misfire="all"), every_second("still", "30d"))
    fire = ("tick", 0, 0, 1, 0, "ran", 1, False, 0, 0, None, "it", False)
    old = [(*fire[:1], n, n, *fire[3:]) for n in range(size)]
    store = hand.store
    store._run(lambda connection: store._tables.write_fires(connection, old))
    hand.look(T0, is_round=True)
    assert len(hand.history("tick")) == size - 1_000
    for _ in range(size // 1_000 - 1):
        hand.look(T0, is_round=True)
    assert hand.history("tick") == []
    hand.look(T0 + S, "tick", ended=hand.look(T0 + S, "tick").starts)
    hand.look(T0 + DAY, is_round=True)
    assert len(hand.history("tick")) == 1
    for _ in range(2):
        hand.look(T0 + DAY + 2 * S, is_round=True)
    assert hand.history("tick") == []
    assert hand.counts("tick") == {"due": 1, "ran": 1}


def test_what_runs_or_waits_is_never_too_old(opened):
    hand = opened(keep="1s")
    hand.enroll(single("runs"), single("waits"))
    hand.look(T0, "runs", "waits", room=1)
    hand.look(T0 + DAY, is_round=True, room=0)
    assert hand.counts("runs") == {"due": 1, "running": 1}
    assert hand.counts("waits") == {"due": 1, "waiting": 1}


def test_a_look_that_has_nothing_to_say_writes_nothing(tmp_path):
    store = ScheduleStore(f"sqlite:///{tmp_path}/one.db")
    hand = Hand(store)
    hand.enroll(every_second())
    hand.look(T0, is_round=True)
    before = (tmp_path / "one.db-wal").read_bytes()
    hand.look(T0, "tick", is_round=True)
    assert (tmp_path / "one.db-wal").read_bytes() == before
    store.close()


def test_a_store_that_only_reads_creates_nothing(tmp_path):
    with pytest.raises(InvalidConfig, match=r"none\.db: there is no such file"):
        ScheduleStore(f"sqlite:///{tmp_path}/none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE t (n)")
    connection.close()
    with pytest.raises(InvalidConfig, match="no schedule is kept in this database"):
        ScheduleStore(f"sqlite:///{tmp_path}/other.db", read_only=True)


def test_a_store_that_only_reads_lists_and_tells(opened):
    hand = opened()
    hand.enroll(every_second())
    hand.look(T0 + S, "tick", ended=hand.look(T0 + S, "tick").starts)
    reader = opened(read_only=True)
    assert view(reader.store, T0) == view(hand.store, T0)


def test_a_file_that_is_no_database_is_refused_in_a_line(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, but some text" * 100)
    for read_only in (False, True):
        with pytest.raises((InvalidConfig, WriteError), match="not a database"):
            ScheduleStore(f"sqlite:///{tmp_path}/text.db", read_only=read_only)


def test_a_row_that_this_version_cannot_read_is_named(opened):
    hand = opened()
    hand.enroll(every_second())

    def damage(connection):
        [row] = hand.store._tables.schedules(connection)
        damaged = row._replace(schedule=row.schedule.replace('"every"', '"lunar"'))
        hand.store._tables.write_schedule(connection, damaged)

    hand.store._run(damage)
    with pytest.raises(InvalidConfig, match="schedule tick: its row is damaged: timetable"):
        hand.store.entries(T0)


def test_a_lease_of_nothing_is_refused(tmp_path):
    with pytest.raises(InvalidConfig, match="lease: 0 leaves no time"):
        ScheduleStore(f"sqlite:///{tmp_path}/one.db", lease=timedelta(0))


def test_threads_may_look_and_ask_at_the_same_time(opened):
    hands = [opened(), opened()]
    names = [f"job-{n}" for n in range(8)]
    for hand in hands:
        hand.enroll(*(every_second(name, overlap="queue") for name in names))
    started, problems = [], []

    def serve(hand):
        try:
            fires = []
            for n in range(1, 21):
                fires = hand.look(T0 + n * S, *names, ended=fires, is_round=True).starts
                started.extend(fires)
            hand.look(T0 + 20 * S, ended=fires)
        except Exception as problem:  # noqa: BLE001 - the test shows it
            problems.append(problem)

    def ask(hand):
        try:
            for n in range(20):
                hand.store.request(names[n % 8], T0 + 7 + n)
                hand.store.entries(T0)
        except Exception as problem:  # noqa: BLE001 - the test shows it
            problems.append(problem)

    threads = [
        threading.Thread(target=work, args=[hand]) for hand in hands for work in (serve, ask)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    fires = {(fire.schedule, fire.due) for fire in started}
    assert len(fires) == len(started)
    total = {name: hands[0].counts(name) for name in names}
    assert sum(counts.get("ran", 0) for counts in total.values()) == len(started)


# The model: a store in memory


NAMES = ("a", "b", "c")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("look"),
            st.integers(0, 4),
            st.sets(st.sampled_from(NAMES)),
            st.integers(0, 3),
        ),
        st.tuples(st.just("end"), st.sampled_from(["ran", "late", "failed"]), st.integers(0, 5)),
        st.tuples(st.just("pause"), st.sampled_from(NAMES), st.sampled_from([2, 5, None])),
        st.tuples(st.just("resume"), st.sampled_from(NAMES)),
        st.tuples(st.just("request"), st.sampled_from(NAMES)),
    ),
    max_size=25,
)
POLICIES = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(["skip", "queue-one", "queue", "cancel-running", "allow"]),
        "misfire": st.sampled_from(["latest", "skip", "all", "all(2)"]),
        "grace": st.sampled_from([None, "1s"]),
        "pause_after": st.sampled_from([None, 2]),
    }
)


def play(store, policies, steps):
    """Do the steps; gives what each of them gave, and what is to be seen at the end."""
    hand, now, told = Hand(store), T0, []
    hand.enroll(*(every_second(name, **policy) for name, policy in policies.items()))
    for kind, *values in steps:
        now += 1_001  # so that what is asked for is never due at the same moment
        if kind == "look":
            now += values[0] * S // 2
            findings = hand.look(now, *sorted(values[1]), room=values[2])
            cancels = sorted(findings.cancels, key=lambda fire: fire.due)
            told.append((findings.starts, cancels, findings.outlooks, findings.skips))
        elif kind == "end" and hand.running:
            fire = hand.running[values[1] % len(hand.running)]
            ending = end(fire, now, type(FAILED)(values[0]), values[0])
            told.append(hand.look(now, ended=[ending]).pauses)
        elif kind == "pause":
            store.pause(values[0], now, FOREVER if values[1] is None else now + values[1] * S)
        elif kind == "resume":
            store.resume(values[0], now)
        elif kind == "request":
            told.append(store.request(values[0], now))
    return told, view(store, now)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(policies=st.fixed_dictionaries(dict.fromkeys(NAMES, POLICIES)), steps=STEPS)
def test_a_database_tells_what_memory_tells(tmp_path, policies, steps):
    store = ScheduleStore(f"sqlite:///{tmp_path}/{next(_numbers)}.db")
    try:
        assert play(store, policies, steps) == play(MemoryStore(), policies, steps)
    finally:
        store.close()


def test_postgresql_tells_what_memory_tells(opened):
    policies = {
        "a": {"overlap": "queue"},
        "b": {"overlap": "cancel-running", "pause_after": 2},
        "c": {"grace": "1s"},
    }
    steps = [
        ("look", 4, {"a", "b", "c"}, 2),
        ("request", "a"),
        ("end", "failed", 0),
        ("look", 4, {"a", "b", "c"}, 3),
        ("pause", "c", 2),
        ("end", "ran", 1),
        ("look", 3, {"a", "b", "c"}, 1),
        ("resume", "c"),
        ("look", 4, {"a", "c"}, 3),
    ]
    assert play(opened().store, policies, steps) == play(MemoryStore(), policies, steps)


def test_the_store_keeps_the_protocol(opened):
    assert opened().store.look(Look(now=T0)).outlooks == {}
