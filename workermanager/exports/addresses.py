"""Addresses as people write them in flags and variables: ``[HOST:]PORT``."""

from __future__ import annotations

from typing import Final

from instrumentation.errors import InvalidConfig

__all__ = ["format_address", "parse_address"]

_HIGHEST_PORT: Final = 65_535


def parse_address(
    text: str, name: str, *, host: str | None = None, port: int | None = None
) -> tuple[str, int]:
    """The host and the port of ``HOST:PORT``; an IPv6 host stands in brackets.

    ``host`` and ``port`` stand for what is missing, ``name`` is what a refusal calls the value. A
    text without a colon is the port where ``host`` is given, and the host otherwise.

    Raises:
        InvalidConfig: it is no address.
    """
    found_host, colon, found_port = text.strip().rpartition(":")
    if not colon or text.strip().endswith("]"):
        has_port = host is not None
        found_host, found_port = ("", text.strip()) if has_port else (text.strip(), "")
    if found_host.startswith("[") and found_host.endswith("]"):
        found_host = found_host[1:-1]
    elif ":" in found_host:
        raise InvalidConfig(f"{name}: {text!r}: an IPv6 address stands in brackets: [::1]:9464")
    form = "[HOST:]PORT" if host is not None else "HOST:PORT"
    if found_port and not _is_port(found_port):
        raise InvalidConfig(
            f"{name}: {text!r}: a port is a number from 0 to {_HIGHEST_PORT}; write {form}"
        )
    wanted_host = found_host or host
    wanted_port = int(found_port) if found_port else port
    if not wanted_host or wanted_port is None:
        raise InvalidConfig(f"{name}: {text!r} is no address; write {form}")
    return wanted_host, wanted_port


def _is_port(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and int(digits) <= _HIGHEST_PORT


def format_address(host: str, port: int) -> str:
    """``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
