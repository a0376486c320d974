"""What the keeper does when its store fails, its clock is set, or systemd waits for it."""

from __future__ import annotations

import threading

from instrumentation.errors import WriteError
from tests.kit.schedule_player import S
from workermanager.cancelling import Context
from workermanager.scheduler import keeper as keeper_module
from workermanager.scheduler.clocks import Look
from workermanager.scheduler.crew import Crew
from workermanager.scheduler.keeper import Keeper
from workermanager.scheduler.memory import MemoryStore
from workermanager.scheduler.notify import Notifier
from workermanager.scheduler.performing import Duty
from workermanager.scheduler.report import Tally
from workermanager.scheduler.roster import Roster
from workermanager.timetables.fires import Ending, Fire, FireState
from workermanager.timetables.schedule import make_schedule
from workermanager.timetables.store import Findings
from workermanager.timetables.timetable import cron, every

T0 = 1_767_225_600 * S  # 2026-01-01


class Hands:
    """A crew that does at once what it is given."""

    size = 4

    def submit(self, task):
        task()


class Job:
    name = "job"

    def __init__(self, clock):
        self.dues = []
        self.clock = clock

    def run(self, fire, scope, done):
        self.dues.append(fire.due)
        done(None, None)


class Clock:
    """Time that tests move; ``look`` tells of jumps, as Jumps does."""

    def __init__(self):
        self.wall = T0
        self.jump = 0

    def now(self):
        return self.wall

    def set_by(self, jump):
        self.wall += jump
        self.jump = jump

    def look(self):
        jump, self.jump = self.jump, 0
        return Look(jump, 0)


class Failing(MemoryStore):
    """A store whose database goes away for some looks."""

    fails = 0

    def look(self, look):
        if self.fails:
            self.fails -= 1
            raise WriteError("the disk is full")
        return super().look(look)


def _keep(timetable, store=None, **policies):
    clock = Clock()
    store = store or MemoryStore()
    tally = Tally()
    keeper = Keeper(
        store,
        Hands(),
        tally,
        Roster(),
        now=clock.now,
        steady=clock.now,
        jumps=clock,
        notifier=Notifier(),
        grace_ns=0,
        most_ahead_ns=0,
    )
    job = Job(clock)
    (schedule,) = store.enroll([make_schedule("job", timetable, **policies)], clock.now())
    keeper.enter(Duty(schedule, job))
    return clock, keeper, job, tally


def _pass(clock, keeper, seconds):
    """Let time pass, as the keeper would: a turn at least each second."""
    until = clock.wall + seconds * S
    keeper.turn()
    while clock.wall < until:
        clock.wall = min(until, clock.wall + min(S, max(1, keeper._pause())))
        keeper.turn()


def test_endings_that_the_store_would_not_take_are_told_again():
    store = Failing()
    clock, keeper, job, tally = _keep(every("10s"), store)
    _pass(clock, keeper, 10)
    store.fails = 3
    _pass(clock, keeper, 1)
    assert store.fails == 1
    _pass(clock, keeper, 20)
    assert [(due - T0) // S for due in job.dues] == [10, 20, 30]
    (entry,) = store.entries(clock.now())
    assert entry.progress.counts.ran == 3
    entry.progress.counts.check()
    assert tally.report({}).counts.ran == 3


def test_what_a_stop_cut_short_is_named_once_however_often_the_store_fails():
    store = Failing()
    _, keeper, _, tally = _keep(every("10s"), store)
    fire = Fire("job", T0, T0)
    keeper._running[fire] = Context()
    keeper._note(
        Ending(fire, FireState.FAILED, T0, T0, "cancelled: it stopped", called_off=True), None
    )
    tally.note(Findings(starts=[fire]))
    store.fails = 2
    for _ in range(2):
        keeper._look_back()
    assert len(keeper._unnoted) == 1
    assert len(tally.unfinished) == 1


def test_fires_that_fell_due_while_the_store_failed_are_decided_when_it_goes_on():
    store = Failing()
    clock, keeper, job, _ = _keep(every("10s"), store, misfire="all")
    _pass(clock, keeper, 5)
    store.fails = 30
    _pass(clock, keeper, 60)
    assert [(due - T0) // S for due in job.dues] == [10, 20, 30, 40, 50, 60]


def test_an_interval_goes_on_with_what_has_passed_when_the_clock_is_set_back():
    clock, keeper, job, _ = _keep(every("10s"))
    _pass(clock, keeper, 25)
    clock.set_by(-3_600 * S)
    _pass(clock, keeper, 30)
    assert len(job.dues) == 2 + 3
    assert (job.dues[2] - clock.wall) // S == -25


def test_an_interval_goes_on_with_what_has_passed_when_the_clock_is_set_forward():
    clock, keeper, job, tally = _keep(every("10s"))
    _pass(clock, keeper, 25)
    clock.set_by(3_600 * S)
    _pass(clock, keeper, 30)
    assert len(job.dues) == 2 + 3
    assert not tally.skips


def test_a_cron_goes_by_the_clock_and_fires_no_time_twice():
    clock, keeper, job, tally = _keep(cron("* * * * *", tz="UTC"))
    _pass(clock, keeper, 200)  # from the first on, which is due at once
    assert len(job.dues) == 4
    clock.set_by(-100 * S)
    _pass(clock, keeper, 70)
    assert len(job.dues) == 4
    clock.set_by(3_600 * S)
    _pass(clock, keeper, 1)
    assert len(job.dues) == 5  # the latest of those that were passed over
    assert tally.skips == {"job": {"missed": 58}}
    assert len(set(job.dues)) == 5


def test_the_keeper_tells_systemd_that_it_lives_at_each_interval():
    clock, keeper, _, _ = _keep(every("1h"))
    told = []

    class Spy:
        interval_s = 10.0

        def alive(self):
            told.append(clock.wall)

    keeper._notifier = Spy()
    _pass(clock, keeper, 60)
    assert 5 <= len(told) <= 8


def test_a_crew_that_is_closed_has_no_threads():
    done = threading.Event()
    crew = Crew(3, lambda: None)
    crew.start()
    crew.submit(done.set)
    assert done.wait(20)
    assert crew.close()
    assert crew.crash is None


def test_a_store_that_never_answers_is_given_up_and_told(monkeypatch):
    monkeypatch.setattr(keeper_module, "_HANGS_NS", 0)
    monkeypatch.setattr(keeper_module, "_LONGEST_WAIT_NS", 10_000_000)
    asked, may_go = threading.Event(), threading.Event()

    class Hanging(MemoryStore):
        def look(self, look):
            asked.set()
            assert may_go.wait(20)
            return super().look(look)

    clock, keeper, _, tally = _keep(every("10s"), Hanging())
    keeper.start()
    assert asked.wait(20)
    keeper.stop(now=True)
    clock.wall += 1
    assert not keeper.wait_out()
    assert tally.report({}).exit_code == 105
    may_go.set()
    keeper._thread.join(20)
    assert not keeper._thread.is_alive()


def test_what_runs_is_called_off_at_once_though_the_store_does_not_answer():
    _, keeper, _, _ = _keep(every("10s"))
    scope = Context(keeper._scope)
    keeper.stop()
    assert not scope.cancelled
    keeper.stop(now=True)
    assert scope.cancelled
