"""How figures are packed for DogStatsD, and where they go."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instrumentation.errors import InvalidConfig
from workermanager.exports.dogstatsd import DogStatsD, find_receiver, pack, sample_rate

# Where to


@pytest.mark.parametrize(
    ("text", "env", "shown"),
    [
        ("127.0.0.1:9125", {}, "127.0.0.1:9125"),
        ("127.0.0.1", {}, "127.0.0.1:8125"),
        ("udp://127.0.0.1:9125", {}, "127.0.0.1:9125"),
        ("[::1]:9125", {}, "[::1]:9125"),
        ("unix:///var/run/dsd.socket", {}, "unix:///var/run/dsd.socket"),
        ("unixgram:///var/run/dsd.socket", {}, "unix:///var/run/dsd.socket"),
        ("", {}, "127.0.0.1:8125"),
        ("", {"DD_AGENT_HOST": "127.0.0.2"}, "127.0.0.2:8125"),
        ("", {"DD_AGENT_HOST": "::1"}, "[::1]:8125"),
        ("", {"DD_AGENT_HOST": "127.0.0.2", "DD_DOGSTATSD_PORT": "9"}, "127.0.0.2:9"),
        ("", {"DD_DOGSTATSD_URL": "udp://127.0.0.3:7", "DD_AGENT_HOST": "x"}, "127.0.0.3:7"),
        ("", {"DD_DOGSTATSD_URL": "unix:///a.socket"}, "unix:///a.socket"),
        ("127.0.0.1:9125", {"DD_DOGSTATSD_URL": "unix:///a.socket"}, "127.0.0.1:9125"),
    ],
)
def test_the_flag_goes_before_the_environment(text, env, shown):
    assert str(find_receiver(text, env)) == shown


@pytest.mark.parametrize(
    ("text", "env", "complaint"),
    [
        ("tcp://127.0.0.1:1", {}, "--statsd: 'tcp://127.0.0.1:1': a receiver is HOST:PORT"),
        ("127.0.0.1:x", {}, "--statsd: '127.0.0.1:x': a port is a number"),
        ("unix://a.socket", {}, "a socket's path is absolute"),
        ("unix:///" + "a" * 107, {}, "has at most 107 bytes"),
        ("", {"DD_DOGSTATSD_URL": "http://a"}, "DD_DOGSTATSD_URL: 'http://a': a receiver is"),
        ("", {"DD_DOGSTATSD_PORT": "x"}, "DD_AGENT_HOST and DD_DOGSTATSD_PORT: '127.0.0.1:x'"),
        ("no.such.host.invalid:1", {}, "no.such.host.invalid is unknown"),
    ],
)
def test_what_is_no_receiver_is_refused_before_the_run(text, env, complaint):
    with pytest.raises(InvalidConfig, match=re.escape(complaint)):
        DogStatsD(text, env)


# Datagrams


@given(st.integers(1, 10**12))
@example(10**9)
def test_a_rate_gives_back_exactly_its_count(count):
    rate = sample_rate(count)
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", rate)
    assert int(1 / float(rate)) == count
    assert 1 / float(rate) == pytest.approx(count, rel=2e-6)


def test_rates_are_short_where_they_can_be():
    assert [sample_rate(count) for count in (1, 2, 100, 1_000_000)] == [
        "1",
        "0.5",
        "0.01",
        "0.000001",
    ]


@given(st.lists(st.text(max_size=30), max_size=60), st.integers(40, 200))
def test_packing_keeps_every_line_that_fits_and_no_datagram_too_large(texts, most):
    datagrams = list(pack(texts, most))
    fitting = [text.encode(errors="replace") for text in texts]
    fitting = [line for line in fitting if len(line) <= most]
    assert b"\n".join(datagrams) == b"\n".join(fitting)
    assert all(len(datagram) <= most for datagram in datagrams)
    for first, second in pairwise(datagrams):
        head = second.split(b"\n")[0]
        assert len(first) + 1 + len(head) > most, "there was room for another line"


def test_a_line_larger_than_a_datagram_is_left_out():
    assert list(pack(["a", "b" * 41, "c"], 40)) == [b"a\nc"]
