"""Looks at a run: in the warm-up, at its end, after it; whoever watches, and what ends a run."""

import threading

import pytest
from growing_figures import SECOND, Growing
from loguru import logger

from workermanager.judging import Judge
from workermanager.thresholds import parse_threshold
from workermanager.watching import Watch


class Books:
    """A run's books, to be read at a moment that the test sets."""

    def __init__(self):
        self.at = 0.0
        self.warm, self.measured = Growing(), Growing()
        self.read_as = []
        self.is_closed = False

    def read(self, *, is_warmup=False):
        self.read_as.append("warm-up" if is_warmup else "measured")
        return (self.warm if is_warmup else self.measured).look(self.at)

    def elapsed(self):
        return round(self.at * SECOND)


class Watched:
    """A watch that is never started: the test says when it looks."""

    def __init__(self, warmup_s=0.0, abort_on=()):
        self.books, self.aborted_at, self.seen = Books(), [], []
        warmup_ns = round(warmup_s * SECOND)
        thresholds = [parse_threshold(text, [], None, "", aborts=True) for text in abort_on]
        self.watch = Watch(
            self.books,
            Judge(thresholds, warmup_ns),
            self.books.elapsed,
            warmup_ns,
            lambda: self.aborted_at.append(self.books.at),
        )

    def look(self, at):
        self.books.at = at
        self.watch.look()

    def end(self, at):
        self.books.at = at
        return self.watch.end()

    @property
    def windows(self):
        return [(one.at_s, one.is_warmup, one.ok) for one in self.watch.series.windows]


@pytest.fixture
def logged():
    lines = []
    number = logger.add(lines.append, format="{level} {message}")
    logger.enable("workermanager")
    yield lines
    logger.disable("workermanager")
    logger.remove(number)


# Looking


def test_a_look_ends_a_window_and_holds_the_figures_against_the_thresholds():
    watched = Watched(abort_on=["failed<=1"])
    watched.books.measured.ends(1, 1)
    watched.look(1)
    watched.books.measured.ends(1, outcome="failed")
    watched.look(2)
    assert watched.windows == [(1, False, 2), (2, False, 0)]
    (verdict,) = watched.watch.judge.verdicts()
    assert (verdict.value, verdict.passed) == (1, True)


def test_the_end_is_a_look_whose_figures_are_given():
    watched = Watched()
    watched.look(1)
    watched.books.measured.ends(1)
    figures = watched.end(1.7)
    assert figures.counts["ok"] == 1
    assert watched.windows == [(1, False, 0), (1.7, False, 1)]


def test_the_warm_up_is_looked_at_by_itself_and_ends_before_anything_counts():
    watched = Watched(warmup_s=1.5, abort_on=["failed==0"])
    watched.books.warm.ends(1)
    assert watched.watch.is_warming_up
    watched.look(1)
    assert watched.books.read_as == ["warm-up"]
    watched.books.warm.ends(1)
    watched.books.measured.ends(1)
    watched.look(1.5)
    assert watched.books.read_as == ["warm-up", "warm-up"]
    assert not watched.watch.is_warming_up
    assert watched.watch.judge.verdicts()[0].value is None
    watched.look(2)
    assert watched.books.read_as == ["warm-up", "warm-up", "measured"]
    watched.end(2.6)
    assert watched.windows == [(1, True, 1), (1.5, True, 1), (2, False, 1), (2.6, False, 0)]


def test_a_late_look_still_ends_the_warm_up_first():
    watched = Watched(warmup_s=1.5)
    watched.look(4)
    assert watched.books.read_as == ["warm-up"]
    assert watched.windows == [(4, True, 0)]


@pytest.mark.parametrize("at", [0.4, 3.0])
def test_the_end_also_ends_a_warm_up_that_is_on(at):
    watched = Watched(warmup_s=1.5)
    watched.books.warm.ends(1)
    watched.end(at)
    assert watched.books.read_as == ["warm-up", "measured"]
    assert not watched.watch.is_warming_up
    assert watched.windows == [(at, True, 1)]


@pytest.mark.parametrize(
    ("elapsed", "warmup", "at"),
    [
        (0, 0, 1),
        (0.2, 0, 1),
        (0.999_999_999, 0, 1),
        (1, 0, 2),
        (7.5, 0, 8),
        (0, 1.5, 1),
        (1, 1.5, 1.5),
        (1.2, 1.5, 1.5),
        (1.5, 1.5, 2),
        (1.7, 1.5, 2),
        (0, 0.25, 0.25),
        (0, 2, 1),
        (1.5, 2, 2),
    ],
)
def test_looks_come_at_whole_seconds_and_at_the_end_of_the_warm_up(elapsed, warmup, at):
    watched = Watched(warmup_s=warmup)
    watched.books.at = elapsed
    assert watched.watch._next_look() == round(at * SECOND)


# Whoever watches


def test_observers_are_told_at_every_look_and_at_the_end():
    watched, one, other = Watched(), [], []
    watched.watch.tell(one.append)
    watched.look(1)
    watched.watch.tell(other.append)
    watched.look(2)
    figures = watched.end(3)
    assert [seen.elapsed_ns // SECOND for seen in one] == [1, 2, 3]
    assert [seen.elapsed_ns // SECOND for seen in other] == [2, 3]
    assert one[-1] is figures


def test_an_observer_that_raises_is_told_of_once_and_heard_no_more(logged):
    watched, heard = Watched(), []

    def breaks(figures):
        heard.append("broken")
        raise OSError("nobody listens")

    watched.watch.tell(breaks)
    watched.watch.tell(lambda figures: heard.append("fine"))
    for second in (1, 2):
        watched.look(second)
    watched.end(3)
    assert heard == ["broken", "fine", "fine", "fine"]
    (line,) = logged
    assert line.startswith("ERROR ")
    assert line.endswith("watches no more: nobody listens\n")


# What ends a run


def test_a_broken_threshold_ends_the_run_once():
    watched = Watched(abort_on=["failed==0"])
    watched.look(1)
    assert watched.aborted_at == []
    watched.books.measured.ends(1, outcome="failed")
    watched.look(2)
    watched.look(3)
    watched.end(4)
    assert watched.aborted_at == [2]


def test_a_run_that_is_being_stopped_is_not_ended_by_what_the_stop_breaks():
    watched = Watched(abort_on=["rate>=1/s over 1s"])
    watched.books.measured.ends(1)
    watched.look(1)
    watched.books.is_closed = True  # from outside: what runs may end, nothing begins
    watched.look(2)
    watched.end(3)
    assert watched.aborted_at == []
    (verdict,) = watched.watch.judge.verdicts()
    assert (verdict.passed, verdict.aborted) == (False, False)


def test_what_happens_in_the_warm_up_ends_no_run():
    watched = Watched(warmup_s=5, abort_on=["failed==0"])
    watched.books.warm.ends(1, outcome="failed")
    for second in (1, 2, 5, 6):
        watched.look(second)
    watched.end(7)
    assert watched.aborted_at == []
    assert watched.watch.judge.verdicts()[0].passed


# The thread


def test_a_look_that_fails_is_kept_for_the_run_and_ends_the_watch():
    watched = Watched()
    looked = threading.Event()

    def elapsed():
        return next(moments)

    def read(**_options):
        looked.set()
        raise MemoryError("no room")

    moments = iter([999_999_999, 999_999_999, 1 << 40])
    watched.watch._elapsed = elapsed
    watched.books.read = read
    watched.watch.start()
    assert looked.wait(30)
    watched.watch._thread.join(30)
    assert isinstance(watched.watch.crash, MemoryError)


def test_a_watch_that_was_started_ends_with_its_run():
    watched = Watched()
    watched.watch.start()
    watched.end(0.5)
    assert not watched.watch._thread.is_alive()
    assert watched.windows == [(0.5, False, 0)]
