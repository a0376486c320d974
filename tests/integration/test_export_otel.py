"""What an OTLP collector gets is what the run counted; one that is dead costs the run nothing."""

import importlib
import logging
import socket
import sys
import threading

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tests.kit.collecting import Collector, attributes_of
from workermanager import Instrumentation, InvalidConfig, Worker
from workermanager.exports import otel
from workermanager.exports.buckets import BOUNDS_S, at_most
from workermanager.exports.otel import OtelMetrics, SdkLog, endpoint_of, is_exported, open_metrics
from workermanager.exports.tracing import DEFAULT_RATIO, open_tracer, sampled_ratio

LABELS = {"name": "seeding", "id": "run-1", "team": "blue"}


@pytest.fixture
def collector(monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch):
    for variable in (
        *("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"),
        *("OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_HEADERS"),
        *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_METRIC_EXPORT_INTERVAL"),
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def dead(monkeypatch):
    """An endpoint where nobody listens, and little patience with it."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    return f"http://127.0.0.1:{port}"


def failing(ctx, params):
    if ctx.n % 10 == 0:
        raise KeyError(ctx.n)


def finished(execs=200):
    run = Worker(
        Instrumentation(func_dispatcher=failing, nested_callback=lambda ctx, params: None),
        execs_per_tick=[execs],
        tick_duration=0,
        threads=4,
    ).start()
    run.finish()
    return run


def metrics_of(request):
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "workermanager"
    return {metric.name.removeprefix("workermanager."): metric for metric in scope.metrics}


def counted(metric):
    """The points of a cumulative sum, by their attributes' values."""
    assert metric.sum.is_monotonic
    assert (
        metric.sum.aggregation_temporality
        == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    return {tuple(attributes_of(point).values()): point.as_int for point in metric.sum.data_points}


def timed(metric):
    assert metric.unit == "s"
    assert (
        metric.histogram.aggregation_temporality
        == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    return {tuple(attributes_of(one).values()): one for one in metric.histogram.data_points}


def same_times(point, histogram):
    assert point.count == histogram.count == sum(point.bucket_counts)
    assert point.sum == pytest.approx(histogram.mean * histogram.count / 1e9)
    assert tuple(point.explicit_bounds) == BOUNDS_S
    assert len(point.bucket_counts) == len(BOUNDS_S) + 1
    assert sum(point.bucket_counts[:5]) == at_most(histogram)[4]
    assert point.max == histogram.percentiles(100)[0] / 1e9
    assert 0 <= point.min <= point.max
    assert point.start_time_unix_nano < point.time_unix_nano


# Metrics


def test_the_last_export_has_the_runs_figures(collector):
    run = finished()
    with OtelMetrics() as metrics:
        metrics.attach(run.figures, LABELS)
    figures = run.figures()
    (request,) = collector.metrics
    seen = metrics_of(request)
    assert counted(seen["exec.due"]) == {(): 200}
    assert counted(seen["exec.count"]) == {
        ("ok",): 180,
        ("failed",): 20,
        ("dropped",): 0,
        ("expired",): 0,
        ("interrupted",): 0,
    }
    for name in ("running", "queued"):
        (point,) = seen[f"exec.{name}"].gauge.data_points
        assert point.as_int == figures.counts[name]
    for name in ("response", "lag", "service"):
        same_times(timed(seen[f"exec.{name}"])[()], getattr(figures, name))
    steps = timed(seen["step.duration"])
    assert set(steps) == {(name,) for name in figures.steps}
    for name, step in figures.steps.items():
        same_times(steps[name,], step.service)
    failed = {(name,): step.failed for name, step in figures.steps.items()}
    assert counted(seen["step.failed"]) == failed
    assert counted(seen["error.count"]) == {("failing", "KeyError"): 20}


def test_steps_that_timed_out_are_exported(collector):
    figures = finished().figures()
    figures.steps["failing"].timed_out = 7
    with OtelMetrics() as metrics:
        metrics.attach(lambda: figures, LABELS)
    (request,) = collector.metrics
    timed_out = counted(metrics_of(request)["step.timed_out"])
    assert timed_out == {(name,): 7 * (name == "failing") for name in figures.steps}


def test_rows_and_commits_are_exported_too(collector, tmp_path):
    from sqlalchemy import Column, Integer, MetaData, Table

    metadata = MetaData()
    users = Table("users", metadata, Column("id", Integer, primary_key=True))
    run = Worker(
        lambda ctx, params: ctx.insert(users, {"id": ctx.n}),
        execs_per_tick=[50],
        tick_duration=0,
        database=f"sqlite:///{tmp_path}/users.db",
        schema=metadata,
    ).start()
    run.finish()
    with OtelMetrics() as metrics:
        metrics.attach(run.figures, LABELS)
    seen = metrics_of(collector.metrics[-1])
    assert counted(seen["database.rows"]) == {("users",): 50}
    assert counted(seen["database.commits"]) == {(): run.figures().database.commits}


def test_figures_go_out_at_every_interval(collector, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "30")
    run = Worker(lambda ctx, params: None, execs_per_tick=20, tick_duration="10ms").start()
    with OtelMetrics() as metrics:
        metrics.attach(run.figures, LABELS)
        while len(collector.metrics) < 3:
            assert collector.has_come.wait(10)
            collector.has_come.clear()
        run.stop()
        report = run.finish()
    due = [counted(metrics_of(request)["exec.due"])[()] for request in collector.metrics]
    assert due == sorted(due)
    assert due[-1] == report.counts["due"]
    starts = {
        metrics_of(request)["exec.due"].sum.data_points[0].start_time_unix_nano
        for request in collector.metrics
    }
    assert len(starts) == 1


def test_the_resource_says_who_and_which_run(collector, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
    with OtelMetrics() as metrics:
        metrics.attach(finished(1).figures, LABELS)
    resource = attributes_of(collector.metrics[0].resource_metrics[0].resource)
    assert resource["service.name"] == "workermanager"
    assert resource["deployment.environment"] == "staging"
    assert resource["workermanager.run.name"] == "seeding"
    assert resource["workermanager.run.id"] == "run-1"
    assert resource["workermanager.run.team"] == "blue"
    assert collector.headers[0]["api-key"] == "s3cret"


def test_the_service_has_the_name_that_the_environment_gives_it(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly-seed")
    with OtelMetrics() as metrics:
        metrics.attach(finished(1).figures, LABELS)
    resource = attributes_of(collector.metrics[0].resource_metrics[0].resource)
    assert resource["service.name"] == "nightly-seed"


def test_a_dead_collector_is_told_of_once_and_keeps_no_one_waiting(
    dead, monkeypatch, warnings, capfd
):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    reads = []
    run = finished()

    def read():
        reads.append(1)
        return run.figures()

    with OtelMetrics() as metrics:
        metrics.attach(read, LABELS)
        while len(reads) < 2:
            threading.Event().wait(0.01)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"--otel: metrics do not arrive at {dead}/v1/metrics (")
    assert "opentelemetry" not in "".join(capfd.readouterr()).lower()


def test_a_collector_that_refuses_is_told_of_with_its_reason(collector, warnings):
    collector.status = 403
    with OtelMetrics() as metrics:
        metrics.attach(finished(1).figures, LABELS)
    (line,) = warnings
    assert "403" in line


def test_a_collector_that_never_answers_is_not_waited_for(monkeypatch, warnings):
    monkeypatch.setattr(otel, "LAST_EXPORT_S", 0.1)
    monkeypatch.setattr(otel, "_AFTER_ABORT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        with OtelMetrics() as metrics:
            metrics.attach(finished(1).figures, LABELS)
            (exporting,) = [one for one in threading.enumerate() if one.name == "otel-metrics"]
        assert exporting.is_alive(), "it waits for an answer, and we do not wait for it"
    exporting.join()  # the connection was cut
    assert len(warnings) == 1
    assert "no answer in 0.1 s" in warnings[0]


def test_the_wait_for_another_attempt_ends_with_the_run(monkeypatch, dead, warnings):
    monkeypatch.setattr(otel, "LAST_EXPORT_S", 0.1)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TIMEOUT")  # 10 s: it would try again for long
    with OtelMetrics() as metrics:
        metrics.attach(finished(1).figures, LABELS)
    assert "otel-metrics" not in {thread.name for thread in threading.enumerate()}
    assert len(warnings) == 1


def test_one_that_was_never_attached_closes():
    OtelMetrics().close()


# The SDK's own words


def test_the_sdk_says_nothing_on_the_terminal_and_is_as_it_was_afterwards(capfd):
    sdk = logging.getLogger("opentelemetry")
    before = (sdk.propagate, list(sdk.handlers))
    with SdkLog("exporter") as log:
        logging.getLogger("opentelemetry.exporter.x").error("no %s here", "a://b:hunter2@c")
        logging.getLogger("opentelemetry.sdk").error("something else")
    assert log.latest == "no a://b:***@c here"
    assert capfd.readouterr() == ("", "")
    assert (sdk.propagate, list(sdk.handlers)) == before


def test_the_sdk_is_as_it_was_in_whatever_order_its_words_are_taken():
    sdk = logging.getLogger("opentelemetry")
    first, second = SdkLog("a"), SdkLog("b")
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert not sdk.propagate
    second.__exit__()
    assert sdk.propagate
    assert sdk.handlers == []


# What the environment says


@pytest.mark.parametrize(
    ("env", "on"),
    [
        ({}, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, True),
        ({"OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            {
                "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            True,
        ),
    ],
)
def test_a_signal_can_be_turned_off(env, on):
    assert is_exported("metrics", env) is on


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"OTEL_METRICS_EXPORTER": "console"}, "OTEL_METRICS_EXPORTER: 'console' is not here"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not"),
    ],
)
def test_what_is_not_here_is_refused(env, complaint):
    with pytest.raises(InvalidConfig, match=complaint):
        is_exported("metrics", env)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "http://localhost:4318/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a:1/b/"}, "https://a:1/b/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://a/c"}, "http://a/c"),
    ],
)
def test_the_endpoint_is_as_the_standard_says(env, url):
    assert endpoint_of("metrics", env) == url


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://a", "http://", "http://a:b"])
def test_an_endpoint_that_is_no_url_is_refused(url):
    with pytest.raises(InvalidConfig, match=r"OTEL_EXPORTER_OTLP_ENDPOINT: '.*' is no URL"):
        endpoint_of("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": url})


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_an_interval_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", text)
    with pytest.raises(InvalidConfig, match="OTEL_METRIC_EXPORT_INTERVAL"):
        OtelMetrics()


def test_only_cumulative_figures_are_exported(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    with pytest.raises(InvalidConfig, match="only cumulative is here"):
        OtelMetrics()


def test_what_is_turned_off_is_not_made(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_metrics() is None
    assert open_tracer({}) is None


@pytest.mark.parametrize(
    ("env", "ratio"),
    [
        ({}, DEFAULT_RATIO),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0.0),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, DEFAULT_RATIO),
    ],
)
def test_the_sampler_is_as_the_standard_says(env, ratio):
    assert sampled_ratio(env) == ratio


@pytest.mark.parametrize("text", ["1.5", "-0.1", "half", "nan"])
def test_a_ratio_that_is_none_is_refused(text):
    env = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": text}
    with pytest.raises(InvalidConfig, match=r"OTEL_TRACES_SAMPLER_ARG: .* wanted a ratio"):
        sampled_ratio(env)


def test_a_sampler_that_is_not_here_is_refused():
    with pytest.raises(InvalidConfig, match="OTEL_TRACES_SAMPLER: 'jaeger_remote' is not here"):
        sampled_ratio({"OTEL_TRACES_SAMPLER": "jaeger_remote"})


@pytest.mark.parametrize("module", ["otel", "tracing"])
def test_without_the_packages_one_line_says_what_to_install(monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in ("otel", "tracing"):
        monkeypatch.delitem(sys.modules, f"workermanager.exports.{name}")
    with pytest.raises(InvalidConfig) as refusal:
        importlib.import_module(f"workermanager.exports.{module}")
    assert str(refusal.value) == (
        "--otel needs packages that are not here: pip install 'workermanager[otel]'"
    )
