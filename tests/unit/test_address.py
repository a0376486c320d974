import pytest

from instrumentation.errors import InvalidConfig
from workermanager.web.address import Address, bind, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0", ("127.0.0.1", 0)),
        ("localhost:80", ("localhost", 80)),
        ("192.168.1.7:8080", ("192.168.1.7", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("Db-1.Example:65535", ("db-1.example", 65535)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text, address):
    assert parse_address(text, "--dashboard") == address


@pytest.mark.parametrize("text", ["", "x", "8080x", "65536", "-1", "host:", "1:²", "a b:80"])
def test_what_is_no_address_is_refused_on_one_line(text):
    with pytest.raises(InvalidConfig, match=r"^--dashboard: .*write") as refusal:
        parse_address(text, "--dashboard")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", ":80", "::", "*:80", "[0:0::0]:80"])
def test_a_wildcard_is_refused_because_no_browser_goes_there(text):
    with pytest.raises(InvalidConfig, match="name the one that the page is reached at"):
        parse_address(text, "--dashboard")


@pytest.mark.parametrize("host", ["0", "0x0", "0.0"])
def test_a_wildcard_in_disguise_is_refused_where_it_would_be_listened_at(host):
    with pytest.raises(InvalidConfig, match="name the one that the page is reached at"):
        bind(Address(host, 0), "--dashboard")


def test_a_host_that_is_not_here_is_refused():
    with pytest.raises(InvalidConfig, match=r"cannot listen at 192\.0\.2\.1:0: Cannot assign"):
        bind(Address("192.0.2.1", 0), "--dashboard")
