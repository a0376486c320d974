"""Text that is safe to show: no passwords, and one line."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["hide", "one_line", "redact"]

# Bounded, or a long text of nothing but beginnings of URLs would take quadratic time.
_IN_URL: Final = re.compile(r"(://[^\s:/]{0,256}):[^\s@]{0,256}@(?:[^\s/@]{0,256}@)*")
_NAMED: Final = re.compile(
    r"""((?:password|passwd|pwd|secret|token|api_?key)["']?(?:=|: ))"""
    r"""("[^"]*"|'[^']*'|[^\s&,;)'"]+)""",
    re.IGNORECASE,
)
_SECRET_NAME: Final = re.compile(
    "password|passwd|passphrase|pwd|secret|token|api.?key|credential|private", re.IGNORECASE
)
_LONGEST: Final = 300


def redact(text: str) -> str:
    """The text with the passwords of URLs and of ``password=…`` hidden."""
    return _NAMED.sub(r"\1***", _IN_URL.sub(r"\1:***@", text))


def hide(name: str, value: object) -> object:
    """A named value as it may be shown: nothing of it if the name says that it is secret."""
    if _SECRET_NAME.search(name):
        return "***"
    return redact(value) if isinstance(value, str) else value


def one_line(text: str) -> str:
    """The text redacted, on one line, cut at 300 characters, control characters escaped."""
    flat = " ".join(redact(text).split())
    safe = "".join(char if char.isprintable() else repr(char)[1:-1] for char in flat)
    return safe if len(safe) <= _LONGEST else safe[: _LONGEST - 1] + "…"
