import io
import json
import os
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.processes import window
from workermanager.processes.reading import read_file, read_text
from workermanager.processes.task import Task

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
OPTIONAL = {
    "command": TEXTS,
    "args": st.lists(TEXTS, max_size=3),
    "env": st.dictionaries(st.sampled_from(["A", "PATH", "Ä"]), st.none() | TEXTS),
    "stdin": st.none() | TEXTS,
    "timeout": st.sampled_from([1, 0.25, 1e3, None]),
    "retries": st.integers(0, 99),
}
VALUES = st.lists(
    st.fixed_dictionaries({"identifier": TEXTS.filter(bool)}, optional=OPTIONAL),
    unique_by=lambda value: value["identifier"],
    max_size=4,
)
SIZES = st.integers(4, 40)  # bytes at once; a byte order mark is in the first of them
LAYOUTS = st.sampled_from(
    [
        {},
        {"indent": 3},
        {"separators": (",", ":")},
        {"separators": (" \r\n,\t", "\n: ")},
        {"ensure_ascii": False},
    ]
)


def task_of(value):
    """What a value of JSON stands for, said without the code under test."""
    timeout = value.get("timeout")
    return Task(
        value["identifier"],
        value.get("command", ""),
        tuple(value.get("args", ())),
        env=value.get("env"),
        stdin=value.get("stdin"),
        timeout=None if timeout is None else float(timeout),
        retries=value.get("retries"),
    )


def listed(tasks):
    with closing(tasks):
        return [tasks[number] for number in range(len(tasks))]


def from_input(data, size=None, **how):
    """The tasks of standard input, read ``size`` bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        if size is not None:
            patch.setattr(window, "_CHUNK", size)
        return listed(read_file("-", **how))


def outcome(data, size=None):
    """The tasks of standard input, or why there are none."""
    try:
        return from_input(data, size)
    except InvalidConfig as error:
        return str(error)


def refused(data, size=None, **how):
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with pytest.raises(InvalidConfig) as caught:
        from_input(data, size, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("standard input: ")


@given(VALUES, LAYOUTS, SIZES, st.sampled_from(["", "\ufeff", " \n\t"]))
def test_an_array_is_read_however_it_is_laid_out_and_cut(values, layout, size, before):
    text = before + json.dumps(values, **layout) + before.strip("\ufeff")
    expected = [task_of(value) for value in values]
    assert from_input(text.encode(), size) == expected
    assert listed(read_text(text)) == expected


@given(
    VALUES,
    st.booleans(),
    SIZES,
    st.sampled_from(["\n", "\r\n", "\n \n\n"]),
    st.sampled_from(["", "\ufeff", "\n\n"]),
    st.booleans(),
)
def test_lines_are_read_however_they_end_and_are_cut(  # noqa: PLR0913, PLR0917 - all drawn
    values, is_ascii, size, end, before, is_ended
):
    text = before + end.join(json.dumps(value, ensure_ascii=is_ascii) for value in values)
    text += end * is_ended
    assert from_input(text.encode(), size) == [task_of(value) for value in values]


def test_every_cut_through_text_escapes_and_numbers_is_mended():
    value = {"identifier": 'aé€😀\\"\n\u0001', "command": "😀" * 9, "timeout": 12.5e1, "retries": 7}
    for is_ascii in (True, False):
        array = json.dumps([value], ensure_ascii=is_ascii).encode()
        for size in range(1, len(array) + 1):
            assert from_input(array, size) == [task_of(value)]
            assert from_input(array[1:-1], size) == [task_of(value)]


def mutilated(data, place, length, put):
    place %= len(data) + 1
    return data[:place] + put + data[place + length :]


@given(
    VALUES,
    LAYOUTS,
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 3),
            st.sampled_from(
                [b"", b"", b'"', b",", b"]", b"[", b"}", b"\\", b"1", b"e", b"\n", b"\xff", b" "]
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    SIZES,
)
def test_mutilated_json_is_refused_as_json_has_it_and_the_same_wherever_it_is_cut(
    values, layout, mutilations, size
):
    data = json.dumps(values, **layout).encode()
    for mutilation in mutilations:
        data = mutilated(data, *mutilation)
    found = outcome(data)
    assert outcome(data, size) == found
    told = found if isinstance(found, str) else ""
    if data.lstrip().startswith(b"{"):
        return  # lines
    try:
        json.loads(data)
    except UnicodeDecodeError:
        assert told
    except json.JSONDecodeError:
        assert told or not data.strip()
    else:
        assert "malformed" not in told
        assert "UTF-8" not in told


@given(st.binary(max_size=40), SIZES)
@example(b"\xef\xbb\xbf", 4)
def test_no_bytes_at_all_do_worse_than_be_refused(data, size):
    for first in (b"", b"[", b"{", b'[{"identifier":"'):
        found = outcome(first + data, size)
        assert isinstance(found, list) or found.startswith("standard input: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("5", "wanted an array of tasks, found 5"),
        ('"[]"', "wanted an array of tasks, found '[]'"),
        ("[5]", "task 0: wanted an object, found 5"),
        ("[null]", "task 0: wanted an object, found null"),
        ("nul", "line 1, column 1: malformed JSON: expecting value"),
        ("null 5", "line 1, column 6: malformed JSON: text after the array"),
        ("[]\n x", "line 2, column 2: malformed JSON: text after the array"),
        ("[", "line 1, column 2: malformed JSON: expecting value"),
        (
            '[{"identifier": "a"}',
            "line 1, column 21: malformed JSON: wanted ',' or ']' after a task",
        ),
        (
            '[{"identifier": "a"} {}]',
            "line 1, column 22: malformed JSON: wanted ',' or ']' after a task",
        ),
        ('[{"identifier": "a"},]', "line 1, column 22: malformed JSON: expecting value"),
        (
            '[\n {"identifier": "a]\n',
            "line 2, column 20: malformed JSON: invalid control character",
        ),
        ('[\n\n {"identifier": "a]', "line 3, column 17: malformed JSON: unterminated string"),
        ('["\\x"]', "line 1, column 3: malformed JSON: invalid \\escape"),
        ('[{"timeout": NaN}]', "line 1, column 2: malformed JSON: NaN is no value"),
        ("[" * 100_000, "line 1, column 2: nested too deeply"),
        (
            '[{"identifier": "a"},\n{"identifier": "resize", "args": ["", 7]}]',
            "task 1 ('resize'): args[1]: wanted text, found 7",
        ),
        (
            '{"identifier": "a"}\r\n\n{"identifier": "resize", "args": ["", 7]}',
            "line 3: task 1 ('resize'): args[1]: wanted text, found 7",
        ),
        (
            '\n{"identifier": "a"}\n\n{"identifier": "a"}',
            "line 4: task 1 ('a'): identifier: task 0 has the same",
        ),
        (
            '{"identifier": "a", "after": ["b"]}',
            "line 1: task 0 ('a'): after[0]: there is no task 'b'",
        ),
        ('{"identifier": "a"}\n[]', "line 2: task 1: wanted an object, found an array"),
        ('{"identifier": "a"} {}', "line 1, column 21: malformed JSON: extra data"),
        (
            '{}\n{"a": 1, x}',
            "line 1: task 0: identifier: wanted text that names the task, found none",
        ),
        (
            '{"identifier": "a"}\n  {"a": 1, x}\n',
            "line 2, column 12: malformed JSON: expecting property name enclosed in double quotes",
        ),
        (
            '{\n  "identifier": "a"\n}',
            (
                "line 1, column 2: malformed JSON: expecting property name enclosed in double "
                "quotes; without an array around them, tasks are on one line each"
            ),
        ),
        (b'[{"identifier": "a\xff"}]', "not UTF-8 at byte offset 18"),
        (b"\xef\xbb\xbf[\xe2\x82", "not UTF-8 at byte offset 4"),
        (b'[{"identifier": 5},              "\xff"]', "task 0: identifier: wanted text, found 5"),
        ("[" + " " * 100_000 + "\xe9]", "line 1, column 100002: malformed JSON: expecting value"),
        ("[" + "\n" * 100_000 + "\xe9]", "line 100001, column 1: malformed JSON: expecting value"),
        (b"[" + b" " * 100_000 + b"\xff]", "not UTF-8 at byte offset 100001"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, complaint):
    for size in (None, 4, 7, 1_000):
        assert refused(text, size) == complaint


def test_text_after_a_byte_order_mark_is_counted_without_it():
    assert refused("\ufeffx") == "line 1, column 1: malformed JSON: expecting value"


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "[]", "null", "\ufeff [ \n]\n"])
def test_no_tasks_are_no_error_of_a_file(text):
    assert from_input(text.encode()) == []


@pytest.mark.parametrize("text", ["[]", "null", " [\n]\n", "\ufeffnull"])
def test_no_tasks_are_no_error_of_the_argument(text):
    assert listed(read_text(text)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"identifier": "a"}', "wanted an array of tasks, found an object"),
        (" ", "wanted an array of tasks, found nothing"),
        ("[{}]", "task 0: identifier: wanted text that names the task, found none"),
        ("[{]", "line 1, column 3: malformed JSON: "),
        ("[é\udcff]", "not UTF-8 at byte offset 3"),
        ("[\ud800]", "not UTF-8 at byte offset 1"),
        (r'[{"identifier": "\ud800"}]', "task 0 ('\\ud800'): identifier: half of a surrogate"),
    ],
)
def test_the_argument_is_an_array(text, complaint):
    with pytest.raises(InvalidConfig) as caught:
        read_text(text)
    assert str(caught.value).startswith(f"TASKS_JSON: {complaint}")


def test_leniently_tasks_are_what_the_original_takes():
    text = """[null, {}, {"Identifier": "a", "COMMAND": "x", "args": null, "more": [{}]},
        {"identifier": "a"}]"""
    expected = [Task("", ""), Task("", ""), Task("a", "x"), Task("a", "")]
    assert listed(read_text(text, is_lenient=True)) == expected
    assert from_input(text.encode(), is_lenient=True) == expected
    assert refused('[{"args": [1]}]', is_lenient=True) == "task 0: args[0]: wanted text, found 1"
    assert refused("[}", is_lenient=True).startswith("line 1, column 2: malformed JSON")


def test_numbers_of_many_digits_are_numbers():
    digits = "1" * 5_000
    assert "retries: wanted a whole number" in refused(
        f'[{{"identifier": "a", "retries": {digits}}}]'
    )
    lenient = from_input(f'[{{"more": {digits}}}]'.encode(), is_lenient=True)
    assert lenient == [Task("", "")]


def test_a_file_is_named_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.json").write_text("[{}]")
    with pytest.raises(InvalidConfig, match=r"^tasks\.json: task 0: identifier: wanted"):
        read_file("tasks.json")
    (tmp_path / "tasks.json").write_text('{"identifier": "a"}\n{"identifier": "b"}')
    assert listed(read_file("tasks.json")) == [Task("a", ""), Task("b", "")]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidConfig) as caught:
        read_file(str(tmp_path / "none.json"))
    assert str(caught.value) == f"{tmp_path}/none.json: cannot be read: No such file or directory"
    for name in (f"{tmp_path}", f"{tmp_path}/none.toml"):
        with pytest.raises(InvalidConfig, match="cannot be read: "):
            read_file(name)


def test_a_closed_standard_input_is_told_of(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(
        InvalidConfig, match=r"^standard input: cannot be read: Bad file descriptor"
    ):
        read_file("-")


def test_a_standard_input_that_does_not_wait_is_refused_and_not_taken_for_its_end(monkeypatch):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.write(writer, b'{"identifier": "a"}\n')
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
        with pytest.raises(InvalidConfig, match="standard input: cannot be read: Resource temp"):
            read_file("-")


def test_tables_of_toml_are_tasks(tmp_path):
    path = tmp_path / "flow.toml"
    path.write_bytes(
        "\ufeff[[tasks]]\r\nidentifier = 'a'\r\ncommand = 'é'\r\nargs = ['1']\r\nenv.A = 'x'\r\n"
        "[[tasks]]\ntimeout = 1.5\nidentifier = 'b'\nafter = ['a']\nalways = true\n".encode()
    )
    assert listed(read_file(str(path))) == [
        Task("a", "é", ("1",), env={"A": "x"}),
        Task("b", "", timeout=1.5, after=("a",), always=True),
    ]
    path.write_text("")
    assert listed(read_file(str(path))) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[task]]", "unknown 'task': did you mean 'tasks'?"),
        ("tasks = 5", "tasks: wanted [[tasks]], found 5"),
        ("tasks = [5]", "task 0: wanted an object, found 5"),
        ("[tasks]\nidentifier = 'a'", "tasks: wanted [[tasks]], found an object"),
        ("x", "malformed TOML: "),
        ("x = " + "[" * 5_000, "malformed TOML: nested too deeply"),
        ("x = " + "1" * 5_000, "malformed TOML: "),
        (
            "[[tasks]]\nidentifier = 'a'\ncwd = 2020-01-01",
            "task 0 ('a'): cwd: wanted text, found 2020",
        ),
        (
            "[[tasks]]\nidentifier = 'a'\ntimeout = inf",
            "task 0 ('a'): timeout: inf is out of range",
        ),
        (b"[[tasks]] # \xff", "not UTF-8 at byte offset 12"),
    ],
)
def test_what_is_wrong_with_toml_is_told(tmp_path, text, complaint):
    path = tmp_path / "flow.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidConfig) as caught:
        read_file(str(path))
    assert str(caught.value).startswith(f"{path}: {complaint}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "begin", [b'[{"identifier": "a", "stdin": "', b'{"identifier": "a", "stdin": "']
)
def test_a_task_larger_than_is_allowed_is_refused_and_one_as_large_is_not(monkeypatch, begin):
    monkeypatch.setattr(window, "_LARGEST", 10_000)
    end = b'"}]' if begin.startswith(b"[") else b'"}'
    room = 10_000 - len(begin.lstrip(b"[")) - len(end.rstrip(b"]"))
    for size in (4, 100, None):
        (task,) = from_input(begin + b"x" * room + end, size)
        assert task.stdin == "x" * room
        place = "line 1, column 2" if end.endswith(b"]") else "line 1, column 1"
        assert (
            refused(begin + b"x" * (room + 1) + end, size)
            == f"{place}: more than 64 MiB in one piece"
        )
        assert "more than 64 MiB" in refused(begin + b"x" * 100_000, size)


class Counting(io.BytesIO):
    """Bytes that count how often they are asked for."""

    asked = 0

    def read(self, size=-1):
        self.asked += 1
        return super().read(size)


def test_a_long_task_is_not_tried_more_often_than_its_length_doubles(monkeypatch):
    data = json.dumps([{"identifier": "a", "args": ["x" * 100] * 100_000}]).encode()
    file = Counting(data)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
    (task,) = listed(read_file("-"))
    assert len(task.args) == 100_000
    assert file.asked < 12


MEASURE = """
import resource, sys
from workermanager.processes.reading import read_file
tasks = read_file(sys.argv[1])
print(len(tasks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
assert tasks[len(tasks) - 1].args == ("x" * 1_000,)
tasks.close()
"""


@pytest.mark.parametrize("is_array", [False, True])
def test_memory_does_not_grow_with_what_is_in_the_tasks(tmp_path, is_array):
    used = []
    for count in (1_000, 30_000):
        path = tmp_path / f"{count}.json"
        with path.open("w") as file:
            file.write("[\n" * is_array)
            for n in range(count):
                comma = "," * (is_array and n + 1 < count)
                task = {"identifier": f"{n}", "command": "true", "args": ["x" * 1_000]}
                file.write(json.dumps(task) + f"{comma}\n")
            file.write("]\n" * is_array)
        command = [sys.executable, "-c", MEASURE, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        read, kilobytes = map(int, done.stdout.split())
        assert read == count
        used.append(kilobytes / 1_024 if sys.platform != "darwin" else kilobytes / 1_048_576)
    assert used[1] - used[0] < 6  # MB; the file has 30


def test_reading_needs_nothing_that_is_slow_to_import():
    slow = "asyncio subprocess tempfile msgspec rich concurrent uuid logging loguru tomllib hashlib"
    code = (
        "import sys; from workermanager.processes.reading import read_text; "
        'read_text(\'[{"identifier": "a"}]\'); '
        f"print(*[name for name in '{slow}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
