"""What a pipeline does: a source and stages in a row, as a value."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from instrumentation.errors import InvalidConfig
from instrumentation.steps import Retry

__all__ = ["SKIP", "DeadLetter", "DeadLetters", "Layout", "Skip", "Source", "SourceLike", "Stage"]

T = TypeVar("T")

SourceLike: TypeAlias = (
    "Iterable[T] | AsyncIterable[T] | Callable[[], Iterable[T] | AsyncIterable[T]]"
)
"""Where items come from: any iterable, async or not, or a function that gives one."""


class Skip(Enum):
    """The type of `SKIP`; an enum, so that it is one and the same in every process."""

    SKIP = "SKIP"


SKIP: Final[Literal[Skip.SKIP]] = Skip.SKIP
"""What a stage returns for an item that goes no further; it is counted as filtered."""


@dataclass(frozen=True, slots=True)
class DeadLetter(Generic[T]):
    """An item that failed for good, and where; ``item`` is None where the source failed."""

    item: T
    error: Exception
    stage: str
    attempts: int = 1


DeadLetters: TypeAlias = "list[DeadLetter[T]] | Callable[[DeadLetter[T]], object]"
"""Where dead letters go: a list, or a function (called in the worker's thread)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a pipeline's items come from, and what happens when reading fails.

    Raises:
        InvalidConfig: it cannot be iterated over, nor called.
    """

    items: SourceLike[Any]
    retry: Retry | None = None
    dead_letters: DeadLetters[Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.items, Iterable | AsyncIterable) and not callable(self.items):
            raise InvalidConfig(
                f"Pipeline(…): {type(self.items).__name__} is no source; give an iterable, "
                f"an async iterable, or a function that returns one"
            )
        if inspect.iscoroutinefunction(self.items):
            raise InvalidConfig(
                f"Pipeline(…): {self.items!r} is an async function that does not yield; "
                f"give an async generator function"
            )
        _check_policy("Pipeline", self.retry, self.dead_letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is done to every item, by how many at once, and what happens when it fails.

    ``buffer`` is how many items it may have waiting and in hand (None: as its pace suggests),
    ``timeout`` the seconds that one attempt at an item may take.

    Raises:
        InvalidConfig: something that cannot work; the message names it.
    """

    fn: Callable[[Any], Any]
    name: str = ""
    workers: int = 1
    processes: bool = False
    buffer: int | None = None
    timeout: float | None = None
    retry: Retry | None = None
    dead_letters: DeadLetters[Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise InvalidConfig(f"stage: wanted a function (item), found {self.fn!r}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", type(self.fn).__name__))
        where = f"stage {self.name!r}"
        for setting, value in (("workers", self.workers), ("buffer", self.buffer)):
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not is_count and not (setting == "buffer" and value is None):
                raise InvalidConfig(f"{where}: {setting}={value!r}: must be 1 or more")
        if self.timeout is not None and self.timeout <= 0:
            raise InvalidConfig(f"{where}: timeout={self.timeout!r}: must be more than 0 seconds")
        if inspect.isgeneratorfunction(self.fn) or inspect.isasyncgenfunction(self.fn):
            raise InvalidConfig(f"{where} yields; a stage returns one result for an item, or SKIP")
        if self.is_async and self.processes:
            raise InvalidConfig(f"{where} is async; processes are for plain functions")
        _check_policy(where, self.retry, self.dead_letters)

    @property
    def is_async(self) -> bool:
        """True where the function is an ``async def``."""
        return inspect.iscoroutinefunction(self.fn) or inspect.iscoroutinefunction(
            getattr(self.fn, "__call__", None)  # noqa: B004 - it is called, not asked for
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole pipeline: its source, its stages in a row, and whether the last one is a sink."""

    source: Source
    name: str = "pipeline"
    ordered: bool = False
    stages: tuple[Stage, ...] = ()
    has_sink: bool = False

    def add(self, stage: Stage, *, is_sink: bool = False) -> Layout:
        """The same with one more stage; names are made unique.

        Raises:
            InvalidConfig: it has a sink, after which nothing comes.
        """
        if self.has_sink:
            raise InvalidConfig(f"{self.name}: {stage.name!r} comes after the sink; put it before")
        taken = {one.name for one in self.stages} | {"source"}
        name, times = stage.name, 1
        while name in taken:
            times += 1
            name = f"{stage.name}#{times}"
        return replace(self, stages=(*self.stages, replace(stage, name=name)), has_sink=is_sink)


def _check_policy(where: str, retry: object, dead_letters: object) -> None:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidConfig(f"{where}: retry={retry!r}: wanted Retry(attempts=…)")
    if (
        dead_letters is not None
        and not isinstance(dead_letters, list)
        and not callable(dead_letters)
    ):
        raise InvalidConfig(f"{where}: dead_letters={dead_letters!r}: wanted a list or a function")
    if inspect.iscoroutinefunction(dead_letters):
        raise InvalidConfig(f"{where}: dead_letters is async; give a list or a plain function")
