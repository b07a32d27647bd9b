"""Which hosts a stranger's URL may lead to. Pure: the caller resolves names and asks about every
address.

A provider's URL is text that anybody can put on chain. Without this module
`http://169.254.169.254/` or a name that resolves to 127.0.0.1 would turn the site into a proxy to
its own network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from net.errors import BadUrl, Refused

IP = IPv4Address | IPv6Address
MAX_URL_LENGTH = 2048
_WEB_PORTS = frozenset({80, 443})
_HOST = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?"
)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
# IPv6 ranges that carry an IPv4 address which the packet may finally reach: the position of those
# 32 bits from the right.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::/96"), 0),  # IPv4-compatible, deprecated
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (SIIT)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
# Not covered by `is_global`, but never a provider.
_NEVER_V4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud keeps its metadata host here
    IPv4Network("168.63.129.16/32"),  # a cloud's wire server: looks public, is its metadata host
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
)
_NEVER_V6 = (
    IPv6Network("64:ff9b:1::/48"),  # local-use NAT64: would hide private IPv4
    IPv6Network("2001::/32"),  # Teredo: tunnels to an address we cannot judge
    IPv6Network("fec0::/10"),  # site-local, deprecated
)
_PRIVATE_V4 = tuple(
    IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
)
_PRIVATE_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))


@dataclass(frozen=True)
class Policy:
    """`allow_private`: loopback, RFC 1918 and unique local addresses too, for a local devnet.
    Nothing else is optional.
    """

    allow_private: bool = False


@dataclass(frozen=True)
class Target:
    """A checked URL: where to connect and what to ask. `literal` is set when the host is an
    address.
    """

    scheme: str
    host: str
    port: int
    path: str
    literal: IP | None

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(url: str, policy: Policy) -> Target:
    """The target of an http(s) URL.

    Raises BadUrl (not a URL we ask: other scheme, credentials, odd characters, numeric host that is
    not a plain address) or Refused (address or port we do not talk to). A host name still has to be
    judged address by address.
    """
    if (
        len(url) > MAX_URL_LENGTH
        or not url.isascii()
        or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in url)
    ):
        raise BadUrl("the URL is too long or contains characters that do not belong in one")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("the URL cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise BadUrl("the URL must start with http:// or https://")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise BadUrl("the URL contains a user name or password")
    if parts.fragment:
        raise BadUrl("the URL contains a fragment")
    host = (parts.hostname or "").rstrip(".")
    literal = _literal(host)
    if literal is None and not _HOST.fullmatch(host):
        raise BadUrl("the URL has no usable host name")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if port == 0 or (port < 1024 and port not in _WEB_PORTS):
        raise Refused(f"port {port} belongs to another kind of service")
    if literal is not None:
        check(literal, policy)
    elif not policy.allow_private and (
        host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    ):
        raise Refused(f"{host} is a name of a private network")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, str(literal) if literal is not None else host, port, path, literal)


def check(address: IP, policy: Policy) -> None:
    """Raise Refused unless `address` is one a provider may have."""
    if not allowed(address, policy):
        raise Refused(f"{address} is not a public address")


def allowed(address: IP, policy: Policy) -> bool:
    """Whether a provider may live at `address`, looking through IPv6 forms that carry an IPv4
    address.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address == IPv6Address("::1"):
            return policy.allow_private
        for network, shift in _CARRIERS:
            if address in network:
                return allowed(IPv4Address((int(address) >> shift) & 0xFFFFFFFF), policy)
        if any(address in network for network in _NEVER_V6):
            return False
        private = any(address in network for network in _PRIVATE_V6)
    else:
        if any(address in network for network in _NEVER_V4):
            return False
        private = any(address in network for network in _PRIVATE_V4)
    if private:
        return policy.allow_private
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> IP | None:
    """The address `host` spells, or None for a name. Octal, hexadecimal, short and whole-number
    forms are BadUrl: no provider needs them, and libraries disagree about what they mean."""
    if ":" in host:
        try:
            return ip_address(host)
        except ValueError:
            raise BadUrl("the URL's IPv6 address cannot be read") from None
    if not _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        raise BadUrl("the URL's host is a number that is not a plain IPv4 address") from None
