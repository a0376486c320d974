"""What the tests share: a step that counts, a clock in hand, a check for threads left behind."""

import threading

import pytest

pytest_plugins = ["tests.kit.fixtures"]


class Calls:
    """A step that notes every exec it sees; thread-safe, because list.append is."""

    def __init__(self):
        self.seen = []

    def __call__(self, ctx, params):
        self.seen.append(ctx.n)

    @property
    def sorted(self):
        return sorted(self.seen)


class HandClock:
    """A monotonic clock that moves only when told to."""

    def __init__(self):
        self.now_ns = 1_000_000_000

    def __call__(self):
        return self.now_ns

    now = __call__

    def wait(self, flag, seconds):
        """Nobody moves this clock while it is waited on, so the wait is a real one."""
        return flag.wait(seconds)

    def advance(self, seconds):
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def hand_clock():
    return HandClock()


@pytest.fixture(scope="session", autouse=True)
def _the_history_of_whoever_runs_the_tests_is_left_alone(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert not left, f"threads left behind: {left}"
