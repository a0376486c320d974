import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.histogram import Histogram
from workermanager.telemetry import Phases, Recorder, StepFigures, merge

KINDS = ["ValueError", "OSError", "KeyError"]
NAMES = ["first", "second", "third"]
SEEN = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS), st.integers(1, 10**9)), max_size=30
)


def recorder_of(seen):
    """One that saw these failures: step, kind of error, and how long it took."""
    recorder = Recorder()
    for name, kind, nanoseconds in seen:
        figures = recorder.step(name)
        figures.service.record(nanoseconds)
        figures.failed += 1
        recorder.error(name, kind, "why")
        for histogram in (recorder.lag, recorder.service, recorder.response):
            histogram.record(nanoseconds)
    return recorder


def as_plain(merged):
    return {
        **{name: merged[name].counts for name in ("lag", "service", "response")},
        "steps": {
            name: (step.service.counts, step.ok, step.failed, step.retried)
            for name, step in merged["steps"].items()
        },
        "errors": {(one.step, one.type, one.count, one.example) for one in merged["errors"]},
    }


# Steps


def test_every_attempt_that_neither_failed_nor_was_retried_is_ok():
    figures = StepFigures(failed=1, retried=2)
    for _ in range(10):
        figures.service.record(1_000)
    assert figures.ok == 7


def test_a_step_keeps_its_figures():
    recorder = Recorder()
    recorder.step("first").retried += 1
    assert recorder.step("first").retried == 1
    assert recorder.step("second").retried == 0


def test_past_a_thousand_names_the_figures_are_those_of_all_others_together():
    recorder = Recorder()
    for n in range(1_000):
        recorder.step(f"step {n}").failed += 1
    for n in range(1_000, 5_000):
        recorder.step(f"step {n}").failed += 1
    recorder.step("step 0").failed += 1
    assert len(recorder.steps) == 1_001
    assert recorder.steps["(others)"].failed == 4_000
    assert recorder.steps["step 0"].failed == 2


# The warm-up


@pytest.mark.parametrize("warm_end", [0, 1, 5, 10])
def test_an_exec_before_the_end_of_the_warm_up_is_recorded_apart(warm_end):
    phases = Phases(warm_end)
    for n in range(10):
        phases.of(n).ok += 1
    assert (phases.warmup.ok, phases.measured.ok) == (warm_end, 10 - warm_end)


# Errors


def test_errors_of_one_step_and_type_are_one_kind():
    recorder = Recorder()
    for step, kind in [("first", "OSError"), ("first", "KeyError"), ("second", "OSError")] * 2:
        recorder.error(step, kind, "why")
    counted = [(one.step, one.type, one.count) for one in recorder.errors.values()]
    assert counted == [
        ("first", "OSError", 2),
        ("first", "KeyError", 2),
        ("second", "OSError", 2),
    ]


def test_an_error_is_counted_by_step_and_type_with_the_first_ones_text():
    recorder = Recorder()
    for text in ("bad a", "bad b", "bad c"):
        recorder.error("first", "ValueError", text)
    (seen,) = recorder.errors.values()
    assert (seen.step, seen.type, seen.count, seen.example) == ("first", "ValueError", 3, "bad a")


def test_an_errors_text_is_one_line_without_passwords():
    recorder = Recorder()
    recorder.error("first", "OSError", "cannot reach\n a://b:hunter2@c")
    (seen,) = recorder.errors.values()
    assert seen.example == "cannot reach a://b:***@c"


def test_past_a_hundred_kinds_errors_are_counted_together():
    recorder = Recorder()
    for n in range(500):
        recorder.error(f"step {n}", "ValueError", "why")
    assert len(recorder.errors) == 101
    assert recorder.errors["(others)", "(others)"].count == 400
    assert sum(seen.count for seen in recorder.errors.values()) == 500


def test_a_kind_seen_before_the_hundredth_is_still_counted_as_itself():
    recorder = Recorder()
    for n in range(200):
        recorder.error(f"step {n}", "ValueError", "why")
    recorder.error("step 7", "ValueError", "again")
    assert recorder.errors["step 7", "ValueError"].count == 2


# Merging


@given(st.lists(SEEN, max_size=5))
def test_merging_what_threads_saw_is_what_one_would_have_seen(parts):
    merged = merge(map(recorder_of, parts))
    alone = merge([recorder_of([one for part in parts for one in part])])
    assert as_plain(merged) == as_plain(alone)


def test_merging_adds_up_retries_and_keeps_successes():
    one, other = Recorder(), Recorder()
    for recorder, retried in ((one, 2), (other, 3)):
        step = recorder.step("first")
        step.retried = step.timed_out = retried
        for _ in range(10):
            step.service.record(1_000)
    step = merge([one, other])["steps"]["first"]
    assert (step.ok, step.retried, step.failed, step.timed_out) == (15, 5, 0, 5)


def test_a_merge_does_not_change_when_a_thread_goes_on():
    recorder = recorder_of([("first", "ValueError", 1_000)])
    merged = merge([recorder])
    before = as_plain(merged)
    recorder.error("first", "ValueError", "more")
    recorder.step("first").service.record(5)
    recorder.lag.record(5)
    assert as_plain(merged) == before


def test_the_path_kept_of_an_error_is_that_of_the_text_that_is_kept():
    recorder = Recorder()
    recorder.error("first", "OSError", "no route", "it/2/group/1/first")
    recorder.error("first", "OSError", "no host", "it/2/group/2/first")
    (kind,) = merge([recorder, Recorder()])["errors"]
    assert (kind.count, kind.example, kind.path) == (2, "no route", "it/2/group/1/first")


def test_the_most_frequent_error_comes_first():
    kinds = ["OSError", "ValueError", "ValueError", "KeyError", "ValueError", "KeyError"]
    seen = [("first", kind, 1) for kind in kinds]
    errors = merge([recorder_of(seen[:3]), recorder_of(seen[3:])])["errors"]
    assert [(one.type, one.count) for one in errors] == [
        ("ValueError", 3),
        ("KeyError", 2),
        ("OSError", 1),
    ]


@pytest.mark.parametrize("name", ["lag", "service", "response"])
def test_lag_service_and_response_are_kept_apart(name):
    recorder = Recorder()
    getattr(recorder, name).record(1_000)
    merged = merge([recorder, Recorder()])
    counts = {other: merged[other].count for other in ("lag", "service", "response")}
    assert counts == {"lag": 0, "service": 0, "response": 0, name: 1}


def test_no_thread_gives_empty_figures():
    merged = merge([])
    assert merged["lag"].counts == Histogram().counts
    assert (merged["steps"], merged["errors"]) == ({}, [])
