"""The workers of a stage: take, call, put, and settle what has gone where."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from instrumentation.pipelines import SKIP
from workermanager.flows.channel import NOT_YET
from workermanager.flows.report import StageReport
from workermanager.handoff import Bell

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable

    from workermanager.flows.channel import Channel, Drain, Hand, Ring
    from workermanager.flows.loop import LoopBell
    from workermanager.flows.policy import Policy

__all__ = ["Crew", "Lane"]

_LONGEST_S: Final = 3_600.0


class Lane:
    """Brings results into the order in which their items were taken."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        self._put = put
        self._parked: dict[int, tuple[list[Any], int]] = {}
        self._next = 1

    @property
    def ended(self) -> int:
        """How many parked items have ended already, and only keep their place. Held."""
        return sum(ended for _results, ended in self._parked.values())

    def emit(self, serial: int, results: list[Any], ended: int) -> tuple[int, int]:
        """Park what became of a hand, and put all whose turn it is.

        How many results were put, and how many items had ended otherwise. Held.
        """
        self._parked[serial] = (results, ended)
        all_passed = all_ended = 0
        while self._next in self._parked:
            results, ended = self._parked.pop(self._next)
            for result in results:
                self._put(result)
            self._next += 1
            all_passed += len(results)
            all_ended += ended
        return all_passed, all_ended


class Handled(NamedTuple):
    """What became of a hand: results that still have their turn to come, and other endings."""

    results: list[Any]
    filtered: int = 0
    failed: int = 0
    lost: int = 0  # called off before they ended


class Crew:
    """A stage at work, between the channel that it takes from and the one that it puts into."""

    def __init__(  # noqa: PLR0913 - a stage's place in the pipeline is made of these
        self,
        workers: int,
        inlet: Channel,
        outlet: Channel | Drain,
        policy: Policy,
        lock: threading.RLock,
        *,
        is_ordered: bool,
    ) -> None:
        self._inlet = inlet
        self._outlet = outlet
        self._policy = policy
        self._passed = self._filtered = self._failed = 0
        self._lane = Lane(outlet.put) if is_ordered else None
        self._lock = lock
        self._inside = workers

    def work(self, call: Callable[[Any], Any]) -> None:
        """Be one of its workers, in this thread, until no more comes."""
        bell = Bell()
        take = self._inlet.take
        checked = self._policy.refuse_coroutines(call)
        try:
            while (hand := take(bell)) is not None:
                if hand is NOT_YET:
                    bell.wait(_LONGEST_S)
                    continue
                began = time.perf_counter_ns()
                handled = self._handle(hand, checked)
                if not handled.failed:
                    checked = call  # looking at every result would cost a sixth of an item
                left = self._settle(hand, handled, time.perf_counter_ns() - began)
                while left := self._hand_on(left, bell):
                    bell.wait(_LONGEST_S)
        finally:
            self._leave()

    def _handle(self, hand: Hand, call: Callable[[Any], Any]) -> Handled:
        """Call it for every item of a hand. Results are put at once, unless they have a turn."""
        outlet = self._outlet
        results: list[Any] = []
        put = outlet.put if self._lane is None else results.append
        filtered = failed = lost = 0
        for item in hand.items:
            try:
                result = call(item)
            except BaseException as error:  # noqa: BLE001 - the policy knows what to do
                if self._policy.bury(item, error):
                    failed += 1
                else:
                    lost += 1
            else:
                if result is SKIP:
                    filtered += 1
                else:
                    put(result)
            if outlet.attention and not outlet.attend():
                break
        return Handled(results, filtered, failed, lost)

    async def work_async(self, call: Callable[[Any], Awaitable[Any]], bell: LoopBell) -> None:
        """Be one of its workers, as a task, until no more comes or it is cancelled."""
        try:
            while (hand := self._inlet.take(bell)) is not None:
                if hand is NOT_YET:
                    await bell.wait()
                    continue
                began = time.perf_counter_ns()
                handled = await self._handle_async(hand, call)
                left = self._settle(hand, handled, time.perf_counter_ns() - began)
                await self._hand_on_async(left, bell)
        finally:
            self._leave()

    async def _handle_async(self, hand: Hand, call: Callable[[Any], Awaitable[Any]]) -> Handled:
        """The same as `_handle`, for the one item that a task takes."""
        results: list[Any] = []
        put = self._outlet.put if self._lane is None else results.append
        for item in hand.items:
            try:
                result = await call(item)
            except BaseException as error:  # noqa: BLE001 - the policy knows what to do
                is_lost = self._inlet.is_broken and not isinstance(error, Exception)
                if is_lost or not self._policy.bury(item, error):
                    return Handled(results, lost=1)
                return Handled(results, failed=1)
            if result is SKIP:
                return Handled(results, filtered=1)
            put(result)
        if self._outlet.attention:
            self._outlet.attend()
        return Handled(results)

    def _settle(self, hand: Hand, handled: Handled, took_ns: int) -> int:
        """Count what has become of a hand; how many results are still to be handed on."""
        with self._lock:
            begun = hand.begun
            self._inlet.note_pace(begun, took_ns)
            self._filtered += handled.filtered
            self._failed += handled.failed
            ended = handled.filtered + handled.failed
            if self._lane is None:
                passed = begun - ended - handled.lost
            else:
                passed, ended = self._lane.emit(hand.serial, handled.results, ended)
                if self._outlet.attention:
                    self._outlet.attend()
            self._inlet.release(ended)
            return passed

    def _hand_on(self, count: int, bell: Ring) -> int:
        """Move so many results on to the next channel; how many have to wait for room."""
        with self._lock:
            room = self._outlet.admit(count, bell) if count else 0
            self._inlet.release(room)
            self._passed += room
        return count - room

    async def _hand_on_async(self, count: int, bell: LoopBell) -> None:
        from asyncio import CancelledError  # noqa: PLC0415 - 50 ms that most never need

        while count := self._hand_on(count, bell):
            try:
                await bell.wait()
            except CancelledError:  # with all called off, what was put is let in
                if not self._inlet.is_broken:
                    raise

    def report(self, name: str) -> StageReport:
        """Its figures: what still takes up room when all have left, is cancelled. Held."""
        counts = (self._passed, self._filtered, self._failed)
        cancelled = self._inlet.held - (self._lane.ended if self._lane else 0)
        return StageReport(name, self._inlet.entered, *counts, cancelled)

    def _leave(self) -> None:
        """A worker goes; after the last one no more will come."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._outlet.end()
