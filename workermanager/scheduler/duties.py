"""The schedules of one scheduler with what each runs: entered in the store, given to the keeper."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeAlias

from instrumentation.errors import InvalidConfig
from workermanager.scheduler.jobs import job_of
from workermanager.scheduler.performing import Duty
from workermanager.timetables.store import unknown_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from instrumentation.composing import Chain
    from workermanager.scheduler.backing import Backing
    from workermanager.scheduler.jobs import Planned
    from workermanager.scheduler.keeper import Keeper
    from workermanager.scheduler.performing import FireResult
    from workermanager.timetables.schedule import Schedule
    from workermanager.timetables.store import Store

__all__ = ["Duties", "Hook", "Hooks", "check_hooks"]

Hook: TypeAlias = "Callable[[FireResult], object]"
"""Called with what became of a fire, on the fire's thread."""

Hooks: TypeAlias = "tuple[tuple[Hook, ...], tuple[Hook, ...]]"
"""Those for fires that ran, and those for fires that failed."""


def check_hooks(on_success: Hook | None, on_failure: Hook | None) -> Hooks:
    """The hooks that are given.

    Raises:
        InvalidConfig: one cannot be called.
    """
    return _check_hook(on_success, "on_success"), _check_hook(on_failure, "on_failure")


def _check_hook(hook: Hook | None, name: str) -> tuple[Hook, ...]:
    if hook is None:
        return ()
    if not callable(hook):
        raise InvalidConfig(f"{name}: {hook!r} cannot be called")
    return (hook,)


class Duties:
    """What a scheduler runs, by name, from any thread: in the store and kept from `keep` on.

    ``hooks`` hear of every fire, after those of its schedule.
    """

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        backing: Backing,
        hooks: Hooks,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backing = backing
        self._hooks = hooks
        self._now = now
        self._duties: dict[str, Duty] = {}
        self._targets: dict[str, str] = {}
        self._is_kept = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many schedules there are."""
        return len(self._duties)

    def add(
        self, schedule: Schedule, what: Planned | Chain, hooks: Hooks, target: str | None
    ) -> Schedule:
        """Take up one more schedule; gives it anchored, where all are kept already.

        Raises:
            InvalidConfig: its name is taken, or what it is to run cannot be run.
            WriteError: the store does not go on, and the schedule is not taken up.
        """
        name = schedule.name
        with self._lock:
            if name in self._duties:
                raise InvalidConfig(f"there is a schedule {name!r} already: give another name=…")
            self._duties[name] = duty = Duty(
                schedule,
                job_of(what, name, self._backing, has_ledger=schedule.lost == "rerun"),
                on_success=(*hooks[0], *self._hooks[0]),
                on_failure=(*hooks[1], *self._hooks[1]),
            )
            if target is not None:
                self._targets[name] = target
            if self._is_kept:
                try:
                    self._enroll([duty])
                except BaseException:
                    self._forget(name)
                    raise
            return self._duties[name].schedule

    def keep(self) -> None:
        """Enter all of them in the store, in one transaction, and keep them and those to come.

        Raises:
            WriteError: the store does not go on.
        """
        with self._lock:
            self._enroll(list(self._duties.values()))
            self._is_kept = True

    def _enroll(self, duties: list[Duty]) -> None:
        for duty in duties:
            self._keeper.expect(duty)
        schedules = [duty.schedule for duty in duties]
        anchored = self._store.enroll(schedules, self._now(), targets=self._targets)
        for duty, schedule in zip(duties, anchored, strict=True):
            kept = Duty(schedule, duty.job, duty.on_success, duty.on_failure)
            self._duties[schedule.name] = kept
            self._keeper.enter(kept)

    def remove(self, name: str) -> None:
        """Forget a schedule, here and in the store.

        Raises:
            InvalidConfig: there is none, or a fire of it runs.
        """
        with self._lock:
            self._store.remove(name)
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._keeper.leave(name)
        self._targets.pop(name, None)
        if (duty := self._duties.pop(name, None)) is not None:
            duty.job.close()

    def schedules(self, name: str | None = None) -> list[Schedule]:
        """All of them, or the one of that name.

        Raises:
            InvalidConfig: there is no such schedule.
        """
        with self._lock:
            if name is None:
                return [duty.schedule for duty in self._duties.values()]
            if name not in self._duties:
                raise unknown_schedule(name, self._duties)
            return [self._duties[name].schedule]

    def close(self, *, is_left_behind: bool) -> None:
        """No fire comes any more; ``is_left_behind`` where one is not waited for any longer."""
        for duty in self._duties.values():
            duty.job.close(is_left_behind=is_left_behind)
