"""A rehearsal does what a run does: the same chain, the same seed, the same of everything."""

import asyncio
import threading
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine

from workermanager import (
    Retry,
    Step,
    TimedOut,
    Worker,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)
from workermanager.testing import Rehearsal

EXECS = 5

schema = MetaData()
notes = Table(
    "notes",
    schema,
    Column("id", String, primary_key=True),
    Column("n", Integer),
    Column("text", String),
)


class Broken(Exception):
    pass


def note(ctx, params):
    """Writes a row, and a param that follows from everything that a step can draw from."""
    text = f"{ctx.path} {ctx.random.random()} {ctx.unique('x')} {params.get('item')}"
    text += f" {type(getattr(ctx.error, 'cause', None)).__name__} {params.get('seen', 0)}"
    ctx.insert(notes, {"id": str(ctx.uuid()), "n": ctx.n, "text": text})
    return {"seen": params.get("seen", 0) + 1, ctx.path: text}


def note_last(ctx, params):
    return {"last": ctx.path}


async def wait_and_note(ctx, params):
    await asyncio.sleep(0)
    return note(ctx, params)


def fail_odd(ctx, params):
    note(ctx, params)
    if ctx.n % 2:
        raise Broken(f"{ctx.n} is odd")


def fail(ctx, params):
    raise Broken("always")


def fail_first(ctx, params):
    note(ctx, params)
    if ctx.attempt < 3:
        raise Broken("too early")


def go_on(ctx, params):
    return {"went": "on"}, [note, note_last]


def is_even(ctx, params):
    return ctx.n % 2 == 0


def three(params):
    return range(3)


plain_steps = st.sampled_from(
    [
        note,
        note,
        note_last,
        fail_odd,
        fail,
        go_on,
        Step(fail_first, retry=Retry(attempts=3, base=0)),
        Step(fail_odd, "tried", retry=Retry(attempts=2, base=0)),
        Step(note, "in_time", timeout=30),
    ]
)


def composed(parts):
    settings_of_groups = st.fixed_dictionaries(
        {
            "errors": st.just("collect"),
            "into": st.just("made"),
            "most": st.sampled_from([1, 2, 9]),
        }
    )
    few = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        few.map(lambda found: chain(*found, name="part")),
        st.tuples(few, settings_of_groups).map(lambda one: group(*one[0], **one[1])),
        st.tuples(parts, settings_of_groups).map(lambda one: each(one[0], over=three, **one[1])),
        parts.map(lambda part: group(part, most=1)),
        parts.map(lambda part: each(part, over=three, most=1, into="made")),
        st.tuples(parts, parts).map(lambda two: branch(is_even, *two)),
        st.tuples(parts, parts).map(lambda two: on_error(*two, when=Broken)),
        st.tuples(parts, parts).map(lambda two: compensate(*two)),
        st.tuples(parts, parts).map(lambda two: [two[0], finally_(two[1])]),
    )


def chains(steps):
    return st.lists(st.recursive(steps, composed, max_leaves=6), min_size=1, max_size=3)


def told(results):
    return [
        (
            one.n,
            one.tick,
            one.exec,
            one.outcome,
            told_value(one.params),
            told_value(one.error),
            getattr(one.error, "__notes__", None),
        )
        for one in sorted(results, key=lambda result: result.n)
    ]


def told_value(value):
    """Errors as text: two of them are never equal."""
    if isinstance(value, Mapping):
        return {name: told_value(one) for name, one in value.items()}
    if isinstance(value, list):
        return [told_value(one) for one in value]
    return str(value) if isinstance(value, BaseException) else value


def told_figures(report):
    steps = {
        name: (step.ok, step.failed, step.retried, step.timed_out, step.service.count)
        for name, step in report.steps.items()
    }
    errors = sorted((one.step, one.type, one.count) for one in report.errors)
    return report.counts, steps, errors, report.rows, report.outcome


def written(path):
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return sorted(tuple(row) for row in connection.execute(notes.select()))
    finally:
        engine.dispose()


def check_same(parts, path, **more):
    of_run = []
    asked = {"execs_per_tick": EXECS, "tick_duration": 0, "ticks": 1, "seed": 7, **more}
    where = {"database": f"sqlite:///{path}", "schema": schema, "ledger": False}
    report = Worker(parts, **asked, **where, on_result=of_run.append).run()
    rehearsal = Rehearsal()
    rehearsed = rehearsal.run(Worker(parts, **asked))
    assert told(rehearsal.results) == told(of_run)
    assert told_figures(rehearsed) == told_figures(report)
    rows = rehearsal.rows.get("notes", [])
    assert sorted(tuple(row.values()) for row in rows) == written(path)
    return rehearsal


@pytest.fixture
def fresh_file(tmp_path):
    number = 0

    def make():
        nonlocal number
        number += 1
        return tmp_path / f"{number}.db"

    return make


few_examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few_examples
@given(chains(plain_steps))
def test_any_chain_leaves_what_a_run_leaves(fresh_file, parts):
    assert check_same(parts, fresh_file(), threads=2).clock.seconds == 0


@few_examples
@given(chains(plain_steps | st.just(wait_and_note)))
def test_any_chain_with_async_steps_leaves_what_a_run_leaves(fresh_file, parts):
    check_same(parts, fresh_file(), threads=2)


def sleep_long(ctx, params):
    note(ctx, params)
    ctx.sleep(60)


def fail_later(ctx, params):
    ctx.sleep(0.01)
    fail(ctx, params)


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        (Step(sleep_long, timeout=0.05), {}),
        ([note, Step(sleep_long, timeout=0.05, retry=Retry(attempts=2, base=0))], {}),
        ([compensate(note, note), chain(sleep_long, timeout=0.05), finally_(note)], {}),
        ([note, group(note, sleep_long, timeout=0.05), note], {}),
        ([note, each(sleep_long, over=three, timeout=0.05)], {}),
        (on_error(group(sleep_long, timeout=0.05), note, when=TimedOut), {}),
        (group(Step(sleep_long, timeout=0.05), note, errors="collect", into="made"), {}),
        ([compensate(note, note), sleep_long, finally_(note)], {"exec_timeout": 0.05}),
        ([compensate(note, note), sleep_long, finally_(note)], {"tick_timeout": 0.05}),
        ([note, group(fail_later, sleep_long), note], {}),
    ],
)
def test_deadlines_leave_what_they_leave_in_a_run(fresh_file, parts, settings):
    check_same(parts, fresh_file(), threads=EXECS, **settings)


def test_a_step_that_is_stuck_leaves_what_it_leaves_in_a_run(fresh_file):
    """In the run a thread is stuck until its exec has ended; in the rehearsal, time just passes."""
    rehearsal, ended = Rehearsal(), threading.Event()

    def be_stuck(ctx, params):
        note(ctx, params)
        params["stuck"] = True
        if ctx.scope.clock is rehearsal.clock:
            rehearsal.clock.advance(10)
        else:
            assert ended.wait(30)
        note(ctx, params)

    tried = Step(be_stuck, timeout=0.05, retry=Retry(attempts=3, base=0))
    parts = [compensate(note, note), on_error(tried, [note, fail]), note]
    of_run = []

    def hear(result):
        of_run.append(result)
        ended.set()

    report = Worker(parts, seed=7, on_result=hear, database="sqlite://", schema=schema).run()
    rehearsed = rehearsal.run(Worker(parts, seed=7))
    assert told(rehearsal.results) == told(of_run)
    assert told_figures(rehearsed) == told_figures(report)
    assert rehearsal.clock.seconds == 0.05
