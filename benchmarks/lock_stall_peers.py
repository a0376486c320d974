"""The same inserts into the table that stalls, by load generators, each by its command line."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import ROOT
from benchmarks.lateness import rank
from benchmarks.lock_stall import (
    INSERT,
    RATE,
    SECONDS,
    STALL_S,
    TABLE,
    THREADS,
    empty_table,
    even_arrivals,
    truth,
)
from benchmarks.seeding_peers import as_libpq
from benchmarks.table_lock import TableLock

LONGEST_S = 60
PACE_S = THREADS / RATE  # of one worker


@contextmanager
def stalling(server):
    """An empty table, a folder, and the lock."""
    empty_table(server)
    with tempfile.TemporaryDirectory() as folder, TableLock(server, TABLE) as lock:
        yield Path(folder), lock


def call(argv, folder, **env):
    return subprocess.Popen(
        [*map(str, argv)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FOLDER": str(folder), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process):
    text, _ = process.communicate(timeout=LONGEST_S)
    if process.returncode:
        raise RuntimeError(text)
    return text


def figures(shown_ms, true_ms, ran):
    return {"shown": shown_ms, "true": true_ms, "ran": ran}


def pgbench(server, program):
    """Its log: the summary has averages only. Its arrivals are random, so the log has them too."""
    if not Path(program).is_file():
        raise ModuleNotFoundError(name="pgbench")
    with stalling(server) as (folder, lock):
        script = folder / "insert.sql"
        script.write_text(INSERT.replace(":n", ":client_id") + ";\n")
        argv = [program, "-n", "-f", script, "-R", RATE, "-c", THREADS, "-T", SECONDS, "--log"]
        begun = time.monotonic_ns()
        process = call([*argv, as_libpq(server)], folder)
        lock.hold(begun + int(STALL_S[0] * 1e9), STALL_S[1] - STALL_S[0])
        held = lock.held()
        output_of(process)
        (log,) = folder.glob("pgbench_log.*")
        ended = [read_log_line(line, held.wall_ns) for line in log.read_text().splitlines()]
    due = sorted(end - took for end, took, _ in ended)
    services = sorted(took - lag for end, took, lag in ended if end < held.begin)
    true = sorted(truth(due, held, services[len(services) // 2]))
    shown = sorted(took for _, took, _ in ended)
    return figures(rank(shown, 99), rank(true, 99), len(ended))


def read_log_line(line, wall_ns):
    """The end, by time.monotonic_ns, the time since it was scheduled, and the lag of that."""
    _client, _number, took, _script, seconds, microseconds, lag = map(int, line.split())
    end = seconds * 1_000_000_000 + microseconds * 1_000 - wall_ns
    return end, took * 1_000, lag * 1_000


def locust(server):
    with stalling(server) as (folder, lock):
        script = folder / "locustfile.py"
        script.write_text(
            "from benchmarks.lock_stall_peers import make_user\n\nInserts = make_user()\n"
        )
        argv = [program_of("locust"), "-f", script, "--headless", "--only-summary"]
        argv += ["-u", THREADS, "-r", THREADS, "-t", f"{SECONDS}s", "--csv", folder / "its"]
        process = call(argv, folder, URI=as_libpq(server))
        return stalled(process, lock, folder, read_locust)


def read_locust(_text, folder):
    with (folder / "its_stats.csv").open() as stats:
        row = next(row for row in csv.DictReader(stats) if row["Name"] == "insert")
    assert row["Failure Count"] == "0", row
    return float(row["50%"]), float(row["99%"]), int(row["Request Count"])


def make_user():
    """A user that does one insert after another at its share of the rate, as far as it can."""
    import psycopg
    from locust import User, constant_throughput, task

    class Inserts(User):
        wait_time = constant_throughput(1 / PACE_S)

        def on_start(self):
            self._connection = psycopg.connect(os.environ["URI"], autocommit=True)
            note_begin()

        @task
        def insert(self):
            begun = time.perf_counter()
            self._connection.execute(INSERT.replace(":n", "1"))
            self.environment.events.request.fire(
                request_type="SQL",
                name="insert",
                response_time=(time.perf_counter() - begun) * 1e3,
                response_length=0,
                exception=None,
            )

    return Inserts


def dbworkload(server):
    """Paced in its script: its own --max-rate looks only every 10 s."""
    with stalling(server) as (folder, lock):
        script = folder / "paced.py"  # it looks for a class of the file's name
        script.write_text("from benchmarks.lock_stall_peers import Paced\n")
        argv = [program_of("dbworkload"), "run", "--workload", script]
        argv += ["--uri", as_libpq(server), "--concurrency", THREADS, "--duration", SECONDS]
        process = call([*argv, "--port", "0", "--quiet"], folder)
        return stalled(process, lock, folder, read_dbworkload)


def read_dbworkload(text, _folder):
    row = next(line for line in text.splitlines() if "insert" in line.split())
    _elapsed, _name, _threads, ran, _rate, _mean, p50, _p90, _p95, p99, _max = (
        cell.strip() for cell in row.strip().strip("│").split("│")
    )
    return float(p50), float(p99), int(ran)


class Paced:
    """dbworkload's workload: each worker keeps to its share of the rate, as far as it can."""

    def __init__(self, _args):
        pass

    def setup(self, _connection, _worker, _workers):
        note_begin()
        self._next = time.monotonic()

    def loop(self):
        time.sleep(max(0, self._next - time.monotonic()))
        self._next = max(self._next + PACE_S, time.monotonic())
        return [self.insert]

    def insert(self, connection):
        connection.execute(INSERT.replace(":n", "1"))


def program_of(name):
    """A peer's program beside this Python's; as with an import, it may not be installed."""
    if find_spec(name) is None:
        raise ModuleNotFoundError(name=name)
    return Path(sys.executable).with_name(name)


def stalled(process, lock, folder, read):
    """The figures of a tool that takes a while to begin and notes when it does."""
    begun = wait_for_begin(process, folder)
    lock.hold(begun + int(STALL_S[0] * 1e9), STALL_S[1] - STALL_S[0])
    held = lock.held()
    p50, p99, ran = read(output_of(process), folder)
    true = sorted(truth(even_arrivals(begun), held, int(p50 * 1e6)))
    return figures(p99, rank(true, 99), ran)


def note_begin():
    Path(os.environ["FOLDER"], "begun").touch()


def wait_for_begin(process, folder):
    begun = folder / "begun"
    deadline = time.monotonic() + LONGEST_S
    while not begun.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(output_of(process))
        time.sleep(0.001)
    return time.monotonic_ns()
