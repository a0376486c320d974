"""What a DogStatsD receiver gets adds up to what a run counted, over real sockets."""

import re
import select
import socket
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

from workermanager import Instrumentation, Retry, Step, Worker
from workermanager.exports.dogstatsd import DogStatsD, lines, pack
from workermanager.histogram import Histogram
from workermanager.telemetry import ErrorFigures, Figures, StepFigures

LABELS = {"name": "seeding", "id": "run-1", "env": "test"}
LINE = re.compile(
    r"(?P<name>[a-zA-Z_][a-zA-Z0-9_.]*):(?P<value>-?[0-9.e+-]+)\|(?P<type>[cgh])"
    r"(?:\|@(?P<rate>[0-9.]+))?(?:\|#(?P<tags>[^|#\n]+))?"
)


class Receiver:
    """A socket that keeps every datagram."""

    def __init__(self, family=socket.AF_INET, address=("127.0.0.1", 0)):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self.socket.bind(address)
        self.socket.settimeout(0)
        self.address = self.socket.getsockname()
        self._early = []
        self._is_over = threading.Event()

    @contextmanager
    def reading(self):
        """Take datagrams meanwhile, as an agent does: the queue of a unix socket is short."""
        reader = threading.Thread(target=self._read)
        reader.start()
        try:
            yield
        finally:
            self._is_over.set()
            reader.join()

    def _read(self):
        while not self._is_over.is_set():
            if select.select([self.socket], [], [], 0.01)[0]:
                self._early.append(self.socket.recv(65_536))

    def take(self):
        """All datagrams that have come so far: on loopback, all that were sent."""
        found, self._early = self._early, []
        while True:
            try:
                found.append(self.socket.recv(65_536))
            except BlockingIOError:
                return found

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.socket.close()


@pytest.fixture
def receiver():
    with Receiver() as udp:
        yield udp


def to(receiver):
    return DogStatsD("{}:{}".format(*receiver.address), env={})


def parse(datagrams):
    """Every line, as (name, value, type, weight, tags): what is not exactly one is an error."""
    parsed = []
    for datagram in datagrams:
        for line in datagram.decode().split("\n"):
            match = LINE.fullmatch(line)
            assert match, f"no line of DogStatsD: {line!r}"
            rate = float(match["rate"] or 1)
            assert 0 < rate <= 1
            tags = dict(tag.split(":", 1) for tag in (match["tags"] or "").split(",") if tag)
            value = float(match["value"])
            parsed.append((match["name"], value, match["type"], int(1 / rate), tags))
    return parsed


def weights_by(parsed, name, tag):
    """How often each value of a tag was seen, and the sum of what was measured."""
    seen, total = Counter(), defaultdict(float)
    for found, value, kind, weight, tags in parsed:
        if found == name:
            assert kind == "h"
            seen[tags[tag]] += weight
            total[tags[tag]] += value * weight
    return seen, total


def counted(parsed, name):
    return sum(value for found, value, kind, _, _ in parsed if (found, kind) == (name, "c"))


def empty_figures(**changes):
    names = ("due", "running", "queued", "ok", "failed", "dropped", "expired", "interrupted")
    facts = {
        "counts": dict.fromkeys(names, 0),
        "elapsed_ns": 0,
        "tick": 0,
        "steps": {},
        "errors": [],
        "rows": {},
        "database": None,
    }
    histograms = {name: Histogram() for name in ("lag", "service", "response")}
    return Figures(**{**facts, **histograms, **changes})


def failing_chain():
    def quick(ctx, params):
        if ctx.n % 50 == 0:
            raise KeyError(ctx.n)

    def flaky(ctx, params):
        if ctx.n % 20 == 1 and ctx.attempt == 1:
            raise OSError("again")

    retry = Retry(attempts=3, base=0)
    return Instrumentation(func_dispatcher=quick, nested_callback=Step(flaky, retry=retry))


def run_and_send(observer, execs=400, ticks=12):
    run = Worker(
        failing_chain(), execs_per_tick=execs, ticks=ticks, tick_duration="100ms", threads=4
    ).start()
    observer.attach(LABELS)
    run.watch.tell(observer)
    run.finish()
    observer.close()
    return run.figures()


def agrees(parsed, figures):
    seen, total = weights_by(parsed, "execution_time", "func_name")
    assert seen == {name: step.service.count for name, step in figures.steps.items()}
    for name, step in figures.steps.items():
        assert total[name] / seen[name] == pytest.approx(step.service.mean / 1e6, rel=0.01)
    errors = Counter()
    for name, value, kind, _, tags in parsed:
        if name == "execution_error":
            assert kind == "c"
            errors[tags["func_name"], tags["error"]] += value
    assert errors == {(kind.step, kind.type): kind.count for kind in figures.errors}
    for name in ("due", "ok", "failed", "dropped", "expired", "interrupted"):
        assert counted(parsed, f"workermanager.{name}") == figures.counts[name]
    retried = sum(step.retried for step in figures.steps.values())
    assert counted(parsed, "execution_retry") == retried > 0


# Runs


def test_what_arrives_over_udp_adds_up_to_the_runs_figures(receiver):
    statsd = to(receiver)
    with receiver.reading():
        figures = run_and_send(statsd)
    datagrams = receiver.take()
    parsed = parse(datagrams)
    assert figures.counts["failed"] == 96
    agrees(parsed, figures)
    assert max(map(len, datagrams)) <= 1_432
    assert len(parsed) < figures.counts["due"], "a line for each exec is what this must not be"
    assert statsd.lost == 0


def test_what_arrives_at_a_unix_socket_adds_up_too(tmp_path):
    path = str(tmp_path / "dsd.socket")
    with Receiver(socket.AF_UNIX, path) as receiver:
        statsd = DogStatsD(f"unix://{path}", env={})
        with receiver.reading():
            figures = run_and_send(statsd, execs=100, ticks=5)
        datagrams = receiver.take()
    agrees(parse(datagrams), figures)
    assert 1_432 < max(map(len, datagrams)) <= 8_192
    assert statsd.lost == 0


def test_every_line_says_which_run_it_is(receiver):
    with to(receiver) as statsd:
        statsd.attach(LABELS)
        statsd(empty_figures(rows={"users": 3}))
        parsed = parse(receiver.take())
    assert ("workermanager.rows", 3, "c") in [line[:3] for line in parsed]
    for _, _, _, _, tags in parsed:
        assert tags.items() >= {"run_name": "seeding", "run_id": "run-1", "env": "test"}.items()


def test_levels_are_sent_as_they_stand(receiver):
    figures = empty_figures()
    figures.counts |= {"running": 3, "queued": 7}
    with to(receiver) as statsd:
        statsd(figures)
        statsd(figures)
        parsed = parse(receiver.take())
    levels = [(name, value) for name, value, kind, _, _ in parsed if kind == "g"]
    assert levels == [("workermanager.running", 3), ("workermanager.queued", 7)] * 2


# Receivers that do not receive


def closed_port():
    with Receiver() as receiver:
        return receiver.address[1]


def test_an_absent_receiver_is_told_of_once_and_ends_nothing(warnings):
    port = closed_port()
    statsd = DogStatsD(f"127.0.0.1:{port}", env={})
    figures = run_and_send(statsd, execs=50, ticks=2)
    statsd(figures)
    statsd.close()
    assert figures.counts["due"] == 100
    assert statsd.lost > 1
    (line,) = warnings
    assert line == (
        f"--statsd: 127.0.0.1:{port} does not take what it is sent (Connection refused); "
        "it is tried again"
    )


def test_a_single_refused_datagram_is_noticed_at_once():
    with DogStatsD(f"127.0.0.1:{closed_port()}", env={}) as statsd:
        statsd(empty_figures())
        assert statsd.lost == 1


def test_every_refused_datagram_is_counted():
    figures = empty_figures(errors=[ErrorFigures(f"step {n}", "E", 1, "") for n in range(200)])
    datagrams = list(pack(lines(None, figures, ""), 1_432))
    assert len(datagrams) > 3
    with DogStatsD(f"127.0.0.1:{closed_port()}", env={}) as statsd:
        statsd(figures)
        assert statsd.lost == len(datagrams)


def test_a_receiver_that_comes_late_gets_what_happens_from_then_on():
    first, second = empty_figures(rows={"users": 1}), empty_figures(rows={"users": 5})
    port = closed_port()
    with DogStatsD(f"127.0.0.1:{port}", env={}) as statsd:
        statsd(first)
        with Receiver(address=("127.0.0.1", port)) as receiver:
            statsd(second)
            assert counted(parse(receiver.take()), "workermanager.rows") == 4
        assert statsd.lost == 1


def test_an_absent_unix_socket_is_tried_again_at_every_look(tmp_path, warnings):
    path = str(tmp_path / "dsd.socket")
    with DogStatsD(f"unix://{path}", env={}) as statsd:
        statsd(empty_figures())
        with Receiver(socket.AF_UNIX, path) as receiver:
            statsd(empty_figures(rows={"users": 2}))
            assert counted(parse(receiver.take()), "workermanager.rows") == 2
        Path(path).unlink()
        statsd(empty_figures())
        with Receiver(socket.AF_UNIX, path) as receiver:
            statsd(empty_figures(rows={"users": 3}))
            assert receiver.take()
    assert statsd.lost == 2
    assert len(warnings) == 1


def test_a_full_unix_socket_loses_what_it_has_no_room_for(tmp_path, warnings):
    path = str(tmp_path / "dsd.socket")
    with Receiver(socket.AF_UNIX, path) as receiver, DogStatsD(f"unix://{path}", env={}) as statsd:
        receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        for _ in range(600):
            statsd(empty_figures())
            if statsd.lost:
                break
        received = len(receiver.take())
        assert 0 < received < 600
    assert statsd.lost == 1
    assert len(warnings) == 1
    assert "full" in warnings[0] or "timed out" in warnings[0]


# Lines


def test_a_name_cannot_forge_tags_or_lines():
    step = StepFigures()
    step.service.record(1_000_000)
    figures = empty_figures(
        steps={"bad|c\nname,admin:yes#": step},
        errors=[ErrorFigures("bad|c\nname", "a,b", 2, "why")],
    )
    parsed = parse(pack(lines(None, figures, ""), 1_432))
    times = [tags for name, _, _, _, tags in parsed if name == "execution_time"]
    errors = [tags for name, _, _, _, tags in parsed if name == "execution_error"]
    assert times == [{"func_name": "bad_c_name_admin:yes_"}]
    assert errors == [{"func_name": "bad_c_name", "error": "a_b"}]


def test_steps_that_timed_out_are_counted_by_their_names():
    before, now = (StepFigures(retried=timed_out, timed_out=timed_out) for timed_out in (2, 5))
    sent = [*lines(None, empty_figures(steps={"pay": before}), "")]
    sent += lines(empty_figures(steps={"pay": before}), empty_figures(steps={"pay": now}), "")
    late = [one for one in sent if one.startswith("execution_timeout")]
    assert late == ["execution_timeout:2|c|#func_name:pay", "execution_timeout:3|c|#func_name:pay"]


def test_only_what_is_new_is_sent():
    step = StepFigures()
    for _ in range(3):
        step.service.record(5_000_000)
    earlier = empty_figures(steps={"first": StepFigures()}, rows={"users": 4})
    now = empty_figures(steps={"first": step}, rows={"users": 4})
    assert [line for line in lines(earlier, now, "") if not line.endswith("|g")] == [
        "execution_time:5.01344|h|@0.3333333|#func_name:first"
    ]
    assert [line for line in lines(now, now, "") if not line.endswith("|g")] == []
