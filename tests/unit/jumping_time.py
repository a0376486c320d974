"""Time that passes only where somebody waits for it: a clock, and an event loop that goes by it."""

import asyncio
import selectors
from math import ceil


class JumpingClock:
    """A clock that waits by being put forward."""

    def __init__(self):
        self.ns = 0

    def now(self):
        return self.ns

    def wait(self, event, seconds):
        if not event.is_set():
            assert seconds is not None, "this would wait for ever"
            self.ns += int(seconds * 1e9)
        return event.is_set()


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that puts its clock forward to the next timer as soon as it has no work."""

    def __init__(self, clock):
        super().__init__(_JumpingSelector(clock))
        self.clock = clock

    def time(self):
        return self.clock.ns / 1e9


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "this would wait for ever"
            self.clock.ns += ceil(timeout * 1e9)
        return ready


def run_jumping(clock, main):
    """Run a coroutine to its end in jumps."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
        return runner.run(main)
