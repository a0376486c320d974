"""A process that serves schedules of a database until all have ended, or it is killed."""

import os
import random
import signal
import time

from tests.kit.schedule_stores import T0, Hand, single
from workermanager.database.schedule_store import ScheduleStore

ROOM = 4
LONGEST_S = 50  # whoever is forgotten ends by itself
PAUSE_S = 0.01  # what a fire takes
LOOKS_IN_STEP = 10


def serve(url, acts, names, lost, seed, in_step=None):  # noqa: PLR0913, PLR0917 - all that it needs
    """Run single fires; each is a line in the file ``acts``: who was due, and which attempt.

    With a barrier, the first looks are ``in_step`` with those of another process.
    """
    until = time.monotonic() + LONGEST_S
    file = os.open(acts, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = ScheduleStore(url)
    hand, left, fires = Hand(store), list(names), []
    random.Random(seed).shuffle(left)
    hand.enroll(*(single(name, lost=lost) for name in names))
    looks = 0
    while time.monotonic() < until:
        if in_step is not None and looks < LOOKS_IN_STEP:
            in_step.wait()
        looks += 1
        batch, left = left[:ROOM], left[ROOM:]
        findings = hand.look(T0, *batch, ended=fires, room=ROOM, is_round=True)
        left += [
            name for name, outlook in findings.outlooks.items() if outlook.waits_since is not None
        ]
        fires = findings.starts
        for fire in fires:
            os.write(file, f"{fire.schedule} {fire.attempt}\n".encode())
        if not (batch or fires) and is_done(store):
            break
        time.sleep(PAUSE_S)
    store.leave([], T0)
    store.close()
    os.close(file)


def claim(url, has_begun):
    """Begin a fire and never end it."""
    signal.alarm(LONGEST_S)
    hand = Hand(ScheduleStore(url))
    hand.enroll(single())
    assert len(hand.look(T0, "once").starts) == 1
    has_begun.set()
    signal.pause()


def is_done(store):
    """True if each schedule's fire has ended."""
    counts = [entry.progress.counts for entry in store.entries(T0)]
    return all(one.due and not (one.running or one.waiting) for one in counts)
