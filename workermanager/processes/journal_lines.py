"""The lines of a journal: JSON objects, each with a check of itself at its end.

::

    {"journal":1,"compat":false,"at":1795303937.512,"boot":"629e7f93-…","crc32":"…"}
    {"begin":"<key>","attempt":1,"at":1795303937.513,"identifier":"resize","crc32":"…"}
    {"spawn":"<key>","pid":2328,"start":4411238,"crc32":"…"}
    {"end":"<key>","status":"ok","result":{…},"crc32":"…"}

Each pool that opens a journal adds a first line of its own. ``key`` is what a task is known by,
``at`` is in seconds of the epoch, ``start`` in ticks since the machine was booted, as ``boot``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from workermanager.processes.spool import CHUNK
from workermanager.processes.task import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = [
    "BEGIN",
    "CHECK_SIZE",
    "END",
    "OPEN",
    "SPAWN",
    "VERSION",
    "Line",
    "begin_line",
    "check",
    "end_line",
    "open_line",
    "read_lines",
    "spawn_line",
]

VERSION: Final = 1

_LONGEST_HEAD: Final = 256
_CHECK: Final = b',"crc32":"%08x"}\n'
CHECK_SIZE: Final = len(_CHECK % 0)

_KEY: Final = rb'"(?P<key>[0-9a-f]+)"'
_AT: Final = rb'"at":(?P<at>[\d.]+)'
OPEN: Final = re.compile(
    rb'\{"journal":%d,"compat":(?P<compat>true|false),%b,"boot":"(?P<boot>[^"]*)"' % (VERSION, _AT)
)
BEGIN: Final = re.compile(
    rb'\{"begin":%b,"attempt":(?P<attempt>\d+),%b,"identifier":"' % (_KEY, _AT)
)
SPAWN: Final = re.compile(rb'\{"spawn":%b,"pid":(?P<pid>\d+),"start":(?P<start>\d+|null)' % _KEY)
END: Final = re.compile(
    rb'\{"end":%b,"status":"(?P<status>%b)","result":' % (_KEY, "|".join(Status).encode())
)
_FORMS: Final = {b"j": OPEN, b"b": BEGIN, b"s": SPAWN, b"e": END}


def open_line(at: float, boot: str, *, is_compat: bool) -> bytes:
    """What a pool begins with."""
    compat = b"true" if is_compat else b"false"
    what = (VERSION, compat, at, boot.encode())
    return b'{"journal":%d,"compat":%b,"at":%.3f,"boot":"%b"' % what


def begin_line(key: str, attempt: int, at: float, identifier: str) -> bytes:
    """An attempt of a task is about to be started."""
    what = (key.encode(), attempt, at, json.dumps(identifier).encode())
    return b'{"begin":"%b","attempt":%d,"at":%.3f,"identifier":%b' % what


def spawn_line(key: str, pid: int, start: int | None) -> bytes:
    """It runs."""
    started = b"null" if start is None else b"%d" % start
    return b'{"spawn":"%b","pid":%d,"start":%b' % (key.encode(), pid, started)


def end_line(key: str, status: Status) -> bytes:
    """The task has ended; what came of it follows."""
    return b'{"end":"%b","status":"%b","result":' % (key.encode(), status.encode())


def check(found: int) -> bytes:
    """The end of a line, of which what is before has this CRC-32."""
    return _CHECK % found


class Line(NamedTuple):
    """A line that begins at byte ``begin`` and has ``size`` bytes, with its end.

    ``form`` is how it begins: a match of `OPEN`, `BEGIN`, `SPAWN` or `END`; None if it is none of
    these, or not as it was written.
    """

    begin: int
    size: int
    form: re.Match[bytes] | None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a journal, however long they are, in bounded memory."""
    begin = 0
    while data := file.readline(CHUNK):
        head, size, found = data[:_LONGEST_HEAD], len(data), 0
        while not data.endswith(b"\n") and (more := file.readline(CHUNK)):
            found = crc32(data[:-CHECK_SIZE], found)
            data = data[-CHECK_SIZE:] + more
            size += len(more)
        is_whole = data[-CHECK_SIZE:] == check(crc32(data[:-CHECK_SIZE], found))
        form = _FORMS.get(head[2:3]) if is_whole else None
        yield Line(begin, size, form and form.match(head))
        begin += size
