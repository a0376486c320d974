import json
import os
import signal
import subprocess
import sys
import time
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace
from zlib import crc32

import pytest

from instrumentation.errors import InvalidConfig
from tests.kit.results import captured, files_of_at_most, result
from workermanager.processes import journal as journal_module
from workermanager.processes.encoding import encode
from workermanager.processes.journal import Journal
from workermanager.processes.leftovers import start_of
from workermanager.processes.outfile import OutputFailed
from workermanager.processes.records import Records
from workermanager.processes.spool import CHUNK
from workermanager.processes.task import Status, Task

FINISHED = ("ok", "failed", "signaled", "timeout", "not_started")


class Known:
    """Tasks that are known by their identifiers alone."""

    def __init__(self, *identifiers):
        self.identifiers = identifiers

    def __len__(self):
        return len(self.identifiers)

    def __getitem__(self, number):
        return Task(self.identifiers[number], "true")

    def key(self, number):
        return blake2b(self.identifiers[number].encode(), digest_size=16).hexdigest()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "pool.journal")


@pytest.fixture
def open_journal(path):
    """Opens the journal; whatever is open in the end is closed."""
    opened = []

    def open_it(*identifiers, resume=True, **how):
        opened.append(Journal(path, Known(*identifiers), resume=resume, **how))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()


def copied(records, number):
    pieces = []
    records.copy(number, pieces.append)
    return b"".join(pieces)


def whole(one, *, is_compat=False):
    return b"".join(encode(one, is_compat=is_compat))


def run(journal, number, one, pid=None):
    journal.begun(number, one.identifier, 1)
    journal.spawned(number, pid or os.getpid())
    journal.ended(number, one)


def contents(path):
    return Path(path).read_bytes()


def change(path, data):
    Path(path).write_bytes(data)


@pytest.mark.parametrize("is_compat", [False, True])
def test_records_give_back_what_came_of_each_task(is_compat):
    records = Records(3, is_compat=is_compat)
    big = result("big", Status.FAILED, 1, stdout=captured(b"\xff" * (2 * CHUNK + 1)))
    records.ended(2, result("c"))
    records.ended(0, big)
    assert copied(records, 0) == whole(big, is_compat=is_compat)
    assert copied(records, 2) == whole(result("c"), is_compat=is_compat)
    assert [records.status(n) for n in range(3)] == [Status.FAILED, None, Status.OK]
    with pytest.raises(KeyError):
        records.copy(1, print)
    records.close()
    big.stdout.close()


@pytest.mark.parametrize("is_compat", [False, True])
def test_a_journal_gives_back_what_came_of_each_task_to_whoever_goes_on(open_journal, is_compat):
    first = open_journal("a", "b", "c", resume=False, is_compat=is_compat)
    results = {2: result("c", stdout=captured(b"\xff")), 0: result("a", Status.FAILED, 7)}
    for number, one in results.items():
        run(first, number, one)
    assert copied(first, 2) == whole(results[2], is_compat=is_compat)
    first.close()
    second = open_journal("new", "c", "b", "a", is_compat=is_compat)
    assert [second.status(n) for n in range(4)] == [None, Status.OK, None, Status.FAILED]
    assert copied(second, 1) == whole(results[2], is_compat=is_compat)
    assert copied(second, 3) == whole(results[0], is_compat=is_compat)
    assert second.unfinished == []


@pytest.mark.parametrize("rerun_failed", [False, True])
@pytest.mark.parametrize("status", Status)
def test_only_tasks_that_had_finished_are_not_run_again(open_journal, status, rerun_failed):
    first = open_journal("a", resume=False)
    first.ended(0, result("a", status, 125))
    assert first.status(0) is status
    assert copied(first, 0) == whole(result("a", status, 125))
    first.close()
    second = open_journal("a", rerun_failed=rerun_failed)
    is_kept = status == "ok" if rerun_failed else status in FINISHED
    assert second.status(0) is (status if is_kept else None)


def test_the_latest_end_of_a_task_counts(open_journal):
    first = open_journal("a", resume=False)
    run(first, 0, result("a", Status.FAILED, 1))
    first.close()
    second = open_journal("a", rerun_failed=True)
    run(second, 0, result("a", attempts=2))
    second.close()
    third = open_journal("a")
    assert third.status(0) is Status.OK
    assert copied(third, 0) == whole(result("a", attempts=2))


def test_what_had_begun_without_an_end_is_unfinished_and_runs_again(open_journal, monkeypatch):
    clock = SimpleNamespace(time=lambda: 1_795_303_937.5, monotonic=lambda: 0.0)
    monkeypatch.setattr(journal_module, "time", clock)
    first = open_journal("a", "b", "c", "d", resume=False)
    run(first, 0, result("a"))
    run(first, 1, result("b", Status.FAILED, 1))
    first.begun(1, "b", 2)
    first.begun(2, "c", 1)
    first.spawned(2, os.getpid())
    first.begun(2, "c", 2)
    first.spawned(2, os.getppid())
    first.begun(3, "d", 1)
    first.close()
    second = open_journal("c", "b", "a")
    assert [second.status(n) for n in range(3)] == [None, None, Status.OK]
    (b, c) = second.unfinished
    assert (b.identifier, b.attempt, b.pid, b.start) == ("b", 2, None, None)
    assert (c.identifier, c.attempt, c.pid) == ("c", 2, os.getppid())
    assert c.start == start_of(os.getppid()) is not None
    assert b.since == c.since == 1_795_303_937.5


def test_a_process_from_before_the_machine_was_booted_is_not_taken_for_alive(
    open_journal, monkeypatch
):
    monkeypatch.setattr(journal_module, "_read_boot", lambda: "an earlier one")
    first = open_journal("a", "b", resume=False)
    first.begun(0, "a", 1)
    first.spawned(0, os.getpid())
    first.close()
    monkeypatch.undo()
    second = open_journal("a", "b")
    second.begun(1, "b", 1)
    second.spawned(1, os.getpid())
    second.close()
    (a, b) = open_journal("a", "b").unfinished
    assert (a.pid, a.start, a.is_alive) == (os.getpid(), None, False)
    assert (b.pid, b.is_alive) == (os.getpid(), True)


def test_a_journal_that_is_there_is_refused_and_left_as_it_is(open_journal, path):
    open_journal("a", resume=False).close()
    before = contents(path)
    with pytest.raises(InvalidConfig, match=r"pool\.journal: is there already: resume it, or name"):
        open_journal("a", resume=False)
    assert contents(path) == before


def test_to_resume_what_is_not_there_yet_begins_it(open_journal):
    run(open_journal("a"), 0, result("a"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"some file of the user's\n", "is not the journal of a process pool: name another file"),
        (b"one line without an end", "is not the journal of a process pool: name another file"),
        (b"\n", "is not the journal of a process pool: name another file"),
        (b'{"journal":2,"colour":"red"}\n', "is a journal of version 2, and only version 1 can be"),
    ],
)
def test_what_is_no_journal_is_refused_and_left_as_it_is(open_journal, path, data, why):
    change(path, data)
    with pytest.raises(InvalidConfig) as refused:
        open_journal("a")
    assert str(refused.value).startswith(f"{path}: {why}")
    assert contents(path) == data


@pytest.mark.parametrize("is_compat", [False, True])
def test_results_of_another_kind_are_refused(open_journal, is_compat):
    open_journal("a", resume=False, is_compat=is_compat).close()
    how = "with --compat: resume with it" if is_compat else "without --compat: resume without it"
    with pytest.raises(InvalidConfig, match=f"was written {how}"):
        open_journal("a", is_compat=not is_compat)


def test_tasks_that_nothing_tells_apart_are_refused(open_journal):
    with pytest.raises(
        InvalidConfig, match="tasks 1 and 2 are the same, and a journal cannot tell"
    ):
        open_journal("a", "", "", resume=False, is_compat=True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "Is a directory"),
        ("missing/pool.journal", "No such file or directory"),
        ("pipe", "name a file that keeps what is written"),
    ],
)
def test_what_cannot_be_a_journal_is_refused(tmp_path, name, why):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidConfig) as refused:
        Journal(f"{tmp_path}/{name}", Known("a"), resume=True)
    assert str(refused.value) == f"{tmp_path}/{name}: cannot be a journal: {why}"


def test_a_second_pool_is_refused_until_the_first_is_done(open_journal, path):
    first = open_journal("a")
    with pytest.raises(InvalidConfig, match=r"pool\.journal: is in use by another pool$"):
        open_journal("a")
    run(first, 0, result("a"))
    first.close()
    assert open_journal("a").status(0) is Status.OK


def three_ended(open_journal, path):
    """A journal with three results; where its lines begin, and its end."""
    journal = open_journal("a", "b", "c", resume=False)
    for number, identifier in enumerate("abc"):
        run(journal, number, result(identifier, stdout=captured(b"some")))
    journal.close()
    data = contents(path)
    begins = [0]
    while begins[-1] < len(data):
        begins.append(data.index(b"\n", begins[-1]) + 1)
    return data, begins


def test_every_line_is_json(open_journal, path):
    data, begins = three_ended(open_journal, path)
    lines = [json.loads(line) for line in data.splitlines()]
    assert len(lines) == len(begins) - 1 == 10
    assert lines[0]["journal"] == 1
    assert lines[3]["result"]["result_body"] == "some"


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(open_journal, path):
    data, begins = three_ended(open_journal, path)
    for cut in range(begins[-2], len(data)):
        change(path, data[:cut])
        journal = open_journal("a", "b", "c")
        assert [journal.status(n) for n in range(3)] == [Status.OK, Status.OK, None]
        assert [one.identifier for one in journal.unfinished] == (["c"])
        run(journal, 2, result("c", Status.FAILED, 1))
        journal.close()
        again = open_journal("a", "b", "c")
        assert [again.status(n) for n in range(3)] == [Status.OK, Status.OK, Status.FAILED]
        again.close()


def test_a_first_line_is_cut_off_wherever_it_was_torn(open_journal, path):
    open_journal("a", resume=False).close()
    data = contents(path)
    for cut in range(len(data)):
        change(path, data[:cut])
        open_journal("a").close()
        assert len(contents(path).splitlines()) == 1


def test_whatever_the_last_line_of_a_torn_file_is_what_is_before_it_counts(open_journal, path):
    data, begins = three_ended(open_journal, path)
    for last, (begin, end) in enumerate(pairwise(begins)):
        if last:
            change(path, data[: (begin + end) // 2])
            journal = open_journal("a", "b", "c")
            assert sum(journal.status(n) is Status.OK for n in range(3)) == (last - 1) // 3
            journal.close()
            assert contents(path)[:begin] == data[:begin]


@pytest.mark.parametrize("is_torn", [True, False])
def test_a_large_last_line_that_is_not_whole_leaves_nothing_behind(open_journal, path, is_torn):
    journal = open_journal("a", "b", resume=False)
    run(journal, 0, result("a"))
    before = contents(path)
    run(journal, 1, result("b", stdout=captured(b"x" * 10_000)))
    journal.close()
    data = contents(path)
    change(path, data[:-1] if is_torn else data[:-2] + b" \n")
    for _ in range(2):
        journal = open_journal("a", "b")
        assert [journal.status(n) for n in range(2)] == [Status.OK, None]
        journal.close()
    assert contents(path).startswith(before)
    assert b"xxx" not in contents(path)


def test_a_damaged_line_is_refused_by_its_number_and_the_file_left_as_it_is(open_journal, path):
    data, begins = three_ended(open_journal, path)
    random = Random(6)
    for at in random.sample(range(begins[1], begins[-2] - 1), 200):
        other = random.choice([byte for byte in range(256) if byte not in {data[at], 10}])
        damaged = data[:at] + bytes((other,)) + data[at + 1 :]
        change(path, damaged)
        with pytest.raises(InvalidConfig) as refused:
            open_journal("a", "b", "c")
        number = data[:at].count(b"\n") + 1
        assert str(refused.value) == (
            f"{path}: line {number} is damaged: mend it, or begin another journal"
        )
        assert contents(path) == damaged


def test_a_line_that_is_missing_its_end_is_damaged(open_journal, path):
    data, begins = three_ended(open_journal, path)
    change(path, data[: begins[3] - 5] + data[begins[3] :])
    with pytest.raises(InvalidConfig, match="line 3 is damaged"):
        open_journal("a", "b", "c")


@pytest.mark.parametrize("line", [b'{"begun":"00"', b'{"end":"00","status":"fine","result":{}'])
def test_a_line_of_an_unknown_kind_is_damaged_though_its_check_fits(open_journal, path, line):
    data, _ = three_ended(open_journal, path)
    change(path, data + (line + b',"crc32":"%08x"}\n' % crc32(line)) + data)
    with pytest.raises(InvalidConfig, match="line 11 is damaged"):
        open_journal("a", "b", "c")


@pytest.mark.parametrize("more", [0, 1, 17, 18, 19, 20])
def test_lines_may_be_larger_than_what_is_read_at_once(open_journal, more):
    first = open_journal("a" * 500, "b", resume=False)
    overhead = len(whole(result("b"))) + 80
    for size in (CHUNK - overhead - 20 + more, CHUNK + more, 3 * CHUNK + more):
        one = result("b", stdout=captured(b"x" * size))
        run(first, 1, one)
        assert copied(first, 1) == whole(one)
        first.close()
        first = open_journal("a" * 500, "b")
        assert first.status(1) is Status.OK
        assert copied(first, 1) == whole(one)
        one.stdout.close()


def test_a_small_line_is_one_write(open_journal, monkeypatch):
    journal = open_journal("a", resume=False)
    writes = []
    real = os.pwrite
    monkeypatch.setattr(
        journal_module.os, "pwrite", lambda *args: (writes.append(bytes(args[1])), real(*args))[1]
    )
    run(journal, 0, result("a", stdout=captured(b"some")))
    assert len(writes) == 3
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in writes)


def test_it_is_brought_to_the_disk_once_a_second_and_at_the_end(open_journal, monkeypatch):
    now, synced = [0.0], []
    clock = SimpleNamespace(time=lambda: 1.0, monotonic=lambda: now[0])
    monkeypatch.setattr(journal_module, "time", clock)
    monkeypatch.setattr(journal_module.os, "fdatasync", lambda _: synced.append(now[0]))
    journal = open_journal("a", resume=False)
    for tenth in range(1, 25):
        now[0] = tenth / 10
        run(journal, 0, result("a"))
    assert synced == [1.0, 2.0]
    journal.close()
    assert synced == [1.0, 2.0, 2.4]
    journal.close()
    assert len(synced) == 3


def test_a_disk_that_is_full_leaves_a_journal_to_go_on_with(open_journal, path):
    journal = open_journal("a", "b", "c", resume=False)
    run(journal, 0, result("a"))
    size = len(contents(path))
    for room in range(0, 150, 7):
        with files_of_at_most(size + room), pytest.raises(OutputFailed) as failed:
            run(journal, 1, result("b"))
        assert str(failed.value) == f"{path}: cannot be written: File too large"
    assert copied(journal, 0) == whole(result("a"))
    run(journal, 2, result("c"))
    journal.close()
    second = open_journal("a", "b", "c")
    assert [second.status(n) for n in range(3)] == [Status.OK, None, Status.OK]


@pytest.mark.parametrize("can_be_cut", [True, False])
def test_a_large_result_that_finds_no_room_does_not_stay_in_part(
    open_journal, path, monkeypatch, can_be_cut
):
    journal = open_journal("a", "b", resume=False)
    run(journal, 0, result("a"))
    journal.begun(1, "b", 1)
    size = len(contents(path))
    big = result("b", stdout=captured(b"x" * (4 * CHUNK)))
    if not can_be_cut:
        monkeypatch.setattr(journal_module.os, "ftruncate", refuse)
    with files_of_at_most(3 * CHUNK), pytest.raises(OutputFailed):
        journal.ended(1, big)
    assert (len(contents(path)) == size) is can_be_cut
    journal.begun(0, "a", 2)
    monkeypatch.undo()
    journal.close()
    second = open_journal("a", "b")
    assert [second.status(n) for n in range(2)] == [None, None]
    assert [one.identifier for one in second.unfinished] == ["b", "a"]
    second.ended(1, big)
    assert copied(second, 1) == whole(big)
    big.stdout.close()


def refuse(*_):
    raise OSError(5, "Input/output error")


def test_a_disk_that_fails_says_so(open_journal, path, monkeypatch):
    journal = open_journal("a", resume=False)
    monkeypatch.setattr(journal_module.os, "fdatasync", refuse)
    with pytest.raises(OutputFailed, match=r"pool\.journal: cannot be written: Input/output error"):
        journal.close()


def test_a_file_that_another_program_has_cut_is_not_taken_for_a_result(open_journal, path):
    journal = open_journal("a", resume=False)
    run(journal, 0, result("a"))
    change(path, b"")
    with pytest.raises(OSError, match="another program has cut it"):
        copied(journal, 0)


WRITER = """
import os, sys
from tests.integration.test_journal import Known, TASKS, what_comes_of
from workermanager.processes.journal import Journal

journal = Journal(sys.argv[1], Known(*TASKS), resume=True)
for number, identifier in enumerate(TASKS):
    if journal.status(number) is None:
        journal.begun(number, identifier, 1)
        journal.spawned(number, os.getpid())
        journal.ended(number, what_comes_of(number))
        os.write(1, b"%d\\n" % number)
"""
TASKS = [f"task {number}" for number in range(2_000)]


def what_comes_of(number):
    size = 3 * CHUNK if number % 4 == 3 else number
    return result(TASKS[number], stdout=captured(b"x" * size), duration_ns=number)


def test_nothing_that_was_written_is_lost_wherever_the_pool_is_killed(open_journal, path):
    random = Random(9)
    acknowledged = set()
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        try:
            for _line in range(random.randrange(1, 40)):
                acknowledged.add(int(writer.stdout.readline()))
            time.sleep(random.random() / 50)  # into whatever it does next
        finally:
            writer.kill()
            acknowledged |= {int(line) for line in writer.communicate()[0].split()}
        assert writer.returncode == -signal.SIGKILL
        journal = open_journal(*TASKS)
        ended = {number for number in range(len(TASKS)) if journal.status(number)}
        assert acknowledged <= ended
        assert len(ended - acknowledged) <= 1  # what was written, and not told any more
        assert len(journal.unfinished) <= 1
        for number in ended:
            one = what_comes_of(number)
            assert copied(journal, number) == whole(one)
            one.stdout.close()
        acknowledged |= ended
        journal.close()
    assert len(acknowledged) < len(TASKS)


MEMORY = """
import resource, sys
from tests.integration.test_journal import Known
from tests.kit.results import result
from workermanager.processes.capture import Capture
from workermanager.processes.journal import Journal

capture, piece = Capture(1 << 40), b"x" * 65536
while capture.size < 50_000_000:
    capture.take(piece)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
journal = Journal(sys.argv[1], Known("a"), resume=False)
journal.ended(0, result("a", stdout=capture))
journal.close()
capture.close()
journal = Journal(sys.argv[1], Known("a"), resume=True)
journal.copy(0, lambda piece: None)
journal.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_result_is_written_and_read_in_little_memory(path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True, timeout=50
    )
    assert len(contents(path)) > 50_000_000
    assert int(done.stdout) * 1024 < 20_000_000
