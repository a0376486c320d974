"""Sampled execs arrive as spans that nest; execs that are not sampled leave nothing."""

import random
import socket
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.util._once import Once

from instrumentation.errors import Cancelled, InvalidConfig
from tests.kit.collecting import Collector, attributes_of
from workermanager import Worker
from workermanager.exports import tracing
from workermanager.exports.tracing import Tracer, open_tracer


@pytest.fixture
def collector(monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture(autouse=True)
def _a_process_as_new(monkeypatch):
    """No global provider, and nothing about traces in the environment."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    for variable in (
        *("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER"),
        *("OTEL_TRACES_SAMPLER_ARG", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"),
    ):
        monkeypatch.delenv(variable, raising=False)


def an_exec(n=0, run_id="run-1"):
    return SimpleNamespace(n=n, tick=3, run=SimpleNamespace(id=run_id, name="chain"))


def trace_one(tracer, *steps, ctx=None):
    """Run steps as the engine runs those of an exec; what they raise is the exec's."""
    started = time.monotonic_ns()
    traced = tracer.begin(ctx or an_exec(), started - 5_000_000, started)
    if traced is None:
        for step in steps:
            step()
        return
    error = None
    try:
        for place, step in enumerate(steps, 1):
            with traced.step(f"chain/{place}/{step.__name__}"):
                step()
    except (OSError, Cancelled) as raised:
        error = None if isinstance(raised, Cancelled) else raised
    traced.end(error, time.monotonic_ns())


def named(collector):
    return {span.name: span for span in collector.spans}


def idle():
    pass


def sampled(tracer, count, run_id="run-1"):
    """Which of the first execs of a run are sampled; none is ended, so none is exported."""
    return {n for n in range(count) if tracer.begin(an_exec(n, run_id), 0, 0) is not None}


# Nesting


def test_a_steps_span_is_in_its_execs_and_the_users_in_the_steps(collector):
    def ask():
        with trace.get_tracer("user").start_as_current_span("SELECT"):
            pass

    def think():
        with trace.get_tracer("user").start_as_current_span("thought"):
            pass

    with Tracer(1.0, {"team": "blue"}, is_global=True) as tracer:
        trace_one(tracer, ask, think)
    spans = named(collector)
    assert set(spans) == {"chain", "ask", "think", "SELECT", "thought"}
    assert len(collector.spans) == 5
    assert spans["chain"].parent_span_id == b""
    assert spans["ask"].parent_span_id == spans["chain"].span_id
    assert spans["think"].parent_span_id == spans["chain"].span_id
    assert spans["SELECT"].parent_span_id == spans["ask"].span_id
    assert spans["thought"].parent_span_id == spans["think"].span_id
    assert len({span.trace_id for span in spans.values()}) == 1


def test_execs_of_a_real_run_arrive_each_in_a_trace_of_its_own(collector):
    with Tracer(1.0, {}) as tracer:
        Worker(
            lambda ctx, params: trace_one(tracer, idle, ctx=ctx),
            execs_per_tick=[40],
            tick_duration=0,
            threads=8,
            run_id="nightly",
        ).run()
    execs = [attributes_of(span) for span in collector.spans if not span.parent_span_id]
    assert {one["workermanager.exec.n"] for one in execs} == set(range(40))
    assert {one["workermanager.run.id"] for one in execs} == {"nightly"}
    assert len({span.trace_id for span in collector.spans}) == 40
    assert len(collector.spans) == 80


def test_an_execs_span_says_which_exec_it_was(collector):
    with Tracer(1.0, {"team": "blue"}) as tracer:
        trace_one(tracer, idle, ctx=an_exec(41))
    spans = named(collector)
    assert attributes_of(spans["chain"]) == {
        "workermanager.run.team": "blue",
        "workermanager.run.id": "run-1",
        "workermanager.exec.n": 41,
        "workermanager.exec.tick": 3,
        "workermanager.exec.lag": 0.005,
    }
    assert attributes_of(spans["idle"]) == {"workermanager.step.path": "chain/1/idle"}
    resource = attributes_of(collector.traces[0].resource_spans[0].resource)
    assert resource["service.name"] == "workermanager"
    assert resource["workermanager.run.team"] == "blue"


def test_an_execs_span_is_as_long_as_the_exec_was_whatever_its_clock(collector):
    before = datetime.now(UTC).timestamp()
    with Tracer(1.0, {}) as tracer:
        tracer.begin(an_exec(), 1_000, 3_000).end(None, 7_003_000)
    (span,) = collector.spans
    assert span.end_time_unix_nano - span.start_time_unix_nano == 7_000_000
    assert before <= span.start_time_unix_nano / 1e9 <= datetime.now(UTC).timestamp()


def test_an_exec_may_end_on_another_thread(collector):
    with Tracer(1.0, {}) as tracer:
        traced = tracer.begin(an_exec(), 0, 0)
        writer = threading.Thread(target=traced.end, args=(None, 5))
        writer.start()
        writer.join()
    assert [span.name for span in collector.spans] == ["chain"]


def test_a_step_that_seeds_the_random_module_repeats_no_id(collector):
    def seed():
        random.seed(7)

    with Tracer(1.0, {}) as tracer:
        for n in range(20):
            trace_one(tracer, seed, ctx=an_exec(n))
    assert len({span.span_id for span in collector.spans}) == 40


# Failures


def test_a_failure_is_on_the_steps_span_and_on_the_execs_without_secrets(collector):
    def fail():
        raise OSError("cannot reach a://b:hunter2@c")

    with Tracer(1.0, {}) as tracer:
        trace_one(tracer, idle, fail)
    spans = named(collector)
    assert spans["idle"].status.code == Status.STATUS_CODE_UNSET
    for name in ("fail", "chain"):
        assert spans[name].status.code == Status.STATUS_CODE_ERROR
        assert spans[name].status.message == "OSError: cannot reach a://b:***@c"
        (event,) = spans[name].events
        told = attributes_of(event)
        assert (event.name, told["exception.type"]) == ("exception", "OSError")
        assert told["exception.message"] == "cannot reach a://b:***@c"
        assert "in fail" in told["exception.stacktrace"]
    assert b"hunter2" not in b"".join(one.SerializeToString() for one in collector.traces)


def test_a_step_that_is_cancelled_has_not_failed(collector):
    def leave():
        raise Cancelled

    with Tracer(1.0, {}) as tracer:
        trace_one(tracer, leave)
    assert {span.status.code for span in collector.spans} == {Status.STATUS_CODE_UNSET}
    assert len(collector.spans) == 2


# Sampling


def test_about_as_many_are_sampled_as_were_asked_for(collector):
    with Tracer(0.05, {}) as tracer:
        for run_id in ("run-1", "run-2", "nightly"):
            assert 440 <= len(sampled(tracer, 10_000, run_id)) <= 560
            assert 200 <= sum(n % 2 for n in sampled(tracer, 10_000, run_id)) <= 300


def test_the_same_execs_of_a_run_are_sampled_again_and_others_of_another(collector):
    with Tracer(0.05, {}) as first, Tracer(0.05, {}) as second:
        assert sampled(first, 5_000) == sampled(second, 5_000)
        assert sampled(first, 5_000) != sampled(first, 5_000, "run-2")


def test_a_larger_share_has_all_execs_of_a_smaller_one(collector):
    with Tracer(0.05, {}) as few, Tracer(0.5, {}) as many:
        assert sampled(few, 2_000) < sampled(many, 2_000)


def test_what_happens_in_an_exec_that_is_not_sampled_leaves_nothing(collector):
    def ask():
        with trace.get_tracer("user").start_as_current_span("SELECT"):
            pass

    with Tracer(0.5, {}, is_global=True) as tracer:
        expected = len(sampled(tracer, 50))
        for n in range(50):
            trace_one(tracer, ask, ctx=an_exec(n))
    names = [span.name for span in collector.spans]
    assert 0 < expected < 50
    assert {name: names.count(name) for name in names} == dict.fromkeys(
        ("chain", "ask", "SELECT"), expected
    )


def test_a_provider_that_is_there_already_stays(collector):
    with Tracer(1.0, {}, is_global=True) as first:
        theirs = trace.get_tracer_provider()
        with Tracer(1.0, {}, is_global=True):
            assert trace.get_tracer_provider() is theirs
        trace_one(first, idle)


def test_a_tracer_is_what_the_environment_says(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    with open_tracer({}) as tracer:
        assert 400 <= len(sampled(tracer, 1_000)) <= 600
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert open_tracer({}) is None
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert open_tracer({}) is None


# Collectors that do not answer


def test_a_dead_collector_is_told_of_once_and_the_steps_run(monkeypatch, warnings, capfd):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    ran = []
    with Tracer(1.0, {}) as tracer:
        for n in range(1_000):
            trace_one(tracer, lambda: ran.append(1), ctx=an_exec(n))
    assert len(ran) == 1_000
    assert len(warnings) == 1
    assert warnings[0].startswith(
        f"--otel: spans do not arrive at http://127.0.0.1:{port}/v1/traces ("
    )
    assert "opentelemetry" not in "".join(capfd.readouterr()).lower()


def test_the_wait_for_another_attempt_ends_with_the_run(monkeypatch, warnings):
    monkeypatch.setattr(tracing, "LAST_EXPORT_S", 0.1)
    monkeypatch.setattr(tracing, "_CLOSE_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    before = set(threading.enumerate())
    with Tracer(1.0, {}) as tracer:
        trace_one(tracer, idle)
    assert set(threading.enumerate()) <= before
    assert len(warnings) == 1


def test_limits_that_cannot_work_are_refused(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(InvalidConfig, match="max_queue_size must be a positive integer"):
        Tracer(1.0, {})


def test_a_collector_that_never_answers_is_not_waited_for(monkeypatch, warnings):
    monkeypatch.setattr(tracing, "LAST_EXPORT_S", 0.1)
    monkeypatch.setattr(tracing, "_CLOSE_S", 0.2)
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        with Tracer(1.0, {}) as tracer:
            trace_one(tracer, idle)
        left = set(threading.enumerate()) - before
        assert left, "something waits for an answer, and we do not wait for it"
    for thread in left:
        thread.join()  # the connection was cut
    assert "no answer in 0.1 s" in warnings[0]
    assert len(warnings) == 1
