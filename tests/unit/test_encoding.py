import base64
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.results import captured, result
from workermanager.processes.encoding import encode, encode_facts
from workermanager.processes.spool import CHUNK
from workermanager.processes.task import EXIT_TIMEOUT, Status, TaskResult

KEYS = [
    "identifier",
    "exit_code",
    "result_body",
    "status",
    "signal",
    "stderr",
    "duration_ms",
    "attempts",
    "truncated",
    "encoding",
    "reason",
]
# Text with all that JSON escapes, characters of one to four bytes, and halves of surrogate pairs.
any_text = st.text(st.characters(exclude_categories=()) | st.sampled_from('"\\/\0\x7f\u2028é€😀'))
any_bytes = st.binary() | any_text.map(lambda text: text.encode(errors="ignore"))


@pytest.fixture
def captured_much():
    """Captures that hold files; they are closed."""
    captures = []

    def capture(data):
        captures.append(captured(data))
        return captures[-1]

    yield capture
    for one in captures:
        one.close()


def decoded(one, *, is_compat=False):
    return json.loads(b"".join(encode(one, is_compat=is_compat)))


def test_a_result_has_these_keys_in_this_order():
    assert list(decoded(result())) == KEYS


def test_all_that_is_known_of_a_result_is_in_it():
    one = TaskResult(
        "resize",
        Status.SIGNALED,
        137,
        9,
        captured(b"some\n"),
        captured(b"more", limit=3),
        1_234_567_890,
        3,
        "killed",
    )
    assert decoded(one) == {
        "identifier": "resize",
        "exit_code": 137,
        "result_body": "some\n",
        "status": "signaled",
        "signal": 9,
        "stderr": "mor",
        "duration_ms": 1234.568,
        "attempts": 3,
        "truncated": True,
        "encoding": "utf-8",
        "reason": "killed",
    }


def test_nothing_that_there_is_to_say_is_null():
    one = decoded(result())
    assert (one["signal"], one["reason"]) == (None, None)
    assert (one["result_body"], one["stderr"], one["truncated"]) == ("", "", False)


@pytest.mark.parametrize("duration_ns", [0, 1, 999, 12_000_000, 86_400_000_000_000])
def test_a_duration_has_three_decimals(duration_ns):
    text = b"".join(encode(result(duration_ns=duration_ns))).decode()
    figure = text.partition('"duration_ms":')[2].partition(",")[0]
    assert figure == f"{duration_ns / 1e6:.3f}"


def test_a_small_result_is_one_piece_on_one_line():
    (piece,) = encode(result(stdout=captured(b"one\ntwo\n"), stderr=captured(b"\xff\n")))
    assert b"\n" not in piece


def test_text_is_written_as_it_is():
    assert "é€😀".encode() in b"".join(encode(result("é€😀")))


@given(any_text, any_bytes, any_bytes, any_text)
def test_json_gives_back_what_went_in(identifier, stdout, stderr, reason):
    streams = {"stdout": captured(stdout), "stderr": captured(stderr)}
    one = decoded(result(identifier, **streams, reason=reason))
    assert one["identifier"] == identifier
    assert one["reason"] == (reason or None)
    give_back = {"utf-8": str.encode, "base64": base64.b64decode}[one["encoding"]]
    assert (give_back(one["result_body"]), give_back(one["stderr"])) == (stdout, stderr)


@given(any_bytes, any_bytes)
def test_it_is_text_if_both_streams_are(stdout, stderr):
    one = decoded(result(stdout=captured(stdout), stderr=captured(stderr)))
    try:
        wanted = (stdout.decode(), stderr.decode(), "utf-8")
    except UnicodeDecodeError:
        wanted = (*(base64.b64encode(data).decode() for data in (stdout, stderr)), "base64")
    assert (one["result_body"], one["stderr"], one["encoding"]) == wanted


@pytest.mark.parametrize("shift", range(6))
@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_characters_may_lie_across_chunks(character, shift, captured_much):
    text = "x" * shift + character * (CHUNK // 2 + 1)
    pieces = list(encode(result(stdout=captured_much(text.encode()))))
    assert len(pieces) > 2
    one = json.loads(b"".join(pieces))
    assert (one["result_body"], one["encoding"]) == (text, "utf-8")


@pytest.mark.parametrize("more", range(4))
def test_base64_lies_across_chunks(more, captured_much):
    data = os.urandom(2 * CHUNK) + b"\xff" * more
    one = decoded(result(stdout=captured_much(data), stderr=captured(b"text")))
    assert one["encoding"] == "base64"
    assert base64.b64decode(one["result_body"], validate=True) == data
    assert base64.b64decode(one["stderr"], validate=True) == b"text"


@pytest.mark.parametrize("limit", range(5))
def test_a_character_that_the_limit_cut_in_two_is_dropped(limit):
    one = decoded(result(stdout=captured("😀é".encode(), limit)))
    assert one["result_body"] == "😀é".encode()[:limit].decode(errors="ignore")
    assert (one["encoding"], one["truncated"]) == ("utf-8", True)


def test_half_a_character_that_the_child_wrote_is_base64():
    assert decoded(result(stdout=captured(b"\xf0\x9f\x98")))["encoding"] == "base64"


def test_other_bytes_at_a_limit_are_base64():
    assert decoded(result(stdout=captured(b"a\xff\xff", 2)))["encoding"] == "base64"


def test_the_facts_are_the_result_without_its_streams():
    one = result("é", stdout=captured(b"\xff"), stderr=captured(b"much", 2), reason="it was late")
    facts = json.loads(encode_facts(one))
    whole = decoded(one)
    assert facts == {key: whole[key] for key in KEYS if key in facts}
    assert {*KEYS} - {*facts} == {"result_body", "stderr", "encoding"}


@given(any_text, any_bytes)
def test_compat_has_three_keys(identifier, stdout):
    one = decoded(result(identifier, stdout=captured(stdout)), is_compat=True)
    assert list(one) == ["identifier", "exit_code", "result_body"]
    assert one["identifier"] == identifier
    assert one["result_body"].replace("\ufffd", "") == stdout.decode(errors="ignore").replace(
        "\ufffd", ""
    )


def test_compat_has_one_replacement_for_each_byte_as_go_has():
    body = b"a\xe2\x82b\xff\xff\xed\xa0\x80c\xf0\x9f\x98"
    wanted = "a\ufffd\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffdc\ufffd\ufffd\ufffd"
    assert decoded(result(stdout=captured(body)), is_compat=True)["result_body"] == wanted


@pytest.mark.parametrize(
    ("exit_code", "signal", "wanted"), [(3, None, 3), (137, 9, -1), (EXIT_TIMEOUT, 15, 124)]
)
def test_compat_has_minus_one_after_a_signal(exit_code, signal, wanted):
    one = result(status=Status.FAILED, exit_code=exit_code, signal=signal)
    assert decoded(one, is_compat=True)["exit_code"] == wanted


MEMORY = """
import resource, sys
from workermanager.processes.capture import Capture
from workermanager.processes.encoding import encode
from workermanager.processes.task import Status, TaskResult

pieces = {"text": "größer\\n".encode() * 8192, "zeros": bytes(65536), "bytes": b"\\xff" * 65536}
piece = pieces[sys.argv[1]]
capture = Capture(1 << 40)
while capture.size < 100_000_000:
    capture.take(piece)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
written = sum(map(len, encode(TaskResult("a", Status.OK, 0, stdout=capture))))
print(written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
capture.close()
"""


@pytest.mark.parametrize("kind", ["text", "zeros", "bytes"])
def test_the_memory_it_takes_is_bounded(kind):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, kind], capture_output=True, text=True, check=True, timeout=50
    )
    written, grown_kb = map(int, done.stdout.split())
    assert written > 100_000_000
    assert grown_kb * 1024 < 40_000_000
