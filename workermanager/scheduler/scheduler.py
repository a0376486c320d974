"""Scheduler: runs Workers and chains on timetables, and accounts for every fire."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from instrumentation.errors import InvalidConfig
from workermanager.durations import parse_duration
from workermanager.plan import check_threads
from workermanager.scheduler.backing import Backing
from workermanager.scheduler.clocks import Jumps, WallClock
from workermanager.scheduler.crew import Crew
from workermanager.scheduler.duties import Duties, check_hooks
from workermanager.scheduler.health import health_of
from workermanager.scheduler.jobs import name_of
from workermanager.scheduler.keeper import Keeper
from workermanager.scheduler.notify import Notifier
from workermanager.scheduler.report import Tally
from workermanager.scheduler.roster import PATIENCE_NS, Roster
from workermanager.scheduler.signals import stopped_by_signals
from workermanager.scheduler.stores import open_store
from workermanager.timetables.moments import to_moment
from workermanager.timetables.schedule import FOREVER, make_schedule, next_fires

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from instrumentation.composing import Chain
    from workermanager.durations import Duration
    from workermanager.scheduler.duties import Hook
    from workermanager.scheduler.health import HealthState
    from workermanager.scheduler.jobs import Planned
    from workermanager.scheduler.report import ScheduleReport
    from workermanager.timetables.fires import Fire, Record
    from workermanager.timetables.schedule import Schedule
    from workermanager.timetables.store import Entry
    from workermanager.timetables.timetable import Timetable

__all__ = ["Scheduler"]

DEFAULT_THREADS: Final = 10
_LEFT_BEHIND_S: Final = 1.0


class Scheduler:
    """Runs what is added to it at its times, on ``threads`` threads, from `start` to `close`.

    Args:
        store: a URL, ``sqlite:///jobs.db`` or ``postgresql://…``, that schedules and their fires
            are kept in: they survive this process, and others may run them as well, each fire once.
            Without one they are in memory.
        threads: how many fires run at once; one that finds no free thread waits.
        grace: how long running fires may go on after a stop (default 30 s).
        late_after: a fire that began later than that is late; one that nobody saw for so long was
            missed, and what becomes of it says ``misfire``.
        lease: after how long a silent process is taken for dead by others on the same store, where
            they cannot see that it is.
        keep: how long the store keeps the history.
        on_success, on_failure: called with the FireResult of every fire that ran, on its thread.

    As a context manager it starts, and is stopped and drained at the block's end. In a web
    application that is the whole of it; under asyncio, `run_async` or ``async with`` does the same
    without a pause of the loop, and async steps run on the loop.

    Raises:
        InvalidConfig: a setting that cannot work, or the store cannot be opened.
    """

    def __init__(  # noqa: PLR0913 - the settings of a scheduler, all by name
        self,
        *,
        store: str | None = None,
        threads: int = DEFAULT_THREADS,
        grace: Duration = "30s",
        late_after: Duration = "1s",
        lease: Duration = "15s",
        keep: Duration = "30d",
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
    ) -> None:
        check_threads(threads)
        late_ns = parse_duration(late_after, "late_after")
        self._late_after = late_after
        hooks = check_hooks(on_success, on_failure)
        self._clock = WallClock()
        self._store = open_store(store, lease=lease, keep=keep)
        self._tally = Tally()
        self._crew = Crew(threads, self._on_crash)
        self._backing = Backing(self._crew.replace, self._on_helper_crash)
        self._keeper = Keeper(
            self._store,
            self._crew,
            self._tally,
            Roster(min(PATIENCE_NS, late_ns // 4)),  # or what waits for room would seem missed
            now=self._clock.now,
            steady=time.monotonic_ns,
            jumps=Jumps(self._clock),
            notifier=Notifier.from_environment(os.environ),
            grace_ns=parse_duration(grace, "grace"),
        )
        self._duties = Duties(self._store, self._keeper, self._backing, hooks, self._clock.now)
        self._crash: BaseException | None = None
        self._is_started = False
        self._is_closed = False
        self._lock = threading.RLock()

    # What it runs

    def add(  # noqa: PLR0913 - the settings of a schedule, all by name
        self,
        what: Planned | Chain,
        when: Timetable,
        *,
        name: str | None = None,
        misfire: str = "latest",
        overlap: str = "skip",
        grace: Duration | None = None,
        lost: str = "report",
        pause_after: int | None = None,
        pause_for: Duration | None = None,
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
        target: str | None = None,
    ) -> Schedule:
        """Run a Worker, or one exec of a chain, at the times of a timetable; also while it runs.

        Args:
            what: a Worker, or a chain of any form: a function, a list of them, a Command.
            when: ``every("5m")``, ``cron("*/5 * * * *", tz="Europe/Berlin")``, ``at(moment)``, or
                ``after("10s")``.
            name: what the schedule is called, here and in the store; the chain's unless given.
            misfire: of the fires that nobody saw when they were due, ``latest`` runs one for all,
                ``skip`` none, ``all`` or ``all(20)`` the latest of them, one after the other.
            overlap: where an earlier fire of the schedule runs or waits, ``skip`` skips, the
                ``queue`` waits, ``queue-one`` does if no other waits, ``cancel-running`` calls the
                earlier one off, and ``allow`` runs beside it.
            grace: a fire that has not begun by then is skipped.
            lost: a run whose process died is ``report``-ed as failed, or ``rerun``.
            pause_after: how many failures in a row pause the schedule.
            pause_for: how long that pause is; until it is resumed, unless given.
            on_success: called with the FireResult of every fire that ran.
            on_failure: called with the FireResult of every fire that failed.
            target: what the command line shows as what is run.

        Raises:
            InvalidConfig: a setting that cannot be, the name is taken, or it is closed.
            WriteError: it runs, and the store does not go on.
        """
        name = name_of(what) if name is None else name
        schedule = make_schedule(
            name,
            when,
            misfire=misfire,
            overlap=overlap,
            grace=grace,
            lost=lost,
            pause_after=pause_after,
            pause_for=pause_for,
            late_after=self._late_after,
        )
        hooks = check_hooks(on_success, on_failure)
        self._check_open()
        return self._duties.add(schedule, what, hooks, target)

    # Its course

    def start(self) -> Self:
        """Start the threads and come back at once.

        The program may end without more ado: running fires are drained first.

        Raises:
            InvalidConfig: it was started before, or closed, or the system has not so many threads.
            WriteError: the store does not go on.
        """
        with self._lock:
            if self._is_started:
                raise InvalidConfig("the scheduler was started before: it starts once")
            self._check_open()
            self._duties.keep()
            self._crew.start()
            self._is_started = True
            atexit.register(self._at_exit)
            self._keeper.start()
        return self

    def _check_open(self) -> None:
        if self._is_closed:
            raise InvalidConfig("the scheduler is closed: make another one")

    @property
    def is_stopping(self) -> bool:
        """True once it was told to stop."""
        return self._keeper.is_stopping

    def stop(self, *, now: bool = False) -> None:
        """Begin nothing more; running fires may go on for the grace, or with ``now`` are cancelled.

        Comes back at once; `close` waits. Safe from any thread, from a signal handler, and again.
        """
        self._keeper.stop(now=now)

    def join(self, seconds: float | None = None) -> bool:
        """Wait until it has stopped, or nothing runs and no fire is left to come.

        False if neither happened after so long.
        """
        return self._keeper.settled.wait(seconds)

    def close(self) -> None:
        """Stop, wait until running fires have ended or the grace is over, and let go of all.

        Again does nothing but wait.

        Raises:
            InvalidConfig: a step or a hook has called it, which it would wait for.
            BaseException: what crashed it, a bug of ours.
        """
        if self._crew.is_here:
            raise InvalidConfig("close() waits for what runs, which cannot call it: stop() will do")
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            if self._is_started:
                self._keeper.wait_out()
            return
        atexit.unregister(self._at_exit)
        self._keeper.stop()
        if self._is_started:
            is_left_behind = not self._keeper.wait_out() or bool(self._keeper.running)
            self._crew.close(_LEFT_BEHIND_S if is_left_behind else None)
        else:
            is_left_behind = False
        self._duties.close(is_left_behind=is_left_behind)
        self._backing.close(is_left_behind=is_left_behind)
        self._store.close()
        crash = self._keeper.crash or self._crew.crash or self._crash
        if crash is not None:
            raise crash

    def run(self) -> ScheduleReport:
        """Run until it is stopped, or no fire is left to come; then report.

        On the main thread, the first SIGINT, SIGTERM or SIGHUP drains and a second one cancels
        what runs: ``sys.exit(scheduler.run().exit_code)``.

        Raises:
            InvalidConfig: as `start`.
        """
        with stopped_by_signals(self):
            try:
                self.start()
                self.join()
            finally:
                self.close()
        return self.report()

    async def run_async(self) -> ScheduleReport:
        """Run as `run` does, from a coroutine; if that is cancelled, drain and go.

        Raises:
            InvalidConfig: as `start`.
        """
        async with self:
            await asyncio.to_thread(self.join)
        return self.report()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._backing.loop = asyncio.get_running_loop()
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        closing = asyncio.ensure_future(asyncio.to_thread(self.close))
        cancelled = None
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as cancel:
                cancelled = cancel
                self.stop(now=True)
        if cancelled is not None:
            raise cancelled

    def _at_exit(self) -> None:
        self.stop()
        self.close()

    # What others may ask of it

    def pause(self, name: str, until: datetime | None = None) -> None:
        """Begin no more fires of a schedule until then, or until it is resumed.

        What falls due meanwhile is skipped; what waits, waits; what runs, runs.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        end = FOREVER if until is None else to_moment(until, "until")
        self._store.pause(name, self._clock.now(), end)
        self._keeper.nudge(name)

    def resume(self, name: str) -> None:
        """End the pause of a schedule, and forget its failures in a row.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        self._store.resume(name, self._clock.now())
        self._keeper.nudge(name)

    def run_now(self, name: str) -> Fire:
        """Have a schedule run now, once more, even if it is paused.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        fire = self._store.request(name, self._clock.now())
        self._keeper.nudge(name)
        return fire

    def remove(self, name: str) -> None:
        """Forget a schedule, with its history.

        Raises:
            InvalidConfig: there is none, or a fire of it runs.
        """
        self._duties.remove(name)

    def entries(self) -> list[Entry]:
        """Every schedule of the store: its policies, its next due time, its counts."""
        return self._store.entries(self._clock.now())

    def history(self, name: str | None = None, most: int = 100) -> list[Record]:
        """The latest fires of a schedule, or of all, the latest first.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        return self._store.history(name, most)

    def next(self, most: int = 10, name: str | None = None) -> list[tuple[int, str]]:
        """The next due times, in nanoseconds since 1970, with their schedules.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        return next_fires(self._duties.schedules(name), self._clock.now(), most)

    def report(self) -> ScheduleReport:
        """What it has done so far; the counts add up at any moment."""
        return self._tally.report({} if self._is_closed else self._keeper.waiting())

    def health(self) -> HealthState:
        """How it is, for supervisors; asks neither the store nor what runs."""
        counts = self._tally.report({}).counts
        return health_of(self._keeper, self._crew, counts, len(self._duties))

    def _on_crash(self) -> None:
        self._keeper.stop(now=True)

    def _on_helper_crash(self, crash: BaseException) -> None:
        self._crash = self._crash or crash
        self._keeper.stop(now=True)
