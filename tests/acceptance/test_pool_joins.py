"""Workflows: what comes after other tasks; and the example: two scripts, and one that joins."""

import json
import subprocess
import tomllib

import pytest

from examples.join import flow as examples_flow
from tests.kit.process_pool import COMMAND, ROOT, Pool, environment, task
from workermanager.processes.reading import read_file
from workermanager.processes.tasks import Tasks
from workermanager.processes.workflow import tasks_of

JOIN = "examples/join"
COMBINED = """\
station,temperature,rain
nice,16.2,31
oslo,4.5,58
rome,17.5,12
"""


@pytest.fixture
def flow(tmp_path):
    """Run a workflow of the examples from the top of the repository; it writes elsewhere."""
    calls = Pool(ROOT)
    yield lambda name: calls("-i", f"{JOIN}/{name}", env={"OUT": str(tmp_path / "out")})
    calls.close()


@pytest.mark.parametrize(
    "name",
    [
        "flow.toml",
        "flow.json",
        "flow.py:flow",
        "flow-r.toml",
    ],
)
def test_two_scripts_write_and_the_third_joins(flow, tmp_path, name):
    done = flow(name)
    assert done.each("identifier") == ["write_a", "write_b", "combine"]
    assert done.each("status") == ["ok", "ok", "ok"], done.results
    assert done.each("stderr") == ["", "", ""]
    assert done.exit_code == 0
    assert (tmp_path / "out/combined.csv").read_bytes() == COMBINED.encode()
    names = ["a.csv", "b.csv", "combined.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_what_a_workflow_in_python_prints_is_no_result(tmp_path):
    text = "print('hello')\nfrom workermanager import Command\nflow = Command('echo', 'body')\n"
    (tmp_path / "flow.py").write_text(text)
    done = Pool(tmp_path)("-i", "flow.py:flow")
    assert done.each("result_body") == ["body\n"]
    assert done.said == "hello\n"


def test_where_one_of_them_fails_nothing_is_joined(flow, tmp_path):
    (tmp_path / "out/b.csv").mkdir(parents=True)  # where write_b would write
    done = flow("flow.toml")
    assert done.each("status") == ["ok", "failed", "skipped"]
    assert done.results[2]["exit_code"] == 125
    assert done.results[2]["attempts"] == 0
    assert "write_b" in done.results[2]["reason"]
    assert done.exit_code == 1
    assert (tmp_path / "out/a.csv").is_file()
    assert not (tmp_path / "out/combined.csv").exists()


def test_the_workflow_is_the_same_in_toml_and_in_json():
    in_toml = tomllib.loads((ROOT / JOIN / "flow.toml").read_text())["tasks"]
    assert in_toml == json.loads((ROOT / JOIN / "flow.json").read_text())


def test_the_python_form_stands_for_the_same_tasks_and_runs_as_a_chain_too(flow, tmp_path):
    tasks = [Tasks.of(tasks_of(examples_flow.flow, "flow")), read_file(f"{ROOT}/{JOIN}/flow.toml")]
    in_python, in_toml = ([one[number] for number in range(len(one))] for one in tasks)
    assert in_python == in_toml
    for one in tasks:
        one.close()
    done = subprocess.run(
        [*COMMAND, "run", f"{JOIN}/flow.py:flow", "--ticks", "1", "--no-history", "--quiet"],
        cwd=ROOT,
        env=environment({"OUT": str(tmp_path / "out")}),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert (tmp_path / "out/combined.csv").read_bytes() == COMBINED.encode()


# after, always


def test_what_comes_after_a_failure_is_skipped_and_so_is_what_comes_after_that(pool):
    tasks = [
        task("last", "touch", "it-ran", after=["next"]),
        task("next", "touch", "it-ran", after=["good", "bad"]),
        task("bad", "false"),
        task("good", "true"),
        task("clean up", "echo", "cleaned", after=["last", "bad"], always=True),
    ]
    done = pool(tasks=tasks)
    assert done.each("status") == ["skipped", "skipped", "failed", "ok", "ok"]
    last, following, _, _, clean_up = done.results
    assert "next" in last["reason"]
    assert "bad" in following["reason"]
    assert clean_up["result_body"] == "cleaned\n"
    assert not (pool.folder / "it-ran").exists()


def test_a_task_begins_when_all_that_it_comes_after_have_ended(pool):
    count = 40
    tasks = [task(str(n), "sh", "-c", f"echo {n} >>log", after=[str(n + 1)]) for n in range(count)]
    done = pool("-t", 8, tasks=[*tasks, task(str(count), "sh", "-c", "echo first >>log")])
    assert set(done.each("status")) == {"ok"}
    lines = (pool.folder / "log").read_text().split()
    assert lines == ["first", *(str(n) for n in reversed(range(count)))]


def test_a_dry_run_runs_nothing(pool):
    tasks = [task("one", "touch", "it-ran"), task("other", "touch", "it-ran", after=["one"])]
    done = pool("--dry-run", tasks=tasks)
    assert done.exit_code == 0
    one, other = done.output.decode().splitlines()
    assert "one" in one
    assert "other" in other
    assert not (pool.folder / "it-ran").exists()
