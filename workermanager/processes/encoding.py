"""The JSON object of a task's result, in pieces: what a child wrote may not fit in memory."""

from __future__ import annotations

import codecs
import json
import re
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final

from workermanager.processes.spool import CHUNK
from workermanager.processes.task import EXIT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workermanager.processes.capture import Capture
    from workermanager.processes.task import TaskResult

__all__ = ["encode", "encode_facts"]

_decoder = codecs.getincrementaldecoder("utf-8")
_quote = json.JSONEncoder(ensure_ascii=False).encode
_ESCAPED: Final = re.compile("[\udc80-\udcff]")


def encode(result: TaskResult, *, is_compat: bool = False) -> Iterator[bytes]:
    """The result in UTF-8, on one line; in one piece if it is small, else in pieces of a few MB.

    Streams that are not both UTF-8 are both base64. A character of which the limit cut off the end
    goes with it. ``is_compat`` has the three keys of the go-workerpool, with its -1 after a signal.
    """
    if not is_compat and _is_short(result):
        try:
            return iter((_encode_short(result),))
        except UnicodeDecodeError:
            pass  # it is not text, as few are
    pieces = _encode_compat(result) if is_compat else _encode(result)
    if _size(result.stdout) + _size(result.stderr) > CHUNK:
        return pieces
    return iter((b"".join(pieces),))


def encode_facts(result: TaskResult) -> bytes:
    """The result without what its streams were."""
    return _utf8(f"{_beginning(result)}{_ending(result)}{_figures(result)},{_reason(result)}}}")


def _is_short(result: TaskResult) -> bool:
    """True if both streams fit into one piece, and are whole."""
    stdout, stderr = result.stdout, result.stderr
    return not (_lost(stdout) or _lost(stderr)) and _size(stdout) + _size(stderr) <= CHUNK


def _encode_short(result: TaskResult) -> bytes:
    """What `_encode` gives of streams that are text, in a third of the time."""
    head, middle, tail = _frame(result, "utf-8")
    stdout = "" if result.stdout is None else result.stdout.read().decode()
    stderr = "" if result.stderr is None else result.stderr.read().decode()
    return _utf8(f"{head}{_quote(stdout)[1:-1]}{middle}{_quote(stderr)[1:-1]}{tail}")


def _encode(result: TaskResult) -> Iterator[bytes]:
    is_text = _is_text(result.stdout) and _is_text(result.stderr)
    contents = _quoted if is_text else _base64
    head, middle, tail = map(_utf8, _frame(result, "utf-8" if is_text else "base64"))
    yield head
    yield from contents(result.stdout)
    yield middle
    yield from contents(result.stderr)
    yield tail


def _frame(result: TaskResult, encoding: str) -> tuple[str, str, str]:
    """What stands before, between and after the contents of the two streams."""
    return (
        f'{_beginning(result)},"result_body":"',
        f'"{_ending(result)},"stderr":"',
        f'"{_figures(result)},"encoding":"{encoding}",{_reason(result)}}}',
    )


def _encode_compat(result: TaskResult) -> Iterator[bytes]:
    has_signal = result.signal is not None and result.exit_code != EXIT_TIMEOUT
    exit_code = -1 if has_signal else result.exit_code
    identifier = _quote(result.identifier)
    yield _utf8(f'{{"identifier":{identifier},"exit_code":{exit_code},"result_body":"')
    for text in _texts(result.stdout, "surrogateescape"):
        # One U+FFFD for each byte that is no UTF-8, as Go has it; "replace" has one for several.
        whole = text if text.isascii() else _ESCAPED.sub("\ufffd", text)
        yield _quote(whole)[1:-1].encode()
    yield b'"}'


def _beginning(result: TaskResult) -> str:
    return f'{{"identifier":{_quote(result.identifier)},"exit_code":{result.exit_code}'


def _ending(result: TaskResult) -> str:
    signal = "null" if result.signal is None else result.signal
    return f',"status":"{result.status}","signal":{signal}'


def _figures(result: TaskResult) -> str:
    is_truncated = "true" if _lost(result.stdout) or _lost(result.stderr) else "false"
    return (
        f',"duration_ms":{result.duration_ns / 1e6:.3f},"attempts":{result.attempts}'
        f',"truncated":{is_truncated}'
    )


def _reason(result: TaskResult) -> str:
    return f'"reason":{_quote(result.reason)}' if result.reason else '"reason":null'


def _size(stream: Capture | None) -> int:
    return 0 if stream is None else stream.size


def _lost(stream: Capture | None) -> int:
    return 0 if stream is None else stream.lost


def _utf8(text: str) -> bytes:
    """The text in UTF-8; half a surrogate pair, which has no UTF-8, as JSON escapes it."""
    return text.encode(errors="backslashreplace")


def _is_text(stream: Capture | None) -> bool:
    try:
        for _text in _texts(stream, "strict"):
            pass
    except UnicodeDecodeError:
        return False
    return True


def _quoted(stream: Capture | None) -> Iterator[bytes]:
    for text in _texts(stream, "strict"):
        yield _quote(text)[1:-1].encode()


def _texts(stream: Capture | None, errors: str) -> Iterator[str]:
    if stream is None:
        return
    decoder = _decoder(errors)
    for chunk in stream.chunks():
        yield decoder.decode(chunk)
    if not stream.lost:
        yield decoder.decode(b"", final=True)


def _base64(stream: Capture | None) -> Iterator[bytes]:
    if stream is None:
        return
    rest = b""
    for chunk in stream.chunks():
        data = rest + chunk
        whole = len(data) - len(data) % 3
        yield b2a_base64(data[:whole], newline=False)
        rest = data[whole:]
    yield b2a_base64(rest, newline=False)
