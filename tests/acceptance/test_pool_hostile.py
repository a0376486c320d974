"""Whatever a task's words are, a program gets them as they are, and nobody else takes them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.kit.process_pool import Pool, task

PYTHON = (sys.executable, "-I", "-S", "-X", "utf8", "-c")
TELL = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))
sys.stderr.buffer.write(sys.stdin.buffer.read())
"""
NASTY = [
    *("", " ", "-", "--", "-n", "--help", "-rf", ".", "..", "../up", "/", "a/b", "~", "*", "?"),
    *("$(touch x)", "`touch x`", "; touch x", "| touch x", "&& touch x", "> x", "$HOME", "${IFS}"),
    *(
        "'",
        '"',
        "\\",
        "\\n",
        "'\\''",
        "!",
        "!!",
        "#",
        "a=b",
        "%s",
        "%00",
        "{}",
        "[!]",
        "\n",
        "\r\n",
    ),
    *(
        "\t",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x7f",
        "\x9b1m",
        "\u202e",
        "\u200b",
        "\ufeff",
    ),
    *(
        "\ufffd",
        "\u2028",
        "grüße",
        "\U0001f600",
        "e\u0301",
        "\U0010ffff",
        "true",
        "null",
        "if",
        "x" * 300,
    ),
]
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.one_of(
    st.sampled_from(NASTY),
    st.text(characters, max_size=20),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join),
)
names = words.filter(lambda name: name and "=" not in name)
folders = words.map(lambda name: name.replace("/", "_")[:60]).filter(
    lambda name: name not in {"", ".", ".."}
)
hostile = st.fixed_dictionaries(
    {
        "identifier": words.filter(bool),
        "args": st.lists(words, max_size=5),
        "env": st.dictionaries(names, words, max_size=3),
        "cwd": st.none() | folders,
        "stdin": st.none() | words,
    }
)
batches = st.lists(hostile, min_size=1, max_size=8, unique_by=lambda one: one["identifier"])
bounded = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_tasks(batch):
    for one in batch:
        given = {key: value for key, value in one.items() if key not in {"identifier", "args"}}
        yield task(one["identifier"], *PYTHON, TELL, *one["args"], **given)


def prepared(folder, batch):
    """A folder with those that the tasks run in, and all that is there."""
    work = folder / "work"
    work.mkdir()
    for one in batch:
        if one["cwd"] is not None:
            (work / one["cwd"]).mkdir(exist_ok=True)
    return work, sorted(folder.rglob("*"))


def check_told(told, one, work):
    """What a program says that it was given."""
    args, environment, folder = json.loads(told)
    assert args == one["args"]
    assert {name: environment.get(name) for name in one["env"]} == one["env"]
    assert Path(folder) == work / (one["cwd"] or "")


@settings(bounded, max_examples=10)
@given(batches)
def test_words_arrive_as_they_are_and_come_back(batch):
    with tempfile.TemporaryDirectory() as name:
        work, there = prepared(Path(name), batch)
        pool = Pool(work)
        done = pool("--results", "kept", "-v", "-t", 4, tasks=[*as_tasks(batch)])
        pool.close()
        assert done.exit_code == 0, done.said
        assert done.each("identifier") == [one["identifier"] for one in batch]
        for one, result in zip(batch, done.results, strict=True):
            check_told(result["result_body"], one, work)
            assert result["stderr"] == (one["stdin"] or "")
            assert result["encoding"] == "utf-8"
        kept = work / "kept"
        new = set(Path(name).rglob("*")) - {*there, kept}
        tasks = [path for path in new if path.parent == kept]
        assert len(tasks) == len(batch)
        files = {one / file for one in tasks for file in ("stdout", "stderr", "result.json")}
        assert new == {*tasks, *files}
        of_tasks = [json.loads((one / "result.json").read_text())["identifier"] for one in tasks]
        assert sorted(of_tasks) == sorted(one["identifier"] for one in batch)
        assert [line for line in done.said.split("\n") if not line.isprintable()] == []


@settings(bounded, max_examples=12)
@given(batches)
def test_a_dry_run_shows_what_a_shell_would_be_given(batch):
    with tempfile.TemporaryDirectory() as name:
        work, there = prepared(Path(name), batch)
        pool = Pool(work)
        done = pool("--dry-run", tasks=[*as_tasks(batch)])
        pool.close()
        assert done.exit_code == 0, done.said
        lines = done.output.decode().split("\n")
        assert [line for line in lines if not line.isprintable()] == []
        assert lines.pop() == ""
        for one, line in zip(batch, lines, strict=True):
            shown = "".join(
                char if char.isprintable() else repr(char)[1:-1] for char in one["identifier"]
            )
            assert line.startswith(f"{shown}: ")
            told = subprocess.run(
                ["bash", "-c", line[len(shown) + 2 :]],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=True,
            )
            check_told(told.stdout, one, work)
        assert sorted(Path(name).rglob("*")) == there
