"""When a pool gives up because too much has failed: ``now,fail=3``, ``soon,fail=10%``."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from instrumentation.errors import InvalidConfig

__all__ = ["Halt", "parse_halt"]

_FORM: Final = re.compile(r"(now|soon),fail=([0-9]{1,9})(%?)")
_ALL: Final = 100


class Halt(NamedTuple):
    """After how many failures, or what share of all tasks in percent, and whether at once."""

    is_now: bool
    fail: int
    is_percent: bool = False

    def is_reached(self, failed: int, total: int) -> bool:
        """True once so many of all have failed."""
        return failed * _ALL >= self.fail * total if self.is_percent else failed >= self.fail


def parse_halt(text: str, name: str) -> Halt:
    """The rule that a text stands for; ``name`` is what a refusal calls it.

    Raises:
        InvalidConfig: it stands for none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidConfig(
            f"{name} {text!r}: wanted now or soon, as in now,fail=1 or soon,fail=10%"
        )
    when, fail, percent = found.groups()
    if not 1 <= int(fail) <= (_ALL if percent else 10**9):
        raise InvalidConfig(f"{name} {text!r}: {fail}{percent} is out of range")
    return Halt(when == "now", int(fail), bool(percent))
