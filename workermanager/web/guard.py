"""Who may talk to the live page: whoever asks for it by its own name, and holds its token.

A page of another site that the user has open can send requests here. It cannot read the answers,
unless its name is made to mean this machine (DNS rebinding): so the Host must be ours. It can make
things happen without reading: so whatever is no GET must come from our own Origin. And other users
of this machine can do all that without a browser: so there is a token.
"""

from __future__ import annotations

from secrets import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from workermanager.web.address import LOOPBACK, Address

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_OURS: Final = (LOOPBACK, "localhost", "::1")
_OPEN: Final = ("/plotly.min.js", "/static/")  # what anyone may have: nothing of the run is in it
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the token is in the URL
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Stands before an ASGI application: refuses who may not, and sets the headers of the rest."""

    def __init__(self, app: ASGIApp, address: Address, token: str) -> None:
        self._app = app
        self._token = token.encode()
        named = [str(Address(host, address.port)) for host in (*_OURS, address.host)]
        self._hosts = frozenset([*named, *(name.rpartition(":")[0] for name in named)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app: ASGIApp = self._app
        if (refusal := self._refuse(scope)) is not None:
            status, reason = refusal
            app = PlainTextResponse(reason + "\n", status)
        await app(scope, receive, send_guarded)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 400, "this is not the host that the page is at"
        if scope["method"] != "GET" and headers.getlist("origin") != [f"http://{hosts[0]}"]:
            return 403, "only the page itself may ask for this"
        if not scope["path"].startswith(_OPEN) and not self._has_token(scope):
            return 403, "the token is missing or wrong: use the whole URL that the run printed"
        return None

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return len(given) == 1 and compare_digest(given[0].encode(), self._token)
