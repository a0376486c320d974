"""A pool of threads that runs a stream of jobs, and gives one result for each that it took."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from instrumentation.errors import AccountingError, InvalidConfig
from workermanager.cancelling import Context
from workermanager.durations import parse_duration
from workermanager.jobs.crew import Counts, Crew
from workermanager.jobs.job import Job, JobResult

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType
    from typing import Self

    from workermanager.durations import Duration

__all__ = ["Job", "JobResult", "WorkerPool"]

_D = TypeVar("_D")
_V = TypeVar("_V")


class WorkerPool:
    """``n`` threads for jobs: ``for result in WorkerPool(4).generate_from(jobs)``.

    n: how many jobs run at once.
    context: what the pool is called off with; its ``context`` is a child of it.
    timeout: how long the pool may go on, from now.
    ordered: results come in the order of the jobs, instead of as they end.
    ahead: how many jobs are taken, at most, before their results are read; 16 times ``n``
        unless given. The fewer, the more often threads take turns, which jobs of microseconds feel.
    grace: how long a job that was called off has to end by itself, before it is given up.

    Threads are there only while results are read, or are going to be. Leaving the loop early calls
    the rest off; ``with`` the pool, that happens at the latest at the block's end.

    Raises:
        InvalidConfig: a setting that cannot work.
    """

    def __init__(  # noqa: PLR0913 - the settings of a pool, all but one by name
        self,
        n: int,
        *,
        context: Context | None = None,
        timeout: Duration | None = None,
        ordered: bool = False,
        ahead: int | None = None,
        grace: Duration = "5s",
    ) -> None:
        self._n = _at_least_one(n, "n")
        self._ahead = 16 * n if ahead is None else _at_least_one(ahead, "ahead")
        self._grace_ns = parse_duration(grace, "WorkerPool(grace)")
        self._ordered = ordered
        self.context = Context(context, timeout=timeout, name="the job pool")
        """Until when the pool goes on: ``context.cause`` says why it ended before its jobs did."""
        self.done = threading.Event()
        """Set once the last result of a source was read, or discarded, and its threads are gone."""
        self._counts = Counts()
        self._crews: list[Crew] = []  # the latest, and those that left a thread behind

    def generate_from(
        self, jobs: Iterable[Job[_D, Any, _V]]
    ) -> Generator[JobResult[_D, _V], None, None]:
        """Run the jobs as they are asked for, and give their results.

        Nothing is taken before the first result is asked for. The pool's threads pull from
        ``jobs``, one at a time, but not always the same one. At the end, and if the results are
        not read to their end, its iterator is closed if it can be. What it raises is raised here,
        once all results of the jobs taken before have been handed out. An item that is no Job has
        an InvalidConfig for a result, and is itself its descriptor.

        Raises:
            InvalidConfig: ``jobs`` cannot be iterated, or, when the first result is asked for,
                the results of an earlier call are still being read.
            TimedOut: every thread, and ``n`` that took the places of stuck ones, are stuck.
        """
        if not isinstance(jobs, Iterable):
            raise InvalidConfig(
                f"generate_from: {jobs!r} cannot be iterated; it takes an iterable of jobs"
            )
        return self._read(iter(jobs))

    def _read(self, source: Iterator[object]) -> Generator[JobResult[Any, Any], None, None]:
        crew = self._begin(source)
        try:
            crew.start()
            while (result := crew.next()) is not None:
                yield result
        finally:
            self._end(crew)
        if crew.error is not None:
            raise crew.error
        if self.waiting:
            raise AccountingError(f"{self.waiting} of {self.taken} jobs have no result")

    def _begin(self, source: Iterator[object]) -> Crew:
        if self._crews and not self._crews[-1].is_closed:
            raise InvalidConfig(
                "generate_from: the results of an earlier call are still being read;"
                " read them to their end, close them, or make another WorkerPool"
            )
        crew = Crew(
            source,
            self._n,
            self.context,
            ahead=self._ahead,
            grace_ns=self._grace_ns,
            ordered=self._ordered,
            counts=self._counts,
        )
        self._crews = [*(one for one in self._crews if one.stuck), crew]
        self.done.clear()
        return crew

    def _end(self, crew: Crew) -> None:
        try:
            left = crew.close()
        finally:
            self.done.set()
        if left:
            warnings.warn(
                f"a job pool ends, and leaves {len(left)} running: {', '.join(left)}",
                RuntimeWarning,
                stacklevel=3,
            )

    @property
    def taken(self) -> int:
        """How many jobs were taken: always ``delivered + discarded + waiting``."""
        return self._counts.taken

    @property
    def delivered(self) -> int:
        """How many results were handed out."""
        return self._counts.delivered

    @property
    def discarded(self) -> int:
        """How many results were left behind by a reader that did not read to the end."""
        return self._counts.discarded

    @property
    def waiting(self) -> int:
        """How many jobs run, or have a result that is yet to be read."""
        return self._counts.waiting

    @property
    def stuck(self) -> tuple[Any, ...]:
        """The descriptors of jobs that were given up and have not come back."""
        hands = (hand for crew in self._crews for hand, _ in crew.stuck.copy().values())
        return tuple(hand.job.descriptor for hand in hands)

    def cancel(self, cause: BaseException | str = "the job pool was cancelled") -> None:
        """Take no more jobs, and tell those that run; from any thread, a signal handler, and again.

        The results of all that was taken can still be read.
        """
        self.context.cancel(cause)

    def close(self) -> None:
        """Cancel, discard what nobody has read, and wait for the threads; again does nothing."""
        self.cancel("the job pool was closed")
        if self._crews:
            self._end(self._crews[-1])
        self.context.release()
        self.done.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _at_least_one(count: object, name: str) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidConfig(f"WorkerPool({name}={count!r}): must be a whole number of 1 or more")
    return count
