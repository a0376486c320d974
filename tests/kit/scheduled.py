"""A program with a Scheduler on a store, for tests to kill: each fire of it adds a line to a file.

``python -m tests.kit.scheduled URL FILE LOST [PERIOD_MS]``
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(url, path, lost, period_ms="20"):
    from workermanager import Scheduler, every

    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def job(ctx, params):
        due = round(ctx.now.timestamp() * 1_000_000)
        os.write(file, f"{ctx.run.id} {due} {os.getpid()}\n".encode())

    scheduler = Scheduler(store=url, threads=4, lease="2s")
    for number in range(3):
        scheduler.add(
            job,
            every(f"{period_ms}ms"),
            name=f"job-{number}",
            misfire="all",
            overlap="queue",
            lost=lost,
        )
    scheduler.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return scheduler


if __name__ == "__main__":
    import signal

    scheduler = main(*sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    scheduler.join()
    scheduler.close()
    sys.exit(scheduler.report().exit_code)
