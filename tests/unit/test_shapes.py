from datetime import timedelta
from fractions import Fraction
from math import ceil
from pickle import dumps, loads

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.clock import Steady, Varied
from workermanager.lines import Line
from workermanager.shapes import Ramp, Rate, Ticks
from workermanager.stages import format_stages, make_layout, parse_stages

SECOND = 1_000_000_000
SPIKE = "0:10/s,30s:10/s,30s:500/s,35s:500/s,35s:10/s,60s:10/s"
RATES = st.sampled_from([0, 1, 2.5, "1/h", "7/300ms", "90/min", Fraction(22, 7), 1_000])
DURATIONS = st.sampled_from(["1s", "500ms", 10, 0.1, "1m30s", "7ns", timedelta(seconds=3)])
TICKS = st.builds(Ticks, st.integers(1, 9), DURATIONS, st.integers(1, 4)) | st.builds(
    Ticks, st.lists(st.integers(0, 9), min_size=1, max_size=4), DURATIONS
)
PARTS = st.builds(Rate, RATES, DURATIONS) | st.builds(Ramp, RATES, RATES, DURATIONS) | TICKS
ENDS = (
    st.builds(Rate, RATES.filter(bool))
    | st.builds(Rate, RATES.filter(bool), count=st.integers(1, 99))
    | st.builds(Rate, RATES.filter(bool), DURATIONS, st.integers(1, 99))
    | st.builds(Ticks, st.integers(1, 9), DURATIONS)
)


@st.composite
def sequences(draw):
    """Shapes one after the other with an exec, and often an end that only the last may have."""
    parts = draw(st.lists(PARTS, min_size=1, max_size=5))
    end = draw(st.none() | ENDS)
    parts += [Rate(1, "1s")] if end is None else [end]
    return parts


def refusal(make, *args, **kwargs):
    with pytest.raises(InvalidConfig) as refused:
        make(*args, **kwargs)
    message = str(refused.value)
    assert "\n" not in message
    return message


def same_arrivals(one, other):
    """Whether two layouts agree as far as one looks."""
    if (one.total, one.ticks) != (other.total, other.ticks):
        return False
    most = 200 if one.total is None else one.total
    numbers = {n * (most - 1) // 60 for n in range(61)}
    return all(one.due_ns(n) == other.due_ns(n) for n in numbers)


# Values


def test_shapes_that_mean_the_same_are_equal():
    assert Rate("60/min", "1m") == Rate(1, 60)
    assert hash(Rate("60/min", "1m")) == hash(Rate(1, 60))
    assert Ramp("0/s", 0.5, 30) == Ramp(0, "30/min", timedelta(seconds=30))
    assert Ticks([1, 2], 1) == Ticks((1, 2), "1000ms", 2)
    assert Rate(1) != Rate(1, count=5)


def test_shapes_are_shown_as_they_were_written():
    assert repr(Rate("60/min", "1m")) == "Rate(rate='60/min', duration='1m', count=None)"
    assert repr(Ramp(0, 1, 2)) == "Ramp(start=0, end=1, duration=2)"


def test_shapes_can_be_pickled():
    shapes = [Ramp(0, "1/h", "2s"), Ticks([1, 0]), Rate("7/300ms", count=5)]
    assert loads(dumps(shapes)) == shapes


@pytest.mark.parametrize(
    ("make", "args", "start"),
    [
        (Rate, ("x",), "Rate(rate=…): 'x' is not a rate"),
        (Rate, (-1,), "Rate(rate=…): -1 is out of range"),
        (Rate, (1, "x"), "Rate(duration=…): 'x' is not a duration"),
        (Rate, (1, 0), "Rate(duration=…): 0 is out of range: it must be more than 0"),
        (Rate, (1, "1s", 0), "Rate(count=…): 0 is no whole number from 1"),
        (Rate, (1, None, 2.0), "Rate(count=…): 2.0 is no whole number from 1"),
        (Rate, (1, None, 2**62 + 1), "Rate(count=…): 4611686018427387905 is no whole number"),
        (Rate, (0,), "Rate(rate=…): 0/s is a pause"),
        (Rate, (0, "1s", 5), "Rate(rate=…): 0/s is a pause"),
        (Ramp, ("x", 1, 1), "Ramp(start=…): 'x' is not a rate"),
        (Ramp, (1, "x", 1), "Ramp(end=…): 'x' is not a rate"),
        (Ramp, (1, 2, "x"), "Ramp(duration=…): 'x' is not a duration"),
        (Ramp, (1, 2, "0s"), "Ramp(duration=…): '0s' is out of range"),
        (Ramp, (1, 2, None), "Ramp(duration=…): None is not a duration"),
        (Ticks, (0,), "Ticks(execs=…): 0 is no whole number from 1"),
        (Ticks, ("5",), "Ticks(execs=…): '5' is no whole number"),
        (Ticks, (True,), "Ticks(execs=…): True is no whole number"),
        (Ticks, ([1, -1],), "Ticks(execs=…), tick 1: -1 is no whole number from 0"),
        (Ticks, ([],), "Ticks(execs=…): the list is empty"),
        (Ticks, ([1, 2], 1, 3), "Ticks(ticks=…): 3, but execs lists 2 of them"),
        (Ticks, (1, 1, 0), "Ticks(ticks=…): 0 is no whole number from 1"),
        (Ticks, (1, "x"), "Ticks(tick_duration=…): 'x' is not a duration"),
        (Ticks, (1, 0), "Ticks(tick_duration=…): 0 needs a number of ticks"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(make, args, start):
    assert refusal(make, *args).startswith(start)


# Layouts


def test_lone_ticks_are_laid_out_as_ever():
    steady, varied = make_layout(Ticks(5, "2s", 3), 7), make_layout([Ticks([1, 0, 2])], 7)
    assert isinstance(steady, Steady)
    assert (steady.total, steady.ticks, steady.tick_ns) == (15, 3, 2 * SECOND)
    assert isinstance(varied, Varied)
    assert (varied.total, varied.ticks, varied.tick_ns) == (3, 3, SECOND)
    assert make_layout(Ticks(5), 7).total is None
    assert make_layout(Ticks(5, 0, 3), 7).total == 15


def test_a_run_ends_by_duration_by_count_or_when_it_is_stopped():
    by_duration = make_layout(Rate("3_000/s", "20s"), SECOND)
    assert isinstance(by_duration, Line)
    assert (by_duration.total, by_duration.ticks) == (60_000, 20)
    by_count = make_layout(Rate("3_000/s", count=7_000), SECOND)
    assert (by_count.total, by_count.ticks) == (7_000, 3)
    assert make_layout(Rate(100, "1s", 60), SECOND).total == 60
    assert make_layout(Rate(100, "1s", 600), SECOND).total == 100
    until_stopped = make_layout(Rate("1/h"), SECOND)
    assert (until_stopped.total, until_stopped.ticks) == (None, None)


def test_a_ramp_has_the_area_under_it():
    assert make_layout(Ramp(0, 1_000, "10s"), SECOND).total == 5_000


def test_a_sequence_is_one_after_the_other():
    parts = [Ramp(0, 100, "10s"), Rate(0, "5s"), Ticks([10, 0, 20], "500ms"), Rate(4)]
    layout = make_layout(parts, SECOND)
    assert layout.total is None
    firsts = [layout.first_of(tick) for tick in (0, 10, 15, 16, 17, 18)]
    assert firsts == [0, 500, 500, 510, 530 + 2, 530 + 6]


def test_a_count_is_of_its_own_shape_whatever_came_before():
    # 2.5 execs come before, which are three arrivals; 10 more follow
    assert make_layout([Rate(1, "2.5s"), Rate(5, count=10)], SECOND).total == 13


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "shape: it is empty; give it a Rate, a Ramp or Ticks"),
        (5, "shape: 5 is no Rate, Ramp or Ticks, nor a list of them"),
        (b"0:1,1:1", "shape: b'0:1,1:1' is no Rate"),
        ([Rate(1), "0:1,1:1"], "shape: '0:1,1:1' is no Rate"),
        ([Rate(1), Rate(2)], "shape: part 1 of 2 must have a duration and no count"),
        ([Rate(1, "1s", 5), Rate(2)], "shape: part 1 of 2 must have a duration and no count"),
        ([Ticks(1), Rate(2)], "shape: part 1 of 2 must have a duration and no count"),
        ([Rate(1, 1), Ticks(1, 0, 1)], "shape: part 2: Ticks(tick_duration=…): 0 is for Ticks"),
        (Rate(0, "1s"), "shape: it has no exec"),
        ([Ramp(0, 0, "1s"), Ticks([0, 0])], "shape: it has no exec"),
        (Ticks([0, 0]), "shape: it has no exec"),
        (Ticks(2**62, 1, 2), "shape: 9223372036854775808 execs are too many in all"),
        (Rate("1/ns", "50000000d"), "shape: 4320000000000000000000 execs are too many in all"),
        ([Rate(1 + n % 2, 1) for n in range(10_001)], "shape: it has more than 10,000 pieces"),
        ("0:1/s", "shape: '0:1/s' is one point"),
    ],
)
def test_a_shape_that_cannot_work_is_refused(shape, message):
    assert refusal(make_layout, shape, SECOND).startswith(message)


def test_the_name_of_a_refusal_is_the_callers():
    assert refusal(make_layout, Rate(0, 1), SECOND, "load").startswith("load: it has no exec")


def test_rates_need_ticks_of_some_length():
    assert refusal(make_layout, Rate(1), 0).startswith("tick_duration: 0 needs Ticks")


# Stages


def test_stages_are_the_points_of_a_rate_line():
    assert parse_stages("0:10/s,30s:100/s,60s:100/s", "--stages") == (
        Ramp("10/s", "100/s", "30s"),
        Rate("100/s", "30s"),
    )


def test_two_points_at_one_time_are_a_jump():
    assert parse_stages(SPIKE, "--stages") == (Rate(10, 30), Rate(500, 5), Rate(10, 25))


@pytest.mark.parametrize("dots", ["...", "…", " ... "])
def test_dots_go_on_until_the_run_is_stopped(dots):
    assert parse_stages(f"0:1/h,{dots}", "--stages") == (Rate("1/h"),)
    assert parse_stages(f"0:0,1m:90/min,{dots}", "--stages") == (Ramp(0, 1.5, 60), Rate(1.5))
    assert parse_stages(f"0:1,9s:1,9s:2,{dots}", "--stages") == (Rate(1, 9), Rate(2))


def test_a_count_at_the_end_is_of_all_execs():
    assert parse_stages("0:5/s,...,count=1000", "--stages") == (Rate(5, count=1_000),)
    assert parse_stages("0:0,2s:10,...,count=15", "--stages") == (
        Ramp(0, 10, 2),
        Rate(10, count=5),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:10/s,30:20/s,30:xx", "point 3 '30:xx': 'xx' is not a rate; write 100/s,"),
        ("0:10/s,3x:1/s", "point 2 '3x:1/s': '3x' is not a duration; write 500ms,"),
        ("0:-1/s,3s:1/s", "point 1 '0:-1/s': '-1/s' is out of range"),
        ("0:10/s,-3s:1/s", "point 2 '-3s:1/s': '-3s' is not a duration"),
        ("1s:10/s,3s:1/s", "point 1 '1s:10/s': the first point must be at 0"),
        ("0:1/s,5s:1/s,4s:1/s", "point 3 '4s:1/s': it comes before the point in front of it"),
        ("0:1/s,5s:1/s,5s:2/s,5s:3/s", "point 4 '5s:3/s': it is the third at this time"),
        ("0:1/s,,5s:1/s", "point 2 '': wanted TIME:RATE, as 30s:100/s"),
        ("0:1/s,5s", "point 2 '5s': wanted TIME:RATE"),
        ("0:1/s,5s:", "point 2 '5s:': wanted TIME:RATE"),
        ("0:1/s,:5/s", "point 2 ':5/s': wanted TIME:RATE"),
        ("0:1/s,...,5s:1/s", "point 2 '...': wanted TIME:RATE"),
        ("", "point 1 '': wanted TIME:RATE"),
        ("100/s", "point 1 '100/s': wanted TIME:RATE"),
        ("0:1/s", "'0:1/s' is one point; give it another"),
        ("0:1/s,0s:2/s", "'0:1/s,0s:2/s' is over at once: its last point is at 0"),
        ("0:1/s,5s:0/s,...", "point 2 goes on at 0/s: the run would never end"),
        ("0:0/s,5s:0/s", "it has no exec"),
        ("0:1/s,...,count=x", "'count=x' is no count; write count=1000"),
        ("0:1/s,...,count=-1", "'count=-1' is no count"),
        ("0:1/s,...,count=0", "'count=0' must end the last piece"),
        ("0:1/s,5s:9/s,count=3", "'count=3' must end the last piece"),
        ("0:1/s,5s:1/s,5s:2/s,9s:2/s,count=5", "'count=5' must end the last piece"),
        ("count=5,0:1/s,5s:1/s", "point 1 'count=5': wanted TIME:RATE"),
    ],
)
def test_a_mistake_in_stages_is_told_in_one_line_with_its_point(text, message):
    assert refusal(parse_stages, text, "--stages").startswith(f"--stages: {message}")


# The one text of a shape


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (Rate("100/s", "20s"), "0:100/s,20s:100/s"),
        (Rate("90/min"), "0:1.5/s,..."),
        (Rate("100/s", count=50), "0:100/s,...,count=50"),
        (Rate("100/s", "1m", 50), "0:100/s,60s:100/s,count=50"),
        (Ramp(0, "1/h", 0.5), "0:0/s,0.5s:1/h"),
        (SPIKE, SPIKE),
        ([Rate(1, 5), Rate(1, 5)], "0:1/s,10s:1/s"),
        ([Ramp(0, 1, 5), Ramp(1, 2, 5)], "0:0/s,10s:2/s"),
        ([Ramp(0, 1, 5), Ramp(1, 3, 5)], "0:0/s,5s:1/s,10s:3/s"),
        ([Ramp(0, 1, 5), Ramp(1, 2, 10)], "0:0/s,5s:1/s,15s:2/s"),
        ([Rate(1, 5), Rate(1)], "0:1/s,..."),
        ([Rate(1, 5), Rate(1, count=5)], "0:1/s,...,count=10"),
        ([Rate(1, "2.5s"), Rate(5, count=10)], "0:1/s,2.5s:1/s,2.5s:5/s,...,count=13"),
        ([Rate(1, 5), Rate(1, 5, 7)], "0:1/s,10s:1/s"),
        (Ticks([5, 5, 0]), "0:5/s,2s:5/s,2s:0/s,3s:0/s"),
    ],
)
def test_a_shape_has_one_text(shape, text):
    assert format_stages(shape) == text
    assert format_stages(text) == text


@given(sequences(), st.sampled_from([SECOND, 10 * SECOND]))
def test_the_text_of_a_shape_reads_back_as_the_same_arrivals(parts, tick_ns):
    text = format_stages(parts)
    assert format_stages(parse_stages(text, "--stages")) == text
    assert same_arrivals(make_layout(text, tick_ns), make_layout(parts, tick_ns))


@given(st.lists(PARTS, min_size=1, max_size=5))
def test_the_arrivals_of_a_sequence_are_its_area_rounded_up(parts):
    area = sum(map(area_of, parts))
    if not area:
        assert refusal(make_layout, [*parts, Rate(0, 1)], SECOND) == "shape: it has no exec"
    else:
        assert make_layout([*parts, Rate(0, 1)], SECOND).total == ceil(area)


def area_of(part):
    if isinstance(part, Rate):
        return part.per_ns * part.duration_ns
    if isinstance(part, Ramp):
        return (part.start_per_ns + part.end_per_ns) * part.duration_ns / 2
    return part.execs * part.ticks if isinstance(part.execs, int) else sum(part.execs)
