"""The live page as an ASGI application: the page, its scripts, its events, and the stop button."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from workermanager.web.guard import Guard
from workermanager.web.packages import style_marks

if TYPE_CHECKING:
    from starlette.requests import Request

    from workermanager.web.address import Address
    from workermanager.web.feed import Feed

__all__ = ["make_app"]

_STATIC: Final = Path(__file__).parent / "static"


def make_app(feed: Feed, address: Address, token: str, plotly: Path) -> Starlette:
    """The application; ``address`` is where it is reached, ``plotly`` is Plotly's script."""
    template = Template((_STATIC / "dashboard.html").read_text(encoding="utf-8"))
    page = template.substitute(
        styled=style_marks(plotly.read_text(encoding="utf-8")),
        charts=(_STATIC / "charts.html").read_text(encoding="utf-8"),
    )

    async def show(_request: Request) -> Response:
        return HTMLResponse(page)

    async def script(_request: Request) -> Response:
        return FileResponse(plotly, media_type="text/javascript")

    async def events(_request: Request) -> Response:
        return StreamingResponse(feed.events(), media_type="text/event-stream")

    async def stop(request: Request) -> Response:
        feed.stop(now=request.query_params.get("now") == "1")
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/", show),
            Route("/plotly.min.js", script),
            Route("/events", events),
            Route("/stop", stop, methods=["POST"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(Guard, address=address, token=token)],
    )
