"""What flags, the environment and the target say of how many execs there are, put together."""

import pytest

from instrumentation.errors import InvalidConfig
from workermanager import Ramp, Rate, Ticks, Worker
from workermanager.cli.shaping import settle

STAGES = "0:10/s,30s:100/s"


def step(ctx, params):
    pass


def load(execs=None, ticks=None, shape=None):
    return {"execs_per_tick": execs, "ticks": ticks, "shape": shape}


ONE = {}
FIVE = {"execs_per_tick": 5, "ticks": 10}
LISTED = {"execs_per_tick": [2, 3]}
ENDLESS = {"execs_per_tick": 5}
AT_RATE = {"shape": Rate("5/s", "10s")}
RAMP = {"shape": Ramp("0/s", "5/s", "10s")}

TABLE = [
    # what the target says stands where nothing else is said
    (ONE, [], load()),
    (FIVE, [{}, {}], load(5, 10)),
    (LISTED, [], load([2, 3])),
    (AT_RATE, [{}], load(shape=Rate("5/s", "10s"))),
    (RAMP, [{}], load(shape=RAMP["shape"])),
    # only for how long: what was said of how many stays
    (FIVE, [{"ticks": 3}], load(5, 3)),
    (FIVE, [{"duration": "30s"}], load(5, 30)),
    (FIVE, [{"duration": "3s", "tick_duration": "500ms"}], load(5, 6)),
    (FIVE, [{"tick_duration": "500ms"}, {"duration": "3s"}], load(5, 6)),
    (FIVE, [{"tick_duration": "1s"}, {"tick_duration": "500ms"}, {"duration": "3s"}], load(5, 6)),
    (FIVE, [{"ticks": 3}, {"duration": "4s"}], load(5, 4)),
    (FIVE, [{"duration": "4s"}, {"ticks": 3}], load(5, 3)),
    (ENDLESS, [{"duration": "4s"}], load(5, 4)),
    (ONE, [{"ticks": 3}], load(None, 3)),
    (ONE, [{"duration": "3s"}], load(None, 3)),
    (AT_RATE, [{"duration": "3s"}], load(shape=Rate("5/s", "3s"))),
    (AT_RATE, [{"count": 7}], load(shape=Rate("5/s", "10s", 7))),
    ({"shape": Rate("5/s")}, [{"duration": "3s"}], load(shape=Rate("5/s", "3s"))),
    ({"shape": Rate("5/s", count=9)}, [{"count": 7}], load(shape=Rate("5/s", count=7))),
    ({"shape": STAGES + ",..."}, [{"count": 2_000}], load(shape=STAGES + ",...,count=2000")),
    # execs on every tick: a number keeps the number of ticks, a list says it
    (FIVE, [{"execs_per_tick": 7}], load(7, 10)),
    (FIVE, [{"ticks": 3}, {"execs_per_tick": 7}], load(7, 3)),
    (FIVE, [{"execs_per_tick": 7, "ticks": 2}], load(7, 2)),
    (FIVE, [{"execs_per_tick": (7, 8, 9)}], load((7, 8, 9))),
    (LISTED, [{"execs_per_tick": 7}], load(7, 2)),
    (AT_RATE, [{"execs_per_tick": 7, "ticks": 2}], load(7, 2)),
    (FIVE, [{"execs_per_tick": 7, "duration": "4s"}], load(7, 4)),
    # a rate or stages replace all that was said before
    (FIVE, [{"rate": "9/s", "duration": "4s"}], load(shape=Rate("9/s", "4s"))),
    (FIVE, [{"rate": "9/s"}], load(shape=Rate("9/s"))),
    (FIVE, [{"rate": "9/s", "count": 4}], load(shape=Rate("9/s", count=4))),
    (FIVE, [{"rate": "9/s", "count": 4, "duration": "2s"}], load(shape=Rate("9/s", "2s", 4))),
    (AT_RATE, [{"rate": "9/s", "duration": "4s"}], load(shape=Rate("9/s", "4s"))),
    (FIVE, [{"stages": STAGES}], load(shape=STAGES)),
    (RAMP, [{"rate": "9/s", "duration": "1s"}], load(shape=Rate("9/s", "1s"))),
    # levels one over the other
    (FIVE, [{"rate": "9/s"}, {"duration": "2s"}], load(shape=Rate("9/s", "2s"))),
    (FIVE, [{"rate": "9/s"}, {"count": 2}], load(shape=Rate("9/s", count=2))),
    (FIVE, [{"rate": "9/s", "duration": "1s"}, {"duration": "2s"}], load(shape=Rate("9/s", "2s"))),
    (FIVE, [{"rate": "9/s", "duration": "1s"}, {"stages": STAGES}], load(shape=STAGES)),
    (FIVE, [{"stages": STAGES}, {"execs_per_tick": 2, "ticks": 3}], load(2, 3)),
    (FIVE, [{"rate": "9/s"}, {"shape": STAGES}], load(shape=STAGES)),
    (
        FIVE,
        [{"rate": "9/s", "duration": "1s"}, {"rate": "8/s", "duration": "3s"}],
        load(shape=Rate("8/s", "3s")),
    ),
    # the record of a run without end takes the ticks away that others say
    (FIVE, [{"ticks": 3}, {"execs_per_tick": 5, "ticks": None}], load(5, None)),
]


@pytest.mark.parametrize(("target", "levels", "meant"), TABLE)
def test_a_later_level_wins_and_one_without_a_number_of_execs_keeps_it(target, levels, meant):
    assert settle(Worker(step, **target), *levels) == meant


def test_what_is_settled_is_what_a_worker_takes():
    for target, levels, _ in TABLE:
        Worker(step, **settle(Worker(step, **target), *levels))


REFUSED = [
    (FIVE, [{"rate": "9/s", "execs_per_tick": 5}], "execs_per_tick and rate both say how many"),
    (FIVE, [{"rate": "9/s", "stages": STAGES}], "rate and stages both say how many execs: give"),
    (FIVE, [{"ticks": 3, "duration": "3s"}], "ticks and duration both say how long: give one"),
    (FIVE, [{"rate": "9/s", "ticks": 3}], "ticks go with execs_per_tick; with rate give duration"),
    (FIVE, [{"rate": "9/s"}, {"ticks": 3}], "with rate give duration or count"),
    (FIVE, [{"stages": STAGES}, {"ticks": 3}], "with stages give duration or count"),
    (AT_RATE, [{"ticks": 3}], "with rate give duration or count"),
    (FIVE, [{"count": 3}], "count goes with a rate: give rate as well, or ticks instead"),
    (FIVE, [{"rate": "9/s", "count": 4}, {"execs_per_tick": 1, "count": 3}], "count goes with"),
    (FIVE, [{"duration": "2500ms"}], "duration: 2.5s is no whole number of ticks of 1s"),
    (FIVE, [{"duration": 0}], "duration: 0s is no whole number of ticks"),
    (FIVE, [{"duration": "1s", "tick_duration": 0}], "is no whole number of ticks of 0s"),
    (
        FIVE,
        [{"stages": STAGES, "duration": "3s"}],
        "stages and shapes say themselves how long they are",
    ),
    (RAMP, [{"duration": "3s"}], "stages and shapes say themselves how long they are"),
]


@pytest.mark.parametrize(("target", "levels", "told"), REFUSED)
def test_what_does_not_go_together_is_refused(target, levels, told):
    with pytest.raises(InvalidConfig) as refusal:
        settle(Worker(step, **target), *levels)
    assert told in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_ticks_of_the_target_are_a_shape():
    shape = Ticks(3, "500ms", 2)
    assert settle(Worker(step, shape=shape)) == load(shape=shape)


@pytest.mark.parametrize(
    ("before", "level", "ticks"),
    [
        ({"ticks": 10}, {}, 10),
        ({"duration": "10s"}, {}, 10),
        ({"execs_per_tick": 5, "duration": "10s"}, {}, 10),
        ({"execs_per_tick": (1, 2, 3)}, {}, 3),
        ({"duration": "10s"}, {"ticks": 4}, 4),
        ({"ticks": 10}, {"duration": "4s"}, 4),
        ({"rate": "5/s", "duration": "10s"}, {}, 10),
        ({"stages": STAGES}, {}, None),
    ],
)
def test_another_number_for_every_tick_leaves_how_long_as_it_was(before, level, ticks):
    worker = Worker(lambda ctx, params: None)
    fields = settle(worker, before, {"execs_per_tick": 7, **level})
    assert (fields["execs_per_tick"], fields["ticks"], fields["shape"]) == (7, ticks, None)


@pytest.mark.parametrize(
    ("shape", "count", "line"),
    [
        ([Ramp("0/s", "20/s", "2s"), Rate("20/s", "2s")], 25, "0:0/s,2s:20/s,4s:20/s,count=25"),
        ("0:10/s,2s:10/s", 5, "0:10/s,2s:10/s,count=5"),
        ("0:10/s,...,count=50", 5, "0:10/s,...,count=5"),
    ],
)
def test_a_count_ends_any_rate_line(shape, count, line):
    fields = settle(Worker(step, shape=shape), {"count": count})
    assert fields["shape"] == line
    assert Worker(step, **fields).plan().arrivals.total == count


def test_a_count_is_refused_where_ticks_are_listed():
    with pytest.raises(InvalidConfig, match="count goes with a rate"):
        settle(Worker(step, shape=Ticks([1, 2])), {"count": 2})


@pytest.mark.parametrize(
    ("shape", "before", "level", "meant"),
    [
        (Rate("100/s", "1m"), {}, {"rate": "50/s"}, Rate("50/s", "1m")),
        (Rate("100/s", count=9), {}, {"rate": "50/s"}, Rate("50/s", count=9)),
        (Rate("100/s", "1m"), {}, {"rate": "50/s", "count": 7}, Rate("50/s", count=7)),
        (None, {"duration": "3s"}, {"rate": "50/s"}, Rate("50/s", "3s")),
        (STAGES, {}, {"rate": "50/s"}, Rate("50/s")),
        (Rate("100/s", "1m"), {}, {"duration": "5s"}, Rate("100/s", "5s")),
    ],
)
def test_another_rate_leaves_how_long_as_it_was(shape, before, level, meant):
    assert settle(Worker(step, shape=shape), before, level)["shape"] == meant
