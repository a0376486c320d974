"""Pipelines as users write them: a source, stages, a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar, overload

from instrumentation.errors import InvalidConfig
from instrumentation.pipelines import Layout, Source, Stage
from workermanager.durations import parse_duration
from workermanager.flows.flow import Flow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Unpack

    from instrumentation.pipelines import DeadLetters, Skip, SourceLike
    from instrumentation.steps import Retry
    from workermanager.cancelling import Context
    from workermanager.durations import Duration
    from workermanager.flows.report import FlowReport

__all__ = ["Pipeline", "StageSettings"]

_GRACE: Final = "5s"

T = TypeVar("T")
U = TypeVar("U")


class StageSettings(TypedDict, Generic[T], total=False):
    """What can be said of a stage that takes items of type T.

    ``name``: the function's own unless given. ``workers``: how many items at once (1).
    ``processes``: in processes of its own, for functions that compute (False).
    ``buffer``: how many items may wait and be in hand; unless given, as many as the stage does in
    a millisecond, ``2 * workers`` at least and 8,192 at most.
    ``timeout``: how long an attempt at an item may take (no limit).
    ``retry``: when and how often a failed item is tried again (never).
    ``dead_letters``: a list or a function that gets what failed for good, instead of ending the
    pipeline.
    """

    name: str
    workers: int
    processes: bool
    buffer: int
    timeout: Duration
    retry: Retry
    dead_letters: DeadLetters[T]


class Pipeline(Generic[T]):
    """Items on their way from a source through stages, a few at a time: described, not run.

    ``source`` is any iterable, async or not, or a function that gives one, and is read as far as
    there is room. Every hand-over is bounded. Iterating runs it and gives the results; `run` runs
    one with a sink. ``ordered`` keeps the source's order; without it results come as completed.
    ``retry`` and ``dead_letters`` are for reads that fail.

    Raises:
        InvalidConfig: something that cannot work; the message names it.
    """

    def __init__(
        self,
        source: SourceLike[T],
        *,
        name: str = "pipeline",
        ordered: bool = False,
        retry: Retry | None = None,
        dead_letters: DeadLetters[None] | None = None,
    ) -> None:
        self._layout = Layout(Source(source, retry, dead_letters), name, ordered)

    @classmethod
    def _of(cls, layout: Layout) -> Pipeline[Any]:
        pipeline = cls.__new__(cls)
        pipeline._layout = layout
        return pipeline

    @overload
    def stage(
        self,
        fn: Callable[[T], Coroutine[Any, Any, U | Skip]],
        /,
        **settings: Unpack[StageSettings[T]],
    ) -> Pipeline[U]: ...

    @overload
    def stage(
        self, fn: Callable[[T], U | Skip], /, **settings: Unpack[StageSettings[T]]
    ) -> Pipeline[U]: ...

    def stage(
        self, fn: Callable[[T], Any], /, **settings: Unpack[StageSettings[T]]
    ) -> Pipeline[Any]:
        """The pipeline with one more stage: what ``fn`` makes of an item, goes on; SKIP does not.

        A plain function runs in ``workers`` threads, an ``async def`` that many times at once on
        one event loop beside them. The settings are those of `StageSettings`.

        Raises:
            InvalidConfig: something that cannot work.
        """
        return self._of(self._layout.add(_make_stage(fn, settings)))

    def sink(
        self, fn: Callable[[T], object], /, **settings: Unpack[StageSettings[T]]
    ) -> Pipeline[None]:
        """The pipeline with an end: what ``fn`` takes, is delivered. The settings are a stage's.

        Raises:
            InvalidConfig: something that cannot work.
        """
        return self._of(self._layout.add(_make_stage(fn, settings), is_sink=True))

    def run(self, *, context: Context | None = None, grace: Duration = _GRACE) -> FlowReport:
        """Run it to its end. Results that do not go to a sink are counted, and dropped.

        Raises:
            PipelineFailed: an error ended it; it has the ``report``.
            Cancelled: ``context`` was called off, or its deadline has passed.
            InvalidConfig: it has no stage, or ``grace`` is no duration.
        """
        return self._make(context, grace, has_results=False).wait()

    def start(self, *, context: Context | None = None, grace: Duration = _GRACE) -> Flow[T]:
        """Start it, and give it as it runs. ``grace`` is how long its end is waited for.

        Raises:
            InvalidConfig: it has no stage, or ``grace`` is no duration.
        """
        flow = self._make(context, grace, has_results=not self._layout.has_sink)
        flow.begin()
        return flow

    def __iter__(self) -> Generator[T]:
        """Run it, and give its results; leaving the loop stops it and waits for all of it."""
        return iter(self._make(None, _GRACE, has_results=not self._layout.has_sink))

    def __aiter__(self) -> AsyncGenerator[T]:
        """The same in a coroutine."""
        return aiter(self._make(None, _GRACE, has_results=not self._layout.has_sink))

    def _make(self, context: Context | None, grace: Duration, *, has_results: bool) -> Flow[T]:
        if not self._layout.stages:
            raise InvalidConfig(f"{self._layout.name}: it has no stage; add .stage(…) or .sink(…)")
        for stage in self._layout.stages:
            if stage.processes:
                from workermanager.flows.processes import check_portable  # noqa: PLC0415 - 20 ms

                check_portable(stage.fn, stage.name)
        return Flow(self._layout, context, grace, has_results=has_results)


def _make_stage(fn: Callable[[Any], Any], settings: StageSettings[Any]) -> Stage:
    values: dict[str, Any] = {**settings}
    if "timeout" in values:
        name = values.get("name") or getattr(fn, "__name__", type(fn).__name__)
        values["timeout"] = parse_duration(values["timeout"], f"stage {name!r}: timeout") / 1e9
    return Stage(fn=fn, **values)
