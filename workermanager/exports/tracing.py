"""Sampled execs as OpenTelemetry spans: one for the exec, one for each of its steps.

Whether an exec is sampled is settled by the run's id and n before anything is made for it, so one
that is not costs about 0.3 µs, and the same execs are sampled again when a run is resumed.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from contextlib import contextmanager
from hashlib import blake2b
from traceback import format_exception
from typing import TYPE_CHECKING, Final, Self

from loguru import logger

from instrumentation.errors import InvalidConfig, text_of
from workermanager.exports.otel import (
    LAST_EXPORT_S,
    SdkLog,
    endpoint_of,
    is_exported,
    make_resource,
)
from workermanager.redaction import one_line, redact

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import (
        ALWAYS_OFF,
        ALWAYS_ON,
        ParentBased,
        Sampler,
        SamplingResult,
    )
except ImportError:
    raise InvalidConfig(
        "--otel needs packages that are not here: pip install 'workermanager[otel]'"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from instrumentation.execution import Exec

__all__ = ["DEFAULT_RATIO", "Trace", "Tracer", "open_tracer", "sampled_ratio"]

DEFAULT_RATIO: Final = 0.01
_HASHES: Final = 1 << sys.hash_info.width  # from minus half as many
_IS_EXEC: Final = otel_context.create_key("workermanager-exec")
_CLOSE_S: Final = LAST_EXPORT_S + 1.0


def sampled_ratio(env: Mapping[str, str] = os.environ) -> float:
    """The share of execs to trace, by ``OTEL_TRACES_SAMPLER`` and its ``_ARG``; 0.01 without one.

    An exec has no parent, so ``parentbased_…`` samplers are what they are without a parent.

    Raises:
        InvalidConfig: there is no such sampler, or its argument is no ratio.
    """
    name = env.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    kind = name.removeprefix("parentbased_")
    if not name:
        return DEFAULT_RATIO
    if kind in ("always_on", "always_off"):
        return float(kind == "always_on")
    if kind != "traceidratio":
        raise InvalidConfig(
            f"OTEL_TRACES_SAMPLER: {name!r} is not here; use always_on, always_off or traceidratio"
        )
    text = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    try:
        ratio = float(text) if text else 1.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidConfig(f"OTEL_TRACES_SAMPLER_ARG: {text!r}: wanted a ratio from 0 to 1")
    return ratio


def open_tracer(tags: Mapping[str, str], *, is_global: bool = False) -> Tracer | None:
    """A tracer as the environment says; None where it says that nothing is traced.

    Raises:
        InvalidConfig: the environment asks for what cannot be.
    """
    if not is_exported("traces") or not (ratio := sampled_ratio()):
        return None
    return Tracer(ratio, tags, is_global=is_global)


class Tracer:
    """Traces a share of a run's execs, which the engine begins.

    ``is_global`` makes its provider the process' own unless there is one: then spans of the
    user's libraries go the same way, those within sampled execs, and none outside unless all
    execs are sampled.

    Raises:
        InvalidConfig: the environment names no URL, or limits that cannot work.
    """

    def __init__(self, ratio: float, tags: Mapping[str, str], *, is_global: bool = False) -> None:
        endpoint = endpoint_of("traces")
        self._bound = round(ratio * _HASHES) - _HASHES // 2
        self._salts = _Salts()
        self._tags = {f"workermanager.run.{key}": text for key, text in tags.items()}
        self._log = SdkLog("trace_exporter")
        self._exporter = _Exporter(OTLPSpanExporter(endpoint=endpoint), endpoint, self._log)
        try:
            self._provider = TracerProvider(
                sampler=ParentBased(_Roots(ALWAYS_ON if ratio == 1 else ALWAYS_OFF)),
                resource=make_resource(tags),
                shutdown_on_exit=False,
                id_generator=_Ids(),
            )
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except ValueError as error:  # of OTEL_BSP_… or OTEL_SPAN_…_LIMIT
            raise InvalidConfig(f"--otel: the environment's limits of spans: {error}") from None
        self._log.__enter__()
        if is_global and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("workermanager")

    def begin(self, ctx: Exec, due_ns: int, started_ns: int) -> Trace | None:
        """The trace of an exec that starts just now; None where it is not sampled.

        Both times are readings of the run's clock, whichever that is.
        """
        # Two integers hash alike in every process, and half as fast in arithmetic of our own.
        if hash((self._salts[ctx.run.id], ctx.n)) >= self._bound:
            return None
        return self._begin(ctx, due_ns, started_ns)

    def _begin(self, ctx: Exec, due_ns: int, started_ns: int) -> Trace:
        to_wall_ns = time.time_ns() - started_ns
        span = self._tracer.start_span(
            ctx.run.name,
            context=otel_context.set_value(_IS_EXEC, value=True, context=otel_context.Context()),
            start_time=started_ns + to_wall_ns,
            attributes={
                **self._tags,
                "workermanager.run.id": ctx.run.id,
                "workermanager.exec.n": ctx.n,
                "workermanager.exec.tick": ctx.tick,
                "workermanager.exec.lag": (started_ns - due_ns) / 1e9,
            },
        )
        return Trace(self._tracer, span, to_wall_ns)

    def close(self) -> None:
        """Export what is left, within about five seconds, and end."""
        shutdown = threading.Thread(target=self._provider.shutdown, name="otel-close", daemon=True)
        abort = threading.Timer(LAST_EXPORT_S, self._exporter.abort)
        abort.daemon = True
        shutdown.start()
        abort.start()
        shutdown.join(_CLOSE_S)
        abort.cancel()
        abort.join(_CLOSE_S)
        if shutdown.is_alive():
            self._exporter.tell(f"no answer in {LAST_EXPORT_S:g} s")
        self._log.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Trace:
    """The span of one exec, and where its steps' spans hang."""

    __slots__ = ("_context", "_span", "_to_wall_ns", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, to_wall_ns: int) -> None:
        self._tracer = tracer
        self._span = span
        self._to_wall_ns = to_wall_ns
        self._context = trace.set_span_in_context(span)

    @contextmanager
    def step(self, path: str) -> Iterator[None]:
        """A span for the step at ``path``, current while it runs, so that others nest in it."""
        with self._tracer.start_as_current_span(
            path.rpartition("/")[2],
            context=self._context,
            attributes={"workermanager.step.path": path},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                _fail(span, error)
                raise

    def end(self, error: BaseException | None, ended_ns: int) -> None:
        """End the exec's span, at a reading of the run's clock; any thread may."""
        if error is not None:
            _fail(self._span, error)
        self._span.end(end_time=ended_ns + self._to_wall_ns)


def _fail(span: trace.Span, error: BaseException) -> None:
    """Mark a span as failed and record why, without secrets."""
    text = one_line(text_of(error))
    stack = redact("".join(format_exception(error)))
    told = {"exception.message": text, "exception.stacktrace": stack}
    span.record_exception(error, attributes=told)
    span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {text}"))


class _Salts(dict[str, int]):
    """A number for each run's id, the same in every process."""

    def __missing__(self, run_id: str) -> int:
        digest = blake2b(run_id.encode(errors="replace"), digest_size=7).digest()
        salt = self[run_id] = int.from_bytes(digest)
        return salt


class _Roots(Sampler):
    """Samples every exec that was begun; ``otherwise`` decides on what else has no parent."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def should_sample(  # noqa: PLR0913, PLR0917 - the base class' arguments
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        is_exec = otel_context.get_value(_IS_EXEC, parent_context)
        return (ALWAYS_ON if is_exec else self._otherwise).should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"Execs{{otherwise:{self._otherwise.get_description()}}}"


class _Ids(IdGenerator):
    """Ids from the system: a step that seeds the random module must not repeat them."""

    def generate_span_id(self) -> int:
        return secrets.randbits(64) or 1

    def generate_trace_id(self) -> int:
        return secrets.randbits(128) or 1

    def is_trace_id_random(self) -> bool:
        return True


class _Exporter(SpanExporter):
    """The SDK's exporter, whose failure is told of once, and whose wait can be cut short."""

    def __init__(self, inner: OTLPSpanExporter, endpoint: str, log: SdkLog) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._log = log
        self._lock = threading.Lock()
        self._is_over = False
        self._is_told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.tell(self._log.latest)
        return result

    def abort(self) -> None:
        """Send no more, and wait for no other attempt."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                self._inner.shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        self.abort()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def tell(self, reason: str) -> None:
        """Say, the first time, that spans do not arrive."""
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "--otel: spans do not arrive at {} ({}); the run goes on",
                *(redact(self._endpoint), reason),
            )
