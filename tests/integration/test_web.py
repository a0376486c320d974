"""The live page at the level of HTTP: who is let in, what is sent, and how it ends."""

import http.client
import importlib.util
import json
import logging
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import msgspec
import pytest

from instrumentation.errors import InvalidConfig
from tests.kit.watched import WatchedRun, verdict
from workermanager.quantiles import Durations
from workermanager.series import StepWindow, Window
from workermanager.web.address import Address, bind
from workermanager.web.server import Dashboard
from workermanager.worker import Worker

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture
def served():
    """A run that waits for `finish`, and its page; `ask` sends the page a request."""
    with _serve() as page:
        yield page


@pytest.fixture(scope="module")
def guarded():
    """As `served`, for all tests that change nothing."""
    with _serve() as page:
        yield page


@contextmanager
def _serve(address=ANY_PORT, execs=2, **seen):
    go_on = threading.Event()

    def step(ctx, params):
        go_on.wait(30)

    worker = Worker(step, execs_per_tick=execs, ticks=1, tick_duration=0)
    with Dashboard(address) as dashboard:
        run = WatchedRun(worker.start(), **seen)
        dashboard.show(run)
        page = Page(dashboard, run, go_on)
        try:
            yield page
        finally:
            page.finish()


class Page:
    def __init__(self, dashboard, run, go_on):
        self.dashboard = dashboard
        self.run = run
        self.go_on = go_on
        self.host = str(dashboard.address)
        self.token = urlsplit(dashboard.url).query

    def finish(self):
        self.go_on.set()
        return self.run.finish()

    def send(self, path, method="GET", token=None, headers=()):
        """The connection and the answer to a request, with exactly these headers."""
        connection = http.client.HTTPConnection(*self.dashboard.address, timeout=10)
        connection.putrequest(
            method,
            f"{path}{'&' if '?' in path else '?'}{self.token if token is None else token}",
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in headers or [("Host", self.host)]:
            connection.putheader(name, value)
        connection.endheaders()
        return connection, connection.getresponse()

    def ask(self, *arguments, **more):
        connection, answer = self.send(*arguments, **more)
        try:
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def stop(self, origin=None, query="", **more):
        headers = [("Host", self.host), ("Content-Length", "0")]
        headers += [] if origin is None else [("Origin", origin)]
        return self.ask(f"/stop{query}", "POST", headers=headers, **more)[0]

    @contextmanager
    def events(self):
        connection, answer = self.send("/events")
        assert answer.getheader("content-type").startswith("text/event-stream")
        try:
            yield _events(answer)
        finally:
            connection.close()


def _events(answer):
    while name := answer.readline():
        data, blank = answer.readline(), answer.readline()
        assert (name[:7], data[:6], blank) == (b"event: ", b"data: ", b"\n")
        yield name[7:-1].decode(), json.loads(data[6:])


def until(events, *names):
    return next((name, data) for name, data in events if name in names)


def durations(milliseconds=1.0, count=10):
    fields = ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")
    return Durations(count=count, **dict.fromkeys(fields, milliseconds))


def window(at_s, **changes):
    facts = dict.fromkeys(("failed", "dropped", "expired", "interrupted", "running"), 0)
    facts |= {"due": 10, "ok": 10, "queued": 0, "rate": 10.0, "is_warmup": False, "seconds": 1.0}
    facts |= dict.fromkeys(("response", "lag", "service"), durations())
    steps = {"a": StepWindow(failed=0, retried=0, service=durations())}
    return Window(at_s=at_s, **{**facts, "steps": steps, **changes})


# Where it is


def test_a_port_in_use_is_refused_before_any_run():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(*other.getsockname())
        with pytest.raises(InvalidConfig, match=r"--dashboard: cannot listen at .*in use$"):
            Dashboard(address)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "plotly"])
def test_a_package_that_is_missing_is_asked_for(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(InvalidConfig, match=r"pip install 'workermanager\[dashboard\]'"):
        Dashboard(ANY_PORT)


def test_the_address_is_given_back_though_nothing_was_shown():
    with Dashboard(ANY_PORT) as dashboard:
        address = dashboard.address
    bind(address, "again").close()


# Who is let in


def test_the_page_is_at_the_url_with_its_token(guarded):
    status, headers, body = guarded.ask("/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"<h1" in body
    assert guarded.token.removeprefix("token=").encode() not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
@pytest.mark.parametrize("has_port", [True, False])
def test_the_page_is_known_by_the_names_of_this_machine(guarded, host, has_port):
    name = f"{host}:{guarded.dashboard.address.port}" if has_port else host
    assert guarded.ask("/", headers=[("Host", name)])[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1:1",
        "localhost.evil.example",
        "",
        "127.0.0.1, evil.example",
        "[::2]",
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/static/style.css", "/plotly.min.js"])
def test_a_foreign_host_is_refused_everywhere(guarded, host, path):
    status, _, body = guarded.ask(path, headers=[("Host", host)])
    assert status == 400
    assert b"<" not in body


def test_a_request_must_say_which_host_it_wants_once(guarded):
    assert guarded.ask("/", headers=[("Accept", "*/*")])[0] == 400
    twice = [("Host", guarded.host), ("Host", "evil.example")]
    assert guarded.ask("/", headers=twice)[0] == 400


def test_the_page_may_stop_the_run(served):
    assert served.stop(f"http://{served.host}") == 204
    assert served.run.is_stopping


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "https://{}",
        "http://{}.evil.example",
        "http://[::1]",
        "{}",
    ],
)
def test_a_foreign_origin_stops_nothing(guarded, origin):
    assert guarded.stop(origin and origin.format(guarded.host)) == 403
    assert not guarded.run.is_stopping


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_what_is_no_get_needs_our_origin_whatever_it_is(guarded, method):
    assert guarded.ask("/", method)[0] == 403


def test_a_get_does_not_stop_the_run(guarded):
    assert guarded.ask("/stop")[0] == 405
    assert not guarded.run.is_stopping


@pytest.mark.parametrize("path", ["/", "/events", "/stop", "/nothing"])
@pytest.mark.parametrize(
    "token", ["", "token=", "token=guess", "token=%00", "token=%C3%A9", "token=%ff", "Token=x"]
)
def test_without_the_token_nobody_is_let_in(guarded, path, token):
    assert guarded.ask(path, token=token)[0] == 403


def test_two_tokens_are_no_token(guarded):
    assert guarded.ask("/", token=f"{guarded.token}&{guarded.token}")[0] == 403
    assert guarded.ask("/", token=f"{guarded.token}x")[0] == 403
    assert guarded.ask("/", token=guarded.token[:-1])[0] == 403


def test_a_stop_needs_the_token_too(guarded):
    assert guarded.stop(f"http://{guarded.host}", token="token=guess") == 403
    assert not guarded.run.is_stopping


def test_each_page_has_a_token_of_its_own():
    with Dashboard(ANY_PORT) as one, Dashboard(ANY_PORT) as other:
        tokens = {urlsplit(dashboard.url).query for dashboard in (one, other)}
    assert len(tokens) == 2
    assert all(len(token) >= len("token=") + 43 for token in tokens)


@pytest.mark.parametrize("path", ["/", "/static/charts.js", "/plotly.min.js", "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(guarded, path):
    _, headers, _ = guarded.ask(path)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_refusal_has_the_same_headers(guarded):
    _, headers, _ = guarded.ask("/", token="token=guess")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_the_scripts_are_ours_and_the_one_of_the_installed_plotly(guarded):
    assert guarded.ask("/plotly.min.js", token="")[2].lstrip().startswith(b"/**\n* plotly.js v")
    for name in ("charts.js", "dashboard.js"):
        status, headers, body = guarded.ask(f"/static/{name}", token="")
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/javascript")
        assert b'"use strict"' in body


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/"])
def test_nothing_else_of_the_disk_is_served(guarded, path):
    assert guarded.ask(path)[0] == 404


def test_a_page_at_another_address_of_this_machine_is_known_by_it():
    with _serve(Address("127.0.0.2", 0)) as page:
        assert page.dashboard.url.startswith("http://127.0.0.2:")
        assert page.ask("/")[0] == 200
        assert page.ask("/", headers=[("Host", "127.0.0.3")])[0] == 400


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 in this Python")
def test_a_page_may_be_at_an_ipv6_address():
    with _serve(Address("::1", 0)) as page:
        assert page.dashboard.url.startswith("http://[::1]:")
        assert page.ask("/")[0] == 200


# What is sent


def test_a_listener_hears_the_plan_the_history_and_how_it_stands():
    with _serve(tags={"branch": "main"}, verdicts=[verdict()]) as page:
        page.run.watch = SimpleNamespace(series=SimpleNamespace(windows=[window(1.0), window(2.0)]))
        with page.events() as events:
            name, plan = next(events)
            assert (name, plan["id"], plan["name"]) == ("plan", page.run.id, "step")
            assert plan["tags"] == {"branch": "main"}
            assert plan["described"]["execs"] == 2
            name, points = next(events)
            assert name == "history"
            assert [point["at"] for point in points] == [1.0, 2.0]
            assert points[0]["response"] == [1.0, 1.0, 1.0]
            assert points[0]["steps"] == {"a": 1.0}
            name, state = next(events)
            assert (name, state["state"], state["counts"]["due"]) == ("state", "running", 2)
            assert state["thresholds"] == msgspec.to_builtins([verdict()])


def test_a_new_window_is_sent_alone_and_merged_ones_anew(served):
    series = SimpleNamespace(windows=[window(1.0)])
    served.run.watch = SimpleNamespace(series=series)
    with served.events() as events:
        assert until(events, "history", "points")[0] == "history"
        series.windows = [*series.windows, window(2.0), window(3.0, response=durations(count=0))]
        name, points = until(events, "history", "points")
        assert (name, [point["at"] for point in points]) == ("points", [2.0, 3.0])
        assert points[1]["response"] is None
        series.windows = [window(2.0, seconds=2.0), window(3.0)]
        name, points = until(events, "history", "points")
        assert (name, [point["at"] for point in points]) == ("history", [2.0, 3.0])


def test_the_state_follows_the_run(served):
    with served.events() as events:
        assert until(events, "state")[1]["state"] == "running"
        served.run.is_warming_up = True
        assert any(state["state"] == "warming up" for name, state in events if name == "state")
        assert served.stop(f"http://{served.host}") == 204
        assert any(state["state"] == "stopping" for name, state in events if name == "state")


def test_a_stop_drains_and_a_second_one_does_not_wait():
    cancelled = threading.Event()

    def step(ctx, params):
        ctx.sleep(30)
        cancelled.set()

    with Dashboard(ANY_PORT) as dashboard:
        run = WatchedRun(Worker(step, execs_per_tick=1, ticks=1).start())
        dashboard.show(run)
        page = Page(dashboard, run, threading.Event())
        origin = f"http://{page.host}"
        assert page.stop(origin) == 204
        assert not run.wait(0)
        assert page.stop(origin, "?now=1") == 204
        report = run.finish()
    assert report.outcome == "interrupted"


def test_the_end_tells_the_verdict_and_nothing_follows(served):
    with served.events() as events:
        until(events, "state")
        report = served.finish()
        served.dashboard.end(report)
        _, end = until(events, "end")
        assert list(events) == []
    assert (end["state"], end["exit_code"]) == ("passed", 0)
    assert end["accounting"] == report.accounting
    assert end["done"] == end["total"] == 2
    assert end["steps"][0]["ok"] == 2


def test_who_comes_after_the_end_hears_all_of_it(served):
    served.dashboard.end(served.finish())
    with served.events() as events:
        names = [name for name, _ in events]
    assert names == ["plan", "history", "end"]


def test_nobody_who_listens_keeps_the_page_from_ending(served):
    with served.events() as events:
        until(events, "state")
        served.dashboard.__exit__()
        assert [name for name, _ in events if name != "state"] == []


def test_a_listener_that_never_reads_is_let_go_without_a_word(monkeypatch):
    heard = []
    root = logging.Handler()
    root.emit = heard.append
    monkeypatch.setattr(logging.getLogger(), "handlers", [root])
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        with _serve() as page:
            deaf.connect(page.dashboard.address)
            deaf.sendall(f"GET /plotly.min.js HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode())
            assert deaf.recv(4) == b"HTTP"
    assert [record.getMessage() for record in heard] == []


def test_a_run_that_nobody_watches_is_not_looked_at(served):
    served.ask("/")
    assert served.run.looks == 0


def test_many_listeners_share_their_looks_at_the_run(served, monkeypatch):
    monkeypatch.setattr("workermanager.web.feed._FRESH_S", 1_000.0)
    with served.events() as one, served.events() as other:
        for events in (one, other, one, other):
            until(events, "state")
    assert served.run.looks == 1


def test_an_unending_run_has_no_total(calls):
    with Dashboard(ANY_PORT) as dashboard:
        run = WatchedRun(Worker(calls, execs_per_tick=1).start())
        dashboard.show(run)
        page = Page(dashboard, run, threading.Event())
        with page.events() as events:
            assert until(events, "state")[1]["total"] is None
        run.stop()
        page.finish()
