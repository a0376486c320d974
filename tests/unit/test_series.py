"""Windows of a run: they add up to the whole, the warm-up's stand apart, and there are few."""

import pytest
from growing_figures import Growing
from hypothesis import given, settings
from hypothesis import strategies as st

from workermanager.quantiles import Durations
from workermanager.series import Series

COUNTS = ("due", "ok", "failed", "dropped", "expired", "interrupted")
OUTCOMES = st.sampled_from(["ok", "failed"])
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from([0.001, 0.05, 2.0]), OUTCOMES, st.sampled_from(["a", "b"])),
    max_size=3,
)
LOOKS = st.lists(
    st.tuples(st.sampled_from([0.01, 0.4, 0.5, 0.999, 1.0, 1.1]), HAPPENINGS),
    min_size=1,
    max_size=16,
)
MOSTS = st.sampled_from([4, 5, 8, 3_600])


def grow(growing, happenings):
    for took, outcome, step in happenings:
        growing.ends(took, outcome=outcome, step=step)
        if outcome == "failed":
            growing.counted(dropped=1, expired=2)


def total(windows, name):
    return sum(getattr(window, name) for window in windows)


def adds_up_to(windows, figures):
    """Whether what windows counted is what the figures did, step by step."""
    for name in COUNTS:
        assert total(windows, name) == figures.counts[name], name
    for name in ("response", "lag", "service"):
        assert sum(getattr(one, name).count for one in windows) == getattr(figures, name).count
    for name, step in figures.steps.items():
        ours = [window.steps[name] for window in windows if name in window.steps]
        assert sum(one.service.count for one in ours) == step.service.count
        assert sum(one.failed for one in ours) == step.failed
        assert sum(one.timed_out for one in ours) == step.timed_out


# Adding up


@settings(max_examples=40)
@given(LOOKS, MOSTS)
def test_windows_add_up_to_the_whole(looks, most):
    series, growing, at = Series(most), Growing(), 0.0
    for place, (seconds, happenings) in enumerate(looks, 1):
        at += seconds
        grow(growing, happenings)
        series.look(growing.look(at), is_last=place == len(looks))
    adds_up_to(series.windows, growing.look(at))
    assert total(series.windows, "seconds") == pytest.approx(at, abs=0.02)
    assert series.windows[-1].at_s == pytest.approx(at, abs=0.001)
    ends = [window.at_s for window in series.windows]
    assert ends == sorted(set(ends))
    assert not any(window.is_warmup for window in series.windows)


@settings(max_examples=40)
@given(LOOKS, LOOKS, MOSTS)
def test_windows_of_the_warm_up_add_up_to_it_and_the_others_to_the_rest(warm, measured, most):
    series, at = Series(most), 0.0
    before, after = Growing(), Growing()
    for growing, looks, is_warmup in ((before, warm, True), (after, measured, False)):
        for place, (seconds, happenings) in enumerate(looks, 1):
            at += seconds
            grow(growing, happenings)
            is_last = place == len(looks)
            series.look(growing.look(at), is_warmup=is_warmup, is_last=is_last)
    warm_windows = [window for window in series.windows if window.is_warmup]
    measured_windows = [window for window in series.windows if not window.is_warmup]
    assert series.windows == [*warm_windows, *measured_windows]
    adds_up_to(warm_windows, before.look(at))
    adds_up_to(measured_windows, after.look(at))
    assert total(series.windows, "seconds") == pytest.approx(at, abs=0.03)


def test_a_window_has_what_fell_into_it_and_gauges_as_they_stood():
    series, growing = Series(), Growing()
    growing.ends(10, 10, 10).stand(running=2, queued=5)
    series.look(growing.look(1))
    growing.ends(40).ends(40, outcome="failed", step="other").stand(running=1, queued=0)
    series.look(growing.look(3))
    first, second = series.windows
    assert (first.at_s, first.seconds, first.rate) == (1, 1, 3)
    assert (second.at_s, second.seconds, second.rate) == (3, 2, 1)
    assert (first.running, first.queued, first.ok, first.failed) == (2, 5, 3, 0)
    assert (second.running, second.queued, second.ok, second.failed) == (1, 0, 1, 1)
    assert first.response.max_ms == pytest.approx(10, rel=0.01)
    assert second.response.p50_ms == second.response.max_ms == pytest.approx(40, rel=0.01)
    assert set(first.steps) == {"add_user"}
    assert (second.steps["other"].failed, second.steps["add_user"].failed) == (1, 0)
    assert second.steps["add_user"].service.count == 1


def test_a_window_that_was_read_does_not_change():
    series, growing = Series(4), Growing()
    for second in range(1, 4):
        series.look(growing.ends(1).look(second))
    held, copied = series.windows, list(series.windows)
    for second in range(4, 20):
        series.look(growing.ends(1).look(second))
    assert held == copied


def test_of_many_steps_the_first_fifty_are_shown():
    series, growing = Series(), Growing()
    for number in range(60):
        growing.ends(1, step=f"step {number}")
    series.look(growing.look(1))
    (window,) = series.windows
    assert list(window.steps) == [f"step {number}" for number in range(50)]
    assert window.ok == 60


def test_a_short_last_window_joins_one_that_was_merged_and_nothing_is_lost():
    series, growing = Series(4), Growing()
    for second in range(1, 5):
        series.look(growing.ends(1).look(second))
    series.look(growing.ends(1).look(4.1), is_last=True)
    assert [(window.ok, window.seconds) for window in series.windows] == [(2, 2), (3, 2.1)]


# The end


def test_a_last_window_too_short_to_say_anything_joins_its_neighbour():
    series, growing = Series(), Growing()
    series.look(growing.ends(10).look(1))
    series.look(growing.ends(20, 20).look(2))
    series.look(growing.ends(90).look(2.3), is_last=True)
    first, second = series.windows
    assert (first.ok, second.ok) == (1, 3)
    assert (second.at_s, second.seconds) == (2.3, 1.3)
    assert second.response.max_ms == pytest.approx(90, rel=0.01)
    assert second.response.p50_ms == pytest.approx(20, rel=0.01)


def test_a_last_window_of_half_a_second_stands_by_itself():
    series, growing = Series(), Growing()
    series.look(growing.ends(10).look(1))
    series.look(growing.ends(90).look(1.5), is_last=True)
    assert [window.seconds for window in series.windows] == [1, 0.5]


def test_a_run_of_a_moment_has_one_window():
    series = Series()
    series.look(Growing().ends(10).look(0.002), is_last=True)
    (window,) = series.windows
    assert (window.ok, window.seconds) == (1, 0.002)


def test_a_short_first_window_after_the_warm_up_does_not_join_it():
    series, growing = Series(), Growing()
    series.look(Growing().ends(50).look(1), is_warmup=True, is_last=True)
    series.look(growing.ends(10).look(1.1), is_last=True)
    warm, measured = series.windows
    assert (warm.is_warmup, warm.ok, warm.at_s) == (True, 1, 1)
    assert (measured.is_warmup, measured.ok, measured.seconds) == (False, 1, 0.1)


def test_a_look_when_no_time_has_passed_makes_no_window():
    series, growing = Series(), Growing()
    series.look(growing.look(0))
    assert series.windows == []
    series.look(growing.ends(1).look(1))
    series.look(growing.look(1), is_last=True)
    assert len(series.windows) == 1


# Bounded memory


def test_past_the_most_neighbours_are_merged_and_windows_get_longer():
    series, growing = Series(4), Growing()
    for second in range(1, 5):
        growing.ends(*[second] * second).stand(queued=second)
        series.look(growing.look(second))
    one, other = series.windows
    assert series.every == 2
    assert ([one.at_s, one.seconds, one.ok], [other.at_s, other.seconds, other.ok]) == (
        [2, 2, 3],
        [4, 2, 7],
    )
    assert (one.queued, other.queued) == (2, 4)
    assert other.rate == 3.5
    assert other.response.max_ms == pytest.approx(4, rel=0.01)
    assert other.response.mean_ms == pytest.approx((3 * 3 + 4 * 4) / 7, rel=0.01)
    assert other.steps["add_user"].service.count == 7
    series.look(growing.look(5))
    assert len(series.windows) == 2
    series.look(growing.look(6))
    assert [window.seconds for window in series.windows] == [2, 2, 2]


def test_a_step_that_came_later_is_kept_when_windows_are_merged():
    series, growing = Series(2), Growing()
    series.look(growing.ends(1, step="early").look(1))
    series.look(growing.ends(2, outcome="failed", step="later").look(2))
    (window,) = series.windows
    assert {name: step.failed for name, step in window.steps.items()} == {"early": 0, "later": 1}


def test_a_hundred_thousand_looks_stay_within_the_most():
    series, growing, most_seen = Series(), Growing(), 0
    for second in range(1, 100_001):
        growing.counted(ok=1)
        series.look(growing.look(second), is_last=second == 100_000)
        most_seen = max(most_seen, len(series.windows))
    assert most_seen < 3_600
    assert series.every == 32
    assert total(series.windows, "ok") == 100_000
    assert total(series.windows, "seconds") == 100_000


# A histogram in figures


def test_durations_of_nothing_are_nothing():
    assert set(vars_of(Durations.of(Growing().look(1).response)).values()) == {0}


def test_durations_are_the_histograms_percentiles_in_milliseconds():
    durations = Durations.of(Growing().ends(*range(1, 1_001)).look(1).response)
    assert durations.count == 1_000
    assert durations.mean_ms == pytest.approx(500.5, rel=0.01)
    told = vars_of(durations)
    for name, about in {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p999": 999}.items():
        assert told[f"{name}_ms"] == pytest.approx(about, rel=0.01)
    assert durations.max_ms == pytest.approx(1_000, rel=0.01)


def vars_of(durations):
    return {name: getattr(durations, name) for name in durations.__struct_fields__}
