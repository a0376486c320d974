"""Of series that are the same, few are called different; of those that are not, nearly all are."""

from math import inf, sqrt

import pytest

from instrumentation.seeds import seeded_random
from workermanager.resampling import Resamples, difference_between, ratio_between

SAMPLES = 60
A, B = Resamples(SAMPLES, "a"), Resamples(SAMPLES, "b")


def series(random, mean=100.0, noise=0.05, alike=0.6, samples=SAMPLES):
    """An autoregressive series: each sample is correlated with the next by ``alike``."""
    values, state = [], random.gauss(0, 1)
    for _ in range(samples):
        state = alike * state + sqrt(1 - alike**2) * random.gauss(0, 1)
        values.append(mean * (1 + noise * state))
    return values


def means(values, resamples=A, weights=None):
    weights = weights or [1] * len(values)
    weighted = [weight * value for weight, value in zip(weights, values, strict=True)]
    (found,) = resamples.means(weights, [weighted])
    return found


def growth(a, b):
    return ratio_between(means(a), means(b, B))


def judge(interval):
    return (interval.low > 0) - (interval.high < 0)


def test_series_that_are_the_same_are_seldom_called_different():
    random = seeded_random("the same")
    verdicts = [judge(growth(series(random), series(random))) for _ in range(200)]
    assert verdicts.count(1) <= 0.1 * len(verdicts)
    assert verdicts.count(-1) <= 0.1 * len(verdicts)


def test_a_tenth_more_is_found_in_the_noise():
    random = seeded_random("a tenth more")
    found = [growth(series(random), series(random, mean=110)) for _ in range(100)]
    assert [judge(one) for one in found].count(1) > 95
    assert sum(one.low < 0.1 < one.high for one in found) > 85


def test_neighbours_that_are_alike_make_it_less_sure():
    random = seeded_random("alike")
    widths = {}
    for alike in (0.0, 0.9):
        found = [
            growth(series(random, alike=alike), series(random, alike=alike)) for _ in range(20)
        ]
        widths[alike] = sum(one.high - one.low for one in found)
    assert widths[0.9] > 1.5 * widths[0.0]


def test_the_interval_of_independent_samples_is_about_that_of_the_normal_distribution():
    random = seeded_random("independent")
    a, b = (series(random, alike=0, samples=3_600) for _ in "ab")
    found = ratio_between(means(a, Resamples(3_600, "a")), means(b, Resamples(3_600, "b")))
    wanted = 2 * 1.96 * 0.05 * sqrt(2 / 3_600)
    assert found.high - found.low == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize("samples", [8, 9, 11, 20, 101, 3_600])
def test_series_without_noise_leave_none(samples):
    a, b = Resamples(samples, "a"), Resamples(samples, "b")
    found = ratio_between(means([10] * samples, a), means([11] * samples, b))
    assert found == pytest.approx((0.1, 0.1, 0.1))


def test_the_same_samples_always_come_to_the_same():
    random = seeded_random("again")
    a, b = series(random), series(random)
    again = ratio_between(means(a, Resamples(SAMPLES, "a")), means(b, Resamples(SAMPLES, "b")))
    assert again == growth(a, b)


def test_what_weighs_more_counts_more_and_what_weighs_nothing_not_at_all():
    values = [1, 9] * 30
    assert means(values, weights=[1, 3] * 30).mean == 7
    assert means(values, weights=[1, 0] * 30).mean == 1
    assert set(means(values, weights=[1, 0] * 30).resampled) == {1}


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_fewer_than_eight_samples_say_nothing(samples):
    assert Resamples(samples, "a").means([1] * samples, [[1] * samples]) is None


def test_fewer_than_eight_samples_with_any_weight_say_nothing():
    assert A.means([1] * 7 + [0] * 53, [[1] * 60]) is None
    assert A.means([1] * 8 + [0] * 52, [[1] * 60]) is not None


def test_a_ratio_to_what_is_seldom_anything_has_no_upper_end():
    rare = means([0] * 59 + [1])
    assert ratio_between(rare, means([1] * 60, B)).high == inf
    assert difference_between(rare, means([1] * 60, B)).high == pytest.approx(1, rel=0.1)


def test_a_difference_is_in_the_unit_of_the_samples():
    found = difference_between(means([1] * 60), means([3] * 60, B))
    assert found == (2, 2, 2)
