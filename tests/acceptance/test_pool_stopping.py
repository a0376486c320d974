"""The process pool told to stop: nobody is left behind, and every result is written."""

import json
import os
import signal

import pytest

from tests.kit.process_pool import COMMAND, task

# Whoever has the FIFO open lives: when the test has read all of it, nobody is left.
RUNS = "exec 3>lives; echo begun >&3; sleep 60 & wait"
HEARS = (
    "trap 'echo heard >&3' TERM; exec 3>lives; echo begun >&3; while :; do sleep 60 & wait; done"
)
IS_DEAF = "trap '' TERM; exec 3>lives; echo begun >&3; sleep 60 & sleep 60"
SIGNALS = [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def lives(pool):
    path = pool.folder / "lives"
    os.mkfifo(path)
    return path


def around(script):
    """A task that has ended when the script runs, and one that has not begun then."""
    middle = task("runs", "sh", "-c", script)
    return [task("ended", "echo", "kept"), middle, task("waits", "touch", "it-ran")]


# INT/TERM/HUP to the pool


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_a_signal_stops_the_groups_and_every_result_is_written(pool, lives, number, exit_code):
    process = pool.start("-t", 1, tasks=around(RUNS))
    with lives.open() as file:
        assert file.readline() == "begun\n"
        process.send_signal(number)
        assert file.read() == ""
    done = pool.end(process)
    assert done.exit_code == exit_code
    assert done.each("status") == ["ok", "cancelled", "cancelled"]
    assert done.each("exit_code") == [0, 143, 125]
    assert done.each("attempts") == [1, 1, 0]
    assert done.each("result_body") == ["kept\n", "", ""]
    assert not (pool.folder / "it-ran").exists()


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_the_second_signal_kills_at_once(pool, lives, number, exit_code):
    process = pool.start("-t", 1, "--grace", "1h", tasks=around(HEARS))
    with lives.open() as file:
        assert file.readline() == "begun\n"
        process.send_signal(number)
        assert file.readline() == "heard\n"
        process.send_signal(number)
        assert set(file) <= {"heard\n"}
    done = pool.end(process)
    assert done.exit_code == exit_code
    assert done.each("status") == ["ok", "cancelled", "cancelled"]
    assert done.each("exit_code") == [0, 137, 125]
    assert done.each("result_body") == ["kept\n", "", ""]


def test_who_does_not_hear_is_killed_after_the_grace(pool, lives):
    process = pool.start("-t", 1, "--grace", "10ms", tasks=around(IS_DEAF))
    with lives.open() as file:
        assert file.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert file.read() == ""
    done = pool.end(process)
    assert done.exit_code == 143
    assert done.each("exit_code") == [0, 137, 125]


def test_the_output_of_a_child_that_says_good_bye_is_kept(pool, lives):
    script = "trap 'echo bye; exit 0' TERM; exec 3>lives; echo begun >&3; while :; do :; done"
    process = pool.start(tasks=around(script))
    with lives.open() as file:
        assert file.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert file.read() == ""
    done = pool.end(process)
    assert done.results[1]["result_body"] == "bye\n"
    assert done.results[1]["status"] == "cancelled"


def test_an_outfile_and_a_journal_have_what_ended_and_the_rest_is_run_later(pool, lives):
    tasks = [
        task("ended", "sh", "-c", "echo run >>runs; echo kept"),
        task("runs", "sh", "-c", "exec 3>lives; echo begun >&3; [ -e done ] || sleep 60"),
        task("waits", "echo", "late"),
    ]
    files = ("-t", 1, "--journal", "journal", "-o", "results")
    process = pool.start(*files, tasks=tasks)
    with lives.open() as file:
        assert file.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert file.read() == ""
    assert pool.end(process).exit_code == 143
    statuses = [one["status"] for one in json.loads((pool.folder / "results").read_text())]
    assert statuses == ["ok", "cancelled", "cancelled"]
    (pool.folder / "done").touch()
    process = pool.start(*files, "--resume", tasks=tasks)
    assert lives.read_text() == "begun\n"
    assert pool.end(process).exit_code == 0
    results = json.loads((pool.folder / "results").read_text())
    assert [one["result_body"] for one in results] == ["kept\n", "", "late\n"]
    assert (pool.folder / "runs").read_text() == "run\n"


def test_signals_while_results_are_written_do_not_harm_them(pool):
    process = pool.start(tasks=[task("it", "head", "-c", "300000", "/dev/zero")])
    assert process.stdout.read(1) == b"["
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    assert json.loads(b"[" + process.stdout.read())[0]["result_body"] == "\0" * 300_000
    assert process.stderr.read() == b""
    assert process.wait() in {129, 130, 143}


def test_a_signal_that_the_caller_ignores_is_not_heard(pool, lives):
    process = pool.start(tasks=[task("it", "cat", "lives")], program=("nohup", *COMMAND))
    with lives.open("w") as file:
        process.send_signal(signal.SIGHUP)
        file.write("to its end")
    done = pool.end(process)
    assert done.exit_code == 0
    assert done.each("result_body") == ["to its end"]


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_told_to_end_before_it_begins_nothing_of_the_outfile_is_left(
    pool, lives, number, exit_code
):
    tasks = [task("runs", "sh", "-c", IS_DEAF), task("next", "true")]
    files = ("--journal", "journal", "-o", "results", "--grace", "1h", "--verbose")
    killed = pool.start(*files, tasks=tasks)
    with lives.open() as file:
        assert file.readline() == "begun\n"
        assert killed.stderr.readline().endswith(b"runs: begins\n")
        assert killed.stderr.readline().endswith(b"next: begins\n")  # the journal has runs's pid
        killed.kill()
        killed.wait()
        group = json.loads((pool.folder / "journal").read_text().splitlines()[2])["pid"]
        try:
            resumed = pool.start(*files, "--resume", tasks=tasks)
            assert b"had begun" in resumed.stderr.readline()
            assert len([*pool.folder.glob(".results.*")]) == 2
            resumed.send_signal(number)
            assert resumed.wait() == exit_code
            assert len([*pool.folder.glob(".results.*")]) == 1  # of the one that was killed
        finally:
            os.killpg(group, signal.SIGKILL)


# output whose reader goes away


def test_as_completed_without_a_reader_the_pool_stops(pool, lives):
    tasks = [
        task("runs", "sh", "-c", RUNS),
        task("heard", "true"),
        task("unheard", "cat", "more"),
        *(task(f"waits {n}", "touch", "it-ran") for n in range(9)),
    ]
    os.mkfifo(pool.folder / "more")
    process = pool.start("--as-completed", tasks=tasks)
    with lives.open() as file:
        assert file.readline() == "begun\n"
        assert json.loads(process.stdout.readline())["identifier"] == "heard"
        process.stdout.close()
        (pool.folder / "more").write_text("there is no reader for this\n")
        assert file.read() == ""
    said = process.stderr.read()
    assert process.wait() == 3
    assert said.count(b"\n") == 1


def test_an_array_without_a_reader_is_told(pool):
    os.mkfifo(pool.folder / "more")
    process = pool.start(tasks=[task("it", "cat", "more")])
    process.stdout.close()
    (pool.folder / "more").write_text("there is no reader for this\n")
    said = process.stderr.read()
    assert process.wait() == 3
    assert said.count(b"\n") == 1


# halt


@pytest.mark.parametrize("when", ["now,fail=1", "soon,fail=1", "now,fail=30%", "soon,fail=30%"])
def test_after_so_many_failures_nothing_more_is_started(pool, when):
    tasks = [task("bad", "false"), *around("exit 0")]
    done = pool("-t", 1, "--halt", when, tasks=tasks)
    stops = when.endswith("=1")  # one of four is less than 30 %
    later = "cancelled" if stops else "ok"
    assert done.each("status") == ["failed", later, later, later]
    assert (pool.folder / "it-ran").exists() != stops
    assert done.exit_code == 1


def test_halted_now_what_runs_is_stopped(pool, lives):
    after_it_runs = task("bad", "sh", "-c", "read line <lives; exit 1")
    done = pool("--halt", "now,fail=1", tasks=[task("runs", "sh", "-c", RUNS), after_it_runs])
    assert done.each("status") == ["cancelled", "failed"]
    with pytest.raises(OSError, match="No such device"):  # nobody reads, nor will
        os.open(lives, os.O_WRONLY | os.O_NONBLOCK)


def test_halted_soon_what_runs_may_end(pool):
    os.mkfifo(pool.folder / "gone")
    tasks = [
        task("runs", "cat", "gone"),
        task("bad", "sh", "-c", "exit 1"),
        task("tells", "sh", "-c", "echo that it failed >gone", after=["bad"], always=True),
    ]
    process = pool.start("-t", 2, "--halt", "soon,fail=1", "--as-completed", tasks=tasks)
    assert json.loads(process.stdout.readline())["identifier"] == "bad"
    (pool.folder / "gone").write_text("by the test\n")
    ended = {one["identifier"]: one for one in map(json.loads, process.stdout)}
    assert ended["runs"]["result_body"] == "by the test\n"
    assert ended["tells"]["status"] == "cancelled"
    assert pool.end(process).exit_code == 1
