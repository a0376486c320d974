"""Runs one candidate in this process and prints its figures as the last line of its output."""

import json
import sys
from importlib import import_module

from benchmarks.harness import NOT_INSTALLED

OURS = ("benchmarks", "instrumentation", "workermanager")


def main() -> None:
    where, arguments = sys.argv[1:]
    module, _, name = where.partition(":")
    measure = getattr(import_module(module), name)
    try:
        figures = measure(*json.loads(arguments))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in OURS:
            raise
        figures = {NOT_INSTALLED: error.name}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
