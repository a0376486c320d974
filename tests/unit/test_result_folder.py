import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.results import captured, files_of_at_most, result
from workermanager.processes.folder import ResultFolder, name_folder
from workermanager.processes.outfile import OutputFailed
from workermanager.processes.task import Status

HOSTILE = [
    "",
    "_",
    ".",
    "..",
    "...",
    "../../x",
    "/etc/passwd",
    "a/b",
    "a%2Fb",
    "%",
    "%2E",
    "%2E%2E",
    "a\0b",
    "a\nb",
    "~",
    "-rf",
    "*",
    ".hidden",
    "é",
    "e\u0301",
    "\ud800",
    "x" * 200,
    "x" * 201,
    "x" * 300,
    "x" * 299 + "y",
    "/" * 300,
]
hostile_text = st.text(st.characters(exclude_categories=()) | st.sampled_from("./%~\\\0-A a")) | (
    st.sampled_from(HOSTILE)
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_task_has_a_folder_with_what_it_wrote_and_what_came_of_it(tmp_path):
    one = result(
        "resize",
        Status.FAILED,
        3,
        stdout=captured(b"\xff\n"),
        stderr=captured(b"no"),
        duration_ns=1_500_000,
        attempts=2,
        reason="so it is",
    )
    ResultFolder(str(tmp_path / "new" / "results")).write(one)
    files = read(tmp_path / "new" / "results" / "resize")
    assert (files.pop("stdout"), files.pop("stderr")) == (b"\xff\n", b"no")
    facts = files.pop("result.json")
    assert facts.endswith(b"}\n")
    assert json.loads(facts) == {
        "identifier": "resize",
        "exit_code": 3,
        "status": "failed",
        "signal": None,
        "duration_ms": 1.5,
        "attempts": 2,
        "truncated": False,
        "reason": "so it is",
    }
    assert files == {}


def test_a_task_that_wrote_nothing_has_empty_files(tmp_path):
    ResultFolder(str(tmp_path)).write(result("a", Status.SKIPPED, 125))
    files = read(tmp_path / "a")
    assert (files["stdout"], files["stderr"]) == (b"", b"")


def test_a_folder_that_is_there_is_used_and_a_tasks_files_are_overwritten(tmp_path):
    folder = ResultFolder(str(tmp_path))
    folder.write(result("a", stdout=captured(b"long, and of the first time")))
    folder.write(result("b", stdout=captured(b"other")))
    ResultFolder(str(tmp_path)).write(result("a", stdout=captured(b"second")))
    assert read(tmp_path / "a")["stdout"] == b"second"
    assert read(tmp_path / "b")["stdout"] == b"other"


def test_hostile_identifiers_stay_in_the_folder_each_in_its_own(tmp_path):
    folder = ResultFolder(str(tmp_path / "results"))
    for number, identifier in enumerate(HOSTILE):
        folder.write(result(identifier, stdout=captured(b"%d" % number)))
    assert names_in(tmp_path) == ["results"]
    found = {}
    for path in (tmp_path / "results").iterdir():
        assert names_in(path) == ["result.json", "stderr", "stdout"]
        found[json.loads((path / "result.json").read_text())["identifier"]] = int(
            (path / "stdout").read_text()
        )
    assert found == {identifier: number for number, identifier in enumerate(HOSTILE)}


@given(hostile_text)
def test_a_name_is_one_part_of_a_path_that_every_file_system_takes(identifier):
    name = name_folder(identifier)
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= 240
    assert not name.startswith(".")
    assert not {*name} & {*"/\\ *?<>|:\"'$`"}


@given(st.lists(hostile_text, max_size=30, unique=True))
def test_different_identifiers_have_different_names(identifiers):
    assert len({name_folder(identifier) for identifier in identifiers}) == len(identifiers)


@given(hostile_text.filter(lambda text: 0 < len(text) < 15))
def test_a_name_that_is_not_too_long_is_the_identifier_percent_encoded(identifier):
    assert unquote(name_folder(identifier), errors="surrogatepass") == identifier


def test_a_name_that_is_too_long_is_not_that_of_whoever_is_called_like_it():
    long = "x" * 300
    assert name_folder(name_folder(long)) != name_folder(long)


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match=r"/file: cannot be written: File exists$"):
        ResultFolder(str(tmp_path / "file"))
    with pytest.raises(OutputFailed, match=r"file/results: cannot be written: Not a directory$"):
        ResultFolder(str(tmp_path / "file" / "results"))
    with pytest.raises(OutputFailed, match="there is a NUL in it"):
        ResultFolder("a\0b")


def test_the_facts_are_there_only_when_the_rest_is_of_the_same_result(tmp_path):
    folder = ResultFolder(str(tmp_path))
    folder.write(result("a", stdout=captured(b"first")))
    (tmp_path / "a" / "stderr").unlink()
    (tmp_path / "a" / "stderr").mkdir()
    with pytest.raises(OutputFailed, match=r"/a: cannot be written: Is a directory$"):
        folder.write(result("a", stdout=captured(b"second")))
    assert names_in(tmp_path / "a") == ["stderr", "stdout"]


def test_a_disk_that_is_full_says_so(tmp_path):
    folder = ResultFolder(str(tmp_path))
    with files_of_at_most(1_000), pytest.raises(OutputFailed, match="/a: cannot be written: File"):
        folder.write(result("a", stdout=captured(b"x" * 2_000)))
