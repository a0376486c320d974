"""The run history: what was saved is found again, by any process, whatever happened meanwhile."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import msgspec
import pytest
from loguru import logger

from instrumentation.errors import InvalidConfig
from tests.kit.reports import steady, with_run
from workermanager.history import History, PastRun, save_quietly

ROOT = Path(__file__).parents[2]


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "state" / "runs.db")


def run(name, windows=1, **facts):
    return with_run(steady(windows=windows), id=name, **facts)


def ids(history, **wanted):
    return [past.id for past in history.list(**wanted)]


def execute(path, *statements):
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# Saved and found


def test_a_run_is_found_as_it_was_saved(history):
    report = run("night", windows=60, tags={"branch": "användare"})
    history.save(report)
    assert history.find("night") == report


def test_the_list_has_what_a_table_shows(history):
    report = with_run(steady(failed=3, ok=97), id="one", tags={"a": "b"}, warmup_s=0.0)
    history.save(report)
    assert history.list() == [
        PastRun(
            id="one",
            name="chain",
            outcome="failed",
            started_at="2026-01-02T03:04:05.678Z",
            duration_s=60.0,
            counts=report.counts,
            rate=100.0,
            p99_ms=report.response.p99_ms,
            tags={"a": "b"},
            exit_code=1,
        )
    ]


def test_the_rate_is_that_after_the_warm_up(history):
    history.save(with_run(steady(), id="one", duration_s=80.0, warmup_s=20.0))
    assert history.list()[0].rate == 100.0


def test_the_latest_run_comes_first_and_a_limit_keeps_those(history):
    for name in ("one", "two", "three"):
        history.save(run(name))
    assert ids(history) == ["three", "two", "one"]
    assert ids(history, limit=2) == ["three", "two"]


def test_runs_are_filtered_by_all_of_the_tags_before_the_limit(history):
    history.save(run("one", tags={"db": "sqlite", "size": "1"}))
    history.save(run("two", tags={"db": "sqlite"}))
    history.save(run("three"))
    assert ids(history, tags={"db": "sqlite"}) == ["two", "one"]
    assert ids(history, tags={"db": "sqlite"}, limit=1) == ["two"]
    assert ids(history, tags={"db": "sqlite", "size": "1"}) == ["one"]
    assert ids(history, tags={"db": "postgres"}) == []


def test_a_run_that_is_saved_again_takes_its_own_place(history):
    history.save(run("one", outcome="interrupted"))
    history.save(run("two"))
    history.save(run("one", resumed=True))
    assert ids(history) == ["one", "two"]
    assert history.find("one").run.resumed
    with closing(sqlite3.connect(history.path)) as connection:
        assert connection.execute("SELECT count(*) FROM reports").fetchone() == (2,)


def test_a_param_that_json_has_not_is_saved_as_it_looks(history):
    report = msgspec.structs.replace(run("one"), plan={"params": {"when": 1 + 2j}})
    history.save(report)
    assert history.find("one").plan == {"params": {"when": "(1+2j)"}}


# By the beginning of an id


def test_a_run_is_found_by_the_beginning_of_its_id(history):
    for name in ("20260101T1-aa", "20260101T2-bb", "20260101T2"):
        history.save(run(name))
    assert history.find("20260101T1").run.id == "20260101T1-aa"
    assert history.find("20260101T2").run.id == "20260101T2"  # an id wins over a beginning


def test_a_beginning_of_several_ids_names_them(history):
    for n in range(7):
        history.save(run(f"night-{n}"))
    wanted = "run night: which of night-6, night-5, night-4, night-3, night-2 and 2 more?"
    with pytest.raises(InvalidConfig) as refused:
        history.find("night")
    assert str(refused.value) == wanted


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("nihgt-1", "did you mean night-1?"),
        ("x_y", "workermanager runs lists them"),
        ("", "workermanager runs lists them"),
        ("%", "workermanager runs lists them"),
    ],
)
def test_a_run_that_is_not_there_is_told_from_those_that_are(history, wanted, hint):
    history.save(run("night-1"))
    history.save(run("other"))
    with pytest.raises(InvalidConfig) as refused:
        history.find(wanted)
    assert str(refused.value) == f"run {wanted!r} is not in the history {history.path}; {hint}"


def test_a_history_that_is_not_there_is_empty_and_stays_so(history, tmp_path):
    assert history.list() == []
    with pytest.raises(InvalidConfig, match="run 'x' is not in the history"):
        history.find("x")
    assert not list(tmp_path.iterdir())


# What is kept


def test_the_oldest_runs_are_forgotten(tmp_path):
    history = History(tmp_path / "runs.db", most_runs=3)
    for name in ("one", "two", "three", "four"):
        history.save(run(name, started_at="2026-01-01T00:00:00.000Z"))
    history.save(run("two"))  # now the latest
    assert ids(history) == ["two", "four", "three"]
    with closing(sqlite3.connect(history.path)) as connection:
        assert connection.execute("SELECT count(*) FROM reports").fetchone() == (3,)


def test_no_more_bytes_are_kept_than_allowed_but_always_the_latest_run(tmp_path):
    path = tmp_path / "runs.db"
    for name in ("one", "two", "three"):
        History(path).save(run(name, windows=60))
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("SELECT max(size) FROM runs").fetchone()
    History(path, most_bytes=7 * size // 2).save(run("four", windows=60))
    assert ids(History(path)) == ["four", "three", "two"]
    History(path, most_bytes=1).save(run("five"))
    assert ids(History(path)) == ["five"]


def test_nobody_else_may_read_it(history):
    before = os.umask(0o022)
    try:
        history.save(run("one"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(history.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(history.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/workermanager/runs.db"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/workermanager/runs.db"),
        ({"XDG_STATE_HOME": "here", "HOME": "/h"}, "/h/.local/state/workermanager/runs.db"),
        ({"HOME": "/h"}, "/h/.local/state/workermanager/runs.db"),
    ],
)
def test_it_is_where_state_belongs(environ, place):
    assert str(History.open_default(environ).path) == place


def test_without_a_home_there_is_no_place_for_it():
    with pytest.raises(InvalidConfig, match="set XDG_STATE_HOME or HOME"):
        History.open_default({})


# Files that will not do


def unreadable(path):
    path.write_bytes(b"no database, though it is long enough for the header of one" * 20)


def later(path):
    execute(path, "CREATE TABLE runs (id)", "PRAGMA user_version = 2")


def foreign(path):
    execute(path, "CREATE TABLE mine (id)")


def directory(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unreadable, "file is not a database"),
        (later, "version 2, of a later workermanager; this reads version 1"),
        (foreign, "another program's database"),
        (directory, ""),
    ],
)
def test_a_file_that_will_not_do_is_named_and_stays_as_it_is(make, message, history):
    history.path.parent.mkdir()
    make(history.path)
    before = history.path.read_bytes() if history.path.is_file() else None
    for act in (history.list, lambda: history.find("x"), lambda: history.save(run("x"))):
        with pytest.raises(InvalidConfig, match=r"runs\.db: ") as refused:
            act()
        assert message in str(refused.value)
    assert before is None or history.path.read_bytes() == before


def test_a_file_that_was_damaged_is_named(history):
    for n in range(12):
        history.save(run(f"run-{n}", windows=9))
    content = bytearray(history.path.read_bytes())
    content[4_096:] = os.urandom(len(content) - 4_096)
    history.path.write_bytes(content)
    for act in (history.list, lambda: history.find("run-1"), lambda: history.save(run("x"))):
        with pytest.raises(InvalidConfig, match=r"run history .*runs\.db: cannot be "):
            act()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE reports SET document = x'00'", "run one: not a report"),
        ("DELETE FROM reports", "run one: not a report"),
        ("UPDATE runs SET counts = '[]'", "run one"),
    ],
)
def test_a_run_that_was_damaged_is_named(change, message, history):
    history.save(run("one"))
    execute(history.path, change)
    act = history.list if "counts" in change else lambda: history.find("one")
    with pytest.raises(InvalidConfig, match=f"runs.db: .*{message}"):
        act()


def test_a_file_without_tables_is_an_empty_history(history):
    history.path.parent.mkdir()
    history.path.touch()  # as a process leaves it that is killed at its very first save
    assert history.list() == []
    history.save(run("one"))
    assert ids(history) == ["one"]


# Saving never fails a run


@pytest.fixture
def warnings():
    lines = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    logger.enable("workermanager")
    yield lines
    logger.disable("workermanager")
    logger.remove(sink)


def test_what_is_saved_quietly_is_there(tmp_path, warnings):
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    assert save_quietly(run("one"), environ)
    assert ids(History.open_default(environ)) == ["one"]
    assert warnings == []


def test_a_home_that_cannot_be_written_is_one_warning(tmp_path, warnings):
    (tmp_path / "file").touch()
    assert not save_quietly(run("one"), {"XDG_STATE_HOME": str(tmp_path / "file")})
    assert not save_quietly(run("one"), {})
    unwritable, nowhere = warnings
    assert unwritable.startswith("the run is not in the history: run history ")
    assert "runs.db: cannot be written: Not a directory" in unwritable
    assert "set XDG_STATE_HOME or HOME" in nowhere
    assert all(line.count("\n") == 1 for line in warnings)


SAVE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.kit.reports import steady, with_run
from workermanager.history import History
history, prefix, first, last = History(Path(sys.argv[1])), *sys.argv[2:]
report = steady(windows=200)
sys.stdin.readline()
for n in range(int(first), int(last)):
    history.save(with_run(report, id=f"{{prefix}}-{{n}}"))
    print(n, flush=True)
"""


@pytest.fixture
def saver(history):
    """Start processes that save so many runs, once they are told to."""
    started = []

    def saver(prefix, first, last, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE, str(history.path), prefix, str(first), str(last)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield saver
    for process in started:
        process.kill()
        process.communicate()


def test_a_full_disk_leaves_the_history_as_it_was(history, saver):
    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    history.save(run("before"))
    errors = saver("full", 0, 100, preexec_fn=fill).communicate("go\n", timeout=50)[1]
    assert "InvalidConfig: run history" in errors
    assert "cannot be written" in errors
    saved = ids(history)
    assert 1 < len(saved) < 100
    assert all(history.find(name).run.id == name for name in saved)
    history.save(run("after"))
    assert ids(history)[0] == "after"


def test_processes_that_save_at_once_lose_nothing(history, saver):
    processes = [saver(prefix, 0, 12) for prefix in "abcd"]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=50)
        assert process.returncode == 0, errors
    assert sorted(ids(history)) == sorted(f"{prefix}-{n}" for prefix in "abcd" for n in range(12))


def test_those_that_save_first_at_once_lose_nothing_either(tmp_path):
    one = steady(windows=20)
    for round_ in range(4):
        history, together = History(tmp_path / str(round_) / "runs.db"), Barrier(6)

        def save(n, history=history, together=together):
            together.wait()
            history.save(with_run(one, id=f"run-{n}"))

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(save, range(6)))
        assert sorted(ids(history)) == [f"run-{n}" for n in range(6)]


def test_a_process_that_is_killed_while_saving_leaves_all_that_it_saved(history, saver):
    for round_ in range(5):
        process = saver(f"round{round_}", 0, 10_000)
        process.stdin.write("go\n")
        process.stdin.flush()
        acknowledged = [int(process.stdout.readline()) for _ in range(4 * round_ + 1)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        saved = ids(history)
        assert {f"round{round_}-{n}" for n in acknowledged} <= set(saved)
        assert history.find(saved[0]).run.id == saved[0]
    history.save(run("after"))
    assert ids(history)[0] == "after"
