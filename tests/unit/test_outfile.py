import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.kit.results import files_of_at_most
from workermanager.processes import outfile
from workermanager.processes.outfile import Outfile, OutputFailed, StandardOutput


def write(path, data=b"new"):
    out = Outfile(str(path))
    out.write(data)
    out.commit()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_the_new_contents_after_the_commit_and_not_before(tmp_path):
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    out = Outfile(str(path))
    out.write(b"ne")
    out.flush()
    assert path.read_bytes() == b"old"
    out.write(b"w")
    out.commit()
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["out.json"]


def test_a_file_that_was_not_there_is_not_there_before_the_commit(tmp_path):
    path = tmp_path / "out.json"
    out = Outfile(str(path))
    assert not path.exists()
    out.commit()
    assert path.read_bytes() == b""


def test_what_is_discarded_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    out = Outfile(str(path))
    out.write(b"new")
    out.discard()
    out.discard()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.json"]


def test_there_is_nothing_to_discard_after_a_commit(tmp_path):
    path = tmp_path / "out.json"
    out = Outfile(str(path))
    out.write(b"new")
    out.commit()
    out.discard()
    assert path.read_bytes() == b"new"


def test_permissions_are_those_of_the_file_that_was_there(tmp_path):
    path = tmp_path / "out.json"
    path.touch()
    path.chmod(0o614)
    write(path)
    assert mode(path) == 0o614


def test_permissions_of_a_new_file_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "out.json")
    finally:
        os.umask(before)
    assert mode(tmp_path / "out.json") == 0o640


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, link = folder / "real.json", tmp_path / "out.json"
    target.write_bytes(b"old")
    link.symlink_to("elsewhere/real.json")
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_the_target_of_a_link_that_leads_nowhere_yet_is_made(tmp_path):
    link = tmp_path / "out.json"
    link.symlink_to("later.json")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "later.json").read_bytes() == b"new"


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_name_may_be_as_long_as_file_systems_have_them(tmp_path, letter):
    path = tmp_path / (letter * (255 // len(letter.encode())))
    write(path)
    assert path.read_bytes() == b"new"


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write(path, b"all of it")
    reader.join()
    assert read == [b"all of it"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_is_written_to_as_it_is():
    write("/dev/null")
    assert Path("/dev/null").is_char_device()


def test_a_device_that_is_full_says_so():
    out = Outfile("/dev/full")
    out.write(b"new")
    with pytest.raises(OutputFailed, match=r"^/dev/full: cannot be written: No space left on dev"):
        out.commit()
    out.discard()


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    out = Outfile(str(path))
    out.write(b"x" * 1_000_000)
    with files_of_at_most(1_000_000), pytest.raises(OutputFailed) as failed:
        out.write(b"x" * 1_000_000)
    assert str(failed.value) == f"{path}: cannot be written: File too large"
    out.discard()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.json"]


def test_what_fits_in_no_more_than_a_buffer_fails_at_the_commit(tmp_path):
    path = tmp_path / "out.json"
    out = Outfile(str(path))
    out.write(b"x" * 100)
    with files_of_at_most(50), pytest.raises(OutputFailed, match=r"out\.json: cannot be written"):
        out.commit()
    out.discard()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("folder", "Is a directory"),
        ("missing/out.json", "No such file or directory"),
        ("file/out.json", "Not a directory"),
        ("later/", "it has no file's name"),
        ("", "it has no file's name"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch, path, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = names_in(tmp_path)
    with pytest.raises(OutputFailed) as failed:
        Outfile(path)
    assert str(failed.value) == f"{path}: cannot be written: {why}"
    assert names_in(tmp_path) == before


def test_a_nul_in_the_path_is_refused():
    with pytest.raises(OutputFailed, match="there is a NUL in it"):
        Outfile("a\0b")


def test_a_file_that_may_not_be_written_is_refused_though_its_folder_may(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.touch()
    monkeypatch.setattr(outfile.os, "access", lambda *_: False)  # root may write anything
    with pytest.raises(OutputFailed, match=r"out\.json: cannot be written: Permission denied"):
        Outfile(str(path))


def test_where_permissions_cannot_be_set_nothing_is_left_behind(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.touch()

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(outfile.os, "fchmod", refuse)
    with pytest.raises(OutputFailed, match="Operation not permitted"):
        Outfile(str(path))
    assert names_in(tmp_path) == ["out.json"]


def test_what_cannot_take_its_place_is_kept_and_named(tmp_path):
    path = tmp_path / "out.json"
    out = Outfile(str(path))
    out.write(b"new")
    path.mkdir()
    with pytest.raises(OutputFailed) as failed:
        out.commit()
    out.discard()
    (draft,) = (name for name in names_in(tmp_path) if name != "out.json")
    assert (tmp_path / draft).read_bytes() == b"new"
    assert str(failed.value) == (
        f"{path}: cannot be replaced (what should be in it is in {tmp_path / draft}): "
        "Is a directory"
    )


def test_the_contents_are_on_the_disk_before_the_file_is_replaced(tmp_path, monkeypatch):
    done = []

    def noting(name):
        real = getattr(os, name)

        def note(*args):
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            size = os.fstat(args[0]).st_size if name == "fsync" and not is_folder else None
            done.append((name, is_folder, size))
            return real(*args)

        return note

    for name in ("fsync", "replace"):
        monkeypatch.setattr(outfile.os, name, noting(name))
    write(tmp_path / "out.json")
    assert done == [("fsync", False, 3), ("replace", False, None), ("fsync", True, None)]


def run(code, *flags, by=(), **how):
    start = "from workermanager.processes.outfile import StandardOutput, OutputFailed\n"
    return subprocess.run(
        [*by, sys.executable, *flags, "-c", start + code],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
        **how,
    )


FAILS = """
import sys
out = StandardOutput()
try:
    for _ in range(100):
        out.write(b"x" * 10_000)
        out.flush()
except OutputFailed as error:
    out.discard()
    sys.exit(f"{error}")
"""


def test_standard_output_has_what_was_written(capfdbinary):
    out = StandardOutput()
    out.write(b"[")
    out.write(b"]\n")
    out.commit()
    assert capfdbinary.readouterr().out == b"[]\n"


def test_standard_output_stays_open_for_others_after_the_commit(capfdbinary):
    out = StandardOutput()
    out.write(b"[]\n")
    out.commit()
    out.discard()
    os.write(1, b"more")
    assert capfdbinary.readouterr().out == b"[]\nmore"


def test_standard_output_that_is_full_says_so_once():
    with Path("/dev/full").open("wb") as full:
        done = run(FAILS, stdout=full)
    assert done.stderr == "standard output: cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_standard_output_whose_reader_has_gone_says_so_once():
    reading, writing = os.pipe()
    os.close(reading)
    done = run(FAILS, stdout=writing)
    os.close(writing)
    assert done.stderr == "standard output: cannot be written: Broken pipe\n"
    assert done.returncode == 1


def test_what_standard_output_has_not_taken_yet_does_not_fail_again_at_the_end():
    code = "out = StandardOutput()\nout.write(b'x')\nout.discard()"
    with Path("/dev/full").open("wb") as full:
        done = run(code, stdout=full)
    assert (done.returncode, done.stderr) == (0, "")


def test_standard_output_without_a_buffer_takes_all_or_fails(tmp_path):
    code = "import sys\nout = StandardOutput()\nout.write(b'x' * 100)\nout.commit()"
    path = tmp_path / "out.json"
    with path.open("wb") as file:
        assert run(code, "-u", stdout=file).returncode == 0
    assert path.read_bytes() == b"x" * 100
    with path.open("wb") as file, files_of_at_most(50):
        done = run(code, "-u", stdout=file)
    assert done.stderr.endswith("standard output: cannot be written: File too large\n")


REFUSED = """
try:
    StandardOutput()
except OutputFailed as error:
    raise SystemExit(str(error))
"""


def test_standard_output_that_is_closed_is_refused():
    done = run(REFUSED, by=("sh", "-c", 'exec "$@" >&-', "sh"))
    assert done.stderr == "standard output: cannot be written: it is closed\n"
