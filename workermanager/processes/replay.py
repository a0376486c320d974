"""What a journal says, read once from its beginning: what has ended, and what has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from instrumentation.errors import InvalidConfig
from workermanager.processes.journal_lines import (
    BEGIN,
    CHECK_SIZE,
    END,
    OPEN,
    SPAWN,
    VERSION,
    read_lines,
)
from workermanager.processes.leftovers import Leftover
from workermanager.processes.task import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from workermanager.processes.journal_lines import Line

__all__ = ["Replay", "check_first_line"]

_START: Final = b'{"journal":%d,' % VERSION
_FIRST: Final = re.compile(rb'\{"journal":(\d+),')


class Note(Protocol):
    """Takes where the result of a task is, and how it ended; None if that no longer holds."""

    def __call__(self, number: int, status: Status | None, begin: int, size: int, /) -> None: ...


class Replay:
    """Reads a journal for a pool whose tasks have ``numbers``, by the keys that they have there.

    ``note`` is told of each end, and of each beginning after it. ``unfinished`` are the attempts
    without an end, ``size`` is how much of the file is whole lines. ``boot`` is the machine's, and
    only processes since then are taken for alive.
    """

    def __init__(self, numbers: Mapping[bytes, int], boot: str, note: Note) -> None:
        self._numbers = numbers
        self._boot = boot.encode()
        self._note = note
        self._is_this_boot = False
        self.unfinished: dict[int, Leftover] = {}
        self.size = 0

    def read(self, file: BinaryIO, path: str) -> None:
        """Read it to its end; a last line that is not whole does not count.

        Raises:
            InvalidConfig: another line is damaged.
        """
        damaged = 0
        for count, line in enumerate(read_lines(file), 1):
            if damaged:
                raise InvalidConfig(
                    f"{path}: line {damaged} is damaged: mend it, or begin another journal"
                )
            if line.form is None:
                damaged = count
            else:
                self._follow(line, line.form)
                self.size += line.size

    def _follow(self, line: Line, form: re.Match[bytes]) -> None:
        if form.re is OPEN:
            self._is_this_boot = form["boot"] == self._boot
            return
        number = self._numbers.get(form["key"])
        if number is None:  # of another pool's tasks
            return
        if form.re is END:
            self.unfinished.pop(number, None)
            begin = line.begin + form.end()
            end = line.begin + line.size - CHECK_SIZE
            self._note(number, Status(form["status"].decode()), begin, end - begin)
        elif form.re is BEGIN:
            attempt = Leftover("", int(form["attempt"]), float(form["at"]))
            self.unfinished[number] = attempt
            self._note(number, None, 0, 0)
        elif form.re is SPAWN and number in self.unfinished:
            is_known = self._is_this_boot and form["start"] != b"null"
            start = int(form["start"]) if is_known else None
            spawned = self.unfinished[number]._replace(pid=int(form["pid"]), start=start)
            self.unfinished[number] = spawned


def check_first_line(first: bytes, path: str, *, is_compat: bool) -> None:
    """Refuse what this pool cannot go on with, by the first bytes of the file.

    Raises:
        InvalidConfig: it is no journal, or one of another version or for other results.
    """
    if _START.startswith(first):  # torn as it was begun
        return
    found = _FIRST.match(first)
    if found is None:
        raise InvalidConfig(f"{path}: is not the journal of a process pool: name another file")
    if int(found[1]) != VERSION:
        raise InvalidConfig(
            f"{path}: is a journal of version {found[1].decode()}, and only version {VERSION} can "
            "be read: begin another journal"
        )
    opened = OPEN.match(first)
    if opened and (opened["compat"] == b"true") != is_compat:
        how, wanted = ("without", "without it") if is_compat else ("with", "with it")
        raise InvalidConfig(f"{path}: was written {how} --compat: resume {wanted}")
