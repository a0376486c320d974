"""kill -9 of processes that share schedules: each fire begins once, and none is lost."""

import multiprocessing
import time
from collections import Counter
from random import Random

import pytest

from instrumentation.errors import InvalidConfig
from tests.kit.schedule_serving import ROOM, claim, serve
from tests.kit.schedule_stores import T0, Hand, single
from workermanager.database.schedule_store import ScheduleStore

KILLS = 10  # in each of four tests; twice as many in the long version
NAMES = [f"job-{n:04}" for n in range(600)]
FORK = multiprocessing.get_context("fork")  # 20 starts of Python would take 10 s


@pytest.fixture
def start(tmp_path):
    """Starts processes that serve one database; none is left at the end."""
    processes = []

    def start(url, lost="report", in_step=None):
        arguments = (url, tmp_path / "acts", NAMES, lost, len(processes), in_step)
        process = FORK.Process(target=serve, args=arguments)
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()
        process.close()


def began(tmp_path):
    """How often each fire began, by schedule and attempt."""
    lines = (tmp_path / "acts").read_text().splitlines()
    return Counter((line.split()[0], int(line.split()[1])) for line in lines)


def count_lines(tmp_path):
    """How many fires have begun so far."""
    path = tmp_path / "acts"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def end(process):
    process.join(50)
    assert process.exitcode == 0


def records_of(url):
    """The one record of each fire, by schedule."""
    store = ScheduleStore(url, read_only=True)
    records = store.history(most=10_000)
    counts = [entry.progress.counts for entry in store.entries(T0)]
    store.close()
    for one in counts:
        one.check()
    assert [one.due for one in counts] == [1] * len(NAMES)
    assert sorted(record.schedule for record in records) == NAMES
    return {record.schedule: record for record in records}


def kill_some(start, url, lost, tmp_path, kills):
    """Have two processes serve, and kill one after the other at a random moment."""
    random = Random(lost)
    serving, before_the_end = [start(url, lost), start(url, lost)], 0
    for _ in range(kills):
        killed = serving.pop(0)
        least = count_lines(tmp_path) + random.randrange(20)
        before_the_end += least < len(NAMES)
        while count_lines(tmp_path) < least and killed.exitcode is None:
            time.sleep(0.001)
        time.sleep(random.random() * 0.005)  # somewhere in a look
        killed.kill()
        killed.join()
        serving.append(start(url, lost))
    for process in serving:
        end(process)
    assert before_the_end >= KILLS // 2


def test_a_killed_process_of_this_machine_is_dead_at_once(make_url):
    url, has_begun = make_url(), FORK.Event()
    process = FORK.Process(target=claim, args=(url, has_begun))
    process.start()
    assert has_begun.wait(50)
    store = ScheduleStore(url, monotonic=lambda: 0)  # no lease ever ends
    hand = Hand(store)
    hand.enroll(single("other"))
    assert hand.look(T0, is_round=True).lost == []
    with pytest.raises(InvalidConfig, match="runs just now"):
        store.remove("once")
    assert hand.entry("once").is_served
    process.kill()
    process.join()
    process.close()
    assert not hand.entry("once").is_served
    [lost] = hand.look(T0, is_round=True).lost
    assert lost.fire.schedule == "once"
    store.close()


def test_what_a_killed_process_ran_may_be_removed(make_url):
    url, has_begun = make_url(), FORK.Event()
    process = FORK.Process(target=claim, args=(url, has_begun))
    process.start()
    assert has_begun.wait(50)
    process.kill()
    process.join()
    process.close()
    store = ScheduleStore(url)
    store.remove("once")
    assert store.entries(T0) == []
    store.close()


def test_two_processes_begin_each_fire_once(start, make_url, tmp_path):
    url, in_step = make_url(), FORK.Barrier(2, timeout=50)
    for process in [start(url, in_step=in_step), start(url, in_step=in_step)]:
        end(process)
    assert began(tmp_path) == {(name, 1): 1 for name in NAMES}
    records = records_of(url).values()
    assert {record.state.value for record in records} == {"ran"}
    assert len({record.node for record in records}) == 2


def test_killed_anywhere_each_fire_begins_at_most_once_and_is_told(
    start, make_url, tmp_path, is_long
):
    url, kills = make_url(), 2 * KILLS if is_long else KILLS
    kill_some(start, url, "report", tmp_path, kills)
    records, starts = records_of(url), began(tmp_path)
    assert set(starts.values()) == {1}
    ran = {name for name, record in records.items() if record.state.value == "ran"}
    lost = {name: record.reason for name, record in records.items() if name not in ran}
    assert {(name, 1) for name in ran} <= set(starts)
    assert set(lost.values()) <= {"lost: its process ended"}
    assert 0 < len(lost) <= kills * ROOM


def test_killed_anywhere_each_fire_that_is_to_run_again_does(start, make_url, tmp_path, is_long):
    url, kills = make_url(), 2 * KILLS if is_long else KILLS
    kill_some(start, url, "rerun", tmp_path, kills)
    records, starts = records_of(url), began(tmp_path)
    assert set(starts.values()) == {1}  # no attempt twice
    for name, record in records.items():
        assert record.state.value == "ran" or record.attempt == 3
        assert record.state.value != "ran" or (name, record.attempt) in starts
    assert any(record.attempt > 1 for record in records.values())
