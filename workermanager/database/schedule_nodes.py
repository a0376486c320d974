"""Which process serves schedules, and which of those that did have ended."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workermanager.database.schedule_rows import NodeRow
from workermanager.processes.leftovers import start_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Watch", "has_ended", "this_node"]

_LONGEST: Final = 150  # characters of a name, before what makes it unique


def this_node(name: str | None) -> NodeRow:
    """This process, by a name that no other has; it has not served anything yet."""
    pid, host = os.getpid(), socket.gethostname()
    shown = f"{(name or host)[:_LONGEST]}:{pid}:{secrets.token_hex(4)}"
    return NodeRow(shown, host, pid, start_of(pid), _boot(), beat=0, serves="[]")


def has_ended(node: NodeRow) -> bool:
    """True if it ran on this machine, since its latest boot, and runs no more."""
    is_of_here = node.boot and (node.host, node.boot) == (socket.gethostname(), _boot())
    return bool(is_of_here and node.start is not None and start_of(node.pid) != node.start)


def _boot() -> str:
    """Where process numbers are those that we see: the boot, and the namespace; or nothing."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - it links to no path
    return ""


class Watch:
    """Watches the beats of others by a clock of our own: no two machines' clocks are compared."""

    def __init__(self, lease_ns: int, monotonic: Callable[[], int]) -> None:
        self._lease_ns = lease_ns
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, int]] = {}

    def find_dead(self, nodes: Iterable[NodeRow]) -> list[NodeRow]:
        """Those that have ended, or whose beat has not changed for the lease."""
        now, seen, dead = self._monotonic(), {}, []
        for node in nodes:
            beat, since = self._seen.get(node.id, (node.beat, now))
            if beat != node.beat:
                since = now
            seen[node.id] = (node.beat, since)
            if now - since >= self._lease_ns or has_ended(node):
                dead.append(node)
        self._seen = seen
        return dead
