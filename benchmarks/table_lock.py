"""A table lock that is held for a while, by a process of its own, which says from when to when."""

import json
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks.harness import ROOT
from benchmarks.seeding_peers import as_libpq


class Held(NamedTuple):
    """When the lock was held, by time.monotonic_ns, and how much later time.time_ns says it was."""

    begin: int
    end: int
    wall_ns: int


class TableLock:
    """Connects when entered; `hold` is told when, and `held` waits for the end."""

    def __init__(self, url, table):
        self._argv = [sys.executable, "-m", "benchmarks.table_lock", as_libpq(url), table]

    def __enter__(self):
        self._process = subprocess.Popen(
            self._argv, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == "connected\n"
        return self

    def __exit__(self, *exc_info):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def hold(self, at_ns, seconds):
        self._process.stdin.write(json.dumps([at_ns, seconds]) + "\n")
        self._process.stdin.flush()

    def held(self):
        return Held(*json.loads(self._process.stdout.readline()))


def main(url, table):
    import psycopg

    with psycopg.connect(url) as connection:
        print("connected", flush=True)
        at_ns, seconds = json.loads(sys.stdin.readline())
        time.sleep(max(0, at_ns - time.monotonic_ns()) / 1e9)
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic_ns()
        time.sleep(seconds)
        connection.commit()
        end = time.monotonic_ns()
    print(json.dumps([begin, end, time.time_ns() - time.monotonic_ns()]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
