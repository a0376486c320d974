"""Members that run at the same time: which is next, what came of each, and when all have ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from instrumentation.errors import Cancelled, StepError, text_of
from workermanager.handoff import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workermanager.cancelling import Context

__all__ = ["Join"]


class _Numbered(Protocol):
    number: int


M = TypeVar("M", bound=_Numbered)


class Join(Generic[M]):
    """Hands out members, at most ``most`` at a time, and hears how each one ended.

    Unless it is ``is_collecting``, the first that fails cancels ``scope``, which all run in, and
    no more are begun. Of those that did not fail it keeps what is ``is_kept``, for `outcomes`. It
    is thread-safe; who waits for the end is one.
    """

    def __init__(
        self,
        members: Iterator[M],
        most: int,
        scope: Context,
        *,
        is_collecting: bool,
        is_kept: Callable[[M], bool],
    ) -> None:
        self.most = most
        self._members = members
        self.scope = scope
        self._is_collecting = is_collecting
        self._is_kept = is_kept
        self._lock = threading.Lock()
        self._running = 0
        self._is_over = False
        self._ended: list[tuple[M, BaseException | None]] = []
        self._error: BaseException | None = None
        self._bell = Bell()

    def take(self) -> M | None:
        """A member to run now; None if there is none, or there is no room for it."""
        with self._lock:
            if self._is_over or self._running >= self.most:
                return None
            try:
                self.scope.check()
                member = next(self._members)
            except StopIteration:
                self._is_over = True
                return None
            except BaseException as error:  # noqa: BLE001 - it is the join's, which raises it
                self._is_over = True
                self._fail(error)
                return None
            self._running += 1
            return member

    def finish(self, member: M, error: BaseException | None) -> None:
        """A member has ended."""
        with self._lock:
            self._running -= 1
            if error is not None or self._is_kept(member):
                self._ended.append((member, error))
            if error is not None and not (self._is_collecting and isinstance(error, StepError)):
                self._is_over = True
                self._fail(error)
            is_last = self._running == 0
        if is_last:
            self._bell.ring()

    def _fail(self, error: BaseException) -> None:
        if self._error is None or (
            isinstance(self._error, Cancelled) and not isinstance(error, Cancelled)
        ):
            self._error = error
            self.scope.cancel(error)
        elif not isinstance(error, Cancelled) and error is not self._error:
            self._error.add_note(f"beside it failed: {text_of(error)}")

    @property
    def is_done(self) -> bool:
        """True when no member runs and none will."""
        with self._lock:
            return self._is_over and self._running == 0

    def wait(self) -> None:
        """Wait until no member runs; for one thread alone, once `take` gave it None."""
        while True:
            with self._lock:
                if self._running == 0:
                    return
            self._bell.wait(3_600.0)

    @property
    def error(self) -> BaseException | None:
        """What the members failed with, if they did: what came first, before any Cancelled."""
        return self._error

    def raise_error(self) -> None:
        """Raise `error`, if there is one."""
        if self._error is not None:
            raise self._error

    def completed(self) -> list[M]:
        """The members that did not fail and are kept, in their order."""
        return [member for member, error in self.outcomes() if error is None]

    def outcomes(self) -> list[tuple[M, BaseException | None]]:
        """Each member that ended and is kept, in their order, with what it failed with."""
        return sorted(self._ended, key=lambda ended: ended[0].number)
