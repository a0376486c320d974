"""What a nested run takes from the exec that it is started in, and which that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workermanager.nesting import Workplace

if TYPE_CHECKING:
    from instrumentation.engine import RunContext
    from workermanager.cancelling import Context
    from workermanager.commanding import Commands
    from workermanager.persistence import Persistence

__all__ = ["Around", "workplace"]


class Around(NamedTuple):
    """What is around a nested run: of a run, or of a schedule whose fires are execs.

    ``persistence`` is None where there is no database that a nested run could write through.
    """

    context: RunContext
    scope: Context
    commands: Commands
    persistence: Persistence | None = None


workplace: Final[Workplace[Around]] = Workplace()
