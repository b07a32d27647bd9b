"""Where a stranger's URL may lead."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.addresses import Policy, allowed, parse
from net.errors import BadUrl, NetError, Refused

PUBLIC = Policy()
DEVNET = Policy(allow_private=True)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://provider.example", ("http", "provider.example", 80), "/"),
        ("https://Provider.Example:8443/a/b?c=d", ("https", "provider.example", 8443), "/a/b?c=d"),
        ("https://93.184.216.34/x", ("https", "93.184.216.34", 443), "/x"),
        (
            "http://[2606:2800:220:1:248:1893:25c8:1946]:8080",
            ("http", "2606:2800:220:1:248:1893:25c8:1946", 8080),
            "/",
        ),
        ("https://xn--bcher-kva.example./", ("https", "xn--bcher-kva.example", 443), "/"),
    ],
)
def test_public_urls_are_read(url: str, origin: tuple[str, str, int], path: str) -> None:
    target = parse(url, PUBLIC)
    assert target.origin == origin
    assert target.path == path
    assert parse(target.url, PUBLIC) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "provider.example",
        "//provider.example",
        "ftp://provider.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://127.0.0.1:6379/_",
        "http://",
        "http:///path",
        "http://user@provider.example",
        "http://user:password@provider.example",
        "http://@provider.example",
        "http://a.example\\@b.example",
        "http://a.example\r\nHost: b.example",
        "http://a.example/ b",
        "http://a.example/\t",
        "http://a.example/<script>",
        "http://a.example#fragment",
        "http://bücher.example",
        "http://a..example",
        "http://-a.example",
        "http://a.example:99999",
        "http://a.example:x",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://a_very_long_label" + "x" * 64 + ".example",
        "http://a.example/" + "x" * 3000,
        # numbers that some libraries read as addresses
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.1",
        "http://127.1",
        "http://0177.0.0.1",
        "http://127.0.0.0x1",
        "http://1.2.3.4.5",
        "http://256.1.1.1",
        "http://0x",
    ],
)
@pytest.mark.parametrize("policy", [PUBLIC, DEVNET])
def test_odd_urls_are_refused_under_every_policy(url: str, policy: Policy) -> None:
    with pytest.raises((BadUrl, Refused)):
        parse(url, policy)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 111, 389, 445, 993, 1023])
def test_ports_of_other_services_are_refused(port: int) -> None:
    with pytest.raises(Refused):
        parse(f"http://provider.example:{port}", DEVNET)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2606:4700::1111%1",  # a zone names one of our own interfaces
    ],
)
def test_addresses_that_no_provider_has(text: str) -> None:
    assert not allowed(ip_address(text), PUBLIC)
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(Refused):
        parse(f"http://{host}:8080", PUBLIC)


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd12::1", "::ffff:127.0.0.1"]
)
def test_a_devnet_may_use_private_addresses(text: str) -> None:
    assert allowed(ip_address(text), DEVNET)
    assert not allowed(ip_address(text), PUBLIC)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "fe80::1", "ff02::1"],
)
def test_some_addresses_are_refused_even_there(text: str) -> None:
    assert not allowed(ip_address(text), DEVNET)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "db.internal", "nas.local"]
)
def test_names_of_private_networks_need_the_devnet(host: str) -> None:
    with pytest.raises(Refused):
        parse(f"http://{host}:8080", PUBLIC)
    parse(f"http://{host}:8080", DEVNET)


@given(st.integers(0, 2**32 - 1))
def test_every_disguise_is_judged_like_the_plain_address(number: int) -> None:
    plain = IPv4Address(number)
    for disguise in (
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address((0x64_FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | number << 80),
    ):
        assert allowed(disguise, PUBLIC) == allowed(plain, PUBLIC)
    if allowed(plain, PUBLIC):
        assert plain.is_global


@given(st.text(max_size=60))
def test_no_text_surprises_the_parser(text: str) -> None:
    for url in (text, f"http://{text}", f"http://a.example/{text}", f"http://a.example:{text}"):
        try:
            target = parse(url, PUBLIC)
        except NetError:
            continue
        assert target.scheme in ("http", "https")
        assert target.literal is None or target.literal.is_global
