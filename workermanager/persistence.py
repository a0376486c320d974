"""What a run has to do with its database: opened or borrowed, written to, recorded in its ledger.

Imports SQLAlchemy only for runs that have a database.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from loguru import logger

from instrumentation.errors import InvalidConfig, WriteError
from instrumentation.fakes import make_faker
from workermanager.garbage import fewer_collections
from workermanager.landings import Landings, TransactionTimes
from workermanager.telemetry import DatabaseFigures, Phases

if TYPE_CHECKING:
    from collections.abc import Callable

    from workermanager.database.store import Database
    from workermanager.plan import Plan
    from workermanager.record import RunRecord

__all__ = ["Opening", "Persistence"]

_LOOK_EVERY_S: Final = 0.05
_GIVE_UP_S: Final = 1.0  # after "stop now", as a run does


class Persistence:
    """A run's database, with the writer of its rows, and the ledger if it has one.

    ``landings`` take rows; ``transact`` runs a step's own transactions.
    """

    def __init__(
        self,
        database: Database,
        landings: Landings,
        transact: TransactionTimes,
        record: RunRecord | None,
        wait: Callable[[float], bool],
    ) -> None:
        self.database = database
        self.landings = landings
        self.transact = transact
        self._record = record
        self._wait = wait
        self._is_stuck = False
        self._meanwhile = ExitStack()
        self._meanwhile.enter_context(fewer_collections())

    @property
    def is_borrowed(self) -> bool:
        """True if the database is that of the run around."""
        return self.landings.is_nested

    @property
    def has_ledger(self) -> bool:
        """True if a ledger has the run."""
        return self._record is not None

    @property
    def note(self) -> Callable[[int], None] | None:
        """Hears of execs that ended without rows, where the ledger wants to know."""
        return self.landings.writer.note if self.has_ledger else None

    @property
    def phases(self) -> list[Phases]:
        """The figures of execs with rows, and of transactions."""
        return [self.landings.phases, self.transact.phases]

    def figures(self) -> DatabaseFigures | None:
        """What the database was asked to do; None where that is told by the run around."""
        if self.is_borrowed:
            return None
        transactions, writer = self.database.transactions, self.landings.writer
        return DatabaseFigures(
            transactions=transactions.begun,
            commits=transactions.commits,
            retries=dict(transactions.retries),
            halved=writer.halved,
            found=dict(writer.found),
        )

    def finish(self, state: str, *, may_be_finished: bool, counts_rows: bool) -> dict[str, int]:
        """Note how the run ended, and give how many rows its tables hold, where that is wanted.

        Done in the writer's thread: the database may keep whoever asks waiting, and a second
        signal must end that wait. It may be finished if all its execs are durable.
        """
        is_wanted = self._record is not None or counts_rows
        if not is_wanted or self.landings.writer.outage is not None:
            return {}
        counts: dict[str, int] = {}
        done = threading.Event()

        def finish() -> None:
            try:
                if self._record is not None:
                    self._end(self._record.id, state, may_be_finished=may_be_finished)
                if counts_rows:
                    counts.update(self._count_rows())
            finally:
                done.set()

        self.landings.writer.flush(finish)
        while not done.wait(_LOOK_EVERY_S):
            if self._is_halted() and not done.wait(_GIVE_UP_S):
                logger.error("the ledger does not know that the run ended: no time was left")
                self._is_stuck = True
                break
        return counts

    def _end(self, run_id: str, state: str, *, may_be_finished: bool) -> None:
        from workermanager.database.ledger import Ledger  # noqa: PLC0415 - loaded already
        from workermanager.database.refusals import refusal  # noqa: PLC0415

        end = partial(Ledger.end, run_id, state, may_be_finished=may_be_finished)
        try:
            self.database.transactions.run(end)
        except Exception as error:  # noqa: BLE001 - the run is over: only its label is missing
            logger.error("the ledger does not know that the run ended: {}", refusal(error))

    def _count_rows(self) -> dict[str, int]:
        try:
            return self.database.count(self.landings.tables.values())
        except WriteError as error:
            logger.error("the rows could not be counted: {}", error)
            return {}

    def _is_halted(self) -> bool:
        return self._wait(0)

    def close(self, seconds: float | None) -> None:
        """Let go of the database, waiting at most so long for what is on its way."""
        self._meanwhile.close()
        if self.is_borrowed:
            return
        self.landings.writer.close(0 if self._is_stuck else seconds)
        self.database.is_over.set()  # whatever it still waits for, it need not


class Opening(NamedTuple):
    """How a run opens its database: its plan, its clock, and whom to tell of trouble.

    ``wait`` waits for seconds, and is True once the run was told to stop now.
    """

    plan: Plan
    now: Callable[[], int]
    wait: Callable[[float], bool]
    on_crash: Callable[[], None]
    on_outage: Callable[[WriteError], None]

    def choose(
        self, around: Persistence | None, record: RunRecord | None, *, is_resumed: bool
    ) -> Persistence | None:
        """The database of the run around where that serves, else one of our own, else none."""
        if around is not None and self.plan.database in (None, around.database.url):
            return self.borrow(around)
        if self.plan.database is None:
            return None
        return self.open(record, is_resumed=is_resumed)

    def borrow(self, around: Persistence) -> Persistence:
        """The database of the run around. Its ledger knows nothing of the execs of this one.

        Raises:
            InvalidConfig: the schema cannot be created there.
        """
        if self.plan.schema is not None:
            around.database.create(self.plan.schema)
        landings = Landings(around.landings.writer, around.landings, Phases(self.plan.warm_end))
        return Persistence(around.database, landings, self._times(around.database), None, self.wait)

    def open(self, record: RunRecord | None, *, is_resumed: bool) -> Persistence:
        """A database of the run's own; ``record`` is entered in its ledger, None needs no ledger.

        Raises:
            InvalidConfig: the database cannot be opened, or knows another run of that id.
        """
        from workermanager.database.ledger import Marks  # noqa: PLC0415 - 200 ms of SQLAlchemy
        from workermanager.database.store import Database  # noqa: PLC0415
        from workermanager.database.writer import Writer  # noqa: PLC0415

        assert self.plan.database is not None  # noqa: S101 - for the type checker
        database = Database(self.plan.database, 2 * self.plan.threads + 1)
        try:
            if self.plan.schema is not None:
                database.create(self.plan.schema)
            if record is not None:
                database.enter(record, is_resumed=is_resumed)
        except InvalidConfig:
            database.close()
            raise
        make_faker()  # who seeds wants it: its import would make the first execs seem slow
        marks = None if record is None else Marks(record.id, database.inserter)
        writer = Writer(database, marks, self.on_crash, self.on_outage)
        landings = Landings(writer, None, Phases(self.plan.warm_end))
        return Persistence(database, landings, self._times(database), record, self.wait)

    def _times(self, database: Database) -> TransactionTimes:
        names = {link.path: link.name for link in self.plan.links}
        phases = Phases(self.plan.warm_end)
        return TransactionTimes(database.transactions, names, self.now, self.wait, phases)
