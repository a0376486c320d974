"""What the documents show runs as printed, and says what is there."""

import inspect
import re
from dataclasses import fields
from textwrap import dedent

import pytest
from conftest import ROOT

import workermanager
from workermanager import Worker
from workermanager.config import PREFIX, Config

RULES = re.DOTALL | re.MULTILINE


def python_blocks(document):
    text = (ROOT / document).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, RULES)


@pytest.mark.parametrize(
    "document",
    [
        *("README.md", "docs/from-go-workers.md", "docs/jobs.md", "docs/pipelines.md"),
        "docs/schedules.md",
    ],
)
def test_its_first_example_runs_as_printed(document, tmp_path, execute):
    program = tmp_path / "example.py"
    program.write_text(python_blocks(document)[0])
    done = execute(program)
    shown = re.search(r"^prints `(.+)`", (ROOT / document).read_text(), re.MULTILINE)
    assert shown is not None
    assert shown[1] in done.stdout


@pytest.mark.parametrize(("document", "shows"), [("docs/chains.md", 11), ("docs/commands.md", 7)])
def test_the_page_prints_what_it_shows(document, shows, tmp_path, execute):
    page = (ROOT / document).read_text()
    snippets = re.findall(r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```)?", page, RULES)
    assert sum(bool(shown) for _code, shown in snippets) >= shows
    program = tmp_path / "page.py"
    program.write_text("\nprint('%%')\n".join(code for code, _shown in snippets))
    printed = execute(program).stdout.split("%%\n")
    assert printed == [shown for _code, shown in snippets]


class StandIns(dict):
    """Our names, and a step for every other one."""

    def __missing__(self, name):
        if name == "SoldOut":
            return LookupError
        return getattr(workermanager, name, lambda ctx, params: {"travellers": ["Ann"]})


def test_the_readme_s_chain_runs():
    code = python_blocks("README.md")[1].replace("ticks=60", "ticks=1, tick_duration=0")
    names = StandIns(Worker=lambda *chain, **how: Worker(*chain, on_result=results.append, **how))
    results = []
    exec(code, {}, names)
    assert [result.outcome for result in results] == ["ok"] * 100
    assert all("tickets" in result.params for result in results)


def test_the_readme_s_job_pool_and_pipeline_run(tmp_path, execute):
    program = tmp_path / "example.py"
    program.write_text(python_blocks("README.md")[2])
    printed = execute(program).stdout.splitlines()
    assert sorted(printed[:10]) == [f"{n} {2 * n} None" for n in range(10)]
    assert [line for line in printed if line in {"1", "2"}] == ["1", "2"]
    assert sum(line.startswith("DeadLetter(item='x'") for line in printed) == 1
    assert "3 read = 2 delivered + 0 filtered + 1 failed + 0 cancelled" in printed[-1]


def test_every_example_of_the_pipelines_runs(tmp_path, execute):
    text = (ROOT / "docs" / "pipelines.md").read_text()
    blocks = [dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, RULES)]
    assert len(blocks) == 4
    printed = []
    for number, block in enumerate(blocks):
        program = tmp_path / f"example_{number}.py"
        program.write_text(block)
        printed.append(execute(program).stdout.splitlines())
    assert printed[1] == ["1", "3", "5"]
    assert printed[2][2:] == ["[1, 3]", "x invalid literal for int() with base 10: 'x' int 1"]
    assert "it took longer than 50ms" in printed[3][0]


def test_the_readme_s_example_has_about_ten_lines():
    lines = [line for line in python_blocks("README.md")[0].splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
def test_every_setting_is_in_env_example(name):
    assert f"{PREFIX}{name.upper()}=" in (ROOT / ".env.example").read_text()


def test_every_flag_is_in_the_readme(call):
    flags = set(re.findall(r"--[a-z-]+", call("run", "--help").stdout)) - {"--help"}
    assert len(flags) > 10
    readme = (ROOT / "README.md").read_text()
    assert not {flag for flag in flags if f"`{flag}" not in readme}


def test_every_setting_of_a_worker_is_documented():
    documented = inspect.getdoc(Worker)
    assert documented is not None
    for field in fields(Worker):
        assert f"\n    {field.name}: " in documented, field.name


@pytest.mark.parametrize(
    "document", ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_leads_to_a_file(document):
    page = ROOT / document
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_map_of_the_house_names_every_file():
    house = (ROOT / "CONTRIBUTING.md").read_text()
    files = [*(ROOT / "instrumentation").glob("*.py"), *(ROOT / "workermanager").glob("*.py")]
    missing = {file.name for file in files if f"`{file.name}`" not in house}
    assert missing == {"__init__.py", "__main__.py"}
