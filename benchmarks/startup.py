"""How long the command line takes to start, beside the interpreter that it starts in."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.harness import ROOT, Candidate, Measured, compare, print_table, print_target

TARGET = 8.0
WORKERMANAGER = str(Path(sys.executable).with_name("workermanager"))


def command(*argv):
    """With its bytecode cached, as installed packages have it: the first start writes that."""
    took = []
    with TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(6):
            begun = time.perf_counter()
            subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
            took.append(time.perf_counter() - begun)
    return {"ms": median(took[1:]) * 1e3}


def run(rounds: int | None, *, quick: bool) -> list[Measured]:
    check = (WORKERMANAGER, "check", "examples/load_runner.py:worker")
    found = compare(
        [
            Candidate("python -c pass", command, (sys.executable, "-c", "pass")),
            Candidate(
                "python -m workermanager --version",
                command,
                (sys.executable, "-m", "workermanager", "--version"),
            ),
            Candidate("workermanager check examples/load_runner.py:worker", command, check),
        ],
        rounds or (2 if quick else 5),
    )
    bare, version, _check = found
    print_table(
        "startup: x is to 'python -c pass'",
        ("", "ms", "x"),
        [one.row(one.cell("ms", "{:.1f}"), one.ratio_cell("ms", bare, "{:.1f}")) for one in found],
    )
    if not version.problem:
        ratio = version.ratio("ms", bare)
        print_target(
            f"--version at most {TARGET:g} times bare Python",
            f"{ratio:.1f}",
            is_met=ratio <= TARGET,
        )
    return found
