"""What the process pool needs: few packages, and memory that hardly depends on how many tasks."""

import sys

import pytest

from tests.kit.process_pool import lines_of, task

# Packages that the pool has no use for, and modules that cost more than it needs of them.
UNWANTED = {
    *("sqlalchemy", "faker", "apscheduler", "msgspec", "loguru", "rich"),
    *("asyncio", "concurrent", "logging", "multiprocessing", "subprocess", "tempfile"),
    *("workermanager.worker", "workermanager.database"),
}
LISTED = """
import atexit, sys
from pathlib import Path
from workermanager.cli import main

atexit.register(lambda: Path("modules").write_text("\\n".join(sys.modules)))
sys.argv[0] = "workermanager"
main()
"""
MIB = 1024  # in KiB


@pytest.mark.parametrize("tasks", [[], [task("it", "echo", "body")]], ids=["no task", "a task"])
def test_it_imports_nothing_that_it_has_no_use_for(pool, tasks):
    done = pool(tasks=tasks, program=(sys.executable, "-c", LISTED))
    assert done.exit_code == 0
    imported = set((pool.folder / "modules").read_text().split())
    assert "workermanager.cli.pool" in imported
    found = sorted(imported & UNWANTED)
    assert found == []


def numbered(count, *argv):
    return lines_of(task(f"task {n}", *argv, str(n)) for n in range(count))


def test_20000_tasks_need_hardly_more_memory_than_1000(pool):
    """With a program that is not there, all is as ever, except for minutes of processes."""
    _, few = pool.peak("-i", "-", "-o", "few", stdin=numbered(1_000, "no-such-program"))
    done, many = pool.peak("-i", "-", "-o", "many", stdin=numbered(20_000, "no-such-program"))
    assert done.exit_code == 1
    assert (pool.folder / "many").read_text().count('"not_started"') == 20_000
    assert many - few < 4 * MIB


def test_2500_outputs_need_hardly_more_memory_than_500(pool):
    body = "x" * 4_000  # so that all that is more is twice what may be needed
    _, few = pool.peak("-t", 8, "-i", "-", "-o", "few", stdin=numbered(500, "echo", body))
    done, many = pool.peak("-t", 8, "-i", "-", "-o", "many", stdin=numbered(2_500, "echo", body))
    assert done.exit_code == 0
    assert (pool.folder / "many").read_text().count('"ok"') == 2_500
    assert many - few < 4 * MIB
