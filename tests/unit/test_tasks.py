import errno
from contextlib import closing
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.processes.spool import Spool
from workermanager.processes.task import Task
from workermanager.processes.tasks import Tasks

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TASKS = st.builds(
    Task,
    identifier=TEXTS.filter(bool),
    command=TEXTS,
    args=st.lists(TEXTS, max_size=3).map(tuple),
    cwd=st.none() | TEXTS,
    env=st.none()
    | st.dictionaries(TEXTS.filter(lambda name: name and "=" not in name), st.none() | TEXTS),
    stdin=st.none() | TEXTS,
    timeout=st.none() | st.integers(1, 10**6).map(lambda ms: ms / 1_000),
    retries=st.none() | st.integers(0, 9),
)


class Name(StrEnum):
    A = "a"


def made(*tasks):
    return closing(Tasks.of(tasks))


def refused(*tasks, **how):
    with pytest.raises(InvalidConfig) as caught:
        Tasks.of(tasks, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def joined(edges):
    """A task for each name, after those that it has in ``edges``."""
    return [Task(name, "true", after=tuple(before)) for name, before in edges.items()]


@given(st.lists(TASKS, unique_by=lambda task: task.identifier, max_size=5))
def test_tasks_are_what_they_were_made_of(tasks):
    with made(*tasks) as kept:
        assert [kept[number] for number in range(len(kept))] == tasks
        assert kept.after == {}


def test_no_tasks_are_tasks():
    with made() as kept:
        assert len(kept) == 0


@pytest.mark.parametrize("number", [-1, 2, 100])
def test_there_is_no_task_but_those_that_were_given(number):
    with made(Task("a", "true"), Task("b", "true")) as kept:
        with pytest.raises(IndexError, match=f"there is no task {number} of 2"):
            kept[number]
        with pytest.raises(IndexError):
            kept.key(number)


def test_tasks_made_in_python_are_checked_as_those_of_a_file():
    assert refused(Task("a", "x"), Task("b", "x", args="ls")) == (
        "tasks: task 1 ('b'): args: wanted an array of texts, found 'ls'"
    )
    assert refused(Task("", "x"), source="flow.py").startswith("flow.py: task 0: identifier: ")
    assert refused("true") == "tasks: task 0: wanted an object, found 'true'"
    assert "task 0 ('a'): env['A']: wanted text" in refused(Task("a", "x", env={"A": 1}))
    assert "timeout: wanted more than 0" in refused(Task("a", "x", timeout=0))


def test_two_tasks_of_one_name_are_refused_at_the_first_that_repeats():
    a, b, c = (Task(name, "true") for name in "abc")
    assert refused(a, b, c, b, a) == "tasks: task 3 ('b'): identifier: task 1 has the same"


def test_a_name_is_the_same_whatever_its_type():
    assert "identifier: task 0 has the same" in refused(Task("a", "x"), Task(Name.A, "x"))


def test_names_may_repeat_where_they_are_allowed_to():
    tasks = [(0, Task("a", "1")), (0, Task("a", "2")), (0, Task("", "3"))]
    with closing(Tasks(tasks, "tasks", may_repeat=True)) as kept:
        assert [kept[n].command for n in range(3)] == ["1", "2", "3"]


def test_names_whose_hashes_are_alike_are_told_apart(monkeypatch):
    monkeypatch.setattr("workermanager.processes.tasks._bits", lambda _name: 5 << 32)
    with made(*joined({"ab": "", "a": "", "b": ["ab", "a"], '"': "", "c": ['"']})) as kept:
        assert kept.after == {2: (0, 1), 4: (3,)}
    assert "task 2 ('a'): identifier: task 0 has the same" in refused(
        *joined({"a": "", "b": ""}), Task("a", "x")
    )
    assert "after[0]: there is no task 'c'" in refused(*joined({"a": "", "b": "c"}))


def test_tasks_wait_for_those_they_come_after():
    with made(*joined({"both": ["b", "a", "b"], "a": "", "b": ["a"]})) as kept:
        assert kept.after == {0: (2, 1), 2: (1,)}


def test_who_comes_after_nobody_that_is_there_is_refused():
    assert refused(*joined({"a": "", "b": ["a", "cc"]})) == (
        "tasks: task 1 ('b'): after[1]: there is no task 'cc'"
    )


@pytest.mark.parametrize(
    ("edges", "shown"),
    [
        ({"a": "a"}, "task 0 ('a'): after: it would wait for itself: a -> a"),
        ({"a": "b", "b": "a"}, "task 0 ('a'): after: it would wait for itself: a -> b -> a"),
        (
            {"x": "b", "a": "b", "b": ["d", "c"], "c": "a", "d": ""},
            "task 2 ('b'): after: it would wait for itself: b -> c -> a -> b",
        ),
        ({"\n": "\n"}, r"task 0 ('\n'): after: it would wait for itself: '\n' -> '\n'"),
        (
            {f"{n}": [f"{(n + 1) % 99}"] for n in range(99)},
            (
                "task 0 ('0'): after: it would wait for itself: "
                "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9 -> … -> 0"
            ),
        ),
    ],
)
def test_who_would_wait_for_itself_is_refused_and_shown(edges, shown):
    assert refused(*joined(edges)) == f"tasks: {shown}"


@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=8, max_size=8))
def test_cycles_are_found_where_a_topological_sort_finds_them(edges):
    tasks = joined({f"{n}": [f"{other}" for other in before] for n, before in enumerate(edges)})
    try:
        TopologicalSorter(dict(enumerate(edges))).prepare()
    except CycleError:
        shown = refused(*tasks).partition("itself: ")[2].split(" -> ")
        assert shown[0] == shown[-1]
        assert all(int(b) in edges[int(a)] for a, b in pairwise(shown))
    else:
        with made(*tasks) as kept:
            found = [set(kept.after.get(n, ())) for n in range(8)]
            assert found == [set(before) for before in edges]


@pytest.mark.parametrize("step", [1, -1])
def test_a_long_row_of_tasks_neither_recurses_nor_takes_long(step):
    names = [f"{n}" for n in range(20_000)][::step]
    tasks = [Task(names[0], "true")]
    tasks += [Task(b, "true", after=(a,)) for a, b in pairwise(names)]
    with made(*tasks[::step]) as kept:
        assert len(kept.after) == 19_999
        assert len({kept.key(number) for number in reversed(range(20_000))}) == 20_000
    with pytest.raises(InvalidConfig, match="it would wait for itself"):
        Tasks.of([tasks[0]._replace(after=(names[-1],)), *tasks[1:]])


def test_a_key_is_the_same_in_another_process_and_another_release():
    # Journals keep it: whoever changes it makes them useless.
    with made(
        Task("a", "true"), Task("é", "x", ("1",), "/", {"B": None, "A": "1"}, "in", after=("a",))
    ) as kept:
        assert kept.key(0) == digest(b'["a","true",[],null,null,null,[]]')
        assert kept.key(1) == digest(
            rb'["\u00e9","x",["1"],"/",{"A":"1","B":null},"in",["' + kept.key(0).encode() + b'"]]'
        )


def digest(content):
    return blake2b(content, digest_size=16).hexdigest()


def key(task, *before):
    """The key of a task, and that it is given twice."""
    with made(*before, task) as kept:
        first = kept.key(len(kept) - 1)
        assert kept.key(len(kept) - 1) == first
    return first


def test_a_key_stands_for_all_that_a_task_does_and_for_nothing_else():
    task = Task("a", "true", ("1", "2"), "/", {"A": "1", "B": "2"}, "in", 5.0, 1)
    same = [
        task._replace(timeout=6.0),
        task._replace(retries=None),
        task._replace(env={"B": "2", "A": "1"}),
    ]
    other = [
        task._replace(identifier="b"),
        task._replace(command="false"),
        task._replace(args=("12",)),
        task._replace(cwd="/tmp"),
        task._replace(env={"A": "1"}),
        task._replace(env={"A": "1", "B": None}),
        task._replace(stdin=None),
    ]
    assert {key(one) for one in same} == {key(task)}
    assert len({key(task), *map(key, other)}) == 1 + len(other)


def test_a_key_stands_for_what_a_task_comes_after_too():
    a, b = Task("a", "true"), Task("b", "true")
    last = Task("c", "true", after=("a", "b"))
    assert key(last, a, b) == key(last._replace(after=("b", "a")), b, a)
    assert key(last, a, b) != key(last._replace(after=("a",)), a, b)
    assert key(last, a, b) != key(last, a, b._replace(command="false"))
    middle = b._replace(after=("a",))
    assert key(last, a, middle) != key(last, a._replace(stdin="x"), middle)


def test_keys_do_not_depend_on_which_is_asked_for_first():
    tasks = joined({"d": "bc", "b": "a", "c": "a", "a": "", "e": "dab"})
    with made(*tasks) as forwards, made(*tasks) as backwards:
        expected = [forwards.key(number) for number in range(5)]
        assert [backwards.key(number) for number in reversed(range(5))] == expected[::-1]


def test_a_full_disk_is_told_of_and_nothing_is_left_open(monkeypatch):
    closed = []

    def write(_spool, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "write", write)
    monkeypatch.setattr(Spool, "close", lambda spool: closed.append(spool.size))
    assert refused(Task("a", "x")) == "tasks: no room to keep task 0: No space left on device"
    assert closed == [0]
