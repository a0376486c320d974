"""Parts at the same time: who runs beside whom, what a failure does to others, what is merged."""

import sqlite3
import threading
from contextvars import ContextVar

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from instrumentation.composing import chain, compensate, each, finally_, group, on_error
from instrumentation.errors import Cancelled, StepError
from instrumentation.steps import Step
from workermanager import Instrumentation, Worker

schema = MetaData()
notes = Table("notes", schema, Column("id", Integer, primary_key=True), Column("text", Text))
color = ContextVar("color", default="none")


def run(chain, execs=1, **settings):
    """The report of a run, and the Results of its execs in their order."""
    results = []
    settings = {"threads": 1, "seed": 1, "on_result": results.append, **settings}
    whole = Instrumentation(func_dispatcher=chain, func_name="root")
    report = Worker(whole, execs_per_tick=execs, ticks=1, tick_duration=0, **settings).run()
    return report, sorted(results, key=lambda result: result.n)


def fail(ctx, params):
    raise ValueError("wrong")


def setting(**values):
    def put(ctx, params):
        return values

    return put


class Inside:
    """A step that counts how many are in it; they leave when ``wanted`` of them are."""

    def __init__(self, wanted):
        self.barrier = threading.Barrier(wanted)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, ctx, params):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.barrier.wait(30)
        with self.lock:
            self.now -= 1


def test_all_members_of_a_group_run_at_the_same_time_on_one_thread_of_the_run():
    inside = Inside(5)
    report, _results = run(group(*[inside] * 5))
    assert report.counts["ok"] == 1


@pytest.mark.parametrize(
    "fan",
    [
        lambda step: group(*[step] * 12, most=3),
        lambda step: each(step, over=lambda _params: range(12), most=3),
    ],
)
def test_no_more_run_than_are_told_to(fan):
    inside = Inside(3)
    report, _results = run(fan(inside))
    assert report.counts["ok"] == 1
    assert inside.most == 3


def test_what_members_changed_is_merged_in_their_order_whichever_ended_first(tmp_path):
    second_has_ended = threading.Event()

    def first(ctx, params):
        assert second_has_ended.wait(30)
        ctx.insert(notes, {"text": "first"})
        return {"who": "first", "a": 1}

    def second(ctx, params):
        ctx.insert(notes, {"text": "second"})
        params["b"] = 2
        return {"who": "second"}

    def tell(ctx, params):
        second_has_ended.set()

    path = tmp_path / "notes.db"
    fan = group(first, [second, tell], into="came")
    _report, (result,) = run(fan, database=f"sqlite:///{path}", schema=schema)
    assert result.params["who"] == "second"
    assert result.params["came"] == [{"who": "first", "a": 1}, {"who": "second", "b": 2}]
    connection = sqlite3.connect(path)
    written = connection.execute("SELECT text FROM notes ORDER BY id").fetchall()
    connection.close()
    assert written == [("first",), ("second",)]


def test_members_see_nothing_of_each_other():
    def look(ctx, params):
        seen.append(sorted(set(params) & {"a", "b"}))
        params["a"] = params["b"] = 1

    seen = []
    run(group(look, look, look, most=1))
    assert seen == [[], [], []]


def test_an_each_keeps_nothing_unless_told_where():
    changes = setting(a=1)
    _report, (result,) = run(each(changes, over=lambda _params: range(2)))
    assert not {"a", "item"} & set(result.params)
    _report, (result,) = run(each(changes, over=lambda _params: range(2), into="came"))
    assert result.params["came"] == [{"a": 1}, {"a": 1}]


def test_the_first_failure_calls_the_others_off_waits_for_them_and_begins_no_more(calls):
    entered, causes = threading.Event(), []

    def wait(ctx, params):
        entered.set()
        try:
            ctx.sleep(3_600)
        except Cancelled as cancelled:
            causes.append(cancelled.cause)
            raise

    def fail_then(ctx, params):
        assert entered.wait(30)
        raise ValueError("first")

    report, (result,) = run(group(wait, fail_then, calls, most=2))
    assert report.counts["failed"] == 1
    assert (result.error.path, str(result.error.cause)) == ("root/1/group/2/fail_then", "first")
    assert causes == [result.error]
    assert not calls.seen


def test_a_failure_beside_the_first_one_is_noted_on_it():
    both = threading.Barrier(2)

    def fail_together(ctx, params):
        both.wait(30)
        raise ValueError(ctx.path)

    _report, (result,) = run(group(fail_together, fail_together))
    (note,) = result.error.__notes__
    assert note.startswith("beside it failed: step root/1/group/")


def test_collecting_lets_all_run_to_their_ends_and_has_an_error_where_one_failed():
    fan = group(setting(a=1), fail, setting(b=2), errors="collect", into="came")
    report, (result,) = run(fan)
    assert report.counts["ok"] == 1
    first, error, last = result.params["came"]
    assert (first, last) == ({"a": 1}, {"b": 2})
    assert isinstance(error, StepError)
    assert error.path == "root/1/group/2/fail"
    assert (result.params["a"], result.params["b"]) == (1, 2)


def test_items_are_taken_one_by_one_as_there_is_room():
    taken, ended = [], []

    def items(_params):
        for number in range(20):
            taken.append(number)
            assert len(taken) - len(ended) <= 3
            yield number

    def end(ctx, params):
        ended.append(params["item"])

    report, _results = run(each(end, over=items, most=2))
    assert report.counts["ok"] == 1
    assert sorted(ended) == list(range(20))


def test_items_that_cannot_be_had_fail_the_each_once_the_others_have_left():
    entered, left = threading.Event(), []

    def items(_params):
        yield 1
        assert entered.wait(30)
        raise OSError("no more")

    def wait(ctx, params):
        entered.set()
        try:
            ctx.sleep(3_600)
        finally:
            left.append(ctx.path)

    _report, (result,) = run(each(wait, over=items, most=2))
    assert (result.error.path, str(result.error.cause)) == ("root/1/each", "no more")
    assert left == ["root/1/each/1/wait"]


def test_what_members_completed_is_undone_in_reverse_when_a_later_part_fails():
    log = []

    def noting(text):
        def note(ctx, params):
            log.append((text, params.get("mine")))

        return note

    def member(name):
        return [setting(mine=name), compensate(noting(name), noting(f"undo {name}"))]

    whole = [group(member("a"), member("b"), most=1), fail, finally_(noting("final"))]
    run(whole)
    assert log == [("a", "a"), ("b", "b"), ("undo b", "b"), ("undo a", "a"), ("final", "b")]


def test_groups_in_groups_in_groups_need_no_more_threads_than_there_are(calls):
    three = {"over": lambda _params: range(6), "most": 6}
    whole = each(each(each(calls, **three, name="c"), **three, name="b"), **three, name="a")
    report, _results = run(whole, execs=4, threads=2)
    assert report.counts["ok"] == 4
    assert len(calls.seen) == 4 * 6**3


def test_a_member_that_wants_out_ends_the_run(calls):
    def leave(ctx, params):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run([group(leave, calls, most=1), calls])
    assert not calls.seen


# On which thread


def test_members_see_the_context_variables_of_whoever_starts_the_run():
    seen, all_in = [], threading.Barrier(4)

    def look(ctx, params):
        all_in.wait(30)
        seen.append(color.get())

    token = color.set("red")
    run(group(look, look, look, look))
    color.reset(token)
    assert seen == ["red"] * 4


@pytest.mark.parametrize("is_member", [True, False])
def test_a_thread_that_takes_the_place_of_a_stuck_one_sees_them_too(is_member):
    may_leave, stuck, seen = threading.Event(), [], []

    def be_deaf(ctx, params):
        stuck.append(threading.current_thread())
        assert may_leave.wait(30)

    def look(ctx, params):
        seen.append(color.get())

    deaf = chain(Step(be_deaf, timeout=0.02), finally_(look), name="inner")
    # Of two members the second runs on a thread of the crew, because the first waits for it.
    has_looked = threading.Event()

    def wait(ctx, params):
        assert has_looked.wait(30)

    def tell(ctx, params):
        has_looked.set()

    beside = group(wait, chain(deaf, finally_(tell)), errors="collect", into="came")
    token = color.set("red")
    run(beside if is_member else deaf)
    color.reset(token)
    may_leave.set()
    for thread in stuck:
        thread.join(30)
    assert seen == ["red"]


@pytest.mark.parametrize("is_member", [True, False])
def test_a_run_keeps_nothing_of_threads_that_were_stuck_and_have_left(is_member):
    stuck = []

    def be_deaf(ctx, params):
        stuck.append(threading.current_thread())
        while not ctx.fence.is_closed:
            pass

    step = Step(be_deaf, timeout=0.001)
    fan = each(step, over=lambda _params: range(3), errors="collect", into="came", most=3)
    whole = Instrumentation(func_dispatcher=fan if is_member else step, func_name="root")
    worker = Worker(whole, execs_per_tick=8, ticks=1, tick_duration=0, threads=1, seed=1)
    running = worker.start()
    assert running.finish().counts["due"] == 8
    staff = running._staff
    while staff.stuck:  # a late one may not even have begun its step
        threading.Event().wait(0.001)
    for thread in stuck:
        thread.join(30)
    assert len(stuck) == (24 if is_member else 8)
    assert len(staff.pool._threads) == 1
    assert not staff.pool._given_up
    assert len(running._books.slots) < 10


def test_compositions_that_grow_into_each_other_fail_their_exec_past_a_hundred_levels():
    def deeper(ctx, params):
        return on_error(deeper, deeper, when=KeyError)

    results = []
    report = Worker(deeper, on_result=results.append).run()
    assert report.counts["failed"] == 1
    assert str(results[0].error.cause) == "nested more than 100 levels deep"


def test_what_wants_to_leave_while_it_cleans_up_leaves_when_all_is_cleaned_up():
    seen = []

    def note(name):
        def noting(ctx, params):
            seen.append(name)
            if name == "undo 2":
                raise SystemExit(4)

        return noting

    def fails(ctx, params):
        raise ValueError

    parts = [compensate(note(f"do {n}"), note(f"undo {n}")) for n in (1, 2, 3)]
    with pytest.raises(SystemExit, match="4"):
        Worker([*parts, fails, finally_(note("finally"))]).run()
    assert seen == ["do 1", "do 2", "do 3", "undo 3", "undo 2", "undo 1", "finally"]


@pytest.mark.parametrize("kind", [StopIteration, GeneratorExit])
def test_a_generator_s_own_words_from_a_step_fail_it_and_are_recovered(kind):
    seen = []

    def says(ctx, params):
        raise kind

    def recover(ctx, params):
        seen.append(ctx.error.cause)

    tidied = finally_(lambda _ctx, _params: seen.append("tidied"))
    report = Worker(on_error([says, tidied], recover)).run()
    assert report.counts["ok"] == 1
    assert seen[0] == "tidied"
    assert isinstance(seen[1].__cause__, kind)
