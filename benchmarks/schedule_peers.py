"""Ways to run what is due, ours and others', on ten threads each; ``schedule`` has but one.

An interval begins a moment ahead, and each fire notes when it began. One-shots are all due when
they are let go, and the time counts from there.
"""

import logging
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.lateness import lateness

THREADS = 10
AHEAD_S = 0.5
LONGEST_S = 90.0
ADDING_S = 2.0


class Fires:
    """What so many fires of an interval noted: how late each began, and what they cost together."""

    def __init__(self, period_ms, fires):
        self._period_ns, self._fires = period_ms * 1_000_000, fires
        self._began = []
        self._all = threading.Event()
        self.begin = datetime.now(UTC) + timedelta(seconds=AHEAD_S)
        self._cpu = time.process_time()

    def note(self):
        self._began.append(time.time_ns())
        if len(self._began) >= self._fires:
            self._all.set()

    @property
    def have_ended(self):
        return self._all.is_set()

    def figures(self):
        """The figures, once all have begun; the n-th is due n periods after the first."""
        if not self._all.wait(LONGEST_S):
            raise TimeoutError(f"{len(self._began)} of {self._fires} after {LONGEST_S} s")
        cpu = time.process_time() - self._cpu
        origin = round(self.begin.timestamp() * 1e6) * 1_000
        began = self._began[: self._fires]
        late = [at - origin - n * self._period_ns for n, at in enumerate(began)]
        return {**lateness(late), "drift": late[-1] / 1e6, "ms CPU": cpu / self._fires * 1e3}


class Shots:
    """So many one-shots: how long they took from `let_go` until the last had run."""

    def __init__(self, shots):
        self._shots = shots
        self._ran = []
        self._all = threading.Event()
        self._begun = time.perf_counter()
        self._adding = None

    def note(self):
        self._ran.append(None)
        if len(self._ran) >= self._shots:
            self._all.set()

    def all_added(self):
        """All of them have been added, and are let go later."""
        self._adding = time.perf_counter() - self._begun

    def let_go(self):
        """All of them are due: now."""
        if self._adding is None:
            self.all_added()
        self._due = time.perf_counter()
        self._cpu = time.process_time()

    def figures(self):
        if not self._all.wait(LONGEST_S):
            raise TimeoutError(f"{len(self._ran)} of {self._shots} after {LONGEST_S} s")
        took, cpu = time.perf_counter() - self._due, time.process_time() - self._cpu
        assert len(self._ran) == self._shots
        return {
            "add µs": self._adding / self._shots * 1e6,
            "µs": took / self._shots * 1e6,
            "µs CPU": cpu / self._shots * 1e6,
        }


@contextmanager
def sqlite(has_store):
    """The URL of a database that is new, or None."""
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/schedules.db" if has_store else None


def ours_interval(period_ms, fires, has_store):
    from workermanager import Scheduler, every

    with sqlite(has_store) as store, Scheduler(store=store, threads=THREADS) as scheduler:
        found = Fires(period_ms, fires)
        scheduler.add(step_of(found), every(f"{period_ms}ms", start=found.begin), name="interval")
        return found.figures()


def ours_shots(shots, has_store):
    """Until the end of every fire is in the store, which is more than the others wait for.

    They are entered in the store when it starts, so they are due a while later.
    """
    from workermanager import Scheduler, at

    with sqlite(has_store) as store:
        scheduler = Scheduler(store=store, threads=THREADS)
        found = Shots(shots)
        due = datetime.now(UTC) + timedelta(seconds=ADDING_S)
        for number in range(shots):
            scheduler.add(step_of(found), at(due), name=f"shot{number}")
        scheduler.start()
        found.all_added()
        time.sleep((due - datetime.now(UTC)).total_seconds())
        found.let_go()
        scheduler.join()
        figures = found.figures()
        scheduler.close()
        counts = scheduler.report().counts
        assert counts["ran"] + counts["late"] == shots
        return figures


def step_of(found):
    def note_it(ctx, params):
        found.note()

    return note_it


@contextmanager
def apscheduler(has_store):
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    with sqlite(has_store) as url:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(THREADS)},
            jobstores={"default": SQLAlchemyJobStore(url) if has_store else MemoryJobStore()},
            job_defaults={"misfire_grace_time": None},  # or it drops what finds no thread
        )
        scheduler.start(paused=True)
        try:
            yield scheduler
        finally:
            scheduler.shutdown()


def apscheduler_interval(period_ms, fires, has_store):
    with apscheduler(has_store) as scheduler:
        counting[:] = [found := Fires(period_ms, fires)]
        scheduler.add_job(note, "interval", seconds=period_ms / 1e3, start_date=found.begin)
        scheduler.resume()
        return found.figures()


def apscheduler_shots(shots, has_store):
    with apscheduler(has_store) as scheduler:
        counting[:] = [found := Shots(shots)]
        due = datetime.now(UTC)
        for _ in range(shots):
            scheduler.add_job(note, "date", run_date=due)
        found.let_go()
        scheduler.resume()
        return found.figures()


counting = []


def note():
    """What is run by APScheduler, whose store takes only what it can find by its name."""
    counting[0].note()


def schedule_interval(period_ms, fires):
    """As its manual has it: run what is pending, sleep until the next."""
    import schedule

    found = Fires(period_ms, fires)
    time.sleep(max(0.0, found.begin.timestamp() - time.time() - period_ms / 1e3))
    schedule.every(period_ms / 1e3).seconds.do(found.note)
    while not found.have_ended:
        time.sleep(max(0.0, schedule.idle_seconds()))
        schedule.run_pending()
    return found.figures()


def schedule_shots(shots):
    import schedule

    def once():
        found.note()
        return schedule.CancelJob

    found = Shots(shots)
    for _ in range(shots):
        schedule.every(1e-6).seconds.do(once)
    found.let_go()
    schedule.run_pending()
    return found.figures()


def huey_shots(shots):
    """Tasks put into its queue beforehand, and run: its own schedules go by the minute."""
    from huey import SqliteHuey

    logging.getLogger("huey").setLevel(logging.CRITICAL)
    with TemporaryDirectory() as folder:
        queue = SqliteHuey(filename=str(Path(folder) / "huey.db"), results=False, fsync=True)
        found = Shots(shots)
        task = queue.task()(found.note)
        for _ in range(shots):
            task()
        consumer = queue.create_consumer(
            workers=THREADS, periodic=False, initial_delay=0.001, max_delay=0.01
        )
        found.let_go()
        consumer.start()
        figures = found.figures()
        consumer.stop(graceful=True)
        return figures
