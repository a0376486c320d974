"""Jitter: a delay of each fire that is drawn from what the fire is, never stored or added up."""

from __future__ import annotations

from typing import Final

from instrumentation.seeds import derive_seed
from workermanager.timetables.moments import LAST_MOMENT

__all__ = ["planned"]

_SEED_BITS: Final = 64


def planned(name: str, due: int, following: int | None, jitter_ns: int) -> int:
    """When the fire of schedule ``name`` that is due then is to start, in nanoseconds.

    It is ``due + u * min(jitter, following - due)``, u from [0, 1) out of the hash of name and due:
    the same in every process, and always before ``following``, the next due time. Where none
    follows, it is in the range of moments.
    """
    room = min(jitter_ns, (LAST_MOMENT if following is None else following) - due)
    if not room:
        return due
    return due + (derive_seed("jitter", name, due) * room >> _SEED_BITS)
