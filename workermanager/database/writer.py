"""Group commit: the rows of many execs in one transaction, each exec told when it is durable.

One thread writes, whatever the number of execs: SQLite has one write lock, and its waiters back
off for longer than a queue would take.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from workermanager.database.entries import Entry
from workermanager.database.found import Found
from workermanager.database.refusals import is_conflict, is_outage, refusal
from workermanager.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from instrumentation.errors import WriteError
    from workermanager.database.entries import Rows
    from workermanager.database.ledger import Marks
    from workermanager.database.store import Database

__all__ = ["Writer"]

_MOST_PER_COMMIT: Final = 2_000
_MOST_ROWS_PER_COMMIT: Final = 20_000
_MOST_WAITING: Final = 4_000
_ROOM_AGAIN: Final = _MOST_WAITING // 2  # not at once: each wake-up of a thread costs a switch
_MOST_NOTED: Final = 10_000
_NOTE_EVERY_S: Final = 1.0


class Writer:
    """Writes the rows of execs, many execs to a transaction, all rows of an exec in the same one.

    ``submit`` returns at once unless 4,000 execs wait already, so threads never wait for a commit
    but cannot run away from the database either. A batch that the database refuses is halved
    until the bad exec is alone, and only that one fails. A batch that is there already, because a
    commit's answer was lost or another process was faster, is not written again.

    ``marks``, if given, are written with each batch. ``on_crash`` is called, in the writer's
    thread, if telling an exec its outcome raised; ``crash`` is then what it raised. ``on_outage``
    is called once the database gave up for good; ``outage`` is then why, and every exec after is
    refused with it.
    """

    def __init__(
        self,
        database: Database,
        marks: Marks | None,
        on_crash: Callable[[], None],
        on_outage: Callable[[WriteError], None],
    ) -> None:
        self.crash: BaseException | None = None
        self.outage: WriteError | None = None
        self.halved = 0
        self.found: Counter[str] = Counter()
        self._database = database
        self._marks = marks
        self._batches = 0
        self._on_crash = on_crash
        self._on_outage = on_outage
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._has_room = threading.Condition()
        self._noted: deque[int] = deque()
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._thread.start()

    @property
    def has_marks(self) -> bool:
        """True if execs are marked as durable in a ledger."""
        return self._marks is not None

    def submit(self, entry: Entry) -> None:
        """Write an entry soon; its owner hears once it is durable, or why it is not."""
        if self._queue.qsize() >= _MOST_WAITING:
            self._wait_for_room()
        self._queue.put(entry)

    def note(self, exec_: int) -> None:
        """Mark an exec without rows with one of the next batches; it need not wait for that."""
        self._noted.append(exec_)
        if len(self._noted) >= _MOST_NOTED:
            self.submit(Entry(None, (), _NOBODY))

    def _wait_for_room(self) -> None:
        with self._has_room:
            while self._queue.qsize() >= _MOST_WAITING:
                self._has_room.wait()

    def flush(self, on_flushed: Callable[[], None]) -> None:
        """Call ``on_flushed``, in the writer's thread, once all that was submitted is settled."""
        self._queue.put(Entry(None, None, _Waiting(on_flushed)))

    def close(self, seconds: float | None = None) -> bool:
        """Settle what was submitted and let go of the database; False if that took too long."""
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # In the writer's thread

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._gather()
            if self._queue.qsize() <= _ROOM_AGAIN:
                with self._has_room:
                    self._has_room.notify_all()
            batch[:0] = self._take_notes()
            try:
                self._write(batch)
            except BaseException as crash:  # noqa: BLE001 - as in `_settle`
                self._note_crash(crash)
        self._database.close()

    def _gather(self) -> tuple[list[Entry], bool]:
        """What waits, up to what one transaction should hold; True with the last of all."""
        batch: list[Entry] = []
        rows = 0
        try:
            entry = self._queue.get(timeout=_NOTE_EVERY_S if self.has_marks else None)
            while entry is not None:
                batch.append(entry)
                rows += len(entry.rows or ())
                if len(batch) >= _MOST_PER_COMMIT or rows >= _MOST_ROWS_PER_COMMIT:
                    return batch, False
                entry = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _take_notes(self) -> list[Entry]:
        """The execs without rows, before whoever waits for all that was submitted."""
        return [Entry(self._noted.popleft(), (), _NOBODY) for _ in range(len(self._noted))]

    def _write(self, batch: list[Entry]) -> None:
        """Commit the batch, or find the execs in it that cannot be."""
        if self.outage is not None:
            self._settle(batch, self.outage)
            return
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - a row can raise anything while it is bound
            self._recover(batch, error)
        else:
            self._settle(batch, None)

    def _commit(self, batch: list[Entry]) -> None:
        rows = list(chain.from_iterable(entry.rows or () for entry in batch))
        execs = _execs_of(batch)
        if not rows and not execs:
            return
        self._batches += 1
        number = self._batches
        self._database.transactions.run(
            partial(self._insert, number, execs, rows, in_order=len(batch) == 1)
        )
        if self._marks is not None:
            self._marks.acknowledge(number, execs)

    def _insert(
        self, number: int, execs: Spans, rows: Rows, connection: Connection, *, in_order: bool
    ) -> None:
        if self._marks is not None:  # first: a batch that is there is known at once
            self._marks.write(connection, number, execs)
        self._database.inserter.insert(connection, rows, in_order=in_order)

    def _recover(self, batch: list[Entry], error: Exception) -> None:
        """Write what can be written of a batch that was refused as a whole."""
        told = refusal(error)
        if is_conflict(error):
            try:
                known = self._database.transactions.run(partial(self._look_up, batch))
            except Exception as failure:  # noqa: BLE001 - as above
                error, told = failure, refusal(failure)
            else:
                if known.is_any:
                    self._settle_known(known)
                    self._write(known.rest)
                    return
                told = known.conflict or told
        if is_outage(error):
            self.outage = told
            self._settle(batch, told)
            self._on_outage(told)
        elif len(batch) == 1:
            self._settle(batch, told)
        else:
            self.halved += 1
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])

    def _look_up(self, batch: list[Entry], connection: Connection) -> _Known:
        """What of a batch is in the database already."""
        ours = theirs = Spans()
        if self._marks is not None:
            if self._marks.has(connection, self._batches):
                return _Known(batch, [], [], Counter(), None)
            if execs := _execs_of(batch):
                ours, theirs = self._marks.durable(connection, execs)
        here = [entry for entry in batch if _is_marked(entry, ours)]
        others = [entry for entry in batch if not _is_marked(entry, ours)]
        elsewhere = [entry for entry in others if _is_marked(entry, ours, theirs)]
        rest = [entry for entry in others if not _is_marked(entry, ours, theirs)]
        rows = list(chain.from_iterable(entry.rows or () for entry in rest))
        found = Found(connection, rows)
        return _Known(
            here,
            elsewhere,
            [
                entry._replace(rows=[row for row in entry.rows or () if not found.is_there(row[1])])
                for entry in rest
            ],
            Counter(table.name for table, row in rows if found.is_there(row)),
            found.conflict(rows),
        )

    def _settle_known(self, known: _Known) -> None:
        self._settle(known.here, None)
        self.found.update(known.found)
        for entry in known.elsewhere:
            self.found.update(table.name for table, _ in entry.rows or ())
        self._settle([entry._replace(rows=()) for entry in known.elsewhere], None)

    def _settle(self, batch: list[Entry], refused: WriteError | None) -> None:
        """Tell every owner, whatever one raises, or those who wait would wait for ever."""
        for owner, entries in groupby(batch, _OWNER):
            try:
                owner.settle(list(entries), refused)
            except BaseException as crash:  # noqa: BLE001 - it surfaces in the run's owner
                self._note_crash(crash)

    def _note_crash(self, crash: BaseException) -> None:
        self.crash = self.crash or crash
        self._on_crash()


class _Known(NamedTuple):
    """What of a batch is there: execs marked by us or by others, the rest without found rows."""

    here: list[Entry]
    elsewhere: list[Entry]
    rest: list[Entry]
    found: Counter[str]
    conflict: WriteError | None

    @property
    def is_any(self) -> bool:
        """True if something is."""
        return bool(self.here or self.elsewhere or self.found)


def _execs_of(batch: list[Entry]) -> Spans:
    return Spans.of(entry.exec_ for entry in batch if entry.exec_ is not None)


def _is_marked(entry: Entry, *marked: Spans) -> bool:
    return entry.exec_ is not None and any(entry.exec_ in spans for spans in marked)


class _Nobody:
    """Owns what nobody waits for: execs without rows."""

    def settle(self, entries: Sequence[Entry], refused: WriteError | None) -> None:
        """Do nothing."""


class _Waiting:
    """Waits for all that was submitted before."""

    def __init__(self, on_flushed: Callable[[], None]) -> None:
        self._on_flushed = on_flushed

    def settle(self, _entries: Sequence[Entry], _refused: WriteError | None) -> None:
        """It is settled, one way or the other."""
        self._on_flushed()


_NOBODY: Final = _Nobody()
_OWNER: Final = attrgetter("owner")
