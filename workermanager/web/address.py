"""Where the live page is reached: an address read from text, and a socket that listens at it."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final, NamedTuple

from instrumentation.errors import InvalidConfig
from workermanager.exports import addresses
from workermanager.exports.addresses import format_address

__all__ = ["LOOPBACK", "Address", "bind", "parse_address"]

LOOPBACK: Final = "127.0.0.1"
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_BACKLOG: Final = 64


class Address(NamedTuple):
    """A host, an IPv6 address without its brackets, and a port; port 0 is a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def parse_address(text: str, name: str) -> Address:
    """Read ``[HOST:]PORT``, the host 127.0.0.1 if none is given; ``name`` is for refusals.

    Raises:
        InvalidConfig: it is none, or a wildcard, which no browser can go to.
    """
    if text.strip().startswith(":"):
        raise _wildcard(text, name)
    host, port = addresses.parse_address(text, name, host=LOOPBACK)
    if host == "*" or _is_wildcard(host):
        raise _wildcard(text, name)
    if not _HOST.fullmatch(host):
        raise InvalidConfig(
            f"{name}: {host!r} is no host name or address; write 127.0.0.1:8080 or [::1]:8080"
        )
    return Address(host.lower(), port)


def bind(address: Address, name: str) -> socket.socket:
    """A socket that listens at the address, so that nobody else can take it meanwhile.

    Raises:
        InvalidConfig: the port is in use, or the address is not this machine's, or a wildcard.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if _is_wildcard(str(place[0])):
            raise _wildcard(str(address), name)
        return socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        # The first line, without the address that Python appends.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise InvalidConfig(f"{name}: cannot listen at {address}: {reason}") from None


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _wildcard(text: str, name: str) -> InvalidConfig:
    return InvalidConfig(
        f"{name}: {text!r} is every address there is; name the one that the page is reached at"
    )
