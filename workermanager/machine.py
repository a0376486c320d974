"""Where a run took place, as reports tell it."""

from __future__ import annotations

import os
import platform
from functools import lru_cache

from workermanager.version import VERSION

__all__ = ["describe_machine"]


@lru_cache(maxsize=1)
def describe_machine() -> dict[str, str]:
    """The versions and the size of the machine; nothing that names it or its user."""
    return {
        "workermanager": VERSION,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": str(_count_cpus()),
    }


def _count_cpus() -> int:
    """How many this process may use, which a container may have fewer of than the machine."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
