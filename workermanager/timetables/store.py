"""Where schedules and their fires are kept: what every store does, in memory or a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from instrumentation.errors import InvalidConfig
from workermanager.timetables.schedule import FOREVER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from workermanager.timetables.deciding import Decision
    from workermanager.timetables.fires import Ending, Fire, Record
    from workermanager.timetables.schedule import Progress, Schedule

__all__ = ["Entry", "Findings", "Look", "Outlook", "Store", "unknown_schedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a scheduler tells and asks its store, all at once, because a transaction costs.

    ``endings`` are fires of its own that have ended. ``names`` are the schedules to look at:
    something may be due or may begin; ``room`` is how many fires may. With ``is_round``, the store
    looks after everything that others may have done as well.
    """

    now: int
    endings: Sequence[Ending] = ()
    names: Collection[str] = ()
    room: int = 0
    is_round: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a schedule wants to be looked at again.

    ``next_look`` is the moment (None: never), ``waits_since`` when the first of its fires that
    wait was planned (None: none waits), and ``running`` how many run, here and elsewhere.
    """

    next_look: int | None
    waits_since: int | None
    running: int


@dataclass(slots=True)
class Findings:
    """What came of a look.

    ``starts`` are to begin here, and are entered as running. ``cancels`` run here and are to be
    called off. ``outlooks`` has every schedule that was looked at or has changed. ``pauses`` are
    schedules that have failed too often, ``lost`` the fires whose process died, and ``fenced`` own
    endings that came too late: others had taken this process for dead. ``skips`` are counted by
    schedule and reason.
    """

    starts: list[Fire] = field(default_factory=list)
    cancels: list[Fire] = field(default_factory=list)
    outlooks: dict[str, Outlook] = field(default_factory=dict)
    pauses: list[str] = field(default_factory=list)
    lost: list[Ending] = field(default_factory=list)
    fenced: list[Ending] = field(default_factory=list)
    skips: dict[tuple[str, str], int] = field(default_factory=dict)

    def note_skips(self, name: str, decision: Decision) -> None:
        """Count what a decision skipped."""
        for skip in decision.skips:
            self._note(name, skip.reason, skip.count)
        for _fire, reason in decision.dropped:
            self._note(name, reason, 1)

    def _note(self, name: str, reason: str, count: int) -> None:
        self.skips[name, reason] = self.skips.get((name, reason), 0) + count


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule as a list shows it: ``progress.counts`` has all its fires, and adds up.

    ``next_due`` is the next undecided due time; ``is_served`` is False where no process that lives
    has the schedule. ``target`` is what the command line runs, if that has entered it.
    """

    schedule: Schedule
    progress: Progress
    next_due: int | None
    is_served: bool = True
    target: str | None = None


class Store(Protocol):
    """Schedules, their progress and their fires; each method is one transaction.

    A fire is there once: whoever enters it as running runs it. Methods may be called from any
    thread. ``is_shared`` where other processes look at it too, so that rounds are needed.

    Raises:
        InvalidConfig: from methods that name a schedule: there is none of that name.
        WriteError: the database does not go on; nothing of the transaction is done.
    """

    is_shared: bool

    def enroll(self, schedules: Iterable[Schedule], now: int) -> list[Schedule]:
        """Enter schedules, or take them up where they are known; gives them anchored.

        One whose timetable is what it was goes on from where it was, with its anchor: what fell
        due meanwhile was missed. One with another timetable begins now. Policies are the new ones.
        """
        ...

    def look(self, look: Look) -> Findings:
        """Note endings, decide what is due, and enter what begins."""
        ...

    def leave(self, endings: Sequence[Ending], now: int) -> None:
        """Note the last endings of a scheduler that stops; what of its own runs still is lost."""
        ...

    def heed_clock(self, jump_ns: int) -> None:
        """The wall clock was set by so much: what counts what passes is to go on as it was.

        Only a store of this process alone can do that; others go by the wall clock.
        """
        ...

    def pause(self, name: str, now: int, until: int = FOREVER) -> None:
        """Begin nothing more of a schedule until then, or until it is resumed."""
        ...

    def resume(self, name: str, now: int) -> None:
        """End a pause: what fell due in it stays skipped. Also forgets failures in a row."""
        ...

    def request(self, name: str, now: int) -> Fire:
        """Have a schedule run now, once more, also while it is paused."""
        ...

    def remove(self, name: str) -> None:
        """Forget a schedule with its history.

        Raises:
            InvalidConfig: a fire of it runs.
        """
        ...

    def entries(self, now: int) -> list[Entry]:
        """Every schedule, by name."""
        ...

    def history(self, name: str | None = None, most: int = 100) -> list[Record]:
        """The latest fires of one schedule or of all, the latest first."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def unknown_schedule(name: str, known: Iterable[str]) -> InvalidConfig:
    """The refusal of a name that no schedule has."""
    there_are = ", ".join(sorted(known)) or "none"
    return InvalidConfig(f"there is no schedule {name!r}; there are: {there_are}")
