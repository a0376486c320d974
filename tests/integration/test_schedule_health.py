"""Real requests to a real endpoint, some of them from clients that do not behave."""

import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

from workermanager import InvalidConfig
from workermanager.scheduler import health
from workermanager.scheduler.health import Health, HealthState

WELL = HealthState(
    is_live=True, is_ready=True, document={"running": 2, "next": "backup, 02:30 Uhr"}
)


class State:
    """What the endpoint is told, changed by the test."""

    def __init__(self):
        self.now = WELL

    def __call__(self):
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


@pytest.fixture
def state():
    return State()


@pytest.fixture
def endpoint(state):
    with Health("0", state) as endpoint:
        yield endpoint


def place(endpoint):
    parts = urlsplit(endpoint.url)
    return parts.hostname, parts.port


def ask(endpoint, path, method="GET"):
    connection = http.client.HTTPConnection(*place(endpoint), timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def status(endpoint, path, method="GET"):
    return ask(endpoint, path, method)[0]


def test_what_is_well_answers_200(endpoint):
    assert ask(endpoint, "/live")[:2] == (200, "live\n")
    assert ask(endpoint, "/ready")[:2] == (200, "ready\n")
    assert status(endpoint, "/health") == 200


@pytest.mark.parametrize(
    ("is_live", "is_ready", "statuses"),
    [(True, False, (200, 503, 503)), (False, True, (503, 200, 503)), (False, False, (503,) * 3)],
)
def test_what_is_not_answers_503(endpoint, state, is_live, is_ready, statuses):
    state.now = HealthState(is_live=is_live, is_ready=is_ready, document={})
    assert tuple(status(endpoint, path) for path in ("/live", "/ready", "/health")) == statuses


def test_health_is_the_whole_state_as_json(endpoint):
    _, text, headers = ask(endpoint, "/health")
    assert json.loads(text) == {"live": True, "ready": True, **WELL.document}
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"


def test_a_head_is_the_same_without_its_body(endpoint, state):
    for path in ("/live", "/health", "/nothing"):
        whole, head = raw(endpoint, f"GET {path} HTTP/1.1"), raw(endpoint, f"HEAD {path} HTTP/1.1")
        assert head == whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    state.now = HealthState(is_live=False, is_ready=False, document={})
    assert status(endpoint, "/live", "HEAD") == 503


def raw(endpoint, line):
    """Everything that is sent for a request: http.client would drop what should not be there."""
    with socket.create_connection(place(endpoint), timeout=10) as client:
        client.sendall(f"{line}\r\nHost: here\r\n\r\n".encode())
        return client.makefile("rb").read()


def test_the_length_of_a_body_is_in_bytes(endpoint, state):
    state.now = HealthState(is_live=True, is_ready=True, document={"next": "Müll, 02:30"})
    head, _, body = raw(endpoint, "GET /health HTTP/1.1").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert json.loads(body)["next"] == "Müll, 02:30"


def test_a_query_does_not_matter(endpoint):
    assert status(endpoint, "/live?from=probe") == 200


@pytest.mark.parametrize("path", ["/", "/live/", "/liveness", "/health.json", "*", "//live"])
def test_anything_else_is_404(endpoint, path):
    assert status(endpoint, path) == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "get"])
def test_any_other_method_is_404(endpoint, method):
    assert status(endpoint, "/live", method) == 404


def test_a_check_that_fails_is_500_and_the_next_one_is_answered(endpoint, state):
    state.now = ValueError("no such thing")
    assert ask(endpoint, "/live")[:2] == (500, "the check failed\n")
    state.now = WELL
    assert status(endpoint, "/live") == 200


def test_a_document_that_is_no_json_is_500(endpoint, state):
    state.now = HealthState(is_live=True, is_ready=True, document={"next": object()})
    assert status(endpoint, "/health") == 500
    assert status(endpoint, "/live") == 200


def test_garbage_is_404_or_nothing_and_the_next_one_is_answered(endpoint):
    for sent in (b"\r\n\r\n", b"\x00\xff" * 50 + b"\r\n\r\n", b"GET\r\n\r\n", b"", b"GET /live"):
        with socket.create_connection(place(endpoint), timeout=10) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            received = client.makefile("rb").read()
        assert received.startswith(b"HTTP/1.1 404 ") or not received
    assert status(endpoint, "/live") == 200


def test_a_request_in_many_pieces_is_one(endpoint):
    with socket.create_connection(place(endpoint), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /live HTTP/1.1\r\nHost: here\r\n\r\n":
            client.sendall(bytes((byte,)))
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")


def test_silent_clients_keep_nobody_waiting_and_take_no_thread(endpoint, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE_S", 3_600)
    threads = threading.active_count()
    silent = [socket.create_connection(place(endpoint), timeout=10) for _ in range(200)]
    try:
        assert status(endpoint, "/live") == 200
        assert threading.active_count() == threads
        assert silent[0].recv(1) == b"", "the oldest made room for the newest"
        silent[-1].sendall(b"GET /live HTTP/1.1\r\n\r\n")
        assert silent[-1].recv(12) == b"HTTP/1.1 200", "who is not among the oldest is served"
    finally:
        for client in silent:
            client.close()


def test_a_client_that_takes_too_long_is_let_go(endpoint, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE_S", 0.05)
    with socket.create_connection(place(endpoint), timeout=10) as client:
        client.sendall(b"GET /live HTTP/1.1\r\n")
        assert client.recv(1) == b""


def test_a_silent_client_does_not_hold_up_the_end(state, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE_S", 3_600)
    with Health("0", state) as endpoint:
        client = socket.create_connection(place(endpoint), timeout=10)
        assert status(endpoint, "/live") == 200
    with client:
        assert client.recv(1) == b""


def test_the_port_is_taken_from_the_beginning_and_given_back(state):
    first = Health("127.0.0.1:0", state, name="--health")
    _, port = place(first)
    with pytest.raises(InvalidConfig) as refused:
        Health(str(port), state, name="--health")
    assert str(refused.value) == (
        f"--health: cannot listen at 127.0.0.1:{port}: Address already in use"
    )
    first.close()
    with Health(str(port), state) as second:
        assert status(second, "/live") == 200


def test_who_asks_before_the_start_is_answered_after_it(state):
    endpoint = Health("0", state)
    with socket.create_connection(place(endpoint), timeout=10) as client:
        client.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
        with endpoint:
            assert client.makefile("rb").read().endswith(b"ready\n")


def test_it_is_bound_to_loopback_unless_told_otherwise(state):
    with Health("0", state) as endpoint:
        assert endpoint.url.startswith("http://127.0.0.1:")
    with Health("[::1]:0", state) as endpoint:
        assert endpoint.url.startswith("http://[::1]:")
        assert status(endpoint, "/live") == 200


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("no-port:", "--health: 'no-port:' is no address; write [HOST:]PORT"),
        (
            "192.0.2.1:80",
            "--health: cannot listen at 192.0.2.1:80: Cannot assign requested address",
        ),
        ("99999", "--health: '99999': a port is a number from 0 to 65535; write [HOST:]PORT"),
    ],
)
def test_an_address_that_will_not_do_is_refused(state, address, message):
    with pytest.raises(InvalidConfig) as refused:
        Health(address, state, name="--health")
    assert str(refused.value) == message


def test_many_at_once_are_all_answered(endpoint):
    answers = []

    def probe():
        answers.extend(status(endpoint, "/ready") for _ in range(20))

    probes = [threading.Thread(target=probe) for _ in range(8)]
    for one in probes:
        one.start()
    for one in probes:
        one.join()
    assert answers == [200] * 160
