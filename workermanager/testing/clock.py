"""Time that passes only where somebody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workermanager.durations import parse_duration

if TYPE_CHECKING:
    from workermanager.cancelling import Flag
    from workermanager.durations import Duration

__all__ = ["StageClock", "VirtualClock"]


class VirtualClock:
    """A clock that begins at 0 and is put forward by whoever waits; for one thread.

    As in ``Context(timeout="1h", clock=VirtualClock())``. In a rehearsal it shows each exec its own
    moment, so a step that puts it forward lets time pass for itself and not for those beside it.
    """

    def __init__(self) -> None:
        self._now = 0

    def __repr__(self) -> str:
        return f"VirtualClock({self.seconds} s)"

    @property
    def seconds(self) -> float:
        """How much time has passed."""
        return self._now / 1e9

    def now(self) -> int:
        """Nanoseconds that have passed."""
        return self._now

    def advance(self, duration: Duration) -> None:
        """Let time pass, without a wait that anything could end: what work takes, for example.

        Raises:
            InvalidConfig: it is no duration, or less than 0.
        """
        self._now += parse_duration(duration, "advance")

    def wait(self, flag: Flag, seconds: float | None) -> bool:
        """Let time pass, unless the flag is set; True if it is.

        Raises:
            RuntimeError: it would be for ever, because nobody is there to set the flag.
        """
        if flag.is_set():
            return True
        if seconds is None:
            raise RuntimeError("this would wait for ever: virtual time has nobody who could end it")
        self._now += max(0, round(seconds * 1e9))
        return False


class StageClock(VirtualClock):
    """A virtual clock that is put back, to show several things that happen at once.

    ``sleeps`` are from when to when it was waited on; whoever puts it back empties it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: list[tuple[int, int]] = []

    def turn_to(self, moment: int) -> None:
        """Show a moment, also an earlier one."""
        self._now = moment

    def wait(self, flag: Flag, seconds: float | None) -> bool:
        begun = self._now
        is_set = super().wait(flag, seconds)
        self.sleeps.append((begun, self._now))
        return is_set
