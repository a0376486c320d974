"""systemd's end of the protocol is a datagram socket: what arrives there is what is tested."""

import os
import secrets
import socket
import sys
import threading
import time

import pytest
from loguru import logger

from workermanager import Scheduler, every
from workermanager.scheduler.notify import Notifier


@pytest.fixture
def systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


@pytest.fixture
def debugged():
    """What the notifier logs, line by line."""
    lines = []
    logger.enable("workermanager")
    sink = logger.add(
        lambda message: lines.append(message.record["message"]),
        level="DEBUG",
        filter="workermanager.scheduler.notify",
    )
    yield lines
    logger.remove(sink)
    logger.disable("workermanager")


def environment(listening, **more):
    return {"NOTIFY_SOCKET": listening.getsockname(), **more}


def test_each_word_is_a_datagram_of_its_own(systemd):
    notifier = Notifier.from_environment(environment(systemd))
    notifier.ready()
    notifier.status("3 schedules\nnext in 5 s")
    notifier.alive()
    notifier.stopping()
    received = [systemd.recv(4096) for _ in range(4)]
    assert received == [b"READY=1", b"STATUS=3 schedules next in 5 s", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_written_with_an_at():
    name = f"workermanager-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(10)
        Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(64) == b"READY=1"


def test_without_systemd_nothing_happens(debugged):
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.alive()
    assert notifier.interval_s is None
    assert debugged == []


def test_only_the_environment_that_was_given_is_read(systemd, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    Notifier.from_environment({}).ready()
    systemd.settimeout(0)
    with pytest.raises(BlockingIOError):
        systemd.recv(64)


@pytest.mark.parametrize(
    ("watchdog", "interval"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "3s"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_told_twice_as_often_as_it_asks(systemd, watchdog, interval):
    assert Notifier.from_environment(environment(systemd, **watchdog)).interval_s == interval


@pytest.mark.parametrize("address", ["relative/path", "vsock:2:1234", ""])
def test_an_address_that_is_none_of_this_machine_is_nobody(address):
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    notifier.ready()
    assert notifier.interval_s is None


@pytest.mark.parametrize("path", ["/nowhere/at/all", f"/{'x' * 200}"])
def test_a_socket_that_cannot_be_reached_is_a_line_in_the_debug_log(debugged, path):
    Notifier.from_environment({"NOTIFY_SOCKET": path}).ready()
    (line,) = debugged
    assert line.startswith("systemd was not told READY=1: ")


def test_a_systemd_that_does_not_read_holds_nobody_up(systemd, debugged):
    notifier = Notifier.from_environment(environment(systemd))
    begun = time.monotonic()
    while not debugged:  # until its queue is full
        notifier.alive()
        assert time.monotonic() - begun < 10
    assert debugged == [
        "systemd was not told WATCHDOG=1: BlockingIOError(11, '" + os.strerror(11) + "')"
    ]


def test_a_full_queue_that_is_read_from_again_still_hears_of_the_end(systemd):
    filled = fill(systemd.getsockname())
    notifier = Notifier.from_environment(environment(systemd))
    stopping = threading.Thread(target=notifier.stopping)
    stopping.start()
    received = [systemd.recv(64) for _ in range(filled + 1)]
    stopping.join()
    assert received == [*[b"X=1"] * filled, b"STOPPING=1"]


def fill(address):
    """Send until nothing more fits; how many that were."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.settimeout(0)
        for sent in range(1_000_000):
            try:
                other.sendto(b"X=1", address)
            except BlockingIOError:
                return sent
    raise AssertionError("it never fills up")


def test_a_scheduler_says_that_it_is_ready_what_it_keeps_and_that_it_drains(systemd, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    scheduler = Scheduler()
    scheduler.add(lambda ctx, params: None, every("1h"), name="job")
    with scheduler:
        assert [systemd.recv(64) for _ in range(2)] == [b"READY=1", b"STATUS=1 schedules"]
    told = [systemd.recv(64) for _ in range(2)]
    assert told == [b"STOPPING=1", b"STATUS=draining: 0 fires run"]
