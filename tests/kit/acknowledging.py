"""The example's worker, which writes down every exec that it acknowledges, after its commit."""

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import load_runner

acknowledged = os.open(os.environ["ACKNOWLEDGED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def acknowledge(result):
    if result.error is None:
        os.write(acknowledged, f"{result.n}\n".encode())


worker = replace(load_runner.worker, on_result=acknowledge)
