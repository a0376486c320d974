"""A real scrape of a real run: what Prometheus reads is what the run counted."""

import importlib
import socket
import sys
import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from sqlalchemy import Column, Integer, MetaData, Table

from workermanager import Instrumentation, InvalidConfig, Retry, Step, Worker
from workermanager.exports import prometheus
from workermanager.exports.buckets import BOUNDS_S
from workermanager.exports.prometheus import PrometheusEndpoint
from workermanager.telemetry import ErrorFigures, StepFigures

LABELS = {"name": "seeding", "id": "run-1", "team": "blue"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

metadata = MetaData()
users = Table("users", metadata, Column("id", Integer, primary_key=True))


def add(ctx, params):
    ctx.insert(users, {"id": ctx.n})


def flaky(ctx, params):
    if ctx.n % 10 == 0:
        raise KeyError(ctx.n)
    if ctx.n % 5 == 1 and ctx.attempt == 1:
        raise OSError("again")


def chain():
    retry = Retry(attempts=2, base=0, when=lambda error: isinstance(error, OSError))
    return Instrumentation(func_dispatcher=add, nested_callback=Step(flaky, retry=retry))


def scrape(url, accept="text/plain"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers["Content-Type"], response.read().decode()


def families_of(text, *, is_openmetrics=False):
    parse = openmetrics_parser if is_openmetrics else parser
    return {family.name: family for family in parse.text_string_to_metric_families(text)}


def samples_of(families):
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }


def value(samples, name, /, **labels):
    return samples[f"workermanager_{name}", frozenset(labels.items())]


@pytest.fixture
def endpoint():
    with PrometheusEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def finished(tmp_path):
    """A run that is over, so that its figures stand still."""
    run = Worker(
        chain(),
        execs_per_tick=[200, 100],
        tick_duration="50ms",
        threads=4,
        database=f"sqlite:///{tmp_path}/users.db",
        schema=metadata,
    ).start()
    run.finish()
    return run


def agrees(samples, figures):
    counts = figures.counts
    assert value(samples, "execs_due_total") == counts["due"] == 300
    for outcome in ("ok", "failed", "dropped", "expired", "interrupted"):
        assert value(samples, "execs_total", outcome=outcome) == counts[outcome]
    for level in ("running", "queued"):
        assert value(samples, level) == counts[level]
    for name in ("response", "lag", "service"):
        same_times(samples, f"{name}_seconds", getattr(figures, name))
    for name, step in figures.steps.items():
        same_times(samples, "step_seconds", step.service, step=name)
        assert value(samples, "step_failed_total", step=name) == step.failed
        assert value(samples, "step_retried_total", step=name) == step.retried
        assert value(samples, "step_timed_out_total", step=name) == step.timed_out
    for kind in figures.errors:
        assert value(samples, "errors_total", step=kind.step, type=kind.type) == kind.count
    for table, count in figures.rows.items():
        assert value(samples, "rows_total", table=table) == count
    assert value(samples, "database_commits_total") == figures.database.commits > 0
    assert value(samples, "run_info", **LABELS) == 1


def same_times(samples, name, histogram, /, **labels):
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    buckets = [value(samples, f"{name}_bucket", le=bound, **labels) for bound in bounds]
    assert buckets == sorted(buckets)
    assert buckets[-1] == value(samples, f"{name}_count", **labels) == histogram.count
    total = histogram.mean * histogram.count / 1e9
    assert value(samples, f"{name}_sum", **labels) == pytest.approx(total)
    for percent in (50, 90, 99):
        (stays_below,) = histogram.percentiles(percent)
        needed = histogram.count * percent / 100
        first = next(bound for bound, seen in zip(bounds, buckets, strict=True) if seen >= needed)
        assert float(first) * 1e9 >= stays_below * 0.99


# Scrapes


def test_a_scrape_in_the_text_format_is_the_runs_figures(endpoint, finished):
    endpoint.attach(finished.figures, LABELS)
    kind, text = scrape(endpoint.url)
    assert kind.startswith("text/plain")
    samples = samples_of(families_of(text))
    agrees(samples, finished.figures())
    assert finished.figures().counts["failed"] == 30
    assert value(samples, "step_retried_total", step="flaky") == 60
    assert value(samples, "rows_total", table="users") == 270


def test_steps_that_timed_out_are_scraped(endpoint, finished):
    figures = finished.figures()
    figures.steps["flaky"].timed_out = 7
    endpoint.attach(lambda: figures, LABELS)
    _, text = scrape(endpoint.url)
    assert value(samples_of(families_of(text)), "step_timed_out_total", step="flaky") == 7


def test_a_scrape_as_openmetrics_is_the_same(endpoint, finished):
    endpoint.attach(finished.figures, LABELS)
    kind, text = scrape(endpoint.url, OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = families_of(text, is_openmetrics=True)
    agrees(samples_of(families), finished.figures())
    kinds = {name.removeprefix("workermanager_"): one.type for name, one in families.items()}
    assert kinds == {
        "run": "info",
        "execs_due": "counter",
        "execs": "counter",
        "running": "gauge",
        "queued": "gauge",
        **dict.fromkeys(("response_seconds", "lag_seconds", "service_seconds"), "histogram"),
        "step_seconds": "histogram",
        **dict.fromkeys(("step_failed", "step_retried", "step_timed_out"), "counter"),
        **dict.fromkeys(("errors", "rows"), "counter"),
        **dict.fromkeys(("database_commits", "database_retries"), "counter"),
    }


def test_a_run_can_be_scraped_while_it_goes(endpoint):
    run = Worker(lambda ctx, params: None, execs_per_tick=50, tick_duration="20ms").start()
    endpoint.attach(run.figures, LABELS)
    seen = []
    while len(seen) < 3 or seen[-1] == seen[0]:
        samples = samples_of(families_of(scrape(endpoint.url)[1]))
        seen.append(value(samples, "execs_due_total"))
        ended = value(samples, "execs_total", outcome="ok")
        assert ended <= seen[-1]
        assert value(samples, "response_seconds_count") <= seen[-1]
    run.stop()
    report = run.finish()
    assert seen == sorted(seen)
    samples = samples_of(families_of(scrape(endpoint.url)[1]))
    assert value(samples, "execs_total", outcome="ok") == report.counts["ok"]


# Names and labels


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_a_label_may_hold_any_text(endpoint, finished, accept):
    name = 'say "hi"\\n\n<b onload=x>&amp; ünï'
    figures = finished.figures()
    figures.steps = {name: StepFigures(failed=3)}
    figures.errors = [ErrorFigures(name, "E", 2, "why")]
    endpoint.attach(lambda: figures, {"name": name})
    samples = samples_of(
        families_of(scrape(endpoint.url, accept)[1], is_openmetrics=accept == OPENMETRICS)
    )
    assert value(samples, "step_failed_total", step=name) == 3
    assert value(samples, "errors_total", step=name, type="E") == 2
    assert value(samples, "run_info", name=name) == 1


def test_tags_get_names_that_prometheus_takes(endpoint, finished):
    tags = {"a-b": "1", "a.b": "2", "2nd": "3", "__name__": "4", "ü": "5"}
    endpoint.attach(finished.figures, tags)
    samples = samples_of(families_of(scrape(endpoint.url)[1]))
    named = {"a_b": "1", "a_b_": "2", "_2nd": "3", "name__": "4", "tag": "5"}
    assert value(samples, "run_info", **named) == 1


def test_a_run_without_a_database_has_no_figures_of_one(endpoint):
    run = Worker(lambda ctx, params: None).start()
    run.finish()
    endpoint.attach(run.figures, {})
    assert "database" not in scrape(endpoint.url)[1]


# The endpoint


def test_it_listens_on_loopback_and_on_a_port_of_its_own_unless_told(endpoint):
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert not endpoint.url.endswith(":0/metrics")


def test_it_listens_on_ipv6_too(finished):
    with PrometheusEndpoint("::1") as endpoint:
        endpoint.attach(finished.figures, {})
        assert endpoint.url.startswith("http://[::1]:")
        assert "workermanager_execs_due_total" in scrape(endpoint.url)[1]


def test_a_port_in_use_is_refused_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidConfig) as refusal:
            PrometheusEndpoint("127.0.0.1", port)
    assert str(refusal.value) == (
        f"--prometheus 127.0.0.1:{port}: cannot listen there: Address already in use"
    )


def test_a_host_that_is_not_here_is_refused():
    with pytest.raises(InvalidConfig, match=r"--prometheus 192\.0\.2\.1:0: cannot listen there"):
        PrometheusEndpoint("192.0.2.1", 0)
    with pytest.raises(InvalidConfig, match="cannot listen there"):
        PrometheusEndpoint("no.such.host.invalid", 0)


def test_a_closed_endpoint_answers_no_more(finished):
    with PrometheusEndpoint() as endpoint:
        endpoint.attach(finished.figures, {})
        scrape(endpoint.url)
    with pytest.raises(urllib.error.URLError):
        scrape(endpoint.url)


def test_one_that_was_never_attached_closes():
    PrometheusEndpoint().close()


def test_a_client_that_says_nothing_keeps_neither_others_nor_the_end_waiting(finished, monkeypatch):
    monkeypatch.setattr(prometheus._Handler, "timeout", None)  # or patience would end it too
    with PrometheusEndpoint() as endpoint:
        endpoint.attach(finished.figures, {})
        port = int(endpoint.url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            silent.sendall(b"GET /metr")
            assert "workermanager_queued" in scrape(endpoint.url)[1]
            endpoint.close()
            assert silent.recv(1) == b"", "the endpoint let go of it"


def test_scrapes_leave_no_word_on_the_terminal(endpoint, finished, capfd):
    endpoint.attach(finished.figures, {})
    scrape(endpoint.url)
    assert capfd.readouterr() == ("", "")


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "workermanager.exports.prometheus")
    with pytest.raises(InvalidConfig) as refusal:
        importlib.import_module("workermanager.exports.prometheus")
    assert str(refusal.value) == (
        "--prometheus needs packages that are not here: pip install 'workermanager[prometheus]'"
    )


def test_many_may_scrape_at_once(endpoint, finished):
    endpoint.attach(finished.figures, {})
    texts = []
    threads = [
        threading.Thread(target=lambda: texts.append(scrape(endpoint.url))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 8
    assert len(set(texts)) == 1
