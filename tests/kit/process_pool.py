"""``workermanager pool`` as other programs call it: another process, bytes in and bytes out."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "workermanager")
LONGEST_S = 50

# Runs the command line, and leaves behind how much memory its own process had at most: what the
# system says of a child that has ended counts the memory of whoever started it, too.
MEASURED = """
import atexit, re, sys
from pathlib import Path
from workermanager.cli import main

@atexit.register
def tell():
    status = Path("/proc/self/status").read_text()
    Path("peak").write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])

sys.argv[0] = "workermanager"
main()
"""


def task(identifier, *argv, **fields):
    """A task as it is written in JSON."""
    command, *args = argv
    return {"identifier": identifier, "command": command, "args": args, **fields}


def lines_of(tasks):
    """The tasks as NDJSON."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in tasks)


@dataclass(frozen=True)
class Ended:
    """What came of a call."""

    exit_code: int
    output: bytes
    said: str

    @property
    def results(self):
        """The array that is the only line of the output."""
        text = self.output.decode()
        assert text.endswith("]\n"), self.said
        assert text.count("\n") == 1
        return json.loads(text)

    @property
    def complaint(self):
        """The only line on standard error, of a call that ran nothing."""
        assert self.output == b""
        (line,) = self.said.splitlines()
        assert line.startswith("workermanager: ")
        return line.removeprefix("workermanager: ")

    def each(self, field):
        """One field of all results, in their order."""
        return [one[field] for one in self.results]


class Pool:
    """Calls ``workermanager pool ARGS`` in a folder; ``tasks`` are given as the argument."""

    def __init__(self, folder):
        self.folder = folder
        self._started = []

    def __call__(self, *args, stdin=None, **how):
        process = self.start(*args, is_fed=stdin is not None, **how)
        return self.end(process, stdin)

    def start(self, *args, tasks=None, env=None, limit=None, is_fed=False, program=COMMAND):
        """Start it, and do not wait for it."""
        given = [] if tasks is None else [json.dumps(tasks)]
        process = subprocess.Popen(
            [*map(str, program), "pool", *given, *map(str, args)],
            cwd=self.folder,
            env=environment(env),
            stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: prepare(limit),  # noqa: PLW1509 - sets dispositions and a limit
        )
        self._started.append(process)
        return process

    def end(self, process, stdin=None):
        """Wait for its end."""
        output, said = process.communicate(stdin, timeout=LONGEST_S)
        return Ended(process.returncode, output, said.decode())

    def peak(self, *args, **how):
        """As a call, and the most memory that the pool's own process had, in KiB."""
        ended = self(*args, program=(sys.executable, "-c", MEASURED), **how)
        return ended, int((self.folder / "peak").read_text())

    def close(self):
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def environment(changes=None):
    """This environment without settings of the tool's own."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("WORKERMANAGER_")
    }
    return {**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(changes or {})}


def prepare(limit):
    """What a shell may have ignored is heard; ``limit`` is what resource.setrlimit takes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if limit:
        import resource

        resource.setrlimit(*limit)
