"""The reports of the latest runs, in one SQLite file of the user's: the run history.

It is ``$XDG_STATE_HOME/workermanager/runs.db`` (``~/.local/state`` where that is not set). Any
number of processes may save at once, and one that is killed meanwhile leaves what was there. The
latest 1,000 runs are kept, of at most 512 MiB in all, compressed.

It has a rollback journal, not a write-ahead log: homes are shared between machines, over which a
log cannot be; and those that want to be the first to switch to one fail at once, without waiting.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from instrumentation.errors import InvalidConfig
from workermanager.redaction import one_line
from workermanager.report import decode_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workermanager.report import Report

__all__ = ["History", "PastRun", "save_quietly"]

_VERSION: Final = 1
_MOST_RUNS: Final = 1_000
_MOST_BYTES: Final = 512 * 1024 * 1024
_BUSY_S: Final = 10.0
_FEW: Final = 5
# A run's number grows with every save, so it tells what is oldest whatever the clock said. The
# report is apart from the facts: a list of a thousand runs does not read past their reports.
_SCHEMA: Final = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_at TEXT NOT NULL,
    duration_s REAL NOT NULL,
    counts TEXT NOT NULL,
    rate REAL NOT NULL,
    p99_ms REAL NOT NULL,
    tags TEXT NOT NULL,
    exit_code INTEGER NOT NULL,
    size INTEGER NOT NULL
);
CREATE TABLE reports (
    number INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
    document BLOB NOT NULL
);
"""


class PastRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the history lists it: ``rate`` is of its execs, ``p99_ms`` that of the response."""

    id: str
    name: str
    outcome: str
    started_at: str
    duration_s: float
    counts: dict[str, int]
    rate: float
    p99_ms: float
    tags: dict[str, str]
    exit_code: int


_FACTS: Final = PastRun.__struct_fields__


class History:
    """The run history in one file, which need not be there yet.

    ``most_runs`` and ``most_bytes`` (of compressed reports) are how much of it is kept; the latest
    run is, whatever its size.
    """

    def __init__(
        self, path: Path, *, most_runs: int = _MOST_RUNS, most_bytes: int = _MOST_BYTES
    ) -> None:
        self.path = path
        self._most_runs = most_runs
        self._most_bytes = most_bytes

    @classmethod
    def open_default(cls, environ: Mapping[str, str]) -> History:
        """The user's own, where the XDG Base Directory Specification says that state belongs.

        Raises:
            InvalidConfig: the environment names neither a state directory nor a home.
        """
        state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
        if Path(state).is_absolute():  # the specification wants any other ignored
            return cls(Path(state, "workermanager", "runs.db"))
        if not Path(home).is_absolute():
            raise InvalidConfig("no place for a run history: set XDG_STATE_HOME or HOME")
        return cls(Path(home, ".local", "state", "workermanager", "runs.db"))

    def save(self, report: Report) -> None:
        """Keep a report, in the place of an earlier one of the same run, and forget the oldest.

        Raises:
            InvalidConfig: the file or its directory cannot be written.
        """
        document = zlib.compress(msgspec.json.encode(_storable(report)))
        with self._open(creates=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._prepare(connection)
            connection.execute("DELETE FROM runs WHERE id = ?", (report.run.id,))
            row = {**_facts_of(report), "size": len(document)}
            names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
            added = connection.execute(
                f"INSERT INTO runs ({names}) VALUES ({marks})",  # noqa: S608 - our own names
                row,
            )
            connection.execute("INSERT INTO reports VALUES (?, ?)", (added.lastrowid, document))
            self._prune(connection)
            connection.execute("COMMIT")

    def list(
        self, limit: int | None = None, tags: Mapping[str, str] | None = None
    ) -> list[PastRun]:
        """The runs that were saved last, the latest first; those with all of the tags.

        Raises:
            InvalidConfig: the file cannot be read, or is no run history.
        """
        wanted = (tags or {}).items()
        runs: list[PastRun] = []
        with self._read() as connection:
            if connection is None:
                return runs
            found = connection.execute(
                f"SELECT {', '.join(_FACTS)} FROM runs ORDER BY number DESC"  # noqa: S608 - as above
            )
            for row in found:
                if limit is not None and len(runs) >= limit:
                    break
                run = self._past_run(row)
                if wanted <= run.tags.items():
                    runs.append(run)
        return runs

    def find(self, id_or_prefix: str) -> Report:
        """The report of the run with this id, or of the only one whose id begins so.

        Raises:
            InvalidConfig: there is no such run, there are several, or the file cannot be read.
        """
        with self._read() as connection:
            ids = [] if connection is None else _ids(connection)
            name = _choose(id_or_prefix, ids, self.path)
            assert connection is not None  # noqa: S101 - for the type checker: a name was found
            (document,) = connection.execute(
                "SELECT document FROM reports JOIN runs USING (number) WHERE id = ?", (name,)
            ).fetchone() or (b"",)
        try:
            text = zlib.decompress(document)
        except zlib.error as error:
            raise InvalidConfig(f"{self.path}: run {name}: not a report: {error}") from None
        return decode_report(text, f"{self.path}: run {name}")

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection | None]:
        """The store, or None where nothing was saved yet: to read creates nothing."""
        try:
            is_there = self.path.exists()
        except OSError as error:
            raise self._refusal("read", error.strerror) from None
        if not is_there:
            yield None
            return
        with self._open(creates=False) as connection:
            connection.execute("BEGIN")
            yield connection if self._version(connection) else None

    @contextmanager
    def _open(self, *, creates: bool) -> Iterator[sqlite3.Connection]:
        verb = "written" if creates else "read"
        try:
            if creates:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # SQLite would make it as the umask says; what a report says is nobody else's.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            address = f"{self.path.absolute().as_uri()}?mode=rw"
            with closing(
                sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)
            ) as connection:
                if creates:
                    connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except OSError as error:
            raise self._refusal(verb, error.strerror) from None
        except sqlite3.Error as error:
            raise self._refusal(verb, str(error)) from None

    def _refusal(self, verb: str, reason: str | None) -> InvalidConfig:
        return InvalidConfig(f"run history {self.path}: cannot be {verb}: {reason}")

    def _version(self, connection: sqlite3.Connection) -> int:
        """The version of the schema; 0 where there is none yet."""
        # In this order: tables that appear in between are not those of somebody else.
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise InvalidConfig(
                f"run history {self.path}: version {version}, of a later workermanager; "
                f"this reads version {_VERSION}"
            )
        if version < _VERSION and tables:
            raise InvalidConfig(f"run history {self.path}: another program's database")
        return int(version)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._version(connection) == _VERSION:
            return
        for statement in _SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Delete the runs that are too many, or that came before as many bytes as are kept."""
        connection.execute(
            """
            DELETE FROM runs WHERE number IN (
                SELECT number FROM (
                    SELECT number,
                        row_number() OVER latest AS place,
                        sum(size) OVER latest AS bytes
                    FROM runs WINDOW latest AS (ORDER BY number DESC)
                ) WHERE place > 1 AND (place > ? OR bytes > ?)
            )
            """,
            (self._most_runs, self._most_bytes),
        )

    def _past_run(self, row: tuple[object, ...]) -> PastRun:
        facts = dict(zip(_FACTS, row, strict=True))
        try:
            for name in ("counts", "tags"):
                facts[name] = msgspec.json.decode(str(facts[name]))
            return msgspec.convert(facts, PastRun)
        except msgspec.MsgspecError as error:
            raise self._refusal("read", f"run {facts['id']}: {error}") from None


def save_quietly(report: Report, environ: Mapping[str, str]) -> bool:
    """Keep a report in the user's history; False, with a line in the log, where that failed."""
    from loguru import logger  # noqa: PLC0415 - 60 ms that a list of runs need not wait for

    try:
        History.open_default(environ).save(report)
    except Exception as error:  # noqa: BLE001 - the run is done: its archive must not fail it
        logger.warning("the run is not in the history: {}", one_line(str(error)))
        return False
    return True


def _choose(wanted: str, ids: list[str], path: Path) -> str:
    if wanted in ids:
        return wanted
    found = [one for one in ids if one.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found and wanted:
        more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
        raise InvalidConfig(f"run {wanted}: which of {', '.join(found[:_FEW])}{more}?")
    close = get_close_matches(wanted, ids, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "workermanager runs lists them"
    raise InvalidConfig(f"run {wanted!r} is not in the history {path}; {hint}")


def _ids(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT id FROM runs ORDER BY number DESC")]


def _storable(report: Report) -> object:
    """The report as plain values; of a param that JSON has not, what it looks like."""
    return msgspec.to_builtins(report, enc_hook=repr)


def _facts_of(report: Report) -> dict[str, object]:
    run = report.run
    return {
        "id": run.id,
        "name": run.name,
        "outcome": run.outcome,
        "started_at": run.started_at,
        "duration_s": run.duration_s,
        "counts": msgspec.json.encode(report.counts).decode(),
        "rate": round(report.rate, 3),
        "p99_ms": report.response.p99_ms,
        "tags": msgspec.json.encode(run.tags).decode(),
        "exit_code": report.exit_code,
    }
