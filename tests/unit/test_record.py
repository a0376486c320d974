"""What a run's rows follow from, and which differences forbid to resume it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table

from instrumentation.chains import Instrumentation
from instrumentation.errors import InvalidConfig
from workermanager import record
from workermanager.durations import parse_duration
from workermanager.record import RunRecord, check_same, describe_facts
from workermanager.shapes import Rate
from workermanager.worker import Worker

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def first(ctx, params):
    pass


def second(ctx, params):
    pass


def table_of(*columns):
    schema = MetaData()
    Table("things", schema, Column("id", Integer, primary_key=True), *columns)
    return schema


def chain_of(*steps, **arguments):
    return Instrumentation(func_dispatcher=list(steps), task_arguments=arguments, func_name="job")


USUAL = Worker(
    chain_of(first, second, size=3),
    execs_per_tick=10,
    ticks=5,
    tick_duration="1s",
    seed=7,
    schema=table_of(Column("name", String(20))),
)


def facts_of(epoch=EPOCH, **changes):
    return describe_facts(replace(USUAL, **changes).plan(), epoch)


def check(then, now, *, force=False):
    """As a resumed run is checked: what was there came out of JSON."""
    check_same("run-1", json.loads(json.dumps(then)), now, force=force)


DEEP = [
    ("seed is 8, was 7", {"seed": 8}),
    (
        "epoch is 2026-01-01T00:00:01+00:00, was 2026-01-01T00:00:00+00:00",
        {"epoch": EPOCH + timedelta(seconds=1)},
    ),
    ("execs_per_tick is 11, was 10", {"execs_per_tick": 11}),
    ("execs_per_tick is 10,10,10,10,11, was 10", {"execs_per_tick": [10, 10, 10, 10, 11]}),
    ("ticks is 6, was 5", {"ticks": 6}),
    ("ticks is None, was 5", {"ticks": None}),
    ("tick_duration is 1.000000001s, was 1s", {"tick_duration": 1.000_000_001}),
    ("tick_duration is 2s, was 1s", {"tick_duration": 2}),
    ("spread is burst, was even", {"spread": "burst"}),
]

HARMLESS = [
    (
        "step 2 is job/2/first, was job/2/second",
        {"instrumentation": chain_of(first, first, size=3)},
    ),
    ("step job/2/second is missing", {"instrumentation": chain_of(first, size=3)}),
    ("step job/3/first is new", {"instrumentation": chain_of(first, second, first, size=3)}),
    ("param size is not what it was", {"instrumentation": chain_of(first, second, size=4)}),
    ("param size is missing", {"instrumentation": chain_of(first, second)}),
    ("param colour is new", {"instrumentation": chain_of(first, second, size=3, colour="red")}),
    ("table things is not what it was", {"schema": table_of(Column("name", String(21)))}),
    (
        "table things is not what it was",
        {"schema": table_of(Column("name", String(20), nullable=False))},
    ),
    ("table things is not what it was", {"schema": table_of(Column("nom", String(20)))}),
    ("table things is missing", {"schema": None}),
]


# Whether a run may be resumed


@pytest.mark.parametrize("force", [False, True])
def test_the_same_run_may_be_resumed(force):
    check(facts_of(), facts_of(), force=force)


@pytest.mark.parametrize(
    "changes", [{"threads": 3}, {"overrun": "drop"}, {"grace": 1}, {"database": "sqlite://"}]
)
def test_what_rows_do_not_follow_from_may_change(changes):
    check(facts_of(), facts_of(**changes))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("difference", "changes"), DEEP, ids=[text for text, _ in DEEP])
def test_what_tells_which_exec_is_which_must_not_change_whatever_the_force(
    difference, changes, force
):
    with pytest.raises(InvalidConfig) as refusal:
        check(facts_of(), facts_of(**changes), force=force)
    assert str(refusal.value) == f"run run-1 cannot be resumed: {difference}"


@pytest.mark.parametrize(("difference", "changes"), HARMLESS)
def test_another_chain_param_or_table_is_named_and_can_be_forced(difference, changes):
    with pytest.raises(InvalidConfig) as refusal:
        check(facts_of(), facts_of(**changes))
    assert str(refusal.value) == (
        f"run run-1 cannot be resumed: {difference}; --force resumes it all the same"
    )
    check(facts_of(), facts_of(**changes), force=True)


def test_another_faker_is_told_with_both_versions_and_can_be_forced(monkeypatch):
    then = facts_of()
    monkeypatch.setattr(record, "faker_version", lambda: "99.1")
    with pytest.raises(InvalidConfig, match=rf"Faker is 99\.1, was {then['faker']}; --force"):
        check(then, facts_of())
    check(then, facts_of(), force=True)


def test_force_does_not_hide_a_deep_difference_behind_a_harmless_one():
    now = facts_of(seed=8, instrumentation=chain_of(first, size=4))
    with pytest.raises(InvalidConfig, match=r"seed is 8, was 7$"):
        check(facts_of(), now, force=True)


def test_a_table_that_came_anew_is_named():
    schema = table_of(Column("name", String(20)))
    Table("more", schema, Column("id", Integer, primary_key=True))
    with pytest.raises(InvalidConfig, match=r"table more is new; --force"):
        check(facts_of(), facts_of(schema=schema))


def test_facts_of_another_version_are_refused():
    with pytest.raises(InvalidConfig, match=r"version is 1, was 2$"):
        check({**facts_of(), "version": 2}, facts_of(), force=True)


def facts_of_shape(shape, **changes):
    return facts_of(execs_per_tick=None, ticks=None, shape=shape, **changes)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("difference", "changes"),
    [
        ("shape is 0:6/s,2s:6/s, was 0:5/s,2s:5/s", {"shape": Rate("6/s", "2s")}),
        ("ticks is 3, was 2", {"shape": Rate("5/s", "3s")}),
        ("shape is 0:5/s,...,count=9, was 0:5/s,2s:5/s", {"shape": Rate("5/s", count=9)}),
        ("ticks is 1, was 2", {"tick_duration": 2, "shape": Rate("5/s", "2s")}),
    ],
)
def test_another_shape_is_refused_whatever_the_force(difference, changes, force):
    then = facts_of_shape(Rate("5/s", "2s"))
    with pytest.raises(InvalidConfig) as refusal:
        check(then, facts_of_shape(**{"shape": None, **changes}), force=force)
    assert str(refusal.value) == f"run run-1 cannot be resumed: {difference}"


def test_the_same_shape_written_otherwise_may_be_resumed():
    then = facts_of_shape(Rate("5/s", "2s"))
    assert then["shape"] == "0:5/s,2s:5/s"
    for same in ("0:5/s,2s:5/s", "0:300/min,1s:5/s,2000ms:5/s", [Rate(5, 1), Rate("5/s", "1s")]):
        check(then, facts_of_shape(same))


def test_ticks_and_a_rate_line_are_not_the_same_run():
    ticks, line = facts_of(execs_per_tick=5, ticks=2), facts_of_shape(Rate("5/s", "2s"))
    with pytest.raises(InvalidConfig, match=r"execs_per_tick is None, was 5$"):
        check(ticks, line, force=True)
    with pytest.raises(InvalidConfig, match=r"execs_per_tick is 5, was None$"):
        check(line, ticks, force=True)


def test_a_record_of_before_there_were_shapes_can_be_resumed():
    old = {name: fact for name, fact in facts_of().items() if name != "shape"}
    check(old, facts_of())
    with pytest.raises(InvalidConfig, match=r"execs_per_tick is None, was 10$"):
        check(old, facts_of_shape(Rate("10/s", "5s")))


# Facts


@pytest.mark.parametrize("execs", [10, [1, 0, 4]])
@pytest.mark.parametrize("schema", [None, USUAL.schema])
def test_facts_come_out_of_json_as_they_went_in(execs, schema):
    facts = facts_of(execs_per_tick=execs, ticks=None, schema=schema)
    assert json.loads(json.dumps(facts)) == facts


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.floats() | st.text(), max_size=4))
def test_any_params_give_facts_that_are_json(arguments):
    facts = facts_of(
        instrumentation=Instrumentation(func_dispatcher=first, task_arguments=arguments)
    )
    assert json.loads(json.dumps(facts)) == facts
    assert set(facts["params"]) == set(arguments)


@pytest.mark.parametrize(
    "secret", ["canary-5f2e", 52_718_281, 5_271.8281, ["canary-5f2e"], {"canary-5f2e": 1}]
)
def test_the_values_of_params_are_in_no_fact(secret):
    text = json.dumps(facts_of(instrumentation=chain_of(first, second, size=secret)))
    assert "size" in text
    assert not any(trace in text for trace in ("canary", "52718281", "5271.8281"))


def test_params_that_are_no_json_are_known_by_their_type():
    one, same, other = (
        facts_of(instrumentation=chain_of(first, size=value))["params"]
        for value in (Decimal(1), Decimal(1), EPOCH)
    )
    assert one == same != other


def test_the_order_of_a_params_keys_does_not_matter():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    check(
        facts_of(instrumentation=chain_of(first, size=one)),
        facts_of(instrumentation=chain_of(first, size=other)),
    )


@given(st.integers(0, 400 * 86_400 * 10**9))
def test_the_tick_duration_is_exact_to_the_nanosecond(tick_ns):
    text = facts_of(tick_duration=timedelta(0), ticks=5)["tick_duration"]
    assert text == "0s"
    text = record._seconds(tick_ns)
    assert Decimal(text.removesuffix("s")).scaleb(9) == tick_ns
    assert parse_duration(text, "tick_duration") == tick_ns


def test_a_seed_of_any_size_survives():
    made = RunRecord(
        id="r",
        name="n",
        started_at="",
        planned=1,
        facts=json.loads(json.dumps(facts_of(seed=2**80 + 1))),
        origin=None,
    )
    assert made.seed == 2**80 + 1
    assert made.epoch == EPOCH


def test_a_param_that_json_does_not_take_is_known_by_its_type():
    knot = []
    knot.append(knot)
    for odd in ({1: 2, "a": 3}, {(1, 2): 3}, knot, object()):
        facts = facts_of(instrumentation=chain_of(first, second, odd=odd))
        check(facts, facts_of(instrumentation=chain_of(first, second, odd=odd)))
        with pytest.raises(InvalidConfig, match=r"param odd is not what it was"):
            check(facts, facts_of(instrumentation=chain_of(first, second, odd=7)))


def test_not_even_the_hash_of_a_secret_is_kept():
    one, other = (
        facts_of(instrumentation=chain_of(first, second, api_key=key)) for key in ("abc", "xyz")
    )
    assert one == other
