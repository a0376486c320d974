"""JSON values of a long input, one after the other: what is in memory is the next of them.

A value is tried where it begins, and again with more text where it may not have ended yet. The
window doubles for that, so that a long value is not tried often.
"""

from __future__ import annotations

import errno
import os
import re
from codecs import getincrementaldecoder
from json import JSONDecodeError, JSONDecoder
from typing import TYPE_CHECKING, Final, NoReturn

from instrumentation.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Window", "explain"]

_BLANKS: Final = " \t\r\n"
_BLANK: Final = re.compile(f"[{_BLANKS}]*")
_CHUNK: Final = 1 << 16
_LARGEST: Final = 64 << 20  # characters
_NEAR: Final = 16  # characters: more than any literal or escape has, or the end of a number
_MOST_DIGITS: Final = 20


class Window:
    """The part of an input that is in memory, as text; ``source`` is what refusals call the input.

    A byte order mark at the beginning is no part of it.
    """

    __slots__ = (
        "_at",
        "_decoder",
        "_fault",
        "_file",
        "_is_whole",
        "_size",
        "_start",
        "_text",
        "source",
    )

    def __init__(self, file: BinaryIO, source: str) -> None:
        self.source = source
        self._file = file
        self._decoder = getincrementaldecoder("utf-8")()
        self._size = 0  # bytes read
        self._text = ""
        self._at = 0  # how much of the text is done with
        self._start = (1, 1)  # line and column of its first character
        self._fault = ""  # what comes after the text and is none
        self._is_whole = False  # nothing comes after it

    def peek(self) -> str:
        """The next character that is not blank; "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text) or self._is_whole:
                return self._text[self._at : self._at + 1]
            self._grow()

    def skip(self) -> None:
        """Be done with the character that was peeked at."""
        self._at += 1

    def value(self) -> object:
        """The next value.

        Raises:
            InvalidConfig: it is malformed, or larger than 64 MiB.
        """
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                complaint, position = explain(error, self._at)
                if self._is_settled(position) and (self._is_whole or complaint != _OPEN):
                    self.refuse(complaint, position)
            else:
                if self._is_settled(end):
                    self._refuse_large(end)
                    self._at = end
                    return value
            self._grow()

    def lines(self) -> Iterator[tuple[int, object]]:
        """The values of all further lines that are not blank, and the numbers of these lines.

        Raises:
            InvalidConfig: one is malformed, or larger than 64 MiB.
        """
        number = self._place(self._at)[0]
        while True:
            end = self._end_of_line()
            self._refuse_large(end)
            line = self._text[self._at : end]
            if line.strip(_BLANKS):
                yield number, self._parse(line)
            if end == len(self._text):
                return
            self._at = end + 1
            number += 1

    def _end_of_line(self) -> int:
        while (end := self._text.find("\n", self._at)) < 0:
            if self._is_whole:
                return len(self._text)
            self._grow()
        return end

    def _parse(self, line: str) -> object:
        try:
            return _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            complaint, position = explain(error, 0)
            if position >= len(line.rstrip(_BLANKS)):
                complaint += "; without an array around them, tasks are on one line each"
            self.refuse(complaint, self._at + position)

    def rest(self) -> str:
        """All the text that is left."""
        while not self._is_whole:
            self._grow()
        return self._text[self._at :]

    def refuse(self, complaint: str, position: int | None = None) -> NoReturn:
        """Say what is wrong with the text at a position in it; with what is next if None."""
        line, column = self._place(self._at if position is None else position)
        raise InvalidConfig(f"{self.source}: line {line}, column {column}: {complaint}")

    def _place(self, position: int) -> tuple[int, int]:
        line, column = self._start
        ends = self._text.count("\n", 0, position)
        if ends:
            return line + ends, position - self._text.rfind("\n", 0, position)
        return line, column + position

    def _is_settled(self, position: int) -> bool:
        """True if more text would change nothing that was found up to a position."""
        return self._is_whole or position <= len(self._text) - _NEAR

    def _refuse_large(self, end: int) -> None:
        if end - self._at > _LARGEST:
            self.refuse("more than 64 MiB in one piece")

    def _grow(self) -> None:
        """Read on, and forget what is done with."""
        kept = len(self._text) - self._at
        self._refuse_large(len(self._text) - _NEAR)
        if self._fault:
            raise InvalidConfig(f"{self.source}: {self._fault}")
        data = self._file.read(max(_CHUNK, kept))
        if data is None:  # others who have it open made it so
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        text = self._decode(data)
        self._start = self._place(self._at)
        self._text = self._text[self._at :] + text
        self._at = 0
        self._is_whole = not (data or self._fault)

    def _decode(self, data: bytes) -> str:
        begin = self._size - len(self._decoder.getstate()[0])  # a character may have been cut
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            self._fault = f"not UTF-8 at byte offset {begin + error.start}"
            text = error.object[: error.start].decode()
        if begin == 0:
            text = text.removeprefix("\ufeff")
        self._size += len(data)
        return text


def explain(error: ValueError | RecursionError, begin: int) -> tuple[str, int]:
    """What is wrong with a text that was to be read from ``begin`` on, and where."""
    if isinstance(error, JSONDecodeError):
        complaint = error.msg.removesuffix(" at").removesuffix(" starting").rstrip(": ")
        return f"malformed JSON: {complaint[0].lower()}{complaint[1:]}", error.pos
    return ("nested too deeply" if isinstance(error, RecursionError) else str(error)), begin


def _read_integer(digits: str) -> float:
    """As float where it is too long to be of use: Python reads no more than 4,300 digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"malformed JSON: {name} is no value")


_DECODER: Final = JSONDecoder(parse_int=_read_integer, parse_constant=_refuse_constant)
_OPEN: Final = "malformed JSON: unterminated string"
