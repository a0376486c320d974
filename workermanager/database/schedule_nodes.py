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

_LOOKS_A_LEASE: Final = 3
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
    """Watches the beats of others by a clock of our own: no two machines' clocks are compared.

    From one look to the next a third of the lease passes at most. Where it was more, the database
    was locked or away, or we were stopped: whoever could not beat then is not dead for that.
    """

    def __init__(self, lease_ns: int, monotonic: Callable[[], int]) -> None:
        self._lease_ns = lease_ns
        self._longest_ns = -(-lease_ns // _LOOKS_A_LEASE)
        self._monotonic = monotonic
        self._looked = monotonic()
        self._silent: dict[str, tuple[int, int]] = {}

    def find_dead(self, nodes: Iterable[NodeRow]) -> list[NodeRow]:
        """Those that have ended, or whose beat has not changed for the lease."""
        now = self._monotonic()
        passed, self._looked = min(now - self._looked, self._longest_ns), now
        known, self._silent, dead = self._silent, {}, []
        for node in nodes:
            beat, silent_ns = known.get(node.id, (None, 0))
            silent_ns = silent_ns + passed if beat == node.beat else 0
            self._silent[node.id] = (node.beat, silent_ns)
            if silent_ns >= self._lease_ns or has_ended(node):
                dead.append(node)
        return dead
