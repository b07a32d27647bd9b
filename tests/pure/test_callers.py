"""Whom limits count: not the proxy, and not whom a header only claims to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.callers import UNKNOWN, Proxies, around, caller, part

NOBODY = Proxies()
ONE = Proxies.parse("1")
TWO = Proxies.parse("2")
OURS = Proxies.parse("127.0.0.1, 10.0.0.0/8, ::1, fd00::/8")


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "counted"),
    [
        # Nobody is trusted: the header is a claim.
        (NOBODY, "192.0.2.1", "", "192.0.2.1"),
        (NOBODY, "192.0.2.1", "198.51.100.1", "192.0.2.1"),
        # One proxy: its entry is the last one, whatever stands before it.
        (ONE, "127.0.0.1", "198.51.100.1", "198.51.100.1"),
        (ONE, "127.0.0.1", "1.1.1.1, 2.2.2.2, 198.51.100.1", "198.51.100.1"),
        (ONE, "", "198.51.100.1", "198.51.100.1"),  # the proxy comes through a unix socket
        (ONE, "192.0.2.1", "", "192.0.2.1"),  # past the proxy
        (ONE, "127.0.0.1", "1.1.1.1, nonsense", UNKNOWN),
        (TWO, "10.0.0.2", "1.1.1.1, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (TWO, "10.0.0.2", "198.51.100.1", "198.51.100.1"),  # past the outer one
        # Known networks: from the right, past ours.
        (OURS, "10.0.0.2", "1.1.1.1, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (OURS, "192.0.2.1", "198.51.100.1", "192.0.2.1"),  # a stranger pretends to be a proxy
        (OURS, "::1", "10.9.9.9, 10.0.0.1", "10.9.9.9"),  # a visitor inside our network
        (OURS, "::ffff:10.0.0.2", "198.51.100.1:4711", "198.51.100.1"),
        (OURS, "fd00::1", "[2001:db8::7]:443", "2001:db8::/64"),
        (OURS, "10.0.0.2", "198.51.100.1, garbage", "10.0.0.2"),
        (OURS, "10.0.0.2", ",,,", "10.0.0.2"),
        # What one customer owns counts as one.
        (NOBODY, "2001:db8::1", "", "2001:db8::/64"),
        (NOBODY, "2001:db8::ffff:2", "", "2001:db8::/64"),
        (NOBODY, "2001:db8:0:1::1", "", "2001:db8:0:1::/64"),
        (NOBODY, "fe80::1%eth0", "", "fe80::/64"),
        (NOBODY, "::ffff:192.0.2.1", "", "192.0.2.1"),
        (NOBODY, "", "", UNKNOWN),
        (NOBODY, "/run/socket", "", UNKNOWN),
    ],
)
def test_who_is_counted(proxies: Proxies, remote: str, forwarded: str, counted: str) -> None:
    assert caller(remote, forwarded, proxies) == counted


@given(st.text(), st.text(alphabet="0123456789abcdef.:[], %"))
def test_what_a_stranger_puts_before_our_entry_changes_nothing(junk: str, more: str) -> None:
    """Neither breaks it nor names somebody else."""
    for proxies, remote in ((ONE, "127.0.0.1"), (OURS, "10.0.0.2")):
        for claim in (junk, more):
            assert caller(remote, f"{claim}, 198.51.100.1", proxies) == "198.51.100.1"
            assert caller("192.0.2.1", claim, OURS) == "192.0.2.1"
            assert isinstance(caller(claim, claim, proxies), str)


@pytest.mark.parametrize("text", ["-1", "10.0.0.1/8", "example.org", "1, 2", "300.0.0.1", "100"])
def test_a_list_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Proxies.parse(text)


@pytest.mark.parametrize(
    ("who", "where"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        (UNKNOWN, ""),
    ],
)
def test_a_part_of_an_address_names_nobody(who: str, where: str) -> None:
    assert part(who) == where
    assert around(who) == ("" if who.endswith(".7") else where) and around(where) == ""
