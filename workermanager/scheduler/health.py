"""Tells supervisors how schedules are, over HTTP: ``/live``, ``/ready`` and ``/health``.

One thread serves all clients, each for a few seconds at most, and the newest ones before those that
keep it waiting: a client that is slow or says nothing takes no thread and no place.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self

from loguru import logger

from instrumentation.errors import InvalidConfig
from workermanager.exports.addresses import format_address, parse_address
from workermanager.scheduler.performing import describe_fire
from workermanager.timetables.moments import format_moment

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from workermanager.scheduler.crew import Crew
    from workermanager.scheduler.keeper import Keeper
    from workermanager.timetables.fires import Counts

__all__ = ["Health", "HealthState", "health_of"]

_MOST_SILENT_NS: Final = 90_000_000_000  # longer than a store is waited for
_LOOPBACK: Final = "127.0.0.1"
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.2
_MOST_CLIENTS: Final = 64
_LONGEST_HEAD: Final = 16_384
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HealthState:
    """How schedules are at a moment.

    Attributes:
        is_live: the loop turned within its limit.
        is_ready: fires are taken: it has started, and does not drain.
        document: what else ``/health`` shows, ready for JSON.
    """

    is_live: bool
    is_ready: bool
    document: Mapping[str, Any]


def health_of(keeper: Keeper, crew: Crew, counts: Counts, schedules: int) -> HealthState:
    """How a scheduler is; asks neither its store nor what runs."""
    is_running = keeper.turned > 0 and not keeper.is_over
    moment = keeper.next_moment
    return HealthState(
        is_live=is_running and time.monotonic_ns() - keeper.turned < _MOST_SILENT_NS,
        is_ready=is_running and not keeper.is_stopping,
        document={
            "schedules": schedules,
            "counts": counts.to_dict(),
            "next_look": None if moment is None else format_moment(moment),
            "running": [describe_fire(fire) for fire in keeper.running],
            "stuck": crew.stuck,
        },
    )


class Health:
    """Answers at ``url`` from `start`, or the beginning of a ``with`` block, until it is closed.

    ``/live`` and ``/ready`` answer 200 or 503; ``/health`` answers with the whole state as JSON,
    200 if it is both live and ready and 503 otherwise. All else is 404. The port is taken at once;
    port 0 is a free one.

    Args:
        address: ``[HOST:]PORT``, the host 127.0.0.1 unless given.
        check: called for each request in the server's thread, so it must not wait for anything.
        name: what a refusal calls the address.

    Raises:
        InvalidConfig: the address is none, or cannot be listened at.
    """

    def __init__(
        self, address: str, check: Callable[[], HealthState], *, name: str = "health"
    ) -> None:
        host, port = parse_address(address, name, host=_LOOPBACK)
        self._check = check
        self._socket = _bind(host, port, name)
        self.url = f"http://{format_address(host, self._socket.getsockname()[1])}"
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None
        self._clients: dict[asyncio.Task[None], None] = {}  # the oldest first

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to answer; what came since the port was taken is answered first."""
        import asyncio  # noqa: PLC0415 - 50 ms that only those who are asked for health pay

        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop, stop = runner.get_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self._thread = threading.Thread(
            target=self._main, args=(runner, stop), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and give the port back; requests under way are cut."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None
        self._socket.close()

    def _main(self, runner: asyncio.Runner, stop: asyncio.Event) -> None:
        with runner:  # its end calls off whatever is left
            runner.run(self._serve(stop))

    async def _serve(self, stop: asyncio.Event) -> None:
        import asyncio  # noqa: PLC0415 - as above

        accepting = asyncio.create_task(self._accept())
        await stop.wait()
        accepting.cancel()

    async def _accept(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError as error:  # the client is gone, or this process has too many files open
                _log("not accepted: {!r}", error)
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._clients) >= _MOST_CLIENTS:
                oldest = next(iter(self._clients))
                del self._clients[oldest]
                oldest.cancel()
            client = asyncio.create_task(self._attend(connection))
            self._clients[client] = None
            client.add_done_callback(partial(self._forget, connection))

    def _forget(self, connection: socket.socket, client: asyncio.Task[None]) -> None:
        """Close a connection; not in its task, which may be called off before it begins."""
        self._clients.pop(client, None)
        connection.close()

    async def _attend(self, connection: socket.socket) -> None:
        """Answer one request; a client that takes too long gets no answer."""
        import asyncio  # noqa: PLC0415 - as above

        loop, head = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while _HEAD_END not in head and len(head) <= _LONGEST_HEAD:
                    received = await loop.sock_recv(connection, _LONGEST_HEAD)
                    if not received:
                        return
                    head += received
                await loop.sock_sendall(connection, self._answer(head))
        except OSError as error:  # a TimeoutError is one as well
            _log("a client was not answered: {!r}", error)

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        status, kind, body = HTTPStatus.NOT_FOUND, "text/plain", "not found\n"
        if method in {b"GET", b"HEAD"} and path in _PAGES:
            try:
                status, kind, body = _PAGES[path](self._check())
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one is answered
                _log("the check failed: {!r}", error, level="ERROR")
                status, body = HTTPStatus.INTERNAL_SERVER_ERROR, "the check failed\n"
        content = body.encode()
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}; charset=utf-8",
            f"Content-Length: {len(content)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + _HEAD_END + (b"" if method == b"HEAD" else content)


def _live(state: HealthState) -> tuple[HTTPStatus, str, str]:
    return _status(state.is_live), "text/plain", "live\n" if state.is_live else "not live\n"


def _ready(state: HealthState) -> tuple[HTTPStatus, str, str]:
    return _status(state.is_ready), "text/plain", "ready\n" if state.is_ready else "not ready\n"


def _health(state: HealthState) -> tuple[HTTPStatus, str, str]:
    document = {"live": state.is_live, "ready": state.is_ready, **state.document}
    status = _status(state.is_live and state.is_ready)
    return status, "application/json", json.dumps(document, ensure_ascii=False) + "\n"


_PAGES: Final = {"/live": _live, "/ready": _ready, "/health": _health}


def _status(is_well: bool) -> HTTPStatus:  # noqa: FBT001 - the only thing it is about
    return HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE


def _bind(host: str, port: int, name: str) -> socket.socket:
    """A socket that listens there, for the event loop: it blocks nobody."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(place[:2], family=family, backlog=_MOST_CLIENTS)
    except OSError as error:
        # The first line, without the address that Python appends.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise InvalidConfig(
            f"{name}: cannot listen at {format_address(host, port)}: {reason}"
        ) from None
    listening.settimeout(0)
    return listening


def _log(message: str, *values: object, level: str = "DEBUG") -> None:
    logger.log(level, f"health: {message}", *values)
