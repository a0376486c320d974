"""What changed between two reports, as told from their windows."""

import json

import msgspec
import pytest

from instrumentation.seeds import seeded_random
from tests.kit.reports import PLAN, report, steady, window, with_run
from workermanager.comparing import Comparison, compare


def found(a, b):
    return {change.metric: change for change in compare(a, b).changes}


def verdicts(a, b):
    return {name: change.verdict for name, change in found(a, b).items()}


def noisy(seed, milliseconds=10.0, windows=60, noise=0.05):
    random = seeded_random(seed)
    series = [
        window(at + 1.0, milliseconds * random.gauss(1, noise), ok=random.randrange(90, 111))
        for at in range(windows)
    ]
    return report(series)


# What is compared


def test_every_metric_goes_by_the_name_it_has_in_thresholds():
    one = steady(steps={"add_user": 3.0})
    names = [change.metric for change in compare(one, steady(11, steps={"add_user": 3.0})).changes]
    assert names == [
        "rate",
        *("response.mean", "response.p50", "response.p95", "response.p99"),
        "lag.p99",
        *("failed", "dropped", "expired"),
        *("add_user.p50", "add_user.p95", "add_user.p99"),
    ]


def test_steps_that_only_one_of_them_has_are_named_and_not_compared():
    compared = compare(
        steady(steps={"add_user": 3, "old": 1}), steady(steps={"new": 1, "add_user": 3})
    )
    assert (compared.only_in_a, compared.only_in_b) == (["old"], ["new"])
    assert {change.step for change in compared.changes} == {None, "add_user"}


def test_the_values_are_those_of_the_whole_runs():
    changes = found(steady(10), steady(20, failed=25))
    assert (changes["rate"].a, changes["rate"].b) == (100, 125)
    assert changes["response.p99"].a == pytest.approx(10, rel=0.001)
    assert changes["response.p99"].b == pytest.approx(20, rel=0.001)
    assert (changes["failed"].a, changes["failed"].b) == (0, 20)


def test_a_run_of_nothing_is_compared_without_a_figure():
    nothing = report([])
    for change in compare(nothing, with_run(nothing, id="run-2")).changes:
        assert (change.a, change.b, change.change, change.verdict) == (None, None, None, "unknown")


# Verdicts


def test_a_report_is_the_same_as_itself():
    for one in (steady(), steady(windows=3), report([])):
        compared = compare(one, one)
        assert {change.verdict for change in compared.changes} == {"same"}
        assert {change.change for change in compared.changes} == {0.0}
        assert compared.notes == ["A and B are one and the same report"]


def test_noise_alone_is_the_same():
    kinds = [verdict for n in range(20) for verdict in verdicts(noisy(n), noisy(-n - 1)).values()]
    assert kinds.count("worse") <= 0.05 * len(kinds)
    assert kinds.count("better") <= 0.05 * len(kinds)
    assert "unknown" not in kinds


def test_higher_times_are_worse_and_lower_ones_better():
    slow = verdicts(steady(10, steps={"add_user": 3}), steady(11, steps={"add_user": 3}))
    assert {name for name, verdict in slow.items() if verdict == "worse"} == {
        *("response.mean", "response.p50", "response.p95", "response.p99"),
    }
    fast = verdicts(steady(steps={"add_user": 3}), steady(steps={"add_user": 2}))
    assert fast["add_user.p99"] == "better"
    assert fast["response.p99"] == "same"


def test_a_change_has_its_interval():
    change = found(steady(10), steady(11))["response.p99"]
    assert change.change == pytest.approx(10, abs=0.1)
    assert 7 < change.low < 8.1  # 2 % belong to the histograms
    assert 12 < change.high < 13.5


def test_a_lower_rate_is_worse():
    assert verdicts(steady(), steady(ok=90))["rate"] == "worse"
    assert found(steady(), steady(ok=90))["rate"].change == pytest.approx(-10)
    assert verdicts(steady(), steady(ok=110))["rate"] == "better"


def test_a_stall_is_windows_of_no_rate():
    stalled = report([window(at + 1.0, ok=0 if at % 2 else 100) for at in range(60)])
    change = found(steady(), stalled)["rate"]
    assert change.verdict == "worse"
    assert change.change == pytest.approx(-50)
    assert verdicts(steady(), stalled)["response.p99"] == "same"


def test_shares_change_by_percentage_points():
    changes = found(steady(failed=0, ok=100), steady(failed=3, ok=97))
    assert (changes["failed"].change, changes["failed"].verdict) == (3, "worse")
    assert (changes["dropped"].change, changes["dropped"].verdict) == (0, "same")
    assert verdicts(steady(dropped=5), steady(dropped=1))["dropped"] == "better"


def test_failures_in_a_single_window_may_be_chance():
    windows = [window(at + 1.0, failed=5 if at == 30 else 0) for at in range(60)]
    assert verdicts(steady(), report(windows))["failed"] == "same"


def test_what_was_nothing_and_is_something_is_worse_without_a_percentage():
    change = found(steady(lag_ms=0.0), steady(lag_ms=3.0))["lag.p99"]
    assert (change.verdict, change.change, change.low, change.high) == ("worse", None, None, None)
    assert change.is_regression(1_000)


def test_times_that_differ_by_no_more_than_histograms_do_are_the_same():
    assert verdicts(steady(10, noise=0), steady(10.15, noise=0))["response.p50"] == "same"
    assert verdicts(steady(10, noise=0), steady(10.25, noise=0))["response.p50"] == "worse"
    lags = verdicts(steady(noise=0, lag_ms=0.0010), steady(noise=0, lag_ms=0.0011))
    assert lags["lag.p99"] == "same"  # a tenth more, and the least that a figure can differ by


# Windows


@pytest.mark.parametrize(("windows", "verdict"), [(7, "unknown"), (8, "worse")])
def test_fewer_than_eight_windows_tell_nothing(windows, verdict):
    for a, b in ((steady(10, windows), steady(20)), (steady(10), steady(20, windows))):
        assert verdicts(a, b)["response.p99"] == verdict
        assert min(compare(a, b).a.windows, compare(a, b).b.windows) == windows


def test_a_step_that_ran_in_few_windows_is_unknown_by_itself():
    steps = {"add_user": 3.0}
    often = steady(steps=steps)
    series = [
        msgspec.structs.replace(one, steps=one.steps if place < 5 else {})
        for place, one in enumerate(often.series)
    ]
    compared = compare(often, msgspec.structs.replace(often, series=series))
    assert {change.metric for change in compared.unknown} == {
        *("add_user.p50", "add_user.p95", "add_user.p99")
    }


def test_a_warm_up_is_left_out():
    cold = [window(at + 1.0, 500.0, warmup=True) for at in range(10)]
    warm = [window(at + 11.0, 10.0) for at in range(20)]
    compared = compare(steady(10, noise=0), report(cold + warm))
    assert compared.b.windows == 20
    assert {change.metric: change.verdict for change in compared.changes}["response.p99"] == "same"
    assert {change.metric: change.b for change in compared.changes}["rate"] == 100


@pytest.mark.parametrize(("seconds", "windows"), [(0.4, 10), (0.5, 12)])
def test_a_short_window_at_either_end_is_left_out(seconds, windows):
    series = [
        window(0.4, 900.0, seconds=seconds),
        *(window(at + 1.0) for at in range(10)),
        window(11.4, 900.0, seconds=seconds),
    ]
    assert compare(steady(), report(series)).b.windows == windows


# Regressions


def test_a_regression_is_worse_by_more_than_the_tolerance():
    compared = compare(steady(10), steady(11))
    assert [change.metric for change in compared.regressions(5)] == [
        *("response.mean", "response.p50", "response.p95", "response.p99")
    ]
    assert compared.regressions(11) == []
    assert compare(steady(11), steady(10)).regressions(0) == []


def test_a_lower_rate_is_a_regression():
    assert [one.metric for one in compare(steady(), steady(ok=90)).regressions(5)] == ["rate"]


def test_noise_is_no_regression_however_large_it_is():
    a, b = noisy(1, noise=0.9, windows=9), noisy(2, noise=0.9, windows=9)
    change = found(a, b)["response.mean"]
    assert abs(change.change) > 5
    assert compare(a, b).regressions(0) == []


@pytest.mark.parametrize(("failed", "is_one"), [(1, False), (2, True)])
def test_a_share_is_held_to_a_tenth_of_a_percentage_point(failed, is_one):
    a, b = steady(ok=1_000), steady(ok=1_000 - failed, failed=failed)
    assert found(a, b)["failed"].verdict == "worse"
    assert [one.metric for one in compare(a, b).regressions(50)] == (["failed"] if is_one else [])


# Doubts


def notes(a, b):
    return compare(a, b).notes


def test_what_makes_a_comparison_doubtful_is_noted():
    assert notes(steady(10), steady(11)) == []
    other = steady(facts={"plan": {**PLAN, "threads": 32, "overrun": "drop"}})
    assert notes(steady(), other) == [
        "plan: threads is 16 in A, 32 in B",
        "plan: overrun is not given in A, drop in B",
    ]
    other = steady(facts={"environment": {"python": "3.13.1", "machine": "x86_64, 2 cores"}})
    assert notes(steady(), other) == ["environment: python is 3.11.7 in A, 3.13.1 in B"]


def test_another_seed_and_a_longer_run_are_no_doubt():
    assert notes(steady(), steady(facts={"plan": {**PLAN, "seed": 8, "execs": 9_000}})) == []


def test_a_run_that_did_not_end_or_did_not_begin_anew_is_noted():
    one = steady()
    assert notes(one, with_run(one, outcome="interrupted")) == ["B was interrupted"]
    assert notes(with_run(one, resumed=True), one) == ["A was resumed"]


def test_windows_of_another_length_are_noted():
    note = "A's windows last 1 s, B's 2 s: the percentiles of longer windows are larger"
    assert notes(steady(), steady(seconds=2.0)) == [note]


def test_a_long_difference_is_cut():
    (note,) = notes(steady(), steady(facts={"plan": {**PLAN, "threads": "x" * 1_000}}))
    assert len(note) < 100


# As JSON


def test_a_comparison_is_json_and_back():
    compared = compare(steady(lag_ms=0.0), steady(11, steps={"new": 1}))
    document = json.loads(json.dumps(compared.to_dict(), allow_nan=False))
    assert msgspec.convert(document, Comparison) == compared
    assert document["changes"][0]["metric"] == "rate"
    assert document["b"]["windows"] == 60


def test_an_interval_without_an_end_is_none():
    seldom = report([window(at + 1.0, ok=100 if at == 7 else 0) for at in range(60)])
    change = found(seldom, steady())["rate"]
    assert change.high is None
    json.dumps(change.high, allow_nan=False)
