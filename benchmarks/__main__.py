"""``python -m benchmarks [NAME...] [--rounds N] [--quick]``."""

import argparse
import os
import platform
import sys
from importlib import import_module

from benchmarks.harness import NOT_INSTALLED

NAMES = (
    "engine",
    "chains",
    "jobs",
    "ticks",
    "starvation",
    "arrivals",
    "load",
    "stall",
    "lock_stall",
    "memory",
    "startup",
    "seeding",
    "pipeline",
    "pool",
    "schedule",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, help="how often every candidate is measured")
    parser.add_argument("--quick", action="store_true", help="about seven minutes, and rougher")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load average {load:.1f}")
    failed = False
    for name in options.names or NAMES:
        for one in import_module(f"benchmarks.{name}").run(options.rounds, quick=options.quick):
            if one.problem and one.problem != NOT_INSTALLED:
                failed = True
                print(f"\n{name}, {one.name}: {one.details}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
