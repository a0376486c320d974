"""Who a fire is to its steps: the same when it is run again, and unlike any other."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from instrumentation.seeds import derive_seed

__all__ = ["EPOCH", "make_run_id", "moment_of"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS: Final = 1_000_000_000
_LONGEST: Final = 64  # of a run's id
_UNFIT: Final = re.compile(r"[^\w.-]", re.ASCII)


def moment_of(due: int) -> datetime:
    """A due time, in nanoseconds since 1970, as a datetime in UTC."""
    return EPOCH + timedelta(microseconds=due // 1_000)


def make_run_id(name: str, due: int | None = None) -> str:
    """The id of a schedule, or of the run that one fire is: ``nightly.20260329T010000``.

    A name that is too long, or has what no id may have, is told from others like it by a hash.
    """
    suffix = "" if due is None else f".{moment_of(due):%Y%m%dT%H%M%S}"
    if due is not None and due % _SECOND_NS:
        suffix += f".{due % _SECOND_NS:09d}"
    fit, room = _UNFIT.sub("-", name), _LONGEST - len(suffix)
    if fit != name or len(fit) > room:
        fit = f"{fit[: room - 9]}-{derive_seed(name) & 0xFFFF_FFFF:08x}"
    return fit + suffix
