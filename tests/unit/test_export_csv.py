"""The windows of a run as CSV, read back by the csv module."""

import csv
import io
from math import isclose

import pytest

from workermanager.exports.windows_csv import COLUMNS, write_windows
from workermanager.quantiles import Durations
from workermanager.series import StepWindow, Window

FIGURES = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")


def durations(count=0, mean=0.0):
    shown = {name: round(mean * place, 4) for place, name in enumerate(FIGURES, 1)}
    return Durations(count=count, **shown)


def window(at_s=1.0, steps=None, **changes):
    facts = {
        "at_s": at_s,
        "seconds": 1.0,
        "is_warmup": False,
        "due": 12,
        "ok": 9,
        "failed": 1,
        "dropped": 2,
        "expired": 3,
        "interrupted": 4,
        "running": 5,
        "queued": 6,
        "rate": 10.5,
        "response": durations(10, 1.25),
        "lag": durations(10, 0.0001),
        "service": durations(10, 0.5),
    }
    return Window(**{**facts, **changes}, steps=steps or {})


def read_back(windows):
    stream = io.StringIO(newline="")
    write_windows(windows, stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))


def same(row, prefix, wanted):
    return int(row[f"{prefix}_count"]) == wanted.count and all(
        isclose(float(row[f"{prefix}_{name}"]), getattr(wanted, name)) for name in FIGURES
    )


def test_every_window_is_a_row_of_the_run_with_all_its_figures():
    windows = [window(1.0), window(2.5, seconds=1.5, due=99, rate=0.001)]
    rows = read_back(windows)
    assert len(rows) == 2
    for row, wanted in zip(rows, windows, strict=True):
        assert (row["phase"], row["scope"], row["name"], row["retried"]) == ("run", "run", "", "")
        for name in ("due", "ok", "failed", "dropped", "expired", "interrupted"):
            assert int(row[name]) == getattr(wanted, name)
        for name in ("at_s", "seconds", "running", "queued", "rate"):
            assert float(row[name]) == getattr(wanted, name)
        for name in ("response", "lag", "service"):
            assert same(row, name, getattr(wanted, name))


def test_every_step_of_a_window_is_a_row_after_it():
    step = StepWindow(failed=2, retried=3, timed_out=4, service=durations(20, 0.75))
    rows = read_back([window(steps={"first": step, "second": step}), window(2.0)])
    assert [(row["at_s"], row["scope"], row["name"]) for row in rows] == [
        ("1.0", "run", ""),
        ("1.0", "step", "first"),
        ("1.0", "step", "second"),
        ("2.0", "run", ""),
    ]
    counts = [rows[1][name] for name in ("ok", "failed", "retried", "timed_out")]
    assert counts == ["15", "2", "3", "4"]
    assert rows[0]["timed_out"] == ""
    assert same(rows[1], "service", step.service)


def test_a_figure_that_a_step_does_not_have_is_an_empty_cell():
    step = StepWindow(failed=0, retried=0, service=durations(1, 1.0))
    (_, row) = read_back([window(steps={"first": step})])
    empty = {name for name in COLUMNS if row[name] == ""}
    lacking = {name for name in COLUMNS if name.startswith(("response_", "lag_"))}
    outcomes = {"due", "dropped", "expired", "interrupted", "running", "queued", "rate"}
    assert empty == lacking | outcomes


def test_nothing_recorded_has_a_count_of_0_and_no_percentiles():
    (row,) = read_back([window(lag=durations())])
    assert row["lag_count"] == "0"
    assert {row[f"lag_{name}"] for name in FIGURES} == {""}


def test_the_warm_up_says_that_it_is_that():
    rows = read_back([window(is_warmup=True), window(2.0)])
    assert [row["phase"] for row in rows] == ["warmup", "run"]


def test_no_window_is_a_header_alone():
    stream = io.StringIO(newline="")
    write_windows([], stream)
    assert stream.getvalue() == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize("name", ["plain", 'say "hi", twice', "two\nlines", "naïve ☃", "a=b"])
def test_any_name_comes_back_as_it_was(name):
    step = StepWindow(failed=0, retried=0, service=durations(1, 1.0))
    assert read_back([window(steps={name: step})])[1]["name"] == name


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_name_that_a_spreadsheet_would_calculate_is_made_text(name):
    step = StepWindow(failed=0, retried=0, service=durations(1, 1.0))
    assert read_back([window(steps={name: step})])[1]["name"] == f"'{name}"


def test_a_negative_number_stays_one():
    (row,) = read_back([window(rate=-0.5)])
    assert float(row["rate"]) == -0.5


def test_the_columns_are_tidy():
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert COLUMNS[:5] == ("at_s", "seconds", "phase", "scope", "name")
    assert {"response_p50_ms", "lag_p999_ms", "service_max_ms", "lag_count"} <= set(COLUMNS)
