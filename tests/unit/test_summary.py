"""What a terminal shows of a report and of past runs fits it, and no figure is cut."""

import io
import re

import msgspec
import pytest
from rich.console import Console

from tests.kit.reports import steady, with_run
from workermanager.cli import comparison, summary
from workermanager.comparing import compare
from workermanager.history import PastRun

LONG = "add_the_companies_and_all_of_their_users_step_0017"


@pytest.fixture
def show(monkeypatch):
    """Call a function that prints, and give the lines that a terminal of some width has then."""

    def show(width, call, *args):
        file = io.StringIO()
        for module in (summary, comparison):
            monkeypatch.setattr(
                module, "make_console", lambda **_: Console(file=file, width=width, highlight=False)
            )
        call(*args)
        return file.getvalue().splitlines()

    return show


def past_run(name="companies"):
    return PastRun(
        id="20261121T181819-d285e9",
        name=name,
        outcome="interrupted",
        started_at="2026-11-21T18:18:19.123Z",
        duration_s=3_725.0,
        counts={"failed": 12_345},
        rate=1_234.0,
        p99_ms=12.34,
        tags={"env": "ci", "branch": "main"},
        exit_code=105,
    )


@pytest.mark.parametrize("width", [70, 80, 90, 110, 140])
def test_no_figure_of_a_summary_is_cut(width, show):
    report = steady(12.34, steps={LONG: 1_234.5, "add_user": 0.0123})
    lines = show(width, summary.show, report)
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    for title in ("p95", "p99", "max", "count"):
        assert re.search(rf"\b{title}\b", shown)
    figures = [line for line in lines if re.match(r" +(response|add_)", line)]
    assert len(figures) == 3
    for line in figures:
        assert "…" not in line.replace("add_the", "").partition("0017")[2]
        assert re.search(r"\d(µs|ms|s) ", line)
    assert any("0017" in line for line in figures)


@pytest.mark.parametrize("width", [80, 110])
def test_no_fact_of_a_past_run_is_cut(width, show):
    lines = show(width, summary.show_past_runs, [past_run(), past_run(LONG)])
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    for fact in ("20261121T181819-d285e9", "companies", "interrupted", "1,234/s", "12.3ms"):
        assert fact in shown
    assert shown.count("20261121T181819-d285e9") == 2
    assert len(lines) == 6  # nothing takes two


def test_steps_that_timed_out_are_told_where_there_are_any(show):
    report = steady(10, steps={"pay": 1, "ship": 1})
    late = msgspec.structs.replace(report.steps["pay"], ok=7, failed=2, retried=1, timed_out=3)
    report = msgspec.structs.replace(report, steps={**report.steps, "pay": late})
    lines = show(110, summary.show, report)
    (line,) = [line for line in lines if "timed out" in line]
    assert re.match(r" +pay .* 7 ok, 2 failed, 1 retried, 3 timed out$", line.rstrip())


def test_names_are_on_one_line_and_have_no_control_characters(show):
    name = "a\nb \x1b[31mred"
    report = with_run(steady(10, steps={name: 1}), name=name)
    for lines in (
        show(110, summary.show, report),
        show(110, summary.show_past_runs, [past_run(name)]),
        show(110, comparison.show_comparison, compare(report, report), "A", "B"),
    ):
        shown = "\n".join(lines)
        assert "\x1b[31m" not in shown
        assert "a b \\x1b[31mred" in shown
