"""The source at work: items are pulled one by one, as far as there is room for them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from instrumentation.errors import InvalidConfig
from workermanager.flows.channel import MOST
from workermanager.flows.policy import retrying, retrying_async
from workermanager.flows.report import StageReport
from workermanager.handoff import Bell

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Callable, Iterator

    from instrumentation.pipelines import Source
    from workermanager.cancelling import Context
    from workermanager.flows.channel import Channel, Ring
    from workermanager.flows.loop import LoopBell
    from workermanager.flows.policy import Policy

__all__ = ["Feed"]

_LONGEST_S: Final = 3_600.0
_END: Final = object()


class Feed:
    """Reads a source into the first channel. A read that failed is counted as read and failed."""

    def __init__(  # noqa: PLR0913, PLR0917 - its place in the pipeline is made of these
        self,
        source: Source,
        outlet: Channel,
        policy: Policy,
        lock: threading.RLock,
        context: Context,
        jitter: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.pulled = 0
        self.failed = 0
        self._source = source
        self._outlet = outlet
        self._policy = policy
        self._lock = lock
        self._context = context
        self._jitter = jitter
        self._fail = fail

    def report(self) -> StageReport:
        """The figures of the source. Held."""
        return StageReport("source", self.pulled + self.failed, self.pulled, 0, self.failed, 0)

    @property
    def is_async(self) -> bool:
        """Whether it is read in a task: an async iterable, or an async generator function."""
        items = self._source.items
        return isinstance(items, AsyncIterable) or inspect.isasyncgenfunction(items)

    def work(self) -> None:
        """Read it all, in this thread."""
        bell = Bell()
        opened: Any = None
        try:
            opened = self._open()
            items = self._retried(iter(opened))
            while (room := self._ask(bell)) is not None:
                if not room:
                    bell.wait(_LONGEST_S)
                elif not self._read(items, room):
                    break
        except BaseException as error:  # noqa: BLE001 - it ends the pipeline
            self._fail(error)
        finally:
            self._close(opened)
            self._outlet.end()

    def _open(self) -> Any:
        source = self._source
        opened = source.items
        if not isinstance(opened, Iterable | AsyncIterable):
            opened = opened()
            if not isinstance(opened, AsyncIterable if self.is_async else Iterable):
                raise InvalidConfig(_describe_no_source(opened))
        if isinstance(opened, Generator | AsyncGenerator) and (
            source.retry is not None or source.dead_letters is not None
        ):
            raise InvalidConfig(
                "Pipeline(…): a generator is over once it has failed, so retry and dead_letters "
                "cannot help it; give an iterator that goes on"
            )
        return opened

    def _close(self, opened: object) -> None:
        if isinstance(opened, Generator):
            try:
                opened.close()
            except BaseException as error:  # noqa: BLE001 - it ends the pipeline
                self._fail(error)

    def _retried(self, items: Iterator[Any]) -> Iterator[Any]:
        retry = self._source.retry
        if retry is None:
            return items
        return _Pulled(retrying(lambda: next(items, _END), retry, self._jitter, self._context))

    def _ask(self, bell: Ring, most: int = MOST) -> int | None:
        """How many to pull; 0 to wait, None where all was called off."""
        with self._lock:
            return None if self._outlet.is_broken else self._outlet.admit(most, bell)

    def _read(self, items: Iterator[Any], room: int) -> bool:
        """Pull as many as there is room for; False if there are no more."""
        outlet = self._outlet
        put = outlet.put
        pulled = failed = 0
        is_over = False
        try:
            for item in islice(items, room):
                put(item)
                pulled += 1
                if outlet.attention and not outlet.attend():
                    break
            else:
                is_over = pulled < room
        except BaseException as error:  # noqa: BLE001 - the policy knows what to do
            failed = int(self._policy.bury(None, error))
        self._note(room, pulled, failed)
        return not is_over

    def _note(self, room: int, pulled: int, failed: int) -> None:
        with self._lock:
            self.pulled += pulled
            self.failed += failed
            self._outlet.release(room - pulled)

    async def work_async(self, bell: LoopBell) -> None:
        """Read it all, in a task."""
        opened: Any = None
        try:
            opened = self._open()
            await self._read_async(aiter(opened), bell)
        except BaseException as error:  # noqa: BLE001 - it ends the pipeline
            if not self._outlet.is_broken:
                self._fail(error)
        finally:
            await self._close_async(opened)
            self._outlet.end()

    async def _close_async(self, opened: object) -> None:
        if isinstance(opened, AsyncGenerator):
            try:
                await opened.aclose()
            except BaseException as error:  # noqa: BLE001 - it ends the pipeline
                self._fail(error)

    async def _read_async(self, items: AsyncIterator[Any], bell: LoopBell) -> None:
        async def next_item() -> Any:
            return await anext(items, _END)

        retry = self._source.retry
        pull = next_item if retry is None else retrying_async(next_item, retry, self._jitter)
        while (room := self._ask(bell, 1)) is not None:
            if not room:
                await bell.wait()
                continue
            pulled = failed = 0
            try:
                item = await pull()
                if item is _END:
                    return
                self._outlet.put(item)
                pulled = 1
            except Exception as error:  # noqa: BLE001 - the policy knows what to do
                failed = int(self._policy.bury(None, error))
            finally:
                self._note(room, pulled, failed)
            if self._outlet.attention:
                self._outlet.attend()


def _describe_no_source(opened: object) -> str:
    told = f"Pipeline(…): its source function gave {type(opened).__name__}"
    if isinstance(opened, AsyncIterable):
        return f"{told}, which is async; give the function that yields, or what it gave, itself"
    return f"{told}, which cannot be iterated over"


class _Pulled:
    """An iterator over what a function gives, which goes on after an error."""

    def __init__(self, pull: Callable[[], Any]) -> None:
        self._pull = pull

    def __iter__(self) -> _Pulled:
        return self

    def __next__(self) -> Any:
        item = self._pull()
        if item is _END:
            raise StopIteration
        return item
