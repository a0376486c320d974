"""What the documents say of process pools is so."""

import json
import re
import subprocess
import tomllib

import pytest
from conftest import ROOT

from tests.kit.process_pool import COMMAND, environment

RULES = re.DOTALL | re.MULTILINE
PAGE = ROOT / "docs/pool.md"


def blocks(text, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", text, RULES)


def run_in_a_shell(script, tmp_path):
    """As whoever reads the page would, with our command in PATH."""
    shim = tmp_path / "workermanager"
    shim.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    shim.chmod(0o755)
    path = f"{tmp_path}:{environment()['PATH']}"
    return subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=environment({"PATH": path}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def steady(results):
    return [{**result, "duration_ms": 0} for result in results]


def test_the_first_call_of_the_page_prints_what_it_shows(tmp_path):
    call, shown = re.fullmatch(
        r"\$ (.*?\]')\n(.*)\n", blocks(PAGE.read_text(), "")[0], RULES
    ).groups()
    done = run_in_a_shell(call, tmp_path)
    assert done.returncode == 1
    assert steady(json.loads(done.stdout)) == steady(json.loads(shown))


def test_the_readme_shows_the_beginning_of_the_same_results(tmp_path):
    text = (ROOT / "README.md").read_text()
    shows = re.search(
        r"^\$ (workermanager pool [^\n]*\n.*?\]') \| jq -c '.\[\]'\n(.*?)^```", text, RULES
    )
    assert shows is not None
    call, shown = shows.groups()
    results = json.loads(run_in_a_shell(call, tmp_path).stdout)
    for result, line in zip(results, shown.splitlines(), strict=True):
        printed = json.dumps(result, separators=(",", ":"))
        assert printed.startswith(line.removesuffix("…}"))


def test_the_readme_s_command_runs(tmp_path, execute):
    (code,) = (
        one for one in blocks((ROOT / "README.md").read_text(), "python") if "Command" in one
    )
    program = tmp_path / "example.py"
    program.write_text(code)
    assert sorted(execute(program).stdout.splitlines()) == ["0 0 cexe", "1 1 cexe", "2 2 cexe"]


def test_the_workflow_of_the_page_is_the_example():
    (shown,) = blocks(PAGE.read_text(), "toml")
    assert tomllib.loads(shown) == tomllib.loads((ROOT / "examples/join/flow.toml").read_text())


def test_the_python_form_of_the_page_is_the_example():
    (shown,) = blocks(PAGE.read_text(), "python")
    example = (ROOT / "examples/join/flow.py").read_text()
    assert shown.split("flow = ")[1] == example.split("flow = ")[1]


@pytest.mark.parametrize("document", ["docs/pool.md"])
def test_every_flag_of_the_pool_is_on_its_page(document, call):
    flags = {*re.findall(r"--[a-z-]+", call("pool", "--help").stdout)} - {"--help"}
    assert len(flags) > 15
    text = (ROOT / document).read_text()
    assert not {flag for flag in flags if f"`{flag}" not in text and f", `{flag}" not in text}
