"""What an exec needs of the engine that runs it: the run it belongs to, and small interfaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from instrumentation.draws import BESIDE_N, IN_PLACE_OF_N

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from instrumentation.execution import Exec
    from instrumentation.fakes import Pools
    from instrumentation.invocations import Completed, Invocation

__all__ = ["Execute", "Fence", "NamedTable", "RunContext", "Scope", "Transact"]

T = TypeVar("T")


class NamedTable(Protocol):
    """What ``ctx.insert`` writes to: any table with a name, as SQLAlchemy's ``Table``."""

    @property
    def name(self) -> str:
        """The table's name, as the report shows it."""
        ...


class Transact(Protocol):
    """What ``ctx.transact`` calls: the engine's transactions, retried whole."""

    def __call__(
        self, ctx: Exec, path: str, work: Callable[[Any], T], isolation: str | None, /
    ) -> T:
        """Run an exec's ``work``, with a connection in a transaction, until it is committed."""
        ...


class Execute(Protocol):
    """What a `Command` calls: the engine's child processes, which end with the step."""

    def __call__(
        self, ctx: Exec, invocation: Invocation, timeout: float | None, max_output: int, /
    ) -> Completed:
        """Run a child to its end, at most ``timeout`` seconds; keep so many bytes of its output.

        Raises:
            CommandFailed: it cannot be started.
            TimedOut: it took too long, and is no more.
            Cancelled: the step was called off, and it is no more.
        """
        ...


class Scope(Protocol):
    """Until when a step may go on: what `workermanager.Context` is to it."""

    @property
    def cancelled(self) -> bool:
        """True once it was called off, or its deadline has passed."""
        ...

    @property
    def cause(self) -> BaseException | None:
        """Why."""
        ...

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline; None where there is none."""
        ...

    @property
    def deadline_ns(self) -> int | None:
        """The deadline on the engine's clock; None where there is none."""
        ...

    def check(self) -> None:
        """Raise Cancelled, with the cause, once it was called off."""
        ...

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long; True as soon as it is called off."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait so long; raise Cancelled as soon as it is called off."""
        ...


class Fence(Protocol):
    """What keeps a step that has timed out from changing anything."""

    @property
    def is_closed(self) -> bool:
        """True once nothing of the step may have an effect."""
        ...

    def close(self) -> bool:
        """Let nothing pass from now on; False if something is passing."""
        ...

    def passing(self) -> AbstractContextManager[None]:
        """Do what must not be done once it is closed."""
        ...


@dataclass(slots=True)
class RunContext:
    """What every exec of a run shares; a step sees it as ``ctx.run``.

    ``env`` is the environment with ``.env`` below it, read anew at tick boundaries. ``epoch`` and
    ``planned_ns`` (the offset at which exec n is planned) make ``ctx.now``. ``sleep`` waits
    for seconds unless the run is stopped meanwhile. ``transact`` is None without a database,
    ``execute`` where no child process can be started. ``pools`` are the run's tables of pooled
    values. ``cancelled`` turns true on "stop now", and ``cause`` says why.
    """

    id: str
    name: str
    seed: int
    epoch: datetime
    planned_ns: Callable[[int], int]
    sleep: Callable[[float], None]
    started_at: datetime
    pools: Pools
    transact: Transact | None = None
    execute: Execute | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cancelled: bool = False
    cause: BaseException | str = "the run was stopped"
    is_nested: bool = False
    epoch_ms: int = field(init=False)
    hashed_bits: int = field(init=False)

    def __post_init__(self) -> None:
        self.epoch_ms = int(self.epoch.timestamp() * 1_000)
        self.hashed_bits = IN_PLACE_OF_N if self.is_nested else BESIDE_N  # every nested run has n 0
