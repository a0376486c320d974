"""A pool at work, from Python: what it does when the machine has no room, when it is stopped."""

import errno
import json
import os

import pytest

from workermanager.processes import pool as pool_module
from workermanager.processes.launching import Launcher
from workermanager.processes.pool import PoolSettings, ProcessPool, count_slots
from workermanager.processes.records import Records
from workermanager.processes.task import Status, Task
from workermanager.processes.tasks import Tasks


class Notes:
    """What a pool said of itself."""

    def __init__(self):
        self.begun_ones = []
        self.results = {}
        self.on_end = lambda result: None
        self.on_begin = lambda task, attempt: None

    def ending(self, result):
        assert result.identifier not in {one.identifier for one in self.results.values()}

    def begun(self, task, attempt):
        self.begun_ones.append((task.identifier, attempt))
        self.on_begin(task, attempt)

    def ended(self, number, result):
        self.results[number] = result
        self.on_end(result)


@pytest.fixture
def make_pool():
    opened = []

    def make(*tasks, **settings):
        read = Tasks.of(tasks)
        records = Records(len(tasks))
        opened.extend((read, records))
        notes = Notes()
        return ProcessPool(read, records, PoolSettings(**settings), notes), notes

    yield make
    for one in opened:
        one.close()


def sh(identifier, script, **more):
    return Task(identifier, "sh", ("-c", script), **more)


def statuses(notes):
    return [notes.results[number].status for number in sorted(notes.results)]


launch = Launcher.launch


@pytest.fixture
def scarce(monkeypatch):
    """Let so many starts fail for want of room; waits are short then."""

    def fail(times, code=errno.EAGAIN):
        left = [times]

        def launch_or_not(self, *args):
            if left[0]:
                left[0] -= 1
                raise OSError(code, os.strerror(code))
            return launch(self, *args)

        monkeypatch.setattr(Launcher, "launch", launch_or_not)
        monkeypatch.setattr(pool_module, "_FIRST_WAIT_NS", 1_000_000)

    return fail


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_where_there_is_no_room_it_tries_again(make_pool, scarce, code):
    scarce(7, code)
    pool, notes = make_pool(*(Task(str(n), "true") for n in range(4)))
    pool.run()
    assert statuses(notes) == [Status.OK] * 4
    assert all(result.attempts == 1 for result in notes.results.values())


def test_where_there_is_never_room_each_task_says_so(make_pool, scarce):
    scarce(10**6, errno.EMFILE)
    pool, notes = make_pool(Task("a", "true"), Task("b", "true"))
    pool.run()
    assert statuses(notes) == [Status.NOT_STARTED] * 2
    assert {result.exit_code for result in notes.results.values()} == {126}
    assert {result.reason for result in notes.results.values()} == {os.strerror(errno.EMFILE)}


def test_what_fails_is_tried_again_as_often_as_is_said(make_pool, monkeypatch, tmp_path):
    monkeypatch.setattr(pool_module, "_FIRST_WAIT_NS", 1_000_000)
    third = f'echo x >> {tmp_path}/log; test "$(wc -l < {tmp_path}/log)" -ge 3'
    pool, notes = make_pool(sh("third", third), sh("own", "exit 1", retries=0), retries=5)
    pool.run()
    assert statuses(notes) == [Status.OK, Status.FAILED]
    assert [notes.results[n].attempts for n in (0, 1)] == [3, 1]


def test_what_cannot_be_executed_is_not_tried_again(make_pool):
    pool, notes = make_pool(Task("none", "no-such-program"), retries=5)
    pool.run()
    assert notes.begun_ones == [("none", 1)]


def test_stopped_between_two_attempts_it_says_how_many_there_were(make_pool):
    pool, notes = make_pool(sh("again", "exit 1"), sh("stopper", "exit 0"), slots=1, retries=9)
    notes.on_begin = lambda task, _attempt: task.identifier == "stopper" and pool.stop()
    pool.run()
    first = notes.results[0]
    assert (first.status, first.attempts, first.exit_code) == (Status.CANCELLED, 1, 125)
    assert notes.results[1].status in {Status.OK, Status.CANCELLED}


def test_stopped_where_there_is_no_room_for_the_next_attempt_it_says_how_many_there_were(
    make_pool, scarce
):
    pool, notes = make_pool(sh("again", "exit 1"), retries=1)

    def stop_at_the_second(_task, attempt):
        if attempt > 1:
            scarce(1)
            pool.stop()

    notes.on_begin = stop_at_the_second
    pool.run()
    assert (notes.results[0].status, notes.results[0].attempts) == (Status.CANCELLED, 1)


@pytest.mark.parametrize("command", ["true", "no-such-program"])
def test_stopped_as_one_begins_nothing_more_begins(make_pool, command):
    pool, notes = make_pool(*(Task(str(n), command) for n in range(9)), slots=9)
    notes.on_begin = lambda _task, _attempt: pool.stop()
    pool.run()
    assert notes.begun_ones == [("0", 1)]
    assert statuses(notes)[1:] == [Status.CANCELLED] * 8
    assert {notes.results[number].reason for number in range(1, 9)} == {"the pool was stopped"}


def test_stopped_before_it_began_nothing_runs_and_each_has_its_result(make_pool):
    pool, notes = make_pool(*(Task(str(n), "true") for n in range(50)))
    pool.stop()
    pool.run()
    assert statuses(notes) == [Status.CANCELLED] * 50
    assert notes.begun_ones == []
    assert pool.counts[Status.CANCELLED] == 50


def test_a_signal_after_a_halt_that_waits_stops_what_runs(make_pool):
    from workermanager.processes.halting import Halt

    pool, notes = make_pool(
        sh("long", "sleep 60"), sh("bad", "exit 1"), halt=Halt(is_now=False, fail=1)
    )
    notes.on_end = lambda result: result.identifier == "bad" and pool.stop()
    pool.run()
    assert statuses(notes) == [Status.CANCELLED, Status.FAILED]
    assert notes.results[0].signal == 15


def test_results_that_cannot_be_kept_end_the_pool_and_all_its_children(make_pool, monkeypatch):
    pool, notes = make_pool(sh("long", "sleep 60"), Task("short", "true"))

    def refuse(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pids = []
    monkeypatch.setattr(Records, "ended", refuse)
    monkeypatch.setattr(Records, "spawned", lambda _self, _number, pid: pids.append(pid))
    with pytest.raises(OSError, match="No space left"):
        pool.run()
    assert notes.results == {}
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ChildProcessError):  # it is no more, and was waited for
            os.waitpid(pid, os.WNOHANG)


def test_where_there_is_no_room_for_what_a_task_wrote_its_result_is_kept_without(
    make_pool, monkeypatch
):
    pool, notes = make_pool(sh("long", "echo much; echo more >&2"), Task("short", "true"))
    keep = Records.ended

    def keep_little(self, number, result):
        if result.stdout.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keep(self, number, result)

    monkeypatch.setattr(Records, "ended", keep_little)
    pool.run()
    assert statuses(notes) == [Status.OK, Status.OK]
    assert "no room for its output" in notes.results[0].reason
    assert pool.shortage == f"long: {notes.results[0].reason}"
    pieces = []
    pool._records.copy(0, pieces.append)
    result = json.loads(b"".join(pieces))
    assert (result["result_body"], result["stderr"], result["truncated"]) == ("", "", True)


@pytest.mark.parametrize(("wanted", "tasks", "slots"), [(8, 3, 3), (2, 100, 2), (8, 0, 1)])
def test_there_are_no_more_places_than_tasks(wanted, tasks, slots):
    assert count_slots(wanted, tasks) == slots


def test_there_are_no_more_places_than_descriptors(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert 1 <= count_slots(600, 600) <= 60
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    assert count_slots(600, 600) == 1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert count_slots(600, 600) == 600


def test_places_are_counted_where_descriptors_cannot_be(monkeypatch):
    import resource

    def list_nothing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setattr(os, "listdir", list_nothing)
    monkeypatch.setattr(os.path, "isdir", lambda _: False)  # without /proc
    assert count_slots(600, 600) == 60
