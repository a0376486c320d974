"""Tells systemd how a service is: that it has started, that it lives, that it ends.

The protocol is that of sd_notify(3) and sd_watchdog_enabled(3): a datagram of ``NAME=value`` to the
socket that the environment names. Not run by systemd, nothing is sent.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from workermanager.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["Notifier"]

_PATIENCE_S: Final = 5.0


class Notifier:
    """Sends what it is told to systemd, or nowhere if there is none; what fails is only logged.

    ``address`` is where to, as bind(2) has it; ``interval_s`` is how often `alive` is to be called,
    None if nobody waits for it. Call it from the loop that must not hang, or a hung one will pass
    for alive.
    """

    __slots__ = ("_address", "interval_s")

    def __init__(self, address: str | None = None, interval_s: float | None = None) -> None:
        self._address = address
        self.interval_s = interval_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """What NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID ask for.

        `interval_s` is half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises. What they should
        not hold counts as not set.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            if address:
                _note("NOTIFY_SOCKET={!r} is no socket of this machine", address)
            return cls()
        # An abstract socket is written with @ and begins with a NUL.
        return cls(address.replace("@", "\0", 1) if address[0] == "@" else address, _half(environ))

    def ready(self) -> None:
        """Fires are taken from now on."""
        self._send("READY=1", _PATIENCE_S)

    def stopping(self) -> None:
        """No more fires are taken; what runs may end."""
        self._send("STOPPING=1", _PATIENCE_S)

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows, on one line."""
        self._send(f"STATUS={one_line(text)}")

    def alive(self) -> None:
        """The loop has turned."""
        self._send("WATCHDOG=1")

    def _send(self, message: str, patience_s: float = 0.0) -> None:
        """Send it; where what is said again soon finds no room it is left, others wait for it."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(patience_s)
                sender.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            _note("systemd was not told {}: {!r}", message, error)


def _half(environ: Mapping[str, str]) -> float | None:
    """Half of the watchdog's limit in seconds, None if there is none for this process."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    if not (limit.isascii() and limit.isdigit() and int(limit)):
        if limit:
            _note("WATCHDOG_USEC={!r} is no number of microseconds", limit)
        return None
    return int(limit) / 2e6


def _note(message: str, *values: object) -> None:
    from loguru import logger  # noqa: PLC0415 - 60 ms that only who has trouble pays

    logger.debug(message, *values)
