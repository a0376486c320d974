"""What the documents show runs as printed, and says what is there."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from textwrap import dedent

import pytest
from conftest import ROOT

from workermanager import Worker
from workermanager.config import PREFIX, Config

RULES = re.DOTALL | re.MULTILINE


def python_blocks(document):
    text = (ROOT / document).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, RULES)


@pytest.mark.parametrize(
    "document", ["README.md", "docs/from-go-workers.md", "docs/jobs.md", "docs/pipelines.md"]
)
def test_its_first_example_runs_as_printed(document, tmp_path, environment):
    program = tmp_path / "example.py"
    program.write_text(python_blocks(document)[0])
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    shown = re.search(r"^prints `(.+)`", (ROOT / document).read_text(), re.MULTILINE)
    assert shown is not None
    assert shown[1] in done.stdout


def test_every_example_of_the_pipelines_runs(tmp_path, environment):
    text = (ROOT / "docs" / "pipelines.md").read_text()
    blocks = [dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, RULES)]
    assert len(blocks) == 4
    printed = []
    for block in blocks:
        command = [sys.executable, "-W", "error", "-c", block]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=50, env=environment
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
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


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\((?!http|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 3
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_map_of_the_house_names_every_file():
    house = (ROOT / "CONTRIBUTING.md").read_text()
    files = [*(ROOT / "instrumentation").glob("*.py"), *(ROOT / "workermanager").glob("*.py")]
    missing = {file.name for file in files if f"`{file.name}`" not in house}
    assert missing == {"__init__.py", "__main__.py"}
