"""Fires of a job, as a scheduler's crew would have them run: a thread each, replaced when stuck."""

import threading
from typing import NamedTuple

from workermanager.cancelling import Context
from workermanager.pool import Abandoned
from workermanager.scheduler.backing import Backing
from workermanager.scheduler.jobs import job_of

DUE = 1_774_746_000_000_000_000  # 2026-03-29T01:00:00Z
SECOND = 1_000_000_000


class Due(NamedTuple):
    due: int = DUE
    attempt: int = 1


class Came:
    """One fire that was begun, and what came of it."""

    def __init__(self):
        self.scope = Context()
        self.told = []
        self.thread = None
        self._is_told = threading.Event()

    def done(self, error, report):
        self.told.append((error, report, threading.current_thread()))
        self._is_told.set()

    def wait(self):
        """What it failed with; the test's own time limit ends a wait for what never comes."""
        self._is_told.wait()
        ((error, _, _),) = self.told
        return error

    @property
    def report(self):
        return self.told[0][1]

    @property
    def told_on(self):
        return self.told[0][2]


class Firing:
    """Makes jobs and runs their fires; ``replaced`` are the threads that were given up."""

    def __init__(self, loop=None):
        self.crashes = []
        self.replaced = []
        self.came_back = []
        self._threads = []
        self._jobs = []
        self._scopes = []
        self.backing = Backing(self._replace, self.crashes.append, loop)

    def job(self, what, name="nightly"):
        job = job_of(what, name, self.backing)
        self._jobs.append(job)
        return job

    def begin(self, job, due=DUE, attempt=1):
        came = Came()
        self._scopes.append(came.scope)
        came.thread = self._start(lambda: job.run(Due(due, attempt), came.scope, came.done))
        return came

    def fire(self, job, due=DUE, attempt=1):
        """Run a fire on this thread; give what it failed with."""
        came = Came()
        job.run(Due(due, attempt), came.scope, came.done)
        return came.wait()

    def _replace(self, thread, work):
        self.replaced.append(thread)
        self._start(work)

    def _start(self, work):
        thread = threading.Thread(target=self._main, args=(work,), daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _main(self, work):
        try:
            work()
        except Abandoned:
            self.came_back.append(threading.current_thread())

    def close(self, *, is_left_behind=False):
        for scope in self._scopes:
            scope.cancel("the test is over")
        for job in self._jobs:
            job.close(is_left_behind=is_left_behind)
        self.backing.close(is_left_behind=is_left_behind)
        for thread in self._threads:
            thread.join(10)
        assert not self.crashes
