"""Addresses as people write them."""

import pytest

from instrumentation.errors import InvalidConfig
from workermanager.exports.addresses import format_address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("here.example:80", ("here.example", 80)),
        ("[::1]:9464", ("::1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
    ],
)
def test_a_port_may_have_a_host(text, address):
    assert parse_address(text, "--prometheus", host="127.0.0.1") == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("agent", ("agent", 8125)),
        ("agent:9125", ("agent", 9125)),
        ("[::1]", ("::1", 8125)),
        ("[::1]:9125", ("::1", 9125)),
    ],
)
def test_a_host_may_have_a_port(text, address):
    assert parse_address(text, "--statsd", port=8125) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is no address; write [HOST:]PORT"),
        ("here:", "'here:' is no address; write [HOST:]PORT"),
        ("here:ninety", "'here:ninety': a port is a number from 0 to 65535; write [HOST:]PORT"),
        ("-1", "'-1': a port is a number from 0 to 65535; write [HOST:]PORT"),
        ("70000", "'70000': a port is a number from 0 to 65535; write [HOST:]PORT"),
        ("²", "'²': a port is a number from 0 to 65535; write [HOST:]PORT"),
        ("::1:80", "'::1:80': an IPv6 address stands in brackets: [::1]:9464"),
    ],
)
def test_what_is_no_address_is_refused_with_its_name(text, complaint):
    with pytest.raises(InvalidConfig) as refusal:
        parse_address(text, "--prometheus", host="127.0.0.1")
    assert str(refusal.value) == f"--prometheus: {complaint}"


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80), ("here", 0)])
def test_an_address_is_read_as_it_is_written(address):
    assert parse_address(format_address(*address), "--statsd") == address
