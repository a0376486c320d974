"""The example's run as another process, with a list of what it acknowledged, and ordered dumps."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, select
from sqlalchemy.pool import NullPool

ROOT = Path(__file__).parents[2]
TARGET = f"{Path(__file__).with_name('acknowledging.py')}:worker"
LONGEST_S = 50


def load_example():
    spec = importlib.util.spec_from_file_location("load_runner", ROOT / "examples/load_runner.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = load_example()


def dump(url):
    """Every row of the example's tables, in the order of their keys, the same for all databases."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return {
            table.name: sorted(
                tuple(map(_plain, row)) for row in connection.execute(select(table)).all()
            )
            for table in example.schema.sorted_tables
        }


def _plain(value):
    if not isinstance(value, datetime):
        return str(value)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def whole_chains(url):
    """How many companies there are; fails if one of them has not its picture and its users."""
    rows = dump(url)
    companies = {row[0] for row in rows["companies"]}
    assert Counter(row[1] for row in rows["profile_pictures"]) == dict.fromkeys(companies, 1)
    assert Counter(row[1] for row in rows["users"]) == dict.fromkeys(companies, 3)
    return len(companies)


class Seeding:
    """``workermanager run`` or ``resume`` as another process, with what it acknowledged so far."""

    def __init__(self, folder, *args, limits=None):
        self.acks = folder / "acknowledged"
        self.report_path = folder / f"report-{time.monotonic_ns()}.json"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "workermanager", *map(str, args)),
                *("--json", self.report_path, "--quiet"),
            ],
            cwd=folder,
            env=_environment(self.acks),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limits,  # noqa: PLW1509 - it sets a limit and nothing else
        )

    def acknowledged(self):
        """The execs that the run called ok, each after its commit."""
        return [int(n) for n in self.acks.read_text().split()] if self.acks.exists() else []

    def kill_after(self, count):
        """SIGKILL it once it has acknowledged so many execs more than before it was started."""
        before = len(self.acknowledged())
        while self._process.poll() is None and len(self.acknowledged()) - before < count:
            time.sleep(0.001)
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def end(self):
        """Wait for its end; gives the exit code, what it said on standard error, and its report."""
        try:
            _, said = self._process.communicate(timeout=LONGEST_S)
        finally:
            self._process.kill()
        report = self.report_path
        return self._process.returncode, said, json.loads(report.read_text() or "null")


def _environment(acks):
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("WORKERMANAGER_")
    }
    return {**clean, "PYTHONPATH": str(ROOT), "ACKNOWLEDGED": str(acks)}
