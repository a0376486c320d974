"""The process pool against the losses of the original: what goes in, and what is refused."""

import json
import os
import resource
import subprocess

import pytest

from tests.kit.process_pool import lines_of, task

GOOD = task("good", "echo", "fine")
TOUCH = task("touch", "touch", "it-ran")


def refused(pool, *args, **how):
    """The one line of a call that ran nothing, because its input is bad."""
    done = pool(*args, **how)
    assert done.exit_code == 2
    assert not (pool.folder / "it-ran").exists()
    return done.complaint


# unknown/empty/missing command, NUL in arg, `[{}]`, `[null]`


@pytest.mark.parametrize(
    ("bad", "exit_code"),
    [
        ({"identifier": "bad", "command": "no-such-program"}, 127),
        ({"identifier": "bad", "command": "./no/such/program"}, 127),
        ({"identifier": "bad", "command": ""}, 127),
        ({"identifier": "bad"}, 127),
        (task("bad", "echo", "a\0b"), 126),
        (task("bad", "ec\0ho"), 126),
        (task("bad", "echo", cwd="no/such/folder"), 126),
        (task("bad", "echo", env={"A": "a\0b"}), 126),
        (task("bad", "./no-program.txt"), 126),
        (task("bad", "/"), 126),
    ],
    ids=str,
)
def test_a_command_that_cannot_be_started_has_a_result_with_the_reason(pool, bad, exit_code):
    (pool.folder / "no-program.txt").write_text("not executable")
    done = pool(tasks=[bad, GOOD])
    result, good = done.results
    assert (result["status"], result["exit_code"]) == ("not_started", exit_code)
    assert result["reason"]
    assert (result["result_body"], result["signal"], result["identifier"]) == ("", None, "bad")
    assert (good["status"], good["result_body"], good["reason"]) == ("ok", "fine\n", None)
    assert done.exit_code == 1


@pytest.mark.parametrize("text", ["[{}]", "[null]"])
def test_no_task_at_all_is_refused_and_with_compat_cannot_be_started(pool, text):
    assert refused(pool, text).startswith("TASKS_JSON: task 0: ")
    done = pool("--compat", text)
    assert done.results == [{"identifier": "", "exit_code": 127, "result_body": ""}]
    assert done.exit_code == 0
    assert done.said.count("\n") == 1  # why


# 600 tasks, 600 threads, 256 fds


def test_600_tasks_with_600_threads_and_256_descriptors_are_all_run(pool):
    tasks = [task(f"task {n}", "echo", str(n)) for n in range(600)]
    few = (resource.RLIMIT_NOFILE, (256, 256))
    done = pool("-t", 600, "-i", "-", stdin=lines_of(tasks), limit=few)
    assert done.each("identifier") == [one["identifier"] for one in tasks]
    assert done.each("result_body") == [f"{n}\n" for n in range(600)]
    assert set(done.each("status")) == {"ok"}
    assert done.exit_code == 0


# `[]`, `null`


@pytest.mark.parametrize("text", ["[]", "null", " [ ]\n", ""])
def test_no_tasks_have_no_results_which_is_written(pool, text):
    (pool.folder / "tasks").write_text(text)
    done = pool("-i", "tasks")
    assert (done.exit_code, done.output, done.said) == (0, b"[]\n", "")
    done = pool("-i", "tasks", "--outfile", "results")
    assert (done.exit_code, done.output, done.said) == (0, b"", "")
    assert (pool.folder / "results").read_bytes() == b"[]\n"


# malformed JSON, object, trailing text, BOM, non-string


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"identifier": "a" "command": "b"}]', "line 1"),
        ('[\n{"identifier": "a",\n "command": "b"},\n]', "line 4"),
        ('[{"identifier": "a", "command": "b"}', "line 1"),
        ('[{"identifier": "a", "command": "b"}] and more', "line 1"),
        ('{"identifier": "a", "command": "b"}', "wanted an array of tasks, found an object"),
        ('[{"identifier": "a", "command": "b"}, 7]', "task 1: "),
        ('[{"identifier": "a", "command": 7}]', "task 0 ('a'): command: wanted text, found 7"),
        ('[{"identifier": "a", "args": [[]]}]', "task 0 ('a'): args[0]: wanted text, found "),
        ('[{"identifier": "a", "args": "b"}]', "task 0 ('a'): args: "),
        ('[{"identifier": "a", "timeout": 0}]', "task 0 ('a'): timeout: "),
        ('[{"identifier": "a", "command": "\\ud800"}]', "task 0 ('a'): command: "),
        ("tasks", "line 1"),
        ("", ""),
    ],
)
def test_a_bad_argument_is_refused_with_source_and_index(pool, text, told):
    complaint = refused(pool, text)
    assert complaint.startswith("TASKS_JSON: ")
    assert told in complaint


def test_a_bad_file_is_named_and_so_is_standard_input(pool):
    text = json.dumps([TOUCH, task("resize", "echo", "a", 7)])
    (pool.folder / "tasks.json").write_text(text)
    why = "task 1 ('resize'): args[1]: wanted text, found 7"
    assert refused(pool, "-i", "tasks.json") == f"tasks.json: {why}"
    assert refused(pool, "-i", "-", stdin=text.encode()) == f"standard input: {why}"
    assert refused(pool, text) == f"TASKS_JSON: {why}"
    assert "no-such-file" in refused(pool, "-i", "no-such-file")


def test_of_ndjson_the_line_is_named_too(pool):
    bad = lines_of([TOUCH]) + b"\n" + lines_of([task("resize", "echo", 7)])
    complaint = refused(pool, "-i", "-", stdin=bad)
    assert complaint.startswith("standard input: ")
    assert "line 3" in complaint
    assert complaint.endswith("task 1 ('resize'): args[0]: wanted text, found 7")


def test_a_byte_order_mark_is_accepted(pool):
    bom = b"\xef\xbb\xbf"
    assert pool("-i", "-", stdin=bom + lines_of([GOOD])).each("result_body") == ["fine\n"]
    (pool.folder / "tasks").write_bytes(bom + json.dumps([GOOD]).encode())
    assert pool("-i", "tasks").each("result_body") == ["fine\n"]


# misspelt `arg`, no or duplicate identifier


def test_a_misspelt_field_is_refused_before_any_start(pool):
    misspelt = {"identifier": "a", "command": "echo", "arg": ["b"]}
    told = refused(pool, tasks=[TOUCH, misspelt])
    assert told == "TASKS_JSON: task 1 ('a'): unknown field 'arg': did you mean 'args'?"
    assert pool("--compat", tasks=[misspelt]).each("result_body") == ["\n"]


@pytest.mark.parametrize("fields", [{}, {"identifier": ""}, {"identifier": None}])
def test_a_task_without_an_identifier_is_refused_before_any_start(pool, fields):
    nameless = {"command": "echo", **fields}
    told = refused(pool, tasks=[TOUCH, nameless])
    assert told.startswith("TASKS_JSON: task 1: identifier: ")
    assert pool("--compat", tasks=[nameless]).each("identifier") == [""]


def test_a_duplicate_identifier_is_refused_before_any_start(pool):
    told = refused(pool, tasks=[TOUCH, GOOD, GOOD])
    assert told.startswith("TASKS_JSON: task 2 ('good'): ")
    assert pool("--compat", tasks=[GOOD, GOOD]).each("result_body") == ["fine\n"] * 2


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ([TOUCH, task("a", "true", after=["b"])], "'b'"),
        (
            [TOUCH, task("a", "true", after=["b"]), task("b", "true", after=["a"])],
            "a -> b -> a",
        ),
        ([TOUCH, task("a", "true", after=["a"])], "a -> a"),
    ],
)
def test_unknown_names_and_circles_in_after_are_refused_before_any_start(pool, tasks, told):
    assert told in refused(pool, tasks=tasks)


# `-t 0`, `-t -1`


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5", ""])
def test_no_threads_are_refused(pool, threads):
    done = pool("-t", threads, tasks=[TOUCH])
    assert (done.exit_code, done.output) == (2, b"")
    assert not (pool.folder / "it-ran").exists()


@pytest.mark.parametrize("flag", ["-t", "--max-threads", "--max_threads"])
@pytest.mark.parametrize("threads", ["auto", "1", "99"])
def test_threads_can_be_given_or_left_to_the_machine(pool, flag, threads):
    assert pool(flag, threads, tasks=[GOOD]).each("status") == ["ok"]


# argument and --infile


def test_an_argument_and_a_file_are_refused_and_with_compat_the_file_wins(pool):
    (pool.folder / "tasks").write_text(json.dumps([GOOD]))
    assert refused(pool, "-i", "tasks", tasks=[TOUCH])
    assert pool("--compat", "-i", "tasks", "not even JSON").each("result_body") == ["fine\n"]


def test_neither_of_them_is_refused(pool):
    assert refused(pool)


# `-i -`; extra arguments


def test_a_dash_is_standard_input_as_an_array_or_as_lines(pool):
    tasks = [task(name, "echo", name) for name in "abc"]
    for text in (json.dumps(tasks, indent=2).encode(), lines_of(tasks)):
        done = pool("-i", "-", stdin=text)
        assert done.each("result_body") == ["a\n", "b\n", "c\n"]


def test_extra_arguments_are_refused(pool):
    assert refused(pool, "more", tasks=[TOUCH])


# 2,000 tasks (161 KB) as argument


def test_2000_tasks_that_no_argument_may_hold_come_on_standard_input(pool):
    tasks = [task(f"task {n}", "echo", "of the two thousand", str(n)) for n in range(2_000)]
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true", json.dumps(tasks)], check=True)
    done = pool("-t", "auto", "-i", "-", stdin=lines_of(tasks))
    assert done.each("result_body") == [f"of the two thousand {n}\n" for n in range(2_000)]
    assert done.exit_code == 0


# result order

RELEASED = [
    task("last", "cat", "released"),
    task("first", "true"),
    task("second", "sh", "-c", "echo by another >released", after=["first"]),
]


def test_results_are_in_the_order_of_the_input(pool):
    os.mkfifo(pool.folder / "released")
    done = pool(tasks=RELEASED)
    assert done.each("identifier") == ["last", "first", "second"]
    assert done.each("result_body") == ["by another\n", "", ""]


def test_as_completed_each_is_written_when_it_ends(pool):
    os.mkfifo(pool.folder / "released")
    process = pool.start("--as-completed", tasks=RELEASED[:2])
    first = json.loads(process.stdout.readline())  # while the other one waits to be released
    (pool.folder / "released").write_text("by the test\n")
    (last,) = map(json.loads, process.stdout)
    assert (first["identifier"], last["identifier"]) == ("first", "last")
    assert last["result_body"] == "by the test\n"
    assert pool.end(process).exit_code == 0


# failed tasks


def test_the_exit_code_says_whether_all_were_ok(pool):
    assert pool(tasks=[GOOD]).exit_code == 0
    done = pool(tasks=[GOOD, task("bad", "sh", "-c", "exit 3"), task("also good", "true")])
    assert done.each("exit_code") == [0, 3, 0]
    assert done.each("status") == ["ok", "failed", "ok"]
    assert done.exit_code == 1
    assert pool("[").exit_code == 2
    assert pool("--outfile", "no/such/folder/results", tasks=[GOOD]).exit_code == 3


def test_with_compat_it_is_0_unless_input_or_output_fail(pool):
    bad = [task("bad", "sh", "-c", "exit 3"), task("killed", "sh", "-c", "kill -9 $$")]
    done = pool("--compat", tasks=bad)
    assert done.results == [
        {"identifier": "bad", "exit_code": 3, "result_body": ""},
        {"identifier": "killed", "exit_code": -1, "result_body": ""},
    ]
    assert done.exit_code == 0
    assert pool("--compat", "[").exit_code == 1
    assert pool("--compat", tasks=[task("a", "echo", 7)]).exit_code == 1
    assert pool("--compat", "-o", "no/such/folder/results", tasks=[GOOD]).exit_code == 1
