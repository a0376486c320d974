"""A run held against its thresholds: totals, gauges, windows, and what ends it early."""

import pytest
from growing_figures import SECOND, Growing
from hypothesis import given
from hypothesis import strategies as st

from workermanager.histogram import Histogram
from workermanager.judging import Judge
from workermanager.thresholds import parse_threshold


def threshold_of(text, *, aborts=False):
    return parse_threshold(text, ["add_user"], None, "threshold", aborts=aborts)


def judge_of(*texts, abort_on=(), begun_s=0):
    thresholds = [threshold_of(text) for text in texts]
    thresholds += [threshold_of(text, aborts=True) for text in abort_on]
    return Judge(thresholds, begun_s * SECOND)


def verdict_of(judge):
    (verdict,) = judge.verdicts()
    return verdict


class Run:
    """A judge with figures that grow; ``second`` is what happens up to the next whole second."""

    def __init__(self, judge, at=0):
        self.judge, self.growing, self.at = judge, Growing(), at

    def second(self, *milliseconds, seconds=1, is_last=False, **options):
        self.at += seconds
        self.growing.ends(*milliseconds, **options)
        self.judge.look(self.growing.look(self.at), is_last=is_last)
        return self


# The whole


def test_a_total_is_judged_by_all_there_was_and_told_in_its_unit():
    judge = judge_of("p50<20ms", "failed<=10%", "rate>=3/s", "failed==0", "add_user.max<1s")
    run = Run(judge).second(10, 10, 10, 10).second(10, outcome="failed")
    run.second(10, 10, is_last=True)
    told = [(one.value, one.unit, one.passed, one.at_s, one.aborted) for one in judge.verdicts()]
    about_10 = pytest.approx(10, rel=0.01)
    assert told == [
        (about_10, "ms", True, None, False),
        (14.2857, "%", False, None, False),
        (2.3333, "/s", False, None, False),
        (1, "", False, None, False),
        (about_10, "ms", True, None, False),
    ]
    assert [one.expression for one in judge.verdicts()][:2] == ["p50<20ms", "failed<=10%"]


def test_a_total_may_be_mended_by_what_comes_later():
    judge = judge_of("p50<20ms")
    run = Run(judge).second(100)
    assert not verdict_of(judge).passed
    run.second(*[1] * 9)
    assert verdict_of(judge).passed


def test_before_the_first_look_nothing_is_told_and_nothing_holds():
    verdict = verdict_of(judge_of("failed==0"))
    assert (verdict.value, verdict.passed) == (None, False)


@pytest.mark.parametrize(
    "text", ["p99<1s", "failed<1%", "add_user.p99<1s", "p99<1s over 2s", "failed<1% over 9s"]
)
def test_what_nothing_was_measured_for_fails(text):
    judge = judge_of(text)
    Run(judge).second().second().second(is_last=True)
    assert (verdict_of(judge).value, verdict_of(judge).passed) == (None, False)


def test_a_count_is_equal_or_not_at_the_end():
    judge = judge_of("ok==3", "ok!=3", "dropped==0")
    Run(judge).second(1).second(1, 1, is_last=True)
    assert [one.passed for one in judge.verdicts()] == [True, False, True]


def test_seconds_count_from_the_end_of_the_warm_up():
    judge = judge_of("rate>=2/s", "rate>=2/s over 2s", begun_s=5)
    run = Run(judge, at=5)
    for _ in range(4):
        run.second(1, 1)
    whole, window = judge.verdicts()
    assert whole.value == window.value == 2
    assert window.at_s == 7


def test_a_look_within_the_warm_up_is_none():
    judge = judge_of("p99<1ms", abort_on=["failed==0"], begun_s=5)
    run = Run(judge, at=3)
    run.second(100, outcome="failed").second(100)
    assert [one.value for one in judge.verdicts()] == [None, None]
    assert judge.abortion is None


def test_a_run_that_ends_in_its_warm_up_is_told_without_values():
    judge = judge_of("rate>=1/s", "p99<1s", "p99<1s over 2s", begun_s=5)
    Run(judge).second(is_last=True)
    assert [(one.value, one.passed) for one in judge.verdicts()] == [(None, False)] * 3


# Gauges


def test_a_gauge_keeps_its_worst_value_and_when_it_was():
    judge = judge_of("queued<5")
    run = Run(judge)
    for queued in (0, 3, 9, 7, 0):
        run.growing.stand(queued=queued)
        run.second()
    assert (verdict_of(judge).value, verdict_of(judge).at_s) == (9, 3)
    assert not verdict_of(judge).passed


def test_a_gauge_that_broke_an_equality_stays_so():
    judge = judge_of("queued==0")
    run = Run(judge)
    for queued in (0, 4, 0, 2):
        run.growing.stand(queued=queued)
        run.second()
    assert (verdict_of(judge).value, verdict_of(judge).passed) == (4, False)


# Windows


def test_a_window_slides_and_its_worst_value_is_told_with_its_end():
    judge = judge_of("max<50ms over 3s")
    run = Run(judge)
    for took in (10, 10, 10, 10, 60, 10, 10, 10, 40, 10):
        run.second(took)
    verdict = verdict_of(judge)
    assert verdict.value == pytest.approx(60, rel=0.01)
    assert (verdict.at_s, verdict.passed) == (5, False)


def test_of_two_windows_as_bad_the_first_is_told():
    judge = judge_of("failed==0 over 2s")
    run = Run(judge)
    for failures in (0, 0, 1, 0, 0, 1):
        run.second(*[1] * failures, outcome="failed")
    assert (verdict_of(judge).value, verdict_of(judge).at_s) == (1, 3)


def test_the_worst_rate_is_the_lowest_and_the_worst_time_the_longest():
    judge = judge_of("rate>=3/s over 2s", "p99<1s over 2s")
    run = Run(judge)
    for count in (4, 4, 1, 3, 4, 4):
        run.second(*[count] * count)
    rate, time = judge.verdicts()
    assert (rate.value, rate.at_s, rate.passed) == (2, 4, False)
    assert time.value == pytest.approx(4, rel=0.01)


def test_what_a_window_forgot_does_not_count_in_it():
    judge = judge_of("p99<50ms over 2s", "p99<50ms")
    run = Run(judge).second(500)
    run.second(1)
    first = judge.verdicts()[0]
    assert first.at_s == 2
    for _ in range(5):
        run.second(1)
    assert judge.verdicts()[0] == first
    clean = judge_of("p99<50ms over 2s", begun_s=1)
    run = Run(clean, at=1)
    for _ in range(5):
        run.second(1)
    assert verdict_of(clean).passed


def test_a_window_in_which_nothing_was_measured_says_nothing():
    judge = judge_of("p99<50ms over 1s")
    Run(judge).second(10).second().second(is_last=True)
    assert verdict_of(judge).passed


def test_a_run_shorter_than_its_window_is_judged_as_a_whole_at_its_end():
    judge = judge_of("rate>=3/s over 10s")
    run = Run(judge).second(1).second(1)
    assert verdict_of(judge).value is None
    run.second(1, is_last=True)
    assert (verdict_of(judge).value, verdict_of(judge).passed) == (1, False)
    assert verdict_of(judge).at_s is None


def test_a_run_longer_than_its_window_is_not_judged_as_a_whole():
    judge = judge_of("ok<=3 over 2s")
    run = Run(judge)
    for _ in range(5):
        run.second(1)
    run.second(is_last=True)
    assert (verdict_of(judge).value, verdict_of(judge).passed) == (2, True)


def test_after_a_late_look_a_window_begins_at_the_last_look_before_it():
    judge = judge_of("ok<=3 over 2s")
    run = Run(judge)
    for _ in range(3):
        run.second(1)
    run.second(1, 1, seconds=4)  # the looks at 4, 5 and 6 did not come
    assert (verdict_of(judge).value, verdict_of(judge).at_s) == (2, 2)
    run.second(1)
    assert (verdict_of(judge).value, verdict_of(judge).at_s) == (3, 8)
    assert verdict_of(judge).passed


def test_a_window_of_an_hour_slides_by_the_minute_and_keeps_few_samples():
    judge = judge_of("ok<=3700 over 1h")
    growing = Growing()
    for second in range(1, 3 * 3_600 + 1):
        growing.counted(ok=1)
        judge.look(growing.look(second))
    (case,) = judge._cases
    assert len(case._samples) <= 62
    assert 3_600 <= verdict_of(judge).value <= 3_660
    assert verdict_of(judge).passed


SECONDS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 2_000), max_size=4),
        st.sampled_from(["ok", "failed", "dropped"]),
        st.integers(-40, 40),
        st.sampled_from([1, 1, 1, 1, 4]),
    ),
    min_size=1,
    max_size=30,
)
WINDOWED = ["max<1s", "p50<1s", "failed<=1", "ok>=2", "ok==2", "rate>=2/s", "failed<40%"]


@given(SECONDS, st.sampled_from(WINDOWED), st.integers(1, 12), st.integers(0, 3))
def test_the_worst_window_is_that_of_an_oracle_that_looks_at_every_one(
    seconds, metric, length, begun
):
    judge = judge_of(f"{metric} over {length}s", begun_s=begun)
    growing, looks = Growing(), [(begun, [])]
    second = begun
    for place, (times, outcome, jitter_ms, pause) in enumerate(seconds, 1):
        second += pause  # a look may come seconds late
        at = second + jitter_ms / 1_000
        looks.append((at, [(took, outcome) for took in times]))
        growing.ends(*times, outcome=outcome)
        judge.look(growing.look(at), is_last=place == len(seconds))

    threshold = threshold_of(f"{metric} over {length}s")
    values = []
    for end, (at, _) in enumerate(looks):
        starts = [k for k in range(end) if looks[k][0] <= at - length + 0.05 + 1e-9]
        if starts and at - looks[starts[-1]][0] >= length - 0.05 - 1e-9:
            inside = [one for _, seen in looks[starts[-1] + 1 : end + 1] for one in seen]
            values.append(by_hand(metric, inside, at - looks[starts[-1]][0]))
    if not values:
        inside = [one for _, seen in looks for one in seen]
        values = [by_hand(metric, inside, looks[-1][0] - begun)]
    values = [value for value in values if value is not None]
    verdict = verdict_of(judge)
    if not values:
        assert verdict.value is None
        return
    worst = worst_of(threshold, values)
    assert verdict.value == pytest.approx(worst, abs=1e-3)
    assert verdict.passed == all(threshold.holds(value) for value in values)


def by_hand(metric, inside, seconds):
    ended = [took for took, outcome in inside]
    failed = sum(outcome == "failed" for _, outcome in inside)
    fine = sum(outcome == "ok" for _, outcome in inside)
    if metric.startswith("rate"):
        return (fine + failed) / seconds
    if metric.endswith("%"):
        return 100 * failed / len(inside) if inside else None
    if metric.startswith(("failed", "ok")):
        return failed if metric.startswith("failed") else fine
    histogram = Histogram()
    for took in ended:
        histogram.record(took * 1_000_000)
    percent = 100 if metric.startswith("max") else 50
    return histogram.percentiles(percent)[0] / 1e6 if inside else None


def worst_of(threshold, values):
    if threshold.comparison == "==":
        return next((value for value in values if not threshold.holds(value)), threshold.limit)
    return max(values) if threshold.comparison.startswith("<") else min(values)


# What ends a run early


def test_a_run_is_aborted_at_the_first_look_that_can_tell():
    judge = judge_of(abort_on=["failed<=2"])
    run = Run(judge)
    for _ in range(2):
        run.second(1, outcome="failed")
        assert judge.abortion is None
    run.second(1, outcome="failed")
    assert judge.abortion is judge._cases[0].threshold
    assert verdict_of(judge).aborted
    assert not verdict_of(judge).passed


def test_a_threshold_that_does_not_abort_ends_nothing():
    judge = judge_of("failed==0", abort_on=["p99<1s"])
    Run(judge).second(1, outcome="failed").second(1)
    assert judge.abortion is None
    assert [one.aborted for one in judge.verdicts()] == [False, False]


def test_the_first_that_is_broken_ends_the_run_and_only_it():
    judge = judge_of(abort_on=["dropped==0", "failed==0"])
    run = Run(judge).second(1, outcome="failed")
    run.growing.counted(dropped=1)
    run.second()
    assert [one.aborted for one in judge.verdicts()] == [False, True]
    assert [one.passed for one in judge.verdicts()] == [False, False]


def test_a_count_that_has_to_be_reached_does_not_end_a_run_before_it_is():
    judge = judge_of(abort_on=["ok==3"])
    run = Run(judge)
    for _ in range(3):
        run.second(1)
        assert judge.abortion is None
    assert verdict_of(judge).passed
    run.second(1)
    assert judge.abortion is not None


def test_a_window_ends_no_run_before_it_is_full():
    judge = judge_of(abort_on=["rate>=5/s over 3s"])
    run = Run(judge).second(1).second(1)
    assert judge.abortion is None
    run.second(1)
    assert judge.abortion is not None


def test_what_nothing_was_measured_for_ends_no_run():
    judge = judge_of(abort_on=["p99<1ms", "failed<1%", "p99<1ms over 1s"])
    Run(judge).second().second()
    assert judge.abortion is None


def test_a_gauge_ends_the_run_at_once():
    judge = judge_of(abort_on=["queued<5"])
    run = Run(judge)
    run.growing.stand(queued=5)
    run.second()
    assert judge.abortion is not None


def test_at_its_end_a_run_is_not_aborted_any_more():
    judge = judge_of(abort_on=["failed==0"])
    Run(judge).second(1, outcome="failed", is_last=True)
    assert judge.abortion is None
    assert not verdict_of(judge).passed
