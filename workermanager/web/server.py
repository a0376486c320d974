"""The live page of a run: a server in a thread of its own, and whoever started it ends it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from loguru import logger

from workermanager.redaction import one_line
from workermanager.web.address import Address, bind
from workermanager.web.packages import FOR_PAGE, check_packages, plotly_script

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from workermanager.report import Report
    from workermanager.web.feed import Feed
    from workermanager.web.view import Watched

__all__ = ["Dashboard"]

_LAST_WORDS_S: Final = 2


class Dashboard:
    """The page of a run at an address, from `show` to the end of the ``with`` block.

    It takes its address at once, so that one that will not do is found before a run starts. What
    goes wrong with it later is logged, and is no reason for the run to end.

    Args:
        address: where the page is reached; port 0 is a free one.
        name: what a refusal calls the page.

    Raises:
        InvalidConfig: packages are missing, or the address cannot be listened at.
    """

    def __init__(self, address: Address, name: str = "--dashboard") -> None:
        check_packages(name, FOR_PAGE)
        self._plotly = plotly_script(name)
        self._socket = bind(address, name)
        self._token = secrets.token_urlsafe()
        self.address = Address(address.host, self._socket.getsockname()[1])
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._feed: Feed | None = None
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        """Where to look, the token included: whoever has it may watch and stop the run."""
        return f"http://{self.address}/?token={self._token}"

    def __enter__(self) -> Self:
        """Hold the address."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop serving, once those who watch have heard the last, and give the address back."""
        if self._thread is not None and self._feed is not None and self._server is not None:
            self._tell(self._feed.close)
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()

    def show(self, run: Watched) -> None:
        """Serve the page of this run from now on."""
        import uvicorn  # noqa: PLC0415 - it and Starlette take 150 ms, and may not be there

        from workermanager.web.app import make_app  # noqa: PLC0415 - as above
        from workermanager.web.feed import Feed  # noqa: PLC0415 - as above

        self._feed = Feed(run)
        config = uvicorn.Config(
            make_app(self._feed, self.address, self._token, self._plotly),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,  # it would tell the token
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_WORDS_S,
        )
        _take_over_log()
        self._server = uvicorn.Server(config)
        is_up = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(self._server, is_up), name="dashboard", daemon=True
        )
        self._thread.start()
        is_up.wait()

    def end(self, report: Report) -> None:
        """Tell the page how the run ended; it goes on showing that when the server is gone."""
        if self._feed is not None:
            self._tell(self._feed.end, report)

    def _main(self, server: uvicorn.Server, is_up: threading.Event) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            is_up.set()
            await server.serve(sockets=[self._socket])
            for connection in list(server.server_state.connections):
                connection.transport.abort()  # who never reads would never be let go
            await asyncio.sleep(0)  # it is closed at the loop's next turn

        try:
            asyncio.run(serve())
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
            logger.error("the page at {} is no more: {!r}", self.address, error)
        finally:
            is_up.set()

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        """Have something called in the server's thread, if that has not ended before its time."""
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop is closed: that was logged
                self._loop.call_soon_threadsafe(what, *arguments)


class _Log(logging.Handler):
    """What the server says, for who debugs: that a client never read to the end is no news."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("dashboard: {}", one_line(record.getMessage()))


def _take_over_log() -> None:
    """Keep uvicorn's words off the terminal, where the run is being shown."""
    theirs = logging.getLogger("uvicorn.error")
    theirs.propagate = False
    if not any(isinstance(handler, _Log) for handler in theirs.handlers):
        theirs.addHandler(_Log())
