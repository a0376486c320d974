"""Drives a store of schedules by hand: looks, endings, and what there is to see afterwards."""

from dataclasses import replace
from datetime import UTC, datetime

from workermanager.scheduler.memory import MemoryStore
from workermanager.timetables.fires import Ending, FireState
from workermanager.timetables.schedule import make_schedule
from workermanager.timetables.store import Look
from workermanager.timetables.timetable import at, every

S = 1_000_000_000
T0 = 1_800_000_000 * S
RAN, FAILED = FireState.RAN, FireState.FAILED


def every_second(name="tick", period="1s", **policies):
    """A schedule that is due each second after T0, once it is enrolled then."""
    return make_schedule(name, every(period), **policies)


def single(name="once", moment=T0, **policies):
    """A schedule that is due once."""
    return make_schedule(name, at(datetime.fromtimestamp(moment / S, UTC)), **policies)


class Hand:
    """One scheduler's store, moved by hand."""

    def __init__(self, store):
        self.store = store
        self.running = []

    def enroll(self, *schedules, now=T0):
        return self.store.enroll(schedules, now)

    def look(self, now, *names, ended=(), room=10, is_round=False):
        """Look at schedules; ``ended`` are fires that ran, or endings."""
        endings = [end(one, now) if not isinstance(one, Ending) else one for one in ended]
        for ending in endings:
            if ending.fire in self.running:
                self.running.remove(ending.fire)
        findings = self.store.look(
            Look(now=now, endings=endings, names=names, room=room, is_round=is_round)
        )
        self.running += findings.starts
        return findings

    def counts(self, name, now=T0):
        """How the fires of a schedule stand; they add up."""
        counts = self.entry(name, now).progress.counts
        counts.check()
        return {key: value for key, value in counts.to_dict().items() if value}

    def entry(self, name, now=T0):
        return next(one for one in self.store.entries(now) if one.schedule.name == name)

    def history(self, name=None, most=100_000):
        """The records, without who ran them: state, reason, due, last and count of each."""
        return [
            (one.state.value, one.reason, one.due, one.last, one.count)
            for one in self.store.history(name, most)
        ]


def end(fire, now, state=RAN, reason=None):
    return Ending(fire, state, started=now, ended=now, reason=reason)


def view(store, now):
    """All that a store shows of its schedules, but for who ran what."""
    entries = [
        (one.schedule, one.progress, one.next_due, one.progress.counts.check())
        for one in store.entries(now)
    ]
    records = [replace(one, node=None) for one in store.history(most=100_000)]
    return entries, sorted(records, key=lambda one: (one.schedule, one.due))


def open_memory(_url):
    return MemoryStore()
