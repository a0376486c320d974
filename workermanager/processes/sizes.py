"""Sizes as people write them, in bytes: ``256MB``, ``1GiB``, ``4096``."""

from __future__ import annotations

import re
from typing import Final

from instrumentation.errors import InvalidConfig

__all__ = ["parse_size"]

_FORM: Final = re.compile(r"([0-9]{1,18})\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, name: str) -> int:
    """The size in bytes; ``name`` is what a refusal calls it.

    Raises:
        InvalidConfig: it is no size.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise InvalidConfig(f"{name} {text!r}: wanted a size, such as 4096, 256MB or 1GiB")
    unit: int = (1024 if found[3] else 1000) ** _POWERS[found[2].lower()]
    return int(found[1]) * unit
