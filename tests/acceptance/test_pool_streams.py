"""The process pool against the losses of the original: what children say, and how they end."""

import base64
import hashlib
import json
import os
import resource
from contextlib import suppress

import pytest

from tests.kit.process_pool import COMMAND, lines_of, task

MB = 1_000_000
GROWTH_KIB = 32 * 1024  # at most, for 100 MB of output


# signal 9/13/15


@pytest.mark.parametrize("number", [9, 13, 15])
def test_the_signal_that_ended_a_child_is_told(pool, number):
    tasks = [task("it", "sh", "-c", f"echo before; kill -{number} $$")]
    (result,) = pool(tasks=tasks).results
    assert (result["status"], result["signal"]) == ("signaled", number)
    assert (result["exit_code"], result["result_body"]) == (128 + number, "before\n")
    assert pool("--compat", tasks=tasks).each("exit_code") == [-1]


# stderr; stdin


def test_what_a_child_says_on_standard_error_is_kept_apart(pool):
    done = pool(tasks=[task("it", "sh", "-c", "echo out; echo err >&2")])
    (result,) = done.results
    assert (result["result_body"], result["stderr"]) == ("out\n", "err\n")
    assert done.said == ""


def test_a_child_reads_nothing_or_what_its_task_says(pool):
    long = "ä line\n" * 200_000  # more than any pipe holds
    tasks = [
        task("nothing", "cat"),
        task("text", "cat", stdin="ä text"),
        task("long", "cksum", stdin=long),
        task("does not read", "true", stdin=long),
    ]
    done = pool("-i", "-", stdin=lines_of(tasks))
    assert done.each("status") == ["ok"] * 4
    nothing, text, sum_and_size, _ = done.each("result_body")
    assert (nothing, text) == ("", "ä text")
    assert sum_and_size.split()[1] == str(len(long.encode()))


# non-UTF-8 output


def test_bytes_that_are_no_text_come_as_base64(pool):
    tasks = [
        task("out", "printf", r"\377\000\n"),
        task("err", "sh", "-c", r"echo text; printf '\200' >&2"),
        task("text", "printf", r"\303\244\360\237\220\230\000"),
    ]
    out, err, text = pool(tasks=tasks).results
    assert (out["encoding"], base64.b64decode(out["result_body"])) == ("base64", b"\xff\0\n")
    assert (err["encoding"], base64.b64decode(err["result_body"])) == ("base64", b"text\n")
    assert base64.b64decode(err["stderr"]) == b"\x80"
    assert (text["encoding"], text["result_body"]) == ("utf-8", "ä🐘\0")
    assert pool("--compat", tasks=tasks).each("result_body") == ["\ufffd\0\n", "text\n", "ä🐘\0"]


def test_text_is_written_as_utf_8(pool):
    done = pool(tasks=[task("ä🐘", "printf", "ü")])
    assert '"ä🐘"'.encode() in done.output
    assert '"ü"'.encode() in done.output


# 100 MB text / zeros / random


@pytest.fixture
def peak_of(pool):
    """Run one command, with its result in a file; gives how much memory the pool needed more."""
    _, little = pool.peak("-o", "results", tasks=[task("little", "true")])

    def growth_of(*argv):
        done, much = pool.peak("-o", "results", tasks=[task("it", *argv)])
        assert (done.exit_code, done.output) == (0, b""), done.said
        return much - little

    return growth_of


def test_100_mb_of_text_are_kept_in_bounded_memory(pool, peak_of):
    line = "ä line of text, and a quote: \\\n"
    count = 100 * MB // len(line.encode())
    script = f'i = "{line[:-2]}"; while (n++ < {count}) printf "%s\\\\\\n", i'
    assert peak_of("awk", f"BEGIN {{ {script} }}") < GROWTH_KIB
    (result,) = json.loads((pool.folder / "results").read_bytes())
    assert (result["encoding"], result["truncated"]) == ("utf-8", False)
    assert result["result_body"] == line * count


def test_100_mb_of_zeros_are_kept_in_bounded_memory(pool, peak_of):
    assert peak_of("head", "-c", str(100 * MB), "/dev/zero") < GROWTH_KIB
    with (pool.folder / "results").open("rb") as file:
        escaped = sum(block.count(b"\\u0000") for block in blocks_of(file, 6 * 170_000))
        assert 100 * MB - 10_000 < escaped <= 100 * MB  # one may lie on a border of two blocks
        assert 600 * MB < file.tell() < 600 * MB + 1_000


def test_100_mb_of_random_bytes_are_kept_in_bounded_memory(pool, peak_of):
    script = f"head -c {100 * MB} /dev/urandom | tee random"
    assert peak_of("sh", "-c", script) < GROWTH_KIB
    (result,) = json.loads((pool.folder / "results").read_bytes())
    assert (result["encoding"], result["truncated"]) == ("base64", False)
    with (pool.folder / "random").open("rb") as file:
        wanted = hashlib.file_digest(file, "sha256").digest()
    assert hashlib.sha256(base64.b64decode(result["result_body"])).digest() == wanted


def blocks_of(file, size):
    while block := file.read(size):
        yield block


def test_what_is_beyond_the_limit_is_read_dropped_and_told(pool):
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo all of it was taken >&2"
    done = pool("--max-output", "1MB", tasks=[task("it", "sh", "-c", script)])
    (result,) = done.results
    assert result["truncated"]
    assert MB <= len(result["result_body"]) <= 2**20
    assert set(result["result_body"]) == {"x"}
    assert (result["stderr"], result["status"]) == ("all of it was taken\n", "ok")


# grandchild keeps stdout


def test_a_grandchild_that_keeps_the_output_open_is_not_waited_for_forever(pool):
    os.mkfifo(pool.folder / "never")
    done = pool(tasks=[task("it", "sh", "-c", "cat never & echo begun"), task("other", "true")])
    result, other = done.results
    assert (result["status"], result["exit_code"]) == ("ok", 0)
    assert result["result_body"] == "begun\n"
    assert result["reason"]
    assert other["reason"] is None
    with suppress(OSError):  # its end, for the grandchild, if it still lives
        os.close(os.open(pool.folder / "never", os.O_WRONLY | os.O_NONBLOCK))


# outfile unwritable; /dev/full


@pytest.mark.parametrize("path", ["no/such/folder/results", ".", "it-is-a-file/results"])
def test_an_outfile_that_cannot_be_written_is_known_before_the_start(pool, path):
    (pool.folder / "it-is-a-file").touch()
    done = pool("--outfile", path, tasks=[task("touch", "touch", "it-ran")])
    assert done.exit_code == 3
    assert path in done.complaint
    assert not (pool.folder / "it-ran").exists()


@pytest.mark.parametrize("extra", [(), ("--as-completed",)])
def test_output_that_fails_is_told_in_a_line(pool, extra):
    tasks = [task("it", "echo", "body")]
    done = pool(*extra, "--outfile", "/dev/full", tasks=tasks)
    assert done.exit_code == 3
    assert "/dev/full" in done.complaint
    full = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *COMMAND)
    done = pool(*extra, tasks=tasks, program=full)
    assert done.exit_code == 3
    assert "standard output" in done.complaint


def test_an_outfile_is_whole_or_what_it_was(pool):
    (pool.folder / "results").write_text("of yesterday")
    small = (resource.RLIMIT_FSIZE, (100_000, 100_000))
    tasks = [task("it", "head", "-c", "25000", "/dev/zero")]  # six times as much in JSON
    done = pool("--outfile", "results", tasks=tasks, limit=small)
    assert done.exit_code == 3
    assert "results" in done.complaint
    assert (pool.folder / "results").read_text() == "of yesterday"
    assert names_in(pool.folder) == ["results"]
    done = pool("--outfile", "results", tasks=tasks)
    assert (done.exit_code, done.output, done.said) == (0, b"", "")
    (result,) = json.loads((pool.folder / "results").read_bytes())
    assert result["result_body"] == "\0" * 25_000
    assert names_in(pool.folder) == ["results"]


def test_where_there_is_no_room_for_an_output_the_rest_of_its_result_is_kept(pool):
    small = (resource.RLIMIT_FSIZE, (300_000, 300_000))
    done = pool(tasks=[task("it", "head", "-c", "250000", "/dev/zero")], limit=small)
    assert done.exit_code == 3
    assert "it: there was no room for its output: the temporary directory (TMPDIR)" in done.said
    (result,) = done.results
    assert (result["status"], result["exit_code"]) == ("ok", 0)
    assert (result["result_body"], result["truncated"]) == ("", True)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_without_standard_error_results_are_written(pool):
    mute = ("sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND)
    done = pool("--bar", "--verbose", tasks=[task("it", "echo", "body")], program=mute)
    assert done.exit_code == 0
    assert done.each("result_body") == ["body\n"]


def test_a_pool_that_there_is_no_room_for_says_so_in_a_line(pool):
    done = pool(tasks=[task("it", "true")], limit=(resource.RLIMIT_NOFILE, (6, 6)))
    assert done.exit_code == 3
    assert "Too many open files" in done.complaint


# -v


def test_what_starts_and_ends_is_said_on_standard_error(pool):
    tasks = [task("some-task", "true")]
    assert pool(tasks=tasks).said == ""
    done = pool("-v", tasks=tasks)
    assert done.each("status") == ["ok"]  # nothing but results on standard output
    assert done.said.count("some-task") == 2


# timeout, retry, cwd, env, resume


def test_a_task_that_takes_too_long_is_ended_with_all_that_it_started(pool):
    os.mkfifo(pool.folder / "never")
    script = "echo begun; cat never & cat never"
    tasks = [
        task("its own", "sh", "-c", script, timeout=1),
        task("in words", "sh", "-c", script, timeout="1000ms"),
        task("is deaf", "sh", "-c", "trap '' TERM; " + script, timeout=1),
        task("quick", "true"),
    ]
    done = pool("--grace", "10ms", "--timeout", "1h", "-t", 4, tasks=tasks)
    assert done.each("status") == ["timeout", "timeout", "timeout", "ok"]
    assert done.each("exit_code") == [124, 124, 124, 0]
    assert done.each("result_body") == ["begun\n"] * 3 + [""]
    assert done.exit_code == 1
    with pytest.raises(OSError, match="No such device"):  # nobody reads from it any more
        os.open(pool.folder / "never", os.O_WRONLY | os.O_NONBLOCK)


def test_a_grace_may_be_longer_than_a_system_can_wait(pool):
    script = "trap 'exit 0' TERM; sleep 0.3 & wait"
    tasks = [task("it", "sh", "-c", script, timeout=0.1)]
    done = pool("--grace", "9000000h", tasks=tasks)
    assert done.said == ""
    assert done.each("signal") == [None]


def test_a_task_that_fails_is_tried_again(pool):
    script = "echo try >>tries; [ $(wc -l <tries) = 3 ]"
    tasks = [
        task("third time", "sh", "-c", script, retries=5),
        task("never", "false"),
        task("not at all", "no-such-program"),
    ]
    done = pool("--retries", "1", tasks=tasks)
    assert done.each("attempts") == [3, 2, 1]
    assert done.each("status") == ["ok", "failed", "not_started"]


def test_a_task_has_its_own_folder_and_environment(pool):
    (pool.folder / "below").mkdir()
    tasks = [
        task("cwd", "pwd", cwd="below"),
        task("env", "sh", "-c", 'echo "$A,$B,${C-none}"', env={"B": "new", "C": None}),
    ]
    env = {"A": "of the pool", "B": "old", "C": "taken away"}
    done = pool(tasks=tasks, env=env)
    assert done.each("result_body") == [f"{pool.folder / 'below'}\n", "of the pool,new,none\n"]


def test_with_a_journal_what_has_ended_is_not_run_again(pool):
    tasks = [
        task("good", "sh", "-c", "echo run >>good; echo body"),
        task("bad", "sh", "-c", "echo run >>bad; [ $(wc -l <bad) = 2 ]"),
    ]
    first = pool("--journal", "journal", tasks=tasks)
    assert first.each("status") == ["ok", "failed"]
    refused = pool("--journal", "journal", tasks=tasks)
    assert refused.exit_code == 2
    assert "journal" in refused.complaint
    again = pool("--journal", "journal", "--resume", tasks=tasks[::-1])
    assert again.results == first.results[::-1]  # known by what they are, not by their place
    assert (pool.folder / "bad").read_text() == "run\n"
    last = pool("--journal", "journal", "--resume", "--rerun-failed", tasks=tasks)
    assert last.each("status") == ["ok", "ok"]
    assert (pool.folder / "good").read_text() == "run\n"


# its executor.php: `'` in an arg runs shell text

HOSTILE = [
    *("'; touch it-ran #", "$(touch it-ran)", "`touch it-ran`", "; touch it-ran", "| touch it-ran"),
    *("*", "~", "$HOME", "a\nb", "", " ", '"', "\\", "-rf", "--", "{}", "%s", "\x01\x7f", "ä🐘"),
]


def test_what_a_task_says_is_never_read_by_a_shell(pool):
    script = 'printf "%s/" "$@"'
    tasks = [task(one or "empty", "sh", "-c", script, "sh", *HOSTILE, one) for one in HOSTILE]
    done = pool("-t", 4, "-i", "-", "--results", "each", stdin=lines_of(tasks))
    assert done.each("result_body") == ["/".join([*HOSTILE, one, ""]) for one in HOSTILE]
    assert done.each("identifier") == [one or "empty" for one in HOSTILE]
    assert not (pool.folder / "it-ran").exists()
    assert names_in(pool.folder) == ["each"]
    assert len(names_in(pool.folder / "each")) == len(HOSTILE)
