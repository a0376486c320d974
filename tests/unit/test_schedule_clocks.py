import time

import pytest

from workermanager.scheduler.clocks import Jumps, Look, WallClock

MS = 1_000_000
S = 1_000 * MS


class HandClocks(WallClock):
    """Clocks that are set, put forward and put to sleep by hand; a reading may take time."""

    __slots__ = ("asleep", "reading_takes", "wall", "woken")

    def __init__(self):
        self.wall, self.woken, self.asleep, self.reading_takes = 1_700_000_000 * S, 5 * S, 0, 0

    def pass_by(self, ns):
        self.wall += ns
        self.woken += ns

    def sleep(self, ns):
        self.wall += ns
        self.asleep += ns

    def now(self):
        self.pass_by(self.reading_takes)
        return self.wall

    def steady(self):
        return self.woken + self.asleep

    def awake(self):
        return self.woken


@pytest.fixture
def clocks():
    return HandClocks()


@pytest.fixture
def jumps(clocks):
    return Jumps(clocks)


def test_time_that_passes_is_no_jump(clocks, jumps):
    for passed in (1, S, 86_400 * S):
        clocks.pass_by(passed)
        assert jumps.look() == Look(jump_ns=0, slept_ns=0)


@pytest.mark.parametrize("jump", [3_600 * S, -3_600 * S, 501 * MS, -501 * MS])
def test_a_clock_that_was_set_is_told_once_and_by_how_much(clocks, jumps, jump):
    clocks.pass_by(7 * S)
    clocks.wall += jump
    assert jumps.look() == Look(jump_ns=jump)
    clocks.pass_by(7 * S)
    assert jumps.look() == Look()


def test_what_is_slewed_is_followed_silently_and_never_adds_up_to_a_jump(clocks, jumps):
    for _ in range(10):
        clocks.pass_by(S)
        clocks.wall += 500 * MS
        assert jumps.look() == Look()
    clocks.wall -= 5 * S
    assert jumps.look() == Look(jump_ns=-5 * S), "what was followed is what a jump is measured from"


def test_a_machine_that_slept_is_told_and_its_clock_was_not_set(clocks, jumps):
    clocks.sleep(8 * 3_600 * S)
    assert jumps.look() == Look(slept_ns=8 * 3_600 * S)
    assert jumps.look() == Look()


def test_a_clock_set_while_the_machine_slept_is_both(clocks, jumps):
    clocks.sleep(60 * S)
    clocks.wall += 2 * S
    assert jumps.look() == Look(jump_ns=2 * S, slept_ns=60 * S)


def test_a_look_that_was_interrupted_leaves_what_happened_to_the_next(clocks, jumps):
    clocks.wall += 10 * S
    clocks.reading_takes = 2 * S
    assert jumps.look() == Look()
    clocks.reading_takes = 0
    assert jumps.look() == Look(jump_ns=10 * S)


def test_a_first_look_that_was_interrupted_is_made_up_for(clocks):
    clocks.reading_takes = 2 * S
    jumps = Jumps(clocks)
    clocks.reading_takes = 0
    assert jumps.look() == Look()
    clocks.wall += 10 * S
    assert jumps.look() == Look(jump_ns=10 * S)


def test_the_clocks_of_the_machine_go_forward_in_nanoseconds():
    clock = WallClock()
    before = clock.steady(), clock.awake()
    time.sleep(0.001)
    after = clock.steady(), clock.awake()
    assert all(later - earlier >= MS for earlier, later in zip(before, after, strict=True))
    assert abs(clock.now() - time.time_ns()) < 60 * S
    assert clock.steady() >= clock.awake() - S, "what counts suspension is not behind what does not"


def test_the_machine_as_it_is_now_tells_no_sleep_of_hours():
    assert abs(Jumps(WallClock()).look().slept_ns) < 3_600 * S
