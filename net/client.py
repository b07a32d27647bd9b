"""The one HTTP client for URLs that strangers control: it decides where it connects, how much it
reads, how long it waits.

`net` knows no settings: the caller passes the address policy. One `Client` belongs to one event
loop.

    async with Client(Policy()) as client:
        async with client.open("GET", url) as answer:
            body = await answer.read()
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from net import addresses, names, strictjson
from net.addresses import Policy, Target
from net.decoding import decoder
from net.errors import (
    BadAnswer,
    BadRedirect,
    BadStatus,
    BadUrl,
    BrokenOff,
    InsecureConnection,
    NetError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
)
from net.limits import JsonLimits, Limits
from net.patience import ENDED, NO_HTTP, Patience, Progress, noticed_end, within

_MAX_HEADER_BYTES = 8190
_MAX_HEADERS = 100
_ERROR_BODY_BYTES = 16 << 10
#: Below any usual server keep-alive (uvicorn: 5 s), so that we never write into a connection the
#: peer is closing.
_IDLE_SECONDS = 2.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def printable(text: str) -> str:
    """A stranger's words without what is no printable character, line ends included."""
    # Hardly a header has such; to look at each character of twenty took longer than to pass the
    # beginning of an answer on.
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


class Client:
    """Sends requests to strangers under one address policy. Raises only `net.errors`."""

    def __init__(
        self, policy: Policy, limits: Limits | None = None, *, connections: int = 1024
    ) -> None:
        self._policy = policy
        self._limits = limits or Limits()
        self._connector = _Connector(
            resolver=_GuardedResolver(policy),
            # Names are judged when a connection is made and the connection goes to the judged
            # address: a cache would only add time in which an answer can change.
            use_dns_cache=False,
            limit=connections,
            keepalive_timeout=_IDLE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent",),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        limits: Limits | None = None,
        accept: Iterable[int] = (200,),
    ) -> AsyncIterator[Answer]:
        """The answer to one request; its body is read through `Answer` and the connection closed
        when not read. A body that comes in pieces is sent once and with POST only.

        Raises BadStatus (with the beginning of the body) for a status outside `accept`, and any
        other NetError. Redirects are followed for GET only, to the same origin only.
        """
        limits = limits or self._limits
        deadline = (
            None if limits.total is None else asyncio.get_running_loop().time() + limits.total
        )
        target = addresses.parse(url, self._policy)
        for _ in range(limits.max_redirects + 1):
            peer = _Peer()
            _peer.set(peer)
            raw = await self._send(method, target, headers or {}, body, limits, deadline)
            answer = Answer(raw, limits, deadline, peer.certificate)
            try:
                if method == "GET" and raw.status in _REDIRECTS:
                    target = self._redirect(target, answer)
                    continue
                if raw.status < 200:  # nobody asked to change the protocol
                    raise BadAnswer(NO_HTTP)
                if raw.status not in accept:
                    raise BadStatus(
                        raw.status, await answer.beginning(_ERROR_BODY_BYTES), _retry_after(answer)
                    )
                yield answer
                return
            finally:
                # Closes the connection unless the body was read to its end: a half-read one cannot
                # be reused.
                raw.close()
        raise BadRedirect(f"more than {limits.max_redirects} redirects")

    async def get_json(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        shape: JsonLimits | None = None,
    ) -> Any:
        """The JSON value at `url`. Raises NetError."""
        shape = shape or JsonLimits()
        async with self.open("GET", url, headers=headers, limits=limits) as answer:
            return strictjson.loads(await answer.read(shape.max_bytes), shape)

    async def _send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] | None,
        limits: Limits,
        deadline: float | None,
    ) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=limits.connect, sock_connect=limits.connect
        )
        # Identity keeps what is hashed equal to what is sent and makes compression bombs the
        # exception.
        own = {"Accept-Encoding": "identity", "User-Agent": "0g-market", **headers}
        try:
            async with within("first_byte", limits.first_byte, deadline, limits.total):
                return await self._session.request(
                    method,
                    # Sent as it was checked: no second parser gets to change it.
                    URL(target.url, encoded=True),
                    headers=own,
                    data=body,
                    timeout=timeout,
                    allow_redirects=False,
                )
        except aiohttp.ServerTimeoutError as error:
            raise TimedOut("connect", limits.connect) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error) from error

    def _redirect(self, target: Target, answer: Answer) -> Target:
        location = answer.header("Location")
        try:
            new = addresses.parse(urljoin(target.url, location), self._policy)
        except (BadUrl, Refused, ValueError) as error:
            raise BadRedirect("a redirect to somewhere we do not go") from error
        if new.origin != target.origin:
            raise BadRedirect(f"a redirect to another host: {new.host[:100]!r}")
        return new


class Answer:
    """Status, headers and a bounded body. Bytes are after transfer and content decoding: what a
    signature covers.
    """

    def __init__(
        self,
        raw: aiohttp.ClientResponse,
        limits: Limits,
        deadline: float | None,
        certificate: bytes = b"",
    ) -> None:
        self._raw = raw
        self._limits = limits
        self._deadline = deadline
        self._certificate = certificate

    @property
    def status(self) -> int:
        return self._raw.status

    @property
    def tls_fingerprint(self) -> str:
        """SHA-256 (hex) of the certificate the peer showed on this connection; "" without TLS."""
        return hashlib.sha256(self._certificate).hexdigest() if self._certificate else ""

    @property
    def certificate(self) -> bytes:
        """The certificate (DER) that the peer showed on this connection; b"" without TLS."""
        return self._certificate

    def header(self, name: str) -> str:
        """A response header, empty when absent; printable characters only."""
        return printable(self._raw.headers.get(name, ""))

    @property
    def header_names(self) -> list[str]:
        """Names as sent, each once, in the order of arrival."""
        return list(dict.fromkeys(self._raw.headers))

    @property
    def delimited(self) -> bool:
        """Whether HTTP itself marks the body's end (length or chunks), so that an early close
        cannot look complete.
        """
        return (
            "Content-Length" in self._raw.headers
            or "chunked" in self._raw.headers.get("Transfer-Encoding", "").lower()
        )

    async def chunks(self, progress: Progress | None = None) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, never empty pieces; `progress` may end the wait for it sooner
        than the limits do. Raises TooLarge, TimedOut, BrokenOff, BadAnswer.
        """
        decode = decoder(self._raw.headers.get("Content-Encoding", ""))
        most, seen = self._limits.max_bytes, 0
        read = self._raw.content.readany
        with (
            Patience(self._raw.content, self._limits, self._deadline, progress) as patience,
            noticed_end(self._raw),
        ):
            while True:
                try:
                    patience.waits()
                    piece = await read()
                    patience.rests()
                except (aiohttp.ClientError, OSError) as error:
                    raise _translated(error) from error
                for part in decode(piece):
                    seen += len(part)
                    if seen > most:
                        raise TooLarge(f"an answer of more than {most} bytes")
                    if part:
                        yield part
                if not piece:
                    return

    async def read(self, most: int | None = None) -> bytes:
        """The whole body. Raises TooLarge beyond `most` (default: the limits' `max_bytes`) and as
        `chunks` does.
        """
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if most is not None and len(body) > most:
                raise TooLarge(f"an answer of more than {most} bytes")
        return bytes(body)

    async def beginning(self, most: int) -> bytes:
        """At most the first `most` bytes; for error bodies, so failures while reading end it
        quietly.
        """
        body = bytearray()
        try:
            async for chunk in self.chunks():
                body += chunk
                if len(body) >= most:
                    break
        except NetError:
            pass
        return bytes(body[:most])


class _Peer:
    """Whose connection a request went out on: aiohttp lets go of it with the last byte."""

    certificate = b""


_peer: ContextVar[_Peer | None] = ContextVar("peer", default=None)


class _Connector(aiohttp.TCPConnector):
    """Notes the certificate of the connection that it hands out."""

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **options)
        peer, transport = _peer.get(), connection.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        if peer is not None:
            peer.certificate = (tls.getpeercert(binary_form=True) or b"") if tls else b""
        return connection


class _GuardedResolver(AbstractResolver):
    """Resolves names and refuses them unless **every** address is allowed: a mixed answer is how
    rebinding looks.

    aiohttp connects to exactly the addresses returned here, so nothing is resolved a second time.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await names.look_up(host, port, family)
        results = []
        for kind, _, protocol, _, address in found:
            text = str(address[0])
            addresses.check(ip_address(text), self._policy)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        return None


def _translated(error: Exception) -> NetError:
    """Our name for what aiohttp or the system raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NetError):
            return cause
        cause = cause.__cause__ or cause.__context__
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return InsecureConnection("the secure connection could not be made")
        case aiohttp.ClientConnectorError():
            return Unreachable("no connection")
        # Whatever breaks a connection that stood may have come after the request arrived.
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | ConnectionError():
            return BrokenOff(ENDED)
        case aiohttp.ClientResponseError() if "Got more than" in str(error):
            return TooLarge("the answer's headers are too large")
        case aiohttp.ClientResponseError():
            return BadAnswer(NO_HTTP)
        case aiohttp.InvalidURL() | ValueError():
            return BadUrl("the URL or a header cannot be sent")
    return Unreachable("no connection")


def _retry_after(answer: Answer) -> int:
    text = answer.header("Retry-After")
    return min(int(text), 3600) if text.isdecimal() and text.isascii() and len(text) < 6 else 0
