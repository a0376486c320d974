"""A run's figures for Prometheus: an HTTP endpoint that reads them when it is scraped.

The one door to prometheus_client. Nothing is recorded twice and nothing is kept: a scrape costs the
merge of the threads' figures, and a run that nobody scrapes pays nothing.
"""

from __future__ import annotations

import re
import socket
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from loguru import logger

from instrumentation.errors import InvalidConfig
from workermanager.exports.addresses import format_address
from workermanager.exports.buckets import BOUNDS_S, at_most, total_s

try:
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
except ImportError:
    raise InvalidConfig(
        "--prometheus needs packages that are not here: pip install 'workermanager[prometheus]'"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from workermanager.histogram import Histogram
    from workermanager.telemetry import DatabaseFigures, Figures

__all__ = ["DEFAULT_HOST", "PrometheusEndpoint"]

DEFAULT_HOST: Final = "127.0.0.1"
_OUTCOMES: Final = ("ok", "failed", "dropped", "expired", "interrupted")
_BOUNDS: Final = tuple(map(str, BOUNDS_S))
_PATIENCE_S: Final = 5.0


class PrometheusEndpoint:
    """Serves ``/metrics`` at ``url``, from when it is attached until it is closed.

    The port is taken at once, so that a run does not begin without it; 0 takes any free one.

    Raises:
        InvalidConfig: the address cannot be listened on.
    """

    def __init__(self, host: str = DEFAULT_HOST, port: int = 0) -> None:
        self._thread: threading.Thread | None = None
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, address)
        except OSError as error:
            raise InvalidConfig(
                f"--prometheus {format_address(host, port)}: cannot listen there: {error.strerror}"
            ) from None
        self.url = f"http://{format_address(host, self._server.server_port)}/metrics"

    def attach(self, read: Callable[[], Figures], labels: Mapping[str, str]) -> None:
        """Begin to answer: ``read`` gives the figures, ``labels`` say which run it is."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_RunCollector(read, labels))
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="prometheus", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more; a scrape that is under way is cut."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class _Handler(WSGIRequestHandler):
    """Says nothing of requests, and does not wait for ever for one."""

    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        """A scrape is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request, so that a client that says nothing keeps no other waiting."""

    daemon_threads = False  # or they could not be joined
    request_queue_size = 32  # with the usual 5, a sixth scrape at once waits a second

    def __init__(self, family: int, address: Any) -> None:
        self.address_family = family
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer would ask a name server for the host's full name
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class' names
        logger.opt(exception=True).debug("prometheus endpoint: {} was not answered", client_address)

    def server_close(self) -> None:
        for request in tuple(self._open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has just ended by itself
        super().server_close()


class _RunCollector:
    """The figures of a run as families of metrics, made anew for every scrape."""

    def __init__(self, read: Callable[[], Figures], labels: Mapping[str, str]) -> None:
        self._read = read
        self._info = InfoMetricFamily("workermanager_run", "Which run this is.")
        self._info.add_metric([], _as_labels(labels))

    def collect(self) -> Iterator[Metric]:
        figures = self._read()
        yield self._info
        yield from _execs(figures)
        yield from _steps(figures)
        yield _counter("rows", "Durable rows.", ("table",), _keyed(figures.rows))
        if figures.database is not None:
            yield from _database(figures.database)


def _as_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels with names that Prometheus takes; of two that become one, the later gets a ``_``."""
    named: dict[str, str] = {}
    for key, value in labels.items():
        name = re.sub(r"[^a-zA-Z0-9_]", "_", key).lstrip("_") or "tag"
        name = f"_{name}" if name[0].isdigit() else name
        while name in named:
            name += "_"
        named[name] = value
    return named


def _execs(figures: Figures) -> Iterator[Metric]:
    counts = figures.counts
    yield _counter("execs_due", "Execs that fell due.", (), [((), counts["due"])])
    outcomes = {name: counts[name] for name in _OUTCOMES}
    yield _counter("execs", "Execs that ended, by how.", ("outcome",), _keyed(outcomes))
    yield GaugeMetricFamily("workermanager_running", "Execs that run.", counts["running"])
    yield GaugeMetricFamily("workermanager_queued", "Execs that wait.", counts["queued"])
    yield _times("response", "From when an exec was due until it ended.", figures.response)
    yield _times("lag", "How late execs started.", figures.lag)
    yield _times("service", "How long execs ran.", figures.service)


def _steps(figures: Figures) -> Iterator[Metric]:
    steps = figures.steps
    times = HistogramMetricFamily(
        "workermanager_step_seconds", "How long attempts of a step ran.", labels=("step",)
    )
    for name, step in steps.items():
        times.add_metric((name,), *_histogram(step.service))
    yield times
    failed = {name: step.failed for name, step in steps.items()}
    yield _counter("step_failed", "Last attempts that failed.", ("step",), _keyed(failed))
    retried = {name: step.retried for name, step in steps.items()}
    yield _counter("step_retried", "Attempts that were made again.", ("step",), _keyed(retried))
    late = {name: step.timed_out for name, step in steps.items()}
    yield _counter("step_timed_out", "Attempts that took too long.", ("step",), _keyed(late))
    kinds = [((kind.step, kind.type), kind.count) for kind in figures.errors]
    yield _counter("errors", "Errors that failed execs, by kind.", ("step", "type"), kinds)


def _database(figures: DatabaseFigures) -> Iterator[Metric]:
    retries = _keyed(figures.retries)
    yield _counter("database_commits", "Acknowledged commits.", (), [((), figures.commits)])
    yield _counter("database_retries", "Transactions made again.", ("code",), retries)


def _keyed(counts: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
    return [((key,), count) for key, count in counts.items()]


def _counter(
    name: str, text: str, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    family = CounterMetricFamily(f"workermanager_{name}", text, labels=labels)
    for key, count in counts:
        family.add_metric(key, count)
    return family


def _times(name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"workermanager_{name}_seconds", text, labels=())
    family.add_metric((), *_histogram(histogram))
    return family


def _histogram(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets by their upper bound, and the sum of what is in them."""
    buckets: list[tuple[str, float]] = [*zip(_BOUNDS, at_most(histogram), strict=True)]
    return [*buckets, ("+Inf", histogram.count)], total_s(histogram)
