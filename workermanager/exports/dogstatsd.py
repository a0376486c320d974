"""A run's figures as DogStatsD datagrams, once a second, to a Datadog agent or what speaks like it.

As in go-workers, ``execution_time`` is a histogram of milliseconds by ``func_name``, and
``execution_error`` counts errors. No exec sends anything: what fell into one bucket of a histogram
since the last look is one line, whose sample rate says how often it was seen. The agent takes a
rate for ``int(1 / rate)`` times, so rates are chosen that give back just that number.
"""

from __future__ import annotations

import os
import re
import socket
import time
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from math import nextafter
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from loguru import logger

from instrumentation.errors import InvalidConfig
from workermanager.exports.addresses import format_address, parse_address
from workermanager.exports.buckets import values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from workermanager.histogram import Histogram
    from workermanager.telemetry import Figures

__all__ = ["DogStatsD", "Receiver", "find_receiver", "lines", "pack", "sample_rate"]

_FLAG: Final = "--statsd"
_PORT: Final = 8_125
_MOST_UDP: Final = 1_432  # what an Ethernet frame has room for, with headers and some to spare
_MOST_UNIX: Final = 8_192  # the agent's buffer
_LONGEST_PATH: Final = 107  # bytes that Linux has for the path of a socket
_LONGEST_TAG: Final = 200  # the agent cuts what is longer
_LATEST_S: Final = 0.1  # how long one look may wait for a unix socket that is full
_COUNTS: Final = ("due", "ok", "failed", "dropped", "expired", "interrupted")
_NAMES: Final = {"name": "run_name", "id": "run_id"}


class Receiver(NamedTuple):
    """Where datagrams go: a family of sockets, an address in it, and how large they may be."""

    family: int
    address: str | tuple[str, int]
    most: int

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return f"unix://{self.address}"
        return format_address(*self.address)


def find_receiver(text: str, env: Mapping[str, str]) -> Receiver:
    """The receiver that ``HOST:PORT``, ``unix:///path`` or, without a text, the environment names.

    The environment's ``DD_DOGSTATSD_URL`` goes before ``DD_AGENT_HOST`` and
    ``DD_DOGSTATSD_PORT``; with none of them it is port 8125 of this machine.

    Raises:
        InvalidConfig: it is no address, or the host is unknown.
    """
    name = _FLAG
    if not text and (text := env.get("DD_DOGSTATSD_URL", "").strip()):
        name = "DD_DOGSTATSD_URL"
    if not text:
        host = env.get("DD_AGENT_HOST", "").strip() or "127.0.0.1"
        port = env.get("DD_DOGSTATSD_PORT", "").strip() or str(_PORT)
        name, text = "DD_AGENT_HOST and DD_DOGSTATSD_PORT", f"{_bracketed(host)}:{port}"
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("unix", "unixgram"):
        return _unix_receiver(rest, text, name)
    if mark and scheme != "udp":
        raise InvalidConfig(
            f"{name}: {text!r}: a receiver is HOST:PORT, udp://HOST:PORT or unix:///PATH"
        )
    host, port_number = parse_address(rest if mark else text, name, port=_PORT)
    try:
        found = socket.getaddrinfo(host, port_number, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise InvalidConfig(f"{name}: {text!r}: {host} is unknown: {error.strerror}") from None
    family, address = found[0], found[4]
    return Receiver(family, (str(address[0]), port_number), _MOST_UDP)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _unix_receiver(path: str, text: str, name: str) -> Receiver:
    if not path.startswith("/") or len(os.fsencode(path)) > _LONGEST_PATH:
        raise InvalidConfig(
            f"{name}: {text!r}: a socket's path is absolute and has at most {_LONGEST_PATH} bytes"
        )
    return Receiver(socket.AF_UNIX, path, _MOST_UNIX)


class DogStatsD:
    """Sends what happened since the last look; an observer for a run's watch.

    A receiver that is absent or full loses datagrams, which are counted in ``lost`` and told of
    once: it does not slow the run, and is tried again at every look.

    Raises:
        InvalidConfig: ``address`` is none; see `find_receiver`.
    """

    def __init__(self, address: str = "", env: Mapping[str, str] | None = None) -> None:
        self.receiver = find_receiver(address, os.environ if env is None else env)
        self.lost = 0
        self._socket: socket.socket | None = None
        self._tags = ""
        self._before: Figures | None = None
        self._is_told = False

    def attach(self, labels: Mapping[str, str]) -> None:
        """Say which run it is: every line is tagged so (``name`` and ``id`` as ``run_…``)."""
        self._tags = ",".join(_tag(_NAMES.get(key, key), text) for key, text in labels.items())

    def __call__(self, figures: Figures) -> None:
        """Send what is new in these cumulative figures."""
        before, self._before = self._before, figures
        deadline = time.monotonic() + _LATEST_S
        for datagram in pack(lines(before, figures, self._tags), self.receiver.most):
            self._send(datagram, deadline)
        if self._socket is not None and (
            code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            self._lose(OSError(code, os.strerror(code)))  # the last datagram was refused

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _send(self, datagram: bytes, deadline: float) -> None:
        try:
            self._try_to_send(datagram, deadline)
        except ConnectionRefusedError as refusal:
            self._lose(refusal)
            if self.receiver.family == socket.AF_UNIX:
                self.close()  # the agent has gone, and its socket with it
            else:
                self._send_after_refusal(datagram, deadline)
        except TimeoutError as full:
            self._lose(full)
        except OSError as error:
            self._lose(error)
            self.close()

    def _send_after_refusal(self, datagram: bytes, deadline: float) -> None:
        """Send what was held back because an earlier datagram was refused."""
        try:
            self._try_to_send(datagram, deadline)
        except OSError as error:
            self._lose(error)

    def _try_to_send(self, datagram: bytes, deadline: float) -> None:
        if self._socket is None:
            self._socket = self._connect()
        self._socket.settimeout(max(0.0, deadline - time.monotonic()))
        try:
            self._socket.send(datagram)
        except BlockingIOError as full:
            raise TimeoutError(full.errno, "it is full") from None

    def _connect(self) -> socket.socket:
        connection = socket.socket(self.receiver.family, socket.SOCK_DGRAM)
        try:
            connection.connect(self.receiver.address)
        except OSError:
            connection.close()
            raise
        return connection

    def _lose(self, error: OSError) -> None:
        self.lost += 1
        if not self._is_told:
            self._is_told = True
            reason = error.strerror or str(error)
            logger.warning(
                "{}: {} does not take what it is sent ({}); it is tried again",
                *(_FLAG, self.receiver, reason),
            )


# Lines


def lines(before: Figures | None, now: Figures, tags: str) -> Iterator[str]:
    """What happened between two looks, a metric a line; ``tags`` are on each."""
    for name in _COUNTS:
        yield from _count(f"workermanager.{name}", _grown(before, now, name), tags)
    for name in ("running", "queued"):
        yield _line(f"workermanager.{name}", str(now.counts[name]), "g", tags)
    yield from _times(
        "workermanager.response", now.response, before.response if before else None, tags
    )
    yield from _times("workermanager.lag", now.lag, before.lag if before else None, tags)
    for table, rows in now.rows.items():
        new = rows - (before.rows.get(table, 0) if before else 0)
        yield from _count("workermanager.rows", new, _tags(_tag("table", table), tags))
    yield from _step_lines(before, now, tags)
    yield from _error_lines(before, now, tags)


def _step_lines(before: Figures | None, now: Figures, tags: str) -> Iterator[str]:
    for name, step in now.steps.items():
        earlier = before.steps.get(name) if before else None
        tagged = _tags(_tag("func_name", name), tags)
        yield from _times(
            "execution_time", step.service, earlier.service if earlier else None, tagged
        )
        retried = step.retried - (earlier.retried if earlier else 0)
        yield from _count("execution_retry", retried, tagged)
        timed_out = step.timed_out - (earlier.timed_out if earlier else 0)
        yield from _count("execution_timeout", timed_out, tagged)


def _error_lines(before: Figures | None, now: Figures, tags: str) -> Iterator[str]:
    seen = {(kind.step, kind.type): kind.count for kind in before.errors} if before else {}
    for kind in now.errors:
        new = kind.count - seen.get((kind.step, kind.type), 0)
        tagged = _tags(_tag("func_name", kind.step), _tag("error", kind.type), tags)
        yield from _count("execution_error", new, tagged)


def _grown(before: Figures | None, now: Figures, name: str) -> int:
    return now.counts[name] - (before.counts[name] if before else 0)


def _count(name: str, count: int, tags: str) -> Iterator[str]:
    if count:
        yield _line(name, str(count), "c", tags)


def _times(name: str, now: Histogram, before: Histogram | None, tags: str) -> Iterator[str]:
    """A line for each bucket: the middle of it in milliseconds, and how often it was seen."""
    for nanoseconds, count in values(now if before is None else now.since(before)):
        yield _line(name, f"{nanoseconds / 1e6:.6g}", "h", tags, sample_rate(count))


def _line(name: str, value: str, kind: str, tags: str, rate: str = "1") -> str:
    seen = "" if rate == "1" else f"|@{rate}"
    tagged = f"|#{tags}" if tags else ""
    return f"{name}:{value}|{kind}{seen}{tagged}"


@lru_cache(maxsize=4_096)
def sample_rate(count: int) -> str:
    """The shortest rate that stands for ``count`` times: ``int(1 / float(rate)) == count``.

    ``1 / rate`` is never less than the count, and no more than a millionth above it, because the
    agent takes the sum of values from ``1 / rate`` as it is.
    """
    exact = Decimal(1) / count
    for digits in range(1, 28):
        rate = exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR)
        if rate and count <= 1 / float(rate) < min(count + 1, count * (1 + 1e-6)):
            return format(rate.normalize(), "f")
    return format(Decimal(repr(nextafter(float(exact), 0.0))), "f")


def _tag(key: str, text: str) -> str:
    """A tag without what would end it or the line."""
    return re.sub(r"[\x00-\x1f\x7f|,#]", "_", f"{key}:{text}")[:_LONGEST_TAG]


def _tags(*parts: str) -> str:
    return ",".join(filter(None, parts))


def pack(texts: Iterable[str], most: int) -> Iterator[bytes]:
    """Lines in as few datagrams as they fit into, none larger than ``most`` bytes.

    A line that is larger by itself is left out.
    """
    batch: list[bytes] = []
    size = -1
    for text in texts:
        line = text.encode(errors="replace")
        if len(line) > most:
            logger.debug("{}: a line of {} bytes is left out", _FLAG, len(line))
            continue
        if batch and size + 1 + len(line) > most:
            yield b"\n".join(batch)
            batch, size = [], -1
        batch.append(line)
        size += 1 + len(line)
    if batch:
        yield b"\n".join(batch)
