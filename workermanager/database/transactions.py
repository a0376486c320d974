"""Whole transactions, tried again as a whole: conflicts, deadlocks, lost connections.

A SAVEPOINT cannot mend a serialization failure, and a connection that is lost at COMMIT leaves
its outcome unknown; so everything from BEGIN on is done again, by work that may be done twice.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, TypeVar

from loguru import logger

from instrumentation.seeds import seeded_random
from workermanager.database.deadlines import begun, taken
from workermanager.database.engine import PATIENCE_S
from workermanager.database.refusals import (
    error_code,
    is_cut_short,
    is_disconnect,
    is_transient,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine

    from instrumentation.engine import Fence, Scope

__all__ = ["Transactions"]

T = TypeVar("T")

_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 1.0
_WORTH_TELLING_S: Final = 1.0


class Transactions:
    """Runs work in transactions, from any thread, and counts them.

    ``begun`` counts every attempt, ``commits`` those that were acknowledged, ``retries`` the
    others by error code. SQLite has one write lock and lets its waiters sleep ever longer, so
    transactions on it take turns here. ``wait`` waits for seconds, and is True when the run is
    over and nothing is worth waiting for.
    """

    def __init__(
        self,
        engine: Engine,
        wait: Callable[[float], bool],
        *,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.begun = 0
        self.commits = 0
        self.retries: Counter[str] = Counter()
        self._engine = engine
        self._wait = wait
        self._patience_s = patience_s
        self._now = now
        self._random = seeded_random(secrets.token_hex(8))  # two processes must not keep step
        self._tally = threading.Lock()
        self._takes_turns = engine.dialect.name == "sqlite"
        self._write_lock = threading.Lock()

    def run(
        self,
        work: Callable[[Connection], T],
        *,
        isolation: str | None = None,
        wait: Callable[[float], bool] | None = None,
        context: Scope | None = None,
        fence: Fence | None = None,
    ) -> T:
        """Do ``work(connection)`` in one transaction; again after errors that pass.

        Waits with full jitter between attempts, and gives up after a minute. ``isolation`` is one
        that the database has; SQLite's is always serializable. ``wait`` stands in for the usual.
        Until it commits, it ends with ``context``; it commits only while ``fence`` lets it pass.

        Raises:
            Cancelled: nothing is committed, because the context ended or the fence was closed. (Or
                nobody knows: the connection was lost at COMMIT, and no time is left to try again.)
            Exception: what work raised, or the database once trying again has not helped.
        """
        begun_at, attempt = self._now(), 0
        while True:
            if context is not None:
                context.check()
            try:
                result = self._once(work, isolation, context, fence)
            except Exception as error:
                is_passing = is_transient(error)
                if context is not None and (is_passing or is_cut_short(error)):
                    context.check()
                if not is_passing or self._now() - begun_at >= self._patience_s:
                    raise
                self._note(error)
                ceiling = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(attempt, 16))
                attempt += 1
                if self._is_over_after(ceiling * self._random.random(), wait, context):
                    raise
            else:
                if attempt and self._now() - begun_at >= _WORTH_TELLING_S:
                    logger.info("the database goes on after {:.1f} s", self._now() - begun_at)
                return result

    def _is_over_after(
        self, seconds: float, wait: Callable[[float], bool] | None, context: Scope | None
    ) -> bool:
        if context is not None:
            context.sleep(seconds)
            seconds = 0
        return (wait or self._wait)(seconds)

    def _once(
        self,
        work: Callable[[Connection], T],
        isolation: str | None,
        context: Scope | None,
        fence: Fence | None,
    ) -> T:
        with self._tally:
            self.begun += 1
        with self._turn(context), self._engine.connect() as connection:
            if isolation is not None and not self._takes_turns:
                connection.execution_options(isolation_level=isolation)
            try:
                with begun(connection, context) as transaction:
                    result = work(connection)
                    if context is not None:
                        context.check()
                with nullcontext() if fence is None else fence.passing():
                    transaction.commit()
            except Exception as error:
                if is_disconnect(error):  # the pool must not hand it out again
                    connection.invalidate()
                raise
        with self._tally:
            self.commits += 1
        return result

    def _turn(self, context: Scope | None) -> AbstractContextManager[object]:
        if not self._takes_turns:
            return nullcontext()
        return self._write_lock if context is None else taken(self._write_lock, context)

    def _note(self, error: Exception) -> None:
        code = error_code(error)
        with self._tally:
            is_first = not self.retries[code]
            self.retries[code] += 1
        if is_first:
            logger.warning("the database made us try again ({}): {}", code, refusal(error))
