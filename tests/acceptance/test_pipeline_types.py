"""A stage that does not fit its neighbour is an error before anything runs: mypy says so."""

import re
import subprocess
import sys

from conftest import ROOT

PROGRAM = """
from workermanager import DeadLetter, Pipeline

def spell(number: int) -> str:
    return str(number)

async def look_up(word: str) -> bytes:
    return word.encode()

letters: list[DeadLetter[int]] = []
WRONG
"""

WRONG = {
    'Pipeline(["a"]).stage(spell)': "arg-type",
    "Pipeline([1]).stage(spell).stage(spell)": "arg-type",
    "Pipeline([1]).stage(look_up)": "arg-type",
    "Pipeline([1]).stage(spell).stage(look_up).stage(spell)": "arg-type",
    "Pipeline([1]).stage(spell).sink(spell)": "arg-type",
    "Pipeline([1]).stage(spell, worker=4)": "call-overload",
    "Pipeline([1]).stage(spell).stage(look_up, dead_letters=letters)": "arg-type",
    "number: int = next(iter(Pipeline([1]).stage(spell)))": "assignment",
}


def test_mypy_finds_every_wrong_neighbour_and_nothing_else(tmp_path):
    right = ["Pipeline([1]).stage(spell).stage(look_up).sink(print)"]
    lines = [*right, *WRONG]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("WRONG", "\n".join(lines)))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
        cwd=ROOT,
    )
    source = program.read_text().splitlines()
    told = re.findall(r"^[^:]+:(\d+): error: .* \[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert {source[int(line) - 1]: code for line, code in told} == WRONG, done.stdout
