"""Log lines on standard error: for people or as JSON, without secrets."""

from __future__ import annotations

import json
import sys
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from loguru import logger

from workermanager.redaction import hide, redact

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = ["Logs"]

_LEVELS = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40}


class Logs:
    """The program's one log sink. ``level`` may change while it runs.

    ``write`` puts a line out: to standard error, or above a live display.
    """

    def __init__(self, level: str, log_format: str) -> None:
        self.level = level
        self.write = _to_stderr
        self._is_text = log_format == "text"
        logger.remove()
        logger.add(
            self._sink,
            level=0,
            format=_as_text if self._is_text else _as_json,
            filter=self._passes,
            diagnose=False,  # it would print the values of variables, passwords among them
            backtrace=False,
        )
        logger.enable("workermanager")

    def _passes(self, record: Record) -> bool:
        return record["level"].no >= _LEVELS[self.level]

    def _sink(self, message: Message) -> None:
        self.write(redact(str(message)) if self._is_text else str(message))


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _as_text(record: Record) -> str:
    record["extra"]["shown"] = _printable(record["message"])
    place = ""
    if "step" in record["extra"]:
        record["extra"]["place"] = _printable(str(record["extra"]["step"]))
        place = "<dim>{extra[place]} exec {extra[n]}</dim> "
    return f"{{time:HH:mm:ss.SSS}} {{level: <7}} {place}{{extra[shown]}}\n{{exception}}"


def _as_json(record: Record) -> str:
    document: dict[str, Any] = {
        **{key: hide(key, str(value)) for key, value in record["extra"].items()},
        "time": record["time"].isoformat(),
        "level": record["level"].name.lower(),
        "message": redact(record["message"]),
    }
    if (error := record["exception"]) is not None:
        trace = format_exception(error.type, error.value, error.traceback)
        document["exception"] = redact("".join(trace))
    record["extra"]["json"] = json.dumps(document)
    return "{extra[json]}\n"


def _printable(text: str) -> str:
    """Control characters escaped: a message cannot forge a second line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
