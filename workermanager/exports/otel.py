"""A run's figures as OpenTelemetry metrics, pushed over OTLP/HTTP; set up by ``OTEL_…`` variables.

Nothing is recorded through the SDK, which would cost every exec microseconds: at each interval the
cumulative figures are put into the SDK's data points and handed to its exporter, in a thread that
waits for the collector so that nobody else has to.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Self
from urllib.parse import urlsplit

from loguru import logger

from instrumentation.errors import InvalidConfig
from workermanager.exports.buckets import BOUNDS_S, at_most, total_s
from workermanager.redaction import one_line, redact

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        DataT,
        Gauge,
        Histogram,
        HistogramDataPoint,
        Metric,
        MetricExportResult,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError:
    raise InvalidConfig(
        "--otel needs packages that are not here: pip install 'workermanager[otel]'"
    ) from None

if TYPE_CHECKING:
    from workermanager import histogram
    from workermanager.telemetry import DatabaseFigures, Figures

__all__ = [
    "LAST_EXPORT_S",
    "OtelMetrics",
    "SdkLog",
    "endpoint_of",
    "is_exported",
    "make_resource",
    "open_metrics",
]

LAST_EXPORT_S: Final = 5.0
_AFTER_ABORT_S: Final = 1.0
_EVERY_MS: Final = 10_000.0
_OUTCOMES: Final = ("ok", "failed", "dropped", "expired", "interrupted")
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_SCOPE: Final = InstrumentationScope("workermanager")

Key = tuple[str, ...]


# What the environment says


def is_exported(signal: str, env: Mapping[str, str] = os.environ) -> bool:
    """True unless the environment turns a signal (``metrics``, ``traces``) off.

    Raises:
        InvalidConfig: it asks for an exporter or a protocol that is not here.
    """
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    exporter = env.get(variable, "").strip().lower() or "otlp"
    if exporter not in ("otlp", "none"):
        raise InvalidConfig(f"{variable}: {exporter!r} is not here; use otlp or none")
    if exporter == "none":
        return False
    for variable in (
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ):
        protocol = env.get(variable, "").strip().lower()
        if protocol not in ("", "http/protobuf"):
            raise InvalidConfig(f"{variable}: {protocol!r} is not here; use http/protobuf")
        if protocol:
            break
    return True


def endpoint_of(signal: str, env: Mapping[str, str] = os.environ) -> str:
    """The URL that a signal is sent to.

    Raises:
        InvalidConfig: the environment names something that is no HTTP URL.
    """
    variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    if url := env.get(variable, "").strip():
        return _check_url(url, variable)
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    base = _check_url(env.get(variable, "").strip() or "http://localhost:4318", variable)
    return f"{base.removesuffix('/')}/v1/{signal}"


def _check_url(url: str, variable: str) -> str:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_right = is_right and parts.port != 0  # reading it raises where it is no number
    except ValueError:
        is_right = False
    if not is_right:
        raise InvalidConfig(f"{variable}: {redact(url)!r} is no URL; write http://HOST:4318")
    return url


def make_resource(labels: Mapping[str, str]) -> Resource:
    """Who reports: ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``, and which run it is."""
    resource = Resource.create({f"workermanager.run.{key}": text for key, text in labels.items()})
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "workermanager"}))
    return resource


def _interval_s() -> float:
    variable = "OTEL_METRIC_EXPORT_INTERVAL"
    text = os.environ.get(variable, "").strip()
    try:
        milliseconds = float(text) if text else _EVERY_MS
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise InvalidConfig(f"{variable}: {text!r}: wanted milliseconds, such as 10000")
    return milliseconds / 1_000


class SdkLog(logging.Handler):
    """Takes what the SDK says while it is entered: into our log, as debugging.

    The SDK repeats itself with every export, and would do so on the terminal. ``latest`` is the
    last warning of the loggers that have ``part`` in their name, a reason for what is told once.
    Several may be entered at once, and left in any order.
    """

    _logger: ClassVar = logging.getLogger("opentelemetry")
    _did_propagate: ClassVar = True

    def __init__(self, part: str) -> None:
        super().__init__()
        self.latest = ""
        self._part = part

    def __enter__(self) -> Self:
        if not self._is_entered():
            SdkLog._did_propagate = self._logger.propagate
            self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._logger.removeHandler(self)
        if not self._is_entered():
            self._logger.propagate = self._did_propagate

    def emit(self, record: logging.LogRecord) -> None:
        text = one_line(record.getMessage())
        if record.levelno >= logging.WARNING and self._part in record.name:
            self.latest = text
        logger.debug("opentelemetry: {}", text)

    def _is_entered(self) -> bool:
        return any(isinstance(handler, SdkLog) for handler in self._logger.handlers)


# Metrics


def open_metrics() -> OtelMetrics | None:
    """What exports metrics as the environment says; None where it says that nothing does.

    Raises:
        InvalidConfig: the environment asks for what cannot be.
    """
    return OtelMetrics() if is_exported("metrics") else None


class OtelMetrics:
    """Exports a run's figures every ``OTEL_METRIC_EXPORT_INTERVAL`` (10 s), and when it is closed.

    A collector that does not answer is told of once. Closing takes at most six seconds.

    Raises:
        InvalidConfig: the environment names no URL, or no interval.
    """

    def __init__(self) -> None:
        self._endpoint = endpoint_of("metrics")
        self._every_s = _interval_s()
        if os.environ.get(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"
        ).strip().lower() not in ("", "cumulative"):
            raise InvalidConfig(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: only cumulative is here"
            )
        self._log = SdkLog("metric_exporter")
        self._exporter = OTLPMetricExporter(endpoint=self._endpoint)
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_told = False

    def attach(self, read: Callable[[], Figures], labels: Mapping[str, str]) -> None:
        """Begin to export: ``read`` gives the figures, ``labels`` say which run it is."""
        self._log.__enter__()
        points = _Points(make_resource(labels), time.time_ns())
        self._thread = threading.Thread(
            target=self._main, args=(read, points), name="otel-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Export the last figures and end."""
        self._is_over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(LAST_EXPORT_S)
        self._exporter.shutdown()  # ends the wait for another attempt
        if thread is not None:
            thread.join(_AFTER_ABORT_S)
            if thread.is_alive():
                self._tell(f"no answer in {LAST_EXPORT_S:g} s")
            self._log.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _main(self, read: Callable[[], Figures], points: _Points) -> None:
        while not self._is_over.wait(self._every_s):
            self._export(read(), points)
        self._export(read(), points)

    def _export(self, figures: Figures, points: _Points) -> None:
        data = points.make(figures, time.time_ns())
        if self._exporter.export(data) is not MetricExportResult.SUCCESS:
            self._tell(self._log.latest)

    def _tell(self, reason: str) -> None:
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "--otel: metrics do not arrive at {} ({}); the run goes on",
                *(redact(self._endpoint), reason),
            )


class _Points:
    """Figures as the SDK's data points, cumulative since they last began at 0."""

    def __init__(self, resource: Resource, began_ns: int) -> None:
        self._resource = resource
        self._began = began_ns
        self._now = began_ns

    def make(self, figures: Figures, now_ns: int) -> MetricsData:
        """All metrics at a moment of the wall clock."""
        self._now = now_ns
        metrics = [*self._execs(figures), *self._steps(figures), *self._rows(figures)]
        scope = ScopeMetrics(scope=_SCOPE, metrics=metrics, schema_url="")
        return MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])

    def _execs(self, figures: Figures) -> Iterable[Metric]:
        counts = figures.counts
        outcomes: dict[Key, int] = {(name,): counts[name] for name in _OUTCOMES}
        yield self._sum("exec.due", "Execs that fell due", "{exec}", (), {(): counts["due"]})
        yield self._sum("exec.count", "Execs that ended", "{exec}", ("outcome",), outcomes)
        yield self._gauge("exec.running", "Execs that run", counts["running"])
        yield self._gauge("exec.queued", "Execs that wait", counts["queued"])
        for name, text, times in (
            ("exec.response", "From when an exec was due until it ended", figures.response),
            ("exec.lag", "How late execs started", figures.lag),
            ("exec.service", "How long execs ran", figures.service),
        ):
            yield self._times(name, text, (), {(): times})

    def _steps(self, figures: Figures) -> Iterable[Metric]:
        steps = figures.steps
        times: dict[Key, histogram.Histogram] = {
            (name,): step.service for name, step in steps.items()
        }
        failed: dict[Key, int] = {(name,): step.failed for name, step in steps.items()}
        retried: dict[Key, int] = {(name,): step.retried for name, step in steps.items()}
        late: dict[Key, int] = {(name,): step.timed_out for name, step in steps.items()}
        kinds: dict[Key, int] = {(kind.step, kind.type): kind.count for kind in figures.errors}
        step, attempt = ("step",), "{attempt}"
        yield self._times("step.duration", "How long attempts of a step ran", step, times)
        yield self._sum("step.failed", "Last attempts that failed", attempt, step, failed)
        yield self._sum("step.retried", "Attempts that were made again", attempt, step, retried)
        yield self._sum("step.timed_out", "Attempts that took too long", attempt, step, late)
        yield self._sum("error.count", "Errors by kind", "{error}", ("step", "error.type"), kinds)

    def _rows(self, figures: Figures) -> Iterable[Metric]:
        rows: dict[Key, int] = {(table,): count for table, count in figures.rows.items()}
        yield self._sum("database.rows", "Durable rows", "{row}", ("table",), rows)
        if figures.database is not None:
            yield from self._database(figures.database)

    def _database(self, figures: DatabaseFigures) -> Iterable[Metric]:
        commits: dict[Key, int] = {(): figures.commits}
        retries: dict[Key, int] = {(code,): count for code, count in figures.retries.items()}
        name = "database.retries"
        yield self._sum("database.commits", "Acknowledged commits", "{commit}", (), commits)
        yield self._sum(name, "Transactions made again", "{transaction}", ("code",), retries)

    def _sum(self, name: str, text: str, unit: str, keys: Key, counts: Mapping[Key, int]) -> Metric:
        points = [
            NumberDataPoint(dict(zip(keys, key, strict=True)), self._began, self._now, count)
            for key, count in counts.items()
        ]
        return _metric(name, text, unit, Sum(points, _CUMULATIVE, is_monotonic=True))

    def _gauge(self, name: str, text: str, level: int) -> Metric:
        return _metric(
            name, text, "{exec}", Gauge([NumberDataPoint({}, self._began, self._now, level)])
        )

    def _times(
        self, name: str, text: str, keys: Key, times: Mapping[Key, histogram.Histogram]
    ) -> Metric:
        points = [
            self._times_point(dict(zip(keys, key, strict=True)), durations)
            for key, durations in times.items()
            if durations.count
        ]
        return _metric(name, text, "s", Histogram(points, _CUMULATIVE))

    def _times_point(
        self, attributes: dict[str, str], durations: histogram.Histogram
    ) -> HistogramDataPoint:
        count = durations.count
        lowest, highest = durations.percentiles(0, 100)
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._began,
            time_unix_nano=self._now,
            count=count,
            sum=total_s(durations),
            bucket_counts=[
                last - first for first, last in pairwise((0, *at_most(durations), count))
            ],
            explicit_bounds=BOUNDS_S,
            min=lowest / 1e9,
            max=highest / 1e9,
        )


def _metric(name: str, text: str, unit: str, data: DataT) -> Metric:
    return Metric(name=f"workermanager.{name}", description=text, unit=unit, data=data)
