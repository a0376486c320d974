"""The threads of a job pool: who takes a job, who waits, and who is given up.

There is neither a dispatcher nor a queue of jobs. A thread that is free pulls the next job out of
the source and runs it itself; so a job that was taken is being run. Only one thread at a time
pulls. The others that are free wait to be called, and nobody waits for a lock that a thread
holds which waits for the interpreter's: that would cost two switches of threads a job.

The one who reads the results looks after the threads. It alone decides, with an atomic pop, that
a job has been given up, so there is one result for each, and no thread that watches.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from queue import Empty, SimpleQueue
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from instrumentation.errors import TimedOut
from workermanager.cancelling import Context
from workermanager.durations import format_duration
from workermanager.jobs.job import Job, JobResult, as_error, refuse, run

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Counts", "Crew", "Hand"]

_LOOK_EVERY_NS: Final = 10_000_000
_HEEDING_NS: Final = 10_000_000
"""How long a job that heeds its deadline has to say so, before its thread counts as stuck."""
_FOREVER: Final = 1 << 63
_LONGEST_WAIT_S: Final = 3_600.0
_NOTHING: Final = object()


class Counts:
    """What became of the jobs; each figure is written by one thread at a time."""

    __slots__ = ("delivered", "discarded", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.delivered = 0
        self.discarded = 0

    @property
    def waiting(self) -> int:
        """How many are run, or are a result that nobody has read."""
        read = self.delivered + self.discarded  # first: it can only grow towards `taken`
        return self.taken - read


class Hand(NamedTuple):
    """A job that is being run: under which context, on which thread."""

    job: Job[Any, Any, Any]
    context: Context
    thread: threading.Thread


class Crew:
    """``size`` threads that run the jobs of one source, at most ``ahead`` before they are read.

    ``counts`` are the pool's. ``error`` is what the source raised, or that every thread is stuck.
    ``stuck`` is what runs on though it was given up, and since when, by the thread that it holds.
    """

    def __init__(  # noqa: PLR0913 - the pool's settings, handed over once
        self,
        source: Iterator[object],
        size: int,
        context: Context,
        *,
        ahead: int,
        grace_ns: int,
        ordered: bool,
        counts: Counts,
    ) -> None:
        self.error: BaseException | None = None
        self.stuck: dict[threading.Thread, tuple[Hand, int]] = {}
        self.is_closed = False
        self._source = source
        self._context = Context(context)
        self._ahead = ahead
        self._grace_ns = grace_ns
        self._ordered = ordered
        self._counts = counts
        self._size = size
        self._threads: list[threading.Thread] = []
        self._inside = 0  # threads, the stuck ones included
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # whoever has it may pull from the source
        self._idle: set[threading.Thread] = set()
        self._calls: SimpleQueue[None] = SimpleQueue()  # for one of the idle: look again
        self._is_calling = False
        self._room: SimpleQueue[None] = SimpleQueue()  # for the one who pulls: look again
        self._wants_room = False
        self._is_ended = False  # nothing more is taken
        self._puller: threading.Thread | None = None  # the one that had the turn last
        self._lost: threading.Thread | None = None  # given up with the turn: the source keeps it
        self._running: dict[int, Hand] = {}  # by place: the number of jobs taken before it
        self._results: SimpleQueue[tuple[int, JobResult[Any, Any]] | None] = SimpleQueue()
        self._reading = threading.Lock()
        self._collected = self._next_place = counts.taken
        self._held: dict[int, JobResult[Any, Any]] = {}  # too early, where order is kept
        self._look_at = 0
        self._overdue: dict[int, int] = {}  # when it was first seen, by place
        self._stopped_at = 0  # when it was first seen that all is called off
        self._wakes_at = 0  # when the reader will look again by itself; 0 while it is awake

    # What the threads do.

    def start(self) -> None:
        """Start the threads.

        Raises:
            RuntimeError: the system has no more threads to give.
        """
        if self._context.cancelled:
            self._end()
            return
        self._context.on_cancel(self._wake_all)
        for _ in range(self._size):
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=copy_context().run,
            args=(self._main,),
            name=f"job-pool-{len(self._threads)}",
            daemon=True,  # one that is stuck cannot keep the program alive
        )
        with self._lock:
            self._inside += 1  # first: a thread that comes back may ask at once
        thread.start()
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def _wake_all(self) -> None:
        """Have everyone look again; a SimpleQueue may be put to from a signal handler, too."""
        self._room.put(None)
        self._calls.put(None)
        self._results.put(None)

    def _main(self) -> None:
        thread = threading.current_thread()
        try:
            while (taken := self._take(thread)) is not None:
                if not self._serve(*taken):
                    break
        except BaseException as crash:
            if self.is_closed:
                raise  # no reader is left to hear of it
            self._fail(crash)
        finally:
            self._calls.put(None)  # the next one is sent home, and so on

    def _fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self._context.cancel(error)

    def _take(self, thread: threading.Thread) -> tuple[int, Hand] | None:
        """The next job, in hand, and its place; None when there will be none."""
        while not self._is_ended:
            if self._turn.acquire(blocking=False):
                self._puller = thread
                try:
                    return self._pull(thread)
                finally:
                    self._turn.release()
                    if self._idle and not self._is_calling:
                        self._is_calling = True
                        self._calls.put(None)
            self._be_idle(thread)
        return None

    def _be_idle(self, thread: threading.Thread) -> None:
        self._idle.add(thread)
        if self._turn.locked():  # if not, nobody might call
            self._calls.get()
            self._is_calling = False
        self._idle.discard(thread)

    def _pull(self, thread: threading.Thread) -> tuple[int, Hand] | None:
        item = self._next_item()
        if item is _NOTHING:
            self._end()
            return None
        job = item if isinstance(item, Job) else refuse(item)
        context = self._context
        if job.timeout is not None:
            context = Context(context, timeout=job.timeout, name=f"job {job.descriptor!r}")
        hand = Hand(job, context, thread)
        with self._lock:
            if not self._is_ended:
                place = self._counts.taken
                self._running[place] = hand  # from here on it will have a result
                self._counts.taken += 1
                return place, hand
        self._close_source()  # it gave its item after it had been given up
        return None

    def _next_item(self) -> object:
        while self._counts.waiting >= self._ahead and not self._context.cancelled:
            self._wants_room = True
            if self._counts.waiting >= self._ahead and not self._context.cancelled:
                self._room.get()
        if self._context.cancelled:
            return _NOTHING
        try:
            return next(self._source, _NOTHING)
        except BaseException as error:  # noqa: BLE001 - the reader gets it, after all results
            self.error = error
            return _NOTHING

    def _end(self) -> None:
        with self._lock:
            self._is_ended = True
        self._calls.put(None)
        self._results.put(None)

    def _serve(self, place: int, hand: Hand) -> bool:
        """Run a job; False if the thread's place was taken by another one meanwhile."""
        job, context, thread = hand
        if context is not self._context and self._deadline(context) < self._wakes_at:
            self._results.put(None)
        result = run(job, context)
        if context is not self._context:
            context.release()
        if self._running.pop(place, None) is not None:
            self._results.put((place, result))
            return True
        with self._lock:  # it was given up, and has its result already: this one is nobody's
            del self.stuck[thread]
            is_needed = self._inside - len(self.stuck) <= self._size
            self._inside -= not is_needed
        return is_needed

    @staticmethod
    def _deadline(context: Context) -> int:
        remaining = context.remaining
        return _FOREVER if remaining is None else monotonic_ns() + round(remaining * 1e9)

    # What the one who reads does.

    def next(self) -> JobResult[Any, Any] | None:
        """The next result; None when all have been handed out and nothing more comes."""
        with self._reading:
            result = None if self.is_closed else self._next()
            if result is not None:
                self._counts.delivered += 1
                if self._wants_room and self._counts.waiting <= self._ahead // 2:
                    self._give_room()  # by halves: a switch of threads costs more than a job
            return result

    def _give_room(self) -> None:
        self._wants_room = False
        self._room.put(None)

    def _next(self) -> JobResult[Any, Any] | None:
        while self._next_place not in self._held:
            found = self._collect()
            if found is None:
                return None
            place, result = found
            if not self._ordered:
                return result
            self._held[place] = result
        self._next_place += 1
        return self._held.pop(self._next_place - 1)

    def _collect(self) -> tuple[int, JobResult[Any, Any]] | None:
        """The next job that has ended, or was given up."""
        while True:
            if monotonic_ns() >= self._look_at:
                self._look()
            if not self._results.empty():
                found = self._results.get()
            elif self._is_ended and self._collected == self._counts.taken:
                return None
            else:
                found = self._wait()
            if found is not None:
                self._collected += 1
                return found

    def _wait(self) -> tuple[int, JobResult[Any, Any]] | None:
        """Wait for a result, or until something is overdue."""
        if self._wants_room:
            self._give_room()
        self._wakes_at = _FOREVER  # what begins from here on wakes the reader if it has to
        now = monotonic_ns()
        contexts = [self._context, *(hand.context for hand in self._running.copy().values())]
        wakes_at = min(self._deadline(context) for context in contexts)
        if self._context.cancelled or wakes_at <= now:
            wakes_at = now + _LOOK_EVERY_NS
        self._wakes_at = wakes_at
        try:
            return self._results.get(timeout=min((wakes_at - now) / 1e9, _LONGEST_WAIT_S))
        except Empty:
            return None
        finally:
            self._wakes_at = self._look_at = 0

    def _look(self) -> None:
        """Give up what was to have ended and has not."""
        now = monotonic_ns()
        self._look_at = now + _LOOK_EVERY_NS
        cause = self._context.cause
        if cause is not None and not self._is_ended:
            self._stop(cause, now)
        overdue: dict[int, int] = {}
        for place, hand in self._running.copy().items():
            cause = hand.context.cause
            if cause is not None:
                overdue[place] = self._overdue.get(place, now)
                allowed = _HEEDING_NS if isinstance(cause, TimedOut) else self._grace_ns
                if now - overdue[place] >= allowed:
                    self._give_up(place, hand, cause)
        self._overdue = overdue

    def _stop(self, cause: BaseException, now: int) -> None:
        """See to it that nothing more is taken; a thread that pulls has the grace to come back."""
        self._context.cancel(cause)  # a deadline that passes tells nobody by itself
        self._stopped_at = self._stopped_at or now
        if self._turn.acquire(blocking=False):
            self._end()
            self._turn.release()
        elif now - self._stopped_at >= self._grace_ns:
            self._lost = self._puller
            self._end()

    def _give_up(self, place: int, hand: Hand, cause: BaseException) -> None:
        """Give a job its result though it runs on, and let another thread stand in for its own."""
        descriptor = hand.job.descriptor
        if isinstance(cause, TimedOut):
            error = TimedOut(str(cause), cause.seconds, still_running=True)
        else:
            told = f"job {descriptor!r} ran on for {format_duration(self._grace_ns)}"
            error = TimedOut(f"{told} after {cause}", self._grace_ns / 1e9, still_running=True)
            error.__cause__ = as_error(cause)
        with self._lock:
            if self._running.pop(place, None) is None:
                return  # it has ended just now
            self.stuck[hand.thread] = hand, monotonic_ns()
        self._results.put((place, JobResult(None, error, descriptor)))
        if self._is_ended or self._context.cancelled:
            return
        if self._inside < 2 * self._size:
            self._start_thread()
        elif len(self.stuck) == self._inside:
            told = f"all {self._inside} threads of the job pool hold jobs that do not end"
            self._fail(TimedOut(told, error.seconds, still_running=True))

    def close(self) -> list[str]:
        """Call off what is left, wait for the threads, close the source; tells what does not end.

        Nothing is waited for longer than the grace, which for a job counts from when it was given
        up. Results that nobody has read are discarded. Again, it does nothing.
        """
        with self._reading:
            if self.is_closed:
                return []
            self.is_closed = True
            self._context.cancel("the job pool was closed")
            # Not by their results: a Ctrl-C in the reader may have taken one along.
            while self._running or not self._is_ended:
                if monotonic_ns() >= self._look_at:
                    self._look()
                self._wait()
            self._counts.discarded += self._counts.waiting
            self._context.release()
            left = [thread for thread in self._threads if not self._join(thread)]
            if self._turn.acquire(blocking=False):
                self._close_source()
        stuck = self.stuck.copy()
        return [
            repr(stuck[one][0].job.descriptor) if one in stuck else "the source" for one in left
        ]

    def _join(self, thread: threading.Thread) -> bool:
        """Wait for a thread to end; False if it does not, or is the one that asks."""
        if thread is threading.current_thread():
            return False
        now = monotonic_ns()
        _, since = self.stuck.get(thread, (None, 0 if thread is self._lost else now))
        thread.join(min(max(0, since + self._grace_ns - now) / 1e9, _LONGEST_WAIT_S))
        return not thread.is_alive()

    def _close_source(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
