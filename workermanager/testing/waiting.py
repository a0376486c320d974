"""Waits of walks in virtual time: they end by themselves, or are called off with their scope.

What is waited for is an iterator of the seconds until the next look, at most; None for until it is
told to look. Its end is the wait's, and it raises Cancelled if it was called off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager.limits import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workermanager.cancelling import Context
    from workermanager.strands import Enter, Pause
    from workermanager.testing.agenda import Agenda
    from workermanager.testing.clock import StageClock

__all__ = ["Wait", "entering", "pausing", "sleeping"]


class Wait:
    """One wait; ``on_end`` is called at its end, with what was raised if anything was."""

    def __init__(
        self,
        agenda: Agenda,
        clock: StageClock,
        scope: Context,
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._agenda = agenda
        self._clock = clock
        self._scope = scope
        self._on_end = on_end
        self._is_over = False

    def begin(self, looks: Iterator[float | None]) -> None:
        """Wait."""
        self._looks = looks
        self._forget = self._scope.on_cancel(self.look)
        self._look()

    def look(self) -> None:
        """Look as soon as whoever runs now has done what it does."""
        self._agenda.enter(self._clock.now(), self._look)

    def _look(self) -> None:
        if self._is_over:
            return
        now, raised = self._clock.now(), None
        try:
            seconds = next(self._looks)
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - it belongs to the walk
            raised = error
        else:
            if seconds is not None:
                self._agenda.enter(now + round(seconds * 1e9), self._look)
            return
        self._is_over = True
        self._forget()
        self._agenda.enter(self._clock.now(), lambda: self._on_end(raised))
        self._clock.turn_to(now)


def pausing(pause: Pause) -> Iterator[float | None]:
    """What `Context.sleep` does."""
    clock = pause.scope.clock
    end = clock.now() + max(0, round(pause.seconds * 1e9))
    while not pause.scope.cancelled and (left := end - clock.now()) > 0:
        remaining = pause.scope.remaining
        yield left / 1e9 if remaining is None else min(left / 1e9, remaining)
    pause.scope.check()


def entering(enter: Enter, wake: Callable[[], None]) -> Iterator[float | None]:
    """What `Limit.enter` does."""
    if isinstance(enter.limit, Limit):
        yield from enter.limit.queue(enter.scope, wake)
    else:  # somebody else's: it waits by the clock, which is put back then
        enter.limit.enter(enter.scope)


def sleeping(
    scope: Context, ended: int, sleeps: Sequence[tuple[int, int]]
) -> Iterator[float | None]:
    """A step that was called, and has ``ended`` later; ``sleeps`` are when it only waited.

    Called off while it works, it goes on to its end; called off in its sleep, it has left there.
    """
    while (left := ended - scope.clock.now()) > 0:
        yield left / 1e9
        now = scope.clock.now()
        if any(since <= now < until for since, until in sleeps):
            scope.check()
