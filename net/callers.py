"""Whom a request comes from, for limits: the connection's address, or what trusted proxies say.

Pure. `X-Forwarded-For` is what anybody can send: each proxy appends the address that it saw, so
only the entries that trusted proxies appended, read from the right, mean anything.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

IP = IPv4Address | IPv6Address
UNKNOWN = "unknown"
#: More hops than any real chain; the rest of a header is a stranger's invention.
MOST_HOPS = 32
#: The part of an IPv6 address that belongs to one customer (bits).
CUSTOMER_BITS = 64
#: Whoever asks is given more for nothing, a /48 of 65,536 such parts: all of one have as much as so
#: many together.
SHARES = 16
#: Bits that say roughly where an address is, by the protocol's version.
_PARTS = {4: 24, 6: 48}


@dataclass(frozen=True)
class Proxies:
    """Which hops in front of us are ours: so many of them (`count`), or those of `networks`."""

    count: int = 0
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Proxies:
        """`2`, or `10.0.0.0/8, ::1`; empty trusts nobody. ValueError names the part that is
        neither."""
        if re.fullmatch(r"\d{1,2}", text.strip()):
            return cls(count=int(text))
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return cls(networks=tuple(ip_network(part) for part in parts))

    def trust(self, hop: IP) -> bool:
        return any(hop in network for network in self.networks if network.version == hop.version)


def caller(remote: str, forwarded: str, proxies: Proxies) -> str:
    """The one to count: an IPv4 address, or the /64 of an IPv6 address (a customer owns it all);
    `unknown` for what is no address.

    `remote` is the connection's other end, `forwarded` all `X-Forwarded-For` values joined by
    commas.
    """
    found = _address(remote)
    if proxies.count or proxies.networks:
        hops = [_address(part) for part in forwarded.split(",")[-MOST_HOPS:]] if forwarded else []
        found = _behind([*hops, found], proxies)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, CUSTOMER_BITS), strict=False))
    return UNKNOWN if found is None else str(found)


def part(who: str) -> str:
    """The network that a `caller` is in, too coarse to name a customer: the /24 of an IPv4 address,
    a /48 of IPv6; "" for what is no address."""
    try:
        found = ip_network(who)
    except ValueError:
        return ""
    return str(found.supernet(new_prefix=_PARTS[found.version]))


def around(who: str) -> str:
    """The /48 that an IPv6 `caller` is in; "" for everything else."""
    return part(who) if who.endswith(f"/{CUSTOMER_BITS}") else ""


def tag(who: str, secret: str) -> str:
    """What stands for somebody in the keys of counters: 32 hex digits that only `secret` makes, so
    that nobody who reads the store learns whom it counts."""
    return hmac.digest(f"callers.tag:{secret}".encode(), who.encode(), "sha256").hex()[:32]


def _behind(hops: list[IP | None], proxies: Proxies) -> IP | None:
    """The nearest hop that is not ours; `hops` runs from the farthest to the connection itself."""
    if proxies.count:
        return hops[max(0, len(hops) - 1 - proxies.count)]
    at = len(hops) - 1
    while at > 0:
        hop = hops[at]
        if hop is None or not proxies.trust(hop) or hops[at - 1] is None:
            break  # an entry that is no address is nobody's: the hop that reported it counts
        at -= 1
    return hops[at]


def _address(text: str) -> IP | None:
    """The address of a hop, also as `1.2.3.4:80`, `[::1]:80` or IPv4 in IPv6; None for others."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
