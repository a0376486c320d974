from math import exp

import pytest

from instrumentation.chains import Instrumentation
from instrumentation.errors import Cancelled, InvalidConfig
from instrumentation.params import TaskParams
from instrumentation.thinking import think


@pytest.fixture
def pauses(make_exec):
    """How long a step pauses each of so many execs."""

    def measure(step, execs=1, **of_run):
        slept = []
        for n in range(execs):
            assert step.fn(make_exec(n, sleep=slept.append, **of_run), TaskParams()) is None
        return slept

    return measure


def test_a_fixed_time_is_always_that_long(pauses):
    assert pauses(think(1.5), 3) == [1.5, 1.5, 1.5]
    assert pauses(think(0)) == [0]


def test_a_range_is_drawn_from_evenly(pauses):
    slept = pauses(think(1, 5), 2_000)
    assert 1 <= min(slept) < 1.1
    assert 4.9 < max(slept) <= 5
    assert sum(slept) / len(slept) == pytest.approx(3, abs=0.1)
    assert sum(one < 2 for one in slept) / len(slept) == pytest.approx(0.25, abs=0.03)


def test_a_mean_is_drawn_from_exponentially(pauses):
    slept = pauses(think(mean=2), 2_000)
    assert sum(slept) / len(slept) == pytest.approx(2, abs=0.15)
    for most in (1, 2, 4):
        share = sum(one < most for one in slept) / len(slept)
        assert share == pytest.approx(1 - exp(-most / 2), abs=0.03)


def test_an_exponential_pause_is_at_most_ten_means():
    class Late:
        def expovariate(self, rate):
            assert rate == 1
            return 11.5

    class Context:
        random = Late()
        slept = None

        def sleep(self, seconds):
            self.slept = seconds

    ctx = Context()
    think(mean=3).fn(ctx, TaskParams())
    assert ctx.slept == 30


@pytest.mark.parametrize("step", [think(1, 5), think(mean=3)], ids=["range", "mean"])
def test_pauses_repeat_with_the_seed_and_differ_between_execs(step, pauses):
    once = pauses(step, 20)
    assert pauses(step, 20) == once
    assert len(set(once)) == 20
    assert pauses(step, 20, seed=8) != once


def test_a_stop_now_ends_the_exec_where_it_pauses(make_exec):
    ctx = make_exec()

    def stop_now(_seconds):
        ctx.run.cancelled = True

    ctx.run.sleep = stop_now
    with pytest.raises(Cancelled):
        think(5).fn(ctx, TaskParams())


def test_it_stands_in_a_chain_by_its_name():
    links = Instrumentation(func_dispatcher=[think(1), think(1, 5), think(mean=3)]).links()
    assert [link.name for link in links] == ["think", "think#2", "think#3"]


@pytest.mark.parametrize("bad", [-1, 1e10, float("nan"), float("inf"), "1s", True])
def test_a_figure_that_cannot_be_is_refused_by_name(bad):
    ending = f"={bad!r}): must be from 0 to 1e9 seconds"
    for name, figures in (("seconds", (bad,)), ("most", (0, bad))):
        with pytest.raises(InvalidConfig) as refused:
            think(*figures)
        assert str(refused.value) == f"think({name}{ending}"
    with pytest.raises(InvalidConfig) as refused:
        think(mean=bad)
    assert str(refused.value) == f"think(mean{ending}"


def test_figures_that_contradict_each_other_are_refused():
    with pytest.raises(InvalidConfig, match=r"^think\(most=1\): must not be less than seconds=2$"):
        think(2, 1)
    with pytest.raises(InvalidConfig, match=r"^think\(mean=…\): it goes without other figures$"):
        think(2, mean=1)
    with pytest.raises(InvalidConfig, match=r"^think\(mean=…\): it goes without other figures$"):
        think(most=2, mean=1)
    for figures in ({}, {"most": 2}):
        with pytest.raises(InvalidConfig, match=r"^think\(\): wanted seconds, as think\(2\)"):
            think(**figures)
