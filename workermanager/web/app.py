"""The live page as an ASGI application: the page, its scripts, its events, and the stop button."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from workermanager.web.guard import Guard
from workermanager.web.packages import style_marks

if TYPE_CHECKING:
    from starlette.requests import Request

    from workermanager.web.address import Address
    from workermanager.web.feed import Feed

__all__ = ["make_app"]

_STATIC: Final = Path(__file__).parent / "static"
_SERVED: Final = {
    "charts.js": "text/javascript",
    "dashboard.js": "text/javascript",
    "theme.css": "text/css",
    "style.css": "text/css",
    "tables.css": "text/css",
    "charts.css": "text/css",
    "print.css": "text/css",
}


def make_app(feed: Feed, address: Address, token: str, plotly: Path) -> Starlette:
    """The application; ``address`` is where it is reached, ``plotly`` is Plotly's script.

    All that it serves is read now, 5 MB: no request finds its way to the disk.
    """
    script = plotly.read_text(encoding="utf-8")
    page = Template(_read("dashboard.html")).substitute(
        styled=style_marks(script), charts=_read("charts.html")
    )

    async def show(_request: Request) -> Response:
        return HTMLResponse(page)

    async def events(_request: Request) -> Response:
        return StreamingResponse(feed.events(), media_type="text/event-stream")

    async def stop(request: Request) -> Response:
        feed.stop(now=request.query_params.get("now") == "1")
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/", show),
            Route("/events", events),
            Route("/stop", stop, methods=["POST"]),
            _file("/plotly.min.js", script, "text/javascript"),
            *(_file(f"/static/{name}", _read(name), kind) for name, kind in _SERVED.items()),
        ],
        middleware=[Middleware(Guard, address=address, token=token)],
    )


def _file(path: str, text: str, kind: str) -> Route:
    content = text.encode()

    async def give(_request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, give)


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
