"""Runs candidates in turns, each in a fresh process, and keeps what every round measured."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
NOT_INSTALLED = "not installed"
LONGEST_S = 120


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of a table: ``measure(*arguments)`` gives its figures, by name."""

    name: str
    measure: Callable[..., dict[str, float]]
    arguments: tuple[object, ...] = ()


@dataclass(slots=True)
class Measured:
    """What a candidate's rounds gave, or the problem that kept it from being measured."""

    name: str
    rounds: list[dict[str, float]] = field(default_factory=list)
    problem: str = ""
    details: str = ""

    def median(self, figure: str) -> float:
        return median(one[figure] for one in self.rounds)

    def ratio(self, figure: str, to: "Measured") -> float:
        """The median of this candidate's figure divided by the other's, round by round."""
        pairs = zip(self.rounds, to.rounds, strict=True)
        return median(ours[figure] / theirs[figure] for ours, theirs in pairs)

    def cell(self, figure: str, form: str = "{:,.2f}") -> str:
        return self.problem or form.format(self.median(figure))

    def ratio_cell(self, figure: str, to: "Measured", form: str = "{:,.2f}") -> str:
        return self.problem or to.problem or form.format(self.ratio(figure, to))

    def range_cell(self, figure: str, form: str = "{:,.2f}") -> str:
        found = [one[figure] for one in self.rounds]
        return self.problem or f"{form.format(min(found))} - {form.format(max(found))}"

    def row(self, *cells: str) -> tuple[str, ...]:
        """A line of a table; a problem is told once, in place of all figures."""
        if self.problem:
            cells = (self.problem, *[""] * (len(cells) - 1))
        return (self.name, *cells)


def compare(candidates: Sequence[Candidate], rounds: int) -> list[Measured]:
    """Measure every candidate once a round; each round begins with the next one of them."""
    results = {candidate.name: Measured(candidate.name) for candidate in candidates}
    for number in range(rounds):
        first = number % len(candidates)
        for candidate in (*candidates[first:], *candidates[:first]):
            result = results[candidate.name]
            if not result.problem:
                _say(f"round {number + 1} of {rounds}: {candidate.name}")
                _measure_once(candidate, result)
    _say("")
    return list(results.values())


def _measure_once(candidate: Candidate, result: Measured) -> None:
    where = f"{candidate.measure.__module__}:{candidate.measure.__name__}"
    argv = [sys.executable, "-m", "benchmarks.child", where, json.dumps(candidate.arguments)]
    try:
        child = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        result.problem, result.details = "failed", f"took longer than {LONGEST_S} s"
        return
    if child.returncode:
        result.problem, result.details = "failed", child.stderr[-2000:]
        return
    figures = json.loads(child.stdout.splitlines()[-1])
    if NOT_INSTALLED in figures:
        result.problem, result.details = NOT_INSTALLED, figures[NOT_INSTALLED]
    else:
        result.rounds.append(figures)


def _say(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table: the first column to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}\n")
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())


def print_target(text: str, measured: str, *, is_met: bool) -> None:
    print(f"target {'met' if is_met else 'MISSED'}: {text}; measured {measured}")
