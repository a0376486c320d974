"""A wire between a PostgreSQL client and its server, which breaks at COMMIT as a schedule says.

The proxy follows the frontend/backend protocol (version 3) just far enough to see a COMMIT come
by, as a simple Query or as the Bind of a prepared one. At a fault the client's COMMIT goes no
further: the proxy itself says COMMIT or ROLLBACK to the server, keeps the answer, and tells the
client what the fault tells it.
"""

import asyncio
import itertools
import random
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum, auto

from sqlalchemy.engine import make_url

HOST = "127.0.0.1"
CHUNK = 1 << 18
CLOSE_TIMEOUT_S = 10
ENCRYPTION_REQUESTS = (80877103, 80877104)  # SSLRequest, GSSENCRequest

QUERY, PARSE, BIND, SYNC, COPY_DONE, COPY_FAIL = b"QPBScf"
READY, ERROR = b"ZE"
IN_TRANSACTION, IDLE = b"T", b"I"

# Which of the server's answers the client does not see.
NONE, ONLY_READY, ALL = b"", bytes([READY]), bytes(range(256))


# How a relay ends: its peer hangs up, orderly or not.
HANG_UPS = (OSError, EOFError)


class Fault(Enum):
    """What can happen to a transaction at its COMMIT."""

    CUT_BEFORE = auto()  # the connection breaks, and the server rolls back
    CUT_AFTER = auto()  # the server commits, and the connection breaks before it can say so
    SERIALIZATION = auto()  # rolled back, and the client is told so: SQLSTATE 40001
    AMBIGUOUS = auto()  # committed or rolled back, and the client is told "unknown": 40003


class Schedule(ABC):
    """Says what happens to each COMMIT and counts the faults; may be shared between proxies."""

    def __init__(self):
        self.injected: Counter[Fault] = Counter()
        self._lock = threading.Lock()

    def draw(self) -> Fault | None:
        """The fault of the next COMMIT; None if it may pass."""
        with self._lock:
            fault = self._next_fault()
            if fault is not None:
                self.injected[fault] += 1
            return fault

    def is_committed(self) -> bool:
        """Whether the next ambiguous COMMIT takes effect."""
        with self._lock:
            return self._next_outcome()

    @abstractmethod
    def _next_fault(self) -> Fault | None: ...

    @abstractmethod
    def _next_outcome(self) -> bool: ...


class Faults(Schedule):
    """Draws faults with the given probabilities; the same seed gives the same faults."""

    def __init__(
        self, seed, *, cut_before=0.03, cut_after=0.03, serialization=0.03, ambiguous=0.02
    ):
        super().__init__()
        self._random = random.Random(seed)
        probabilities = [cut_before, cut_after, serialization, ambiguous]
        self._choices = [*Fault, None]
        self._weights = [*probabilities, 1 - sum(probabilities)]

    def _next_fault(self):
        return self._random.choices(self._choices, self._weights)[0]

    def _next_outcome(self):
        return self._random.random() < 0.5


class Script(Schedule):
    """Takes the faults from a list, after which all COMMITs pass.

    Of the ambiguous ones the first is committed, the second rolled back, and so on in turn.
    """

    def __init__(self, faults: Iterable[Fault | None]):
        super().__init__()
        self._faults = iter(faults)
        self._outcomes = itertools.cycle([True, False])

    def _next_fault(self):
        return next(self._faults, None)

    def _next_outcome(self):
        return next(self._outcomes)


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BI", kind, len(payload) + 4) + payload


def ready(status: bytes) -> bytes:
    return message(READY, status)


def error(sqlstate: str, text: str) -> bytes:
    fields = ("SERROR", "VERROR", f"C{sqlstate}", f"M{text}", "")
    return message(ERROR, b"".join(field.encode() + b"\0" for field in fields))


ERRORS = {
    Fault.SERIALIZATION: error("40001", "restart transaction: could not serialize access"),
    Fault.AMBIGUOUS: error("40003", "result is ambiguous: the server of the COMMIT was lost"),
}


class Messages:
    """Cuts a stream into messages: a type, the length of what follows, and that."""

    def __init__(self):
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytearray]:
        """The messages that are complete with ``chunk``."""
        buffer = self._buffer
        buffer += chunk
        messages, begin = [], 0
        while len(buffer) >= begin + 5:
            end = begin + 1 + struct.unpack_from("!I", buffer, begin + 1)[0]
            if end > len(buffer):
                break
            messages.append(buffer[begin:end])
            begin = end
        del buffer[:begin]
        return messages


class Conversation:
    """One client's connection: passes on its requests and the answers, but for some COMMITs."""

    def __init__(self, client, server, schedule: Schedule, greeting: bytes):
        self._client_in, self._client = client
        self._server_in, self._server = server
        self._schedule = schedule
        self._greeting = greeting
        self._commits: set[bytes] = set()  # the prepared statements that are a COMMIT
        self._requests: list[bytes | bytearray] = []  # not yet sent
        self._last_word = None  # a ReadyForQuery that ends the requests being skipped
        self._owed = 1  # ReadyForQuery that the server has still to send; startup ends in one
        self._is_quiet = asyncio.Event()  # set while the server owes none
        self._asked_by = QUERY  # the kind of the last request for one
        self._hidden = NONE
        self._status = IDLE
        self._has_error = self._had_error = False  # in this batch of requests, in the last one

    async def run(self) -> None:
        """Pass on both ways until one side hangs up or a fault cuts the wire."""
        with suppress(*HANG_UPS):
            await self._pass_startup()
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass_requests())
                    ways.create_task(self._pass_answers())
            except* HANG_UPS:
                pass

    async def _pass_startup(self) -> None:
        """Pass on the first packet, which has no type; encryption is declined."""
        while True:
            head = await self._client_in.readexactly(8)
            length, code = struct.unpack("!II", head)
            if code not in ENCRYPTION_REQUESTS:
                break
            self._client.write(b"N")
        self._server.write(head + await self._client_in.readexactly(length - len(head)))

    async def _pass_requests(self) -> None:
        messages = Messages()
        while chunk := await self._client_in.read(CHUNK):
            for request in messages.feed(chunk):
                if self._last_word is not None:
                    self._skip(request)
                elif not self._is_commit(request) or await self._may_pass(request):
                    self._add(request)
            await self._send()
        raise EOFError("the client hung up")

    async def _pass_answers(self) -> None:
        messages = Messages()
        while chunk := await self._server_in.read(CHUNK):
            shown = []
            for answer in messages.feed(chunk):
                if answer[0] == READY:
                    shown.append(self._greeting)
                    self._greeting = b""
                if answer[0] not in self._hidden:
                    shown.append(answer)
                self._note(answer)
            self._client.write(b"".join(shown))
            await self._client.drain()
        raise EOFError("the server hung up")

    def _note(self, answer: bytearray) -> None:
        if answer[0] == ERROR:
            self._has_error = True
        elif answer[0] == READY:
            self._status = bytes(answer[5:])
            self._had_error, self._has_error = self._has_error, False
            self._owed -= 1
            if not self._owed:
                self._is_quiet.set()

    def _is_commit(self, request: bytearray) -> bool:
        """Whether a request runs COMMIT; a Parse does not yet, but names a statement that will."""
        if request[0] == QUERY:
            return is_commit(request[5:])
        if request[0] == PARSE:
            name, text, _ = bytes(request[5:]).split(b"\0", 2)
            (self._commits.add if is_commit(text) else self._commits.discard)(name)
        if request[0] == BIND and self._commits:
            _portal, name, _ = bytes(request[5:]).split(b"\0", 2)
            return name in self._commits
        return False

    async def _may_pass(self, commit: bytearray) -> bool:
        """Ask the schedule about a COMMIT and inject the fault; True if there is none.

        Only COMMITs of open, sound transactions are asked about. First the answers to all that
        came before go to the client; a Sync of the proxy's own draws out those of a batch.
        """
        await self._send()
        await self._is_quiet.wait()
        if commit[0] == BIND:
            await self._ask(message(SYNC), hidden=ONLY_READY)
            if self._had_error:
                # The server would pass over the rest of the batch, but has seen its end already.
                self._last_word = ready(self._status)
                return False
        fault = self._schedule.draw() if self._status == IN_TRANSACTION else None
        if fault is None:
            return True
        await self._inject(fault)
        self._client.write(ERRORS[fault])
        self._last_word = ready(IDLE)
        if commit[0] == QUERY:
            self._end_skipping()
        return False

    async def _inject(self, fault: Fault) -> None:
        """Do to the transaction what the fault does; raise EOFError if it cuts the wire."""
        if fault is not Fault.CUT_BEFORE:
            is_lost = fault is Fault.SERIALIZATION or (
                fault is Fault.AMBIGUOUS and not self._schedule.is_committed()
            )
            await self._ask(message(QUERY, b"ROLLBACK\0" if is_lost else b"COMMIT\0"), hidden=ALL)
        if fault in {Fault.CUT_BEFORE, Fault.CUT_AFTER}:
            self._server.transport.abort()
            self._client.transport.abort()
            raise EOFError(fault.name)

    def _skip(self, request: bytearray) -> None:
        """After an error a batch of requests is passed over; the Sync at its end is answered."""
        if request[0] == SYNC:
            self._end_skipping()

    def _end_skipping(self) -> None:
        self._client.write(self._last_word)
        self._last_word = None

    async def _ask(self, request: bytes, hidden: bytes) -> None:
        """Have the server answer a request of the proxy's own."""
        self._hidden = hidden
        self._add(request)
        await self._send()
        await self._is_quiet.wait()
        self._hidden = NONE

    def _add(self, request: bytes | bytearray) -> None:
        self._requests.append(request)
        if request[0] in {QUERY, SYNC}:
            self._owed += 1
            self._is_quiet.clear()
            self._asked_by = request[0]
        elif request[0] in {COPY_DONE, COPY_FAIL} and self._asked_by == SYNC:
            # A server that is in COPY does not answer the Sync that came before the data.
            self._owed -= 1

    async def _send(self) -> None:
        self._server.write(b"".join(self._requests))
        self._requests.clear()
        await self._server.drain()


def is_commit(text: bytes) -> bool:
    return text.strip(b"\0; \t\r\n").upper() == b"COMMIT"


class WireProxy:
    """Listens on a free port of the loopback interface and passes on to ``server``.

    ``parameters`` are told to every client at its start as if they were the server's. All
    connections are served by one thread, and close() leaves neither it nor them behind.
    """

    def __init__(
        self,
        server: tuple[str, int],
        schedule: Schedule | None = None,
        parameters: Mapping[str, str] | None = None,
    ):
        self._server = server
        self._schedule = schedule or Script([])
        self._greeting = b"".join(
            message(ord("S"), f"{name}\0{value}\0".encode())
            for name, value in (parameters or {}).items()
        )
        self._conversations: list[asyncio.Task] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._is_closing = asyncio.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.close()

    def url(self, original: str) -> str:
        """``original`` by way of this proxy."""
        url = make_url(original).set(host=HOST, port=self.port)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        self._socket = socket.create_server((HOST, 0))
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wire-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._is_closing.set)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        listener = await asyncio.start_server(self._accept, sock=self._socket, limit=CHUNK)
        await self._is_closing.wait()
        listener.close()
        for conversation in self._conversations:
            conversation.cancel()
        ends = await asyncio.gather(*self._conversations, return_exceptions=True)
        for writer in self._writers:  # one that was cancelled may not have come to that
            writer.transport.abort()
        await asyncio.sleep(0)  # they are closed at the loop's next turn
        for error in ends:  # one that had not begun was cancelled; what else it raises is our bug
            if isinstance(error, Exception):
                raise error

    def _accept(self, *client) -> None:
        self._writers.append(client[1])
        self._conversations.append(asyncio.create_task(self._converse(client)))

    async def _converse(self, client) -> None:
        streams = [client]
        with suppress(OSError, asyncio.CancelledError):
            try:
                streams.append(await asyncio.open_connection(*self._server, limit=CHUNK))
                self._writers.append(streams[-1][1])
                await Conversation(*streams, self._schedule, self._greeting).run()
            finally:
                for _, writer in streams:
                    await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection once the peer has read the rest, but do not wait long for it."""
    writer.close()
    with suppress(OSError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    writer.transport.abort()
