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
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from net import addresses, strictjson
from net.addresses import Policy, Target
from net.errors import (
    BadAnswer,
    BadRedirect,
    BadStatus,
    BadUrl,
    BrokenOff,
    InsecureConnection,
    NetError,
    Refused,
    Stage,
    TimedOut,
    TooLarge,
    Unreachable,
)
from net.limits import JsonLimits, Limits

_MAX_HEADER_BYTES = 8190
_MAX_HEADERS = 100
_ERROR_BODY_BYTES = 16 << 10
#: Below any usual server keep-alive (uvicorn: 5 s), so that we never write into a connection the
#: peer is closing.
_IDLE_SECONDS = 2.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            async with _within("first_byte", limits.first_byte, deadline):
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
        return "".join(c for c in self._raw.headers.get(name, "") if c.isprintable())

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

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, never empty pieces. Raises TooLarge, TimedOut, BrokenOff,
        BadAnswer.
        """
        decode = _decoder(self._raw.headers.get("Content-Encoding", ""))
        most, seen = self._limits.max_bytes, 0
        read = self._raw.content.readany
        with _Patience(self._raw.content, self._limits.between, self._deadline) as patience:
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


class _Patience:
    """Time limits of many reads with one timer: a timeout for each read would cost more than the
    read. Only waiting counts, not what the caller does in between.
    """

    def __init__(
        self, content: aiohttp.StreamReader, between: float, deadline: float | None
    ) -> None:
        self._content = content
        self._between = between
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def waits(self) -> None:
        self._since = self._loop.time()

    def rests(self) -> None:
        self._since = None

    def _look(self) -> None:
        """End the read that waits too long, or look again when it could have."""
        now = self._loop.time()
        if self._deadline is not None and now >= self._deadline:
            self._content.set_exception(TimedOut("total", self._between))
            return
        until = (now if self._since is None else self._since) + self._between
        if self._since is not None and now >= until:
            self._content.set_exception(TimedOut("between", self._between))
            return
        until = until if self._deadline is None else min(until, self._deadline)
        self._timer = self._loop.call_at(until, self._look)


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
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
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


@asynccontextmanager
async def _within(stage: Stage, seconds: float, deadline: float | None) -> AsyncIterator[None]:
    """Raise TimedOut(stage) after `seconds`, or TimedOut("total") at `deadline` (loop time) when
    that comes first.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    if deadline is not None and deadline < until:
        stage, until = "total", deadline
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        if isinstance(error, aiohttp.ClientError):
            raise
        raise TimedOut(stage, seconds) from None


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
            return BrokenOff("the connection ended before the answer did")
        case aiohttp.ClientResponseError() if "Got more than" in str(error):
            return TooLarge("the answer's headers are too large")
        case aiohttp.ClientResponseError():
            return BadAnswer("the answer is not valid HTTP")
        case aiohttp.InvalidURL() | ValueError():
            return BadUrl("the URL or a header cannot be sent")
    return Unreachable("no connection")


def _retry_after(answer: Answer) -> int:
    text = answer.header("Retry-After")
    return min(int(text), 3600) if text.isdecimal() and text.isascii() and len(text) < 6 else 0


class _Inflate:
    """Undoes gzip or deflate in bounded pieces, so that a bomb meets the size limit and not the
    memory.
    """

    _PIECE = 64 << 10

    def __init__(self, window: int) -> None:
        self._engine = zlib.decompressobj(window)

    def __call__(self, data: bytes) -> Iterable[bytes]:
        try:
            if not data:
                if not self._engine.eof:
                    raise BrokenOff("the compressed answer ends in the middle")
                return
            while data:
                yield self._engine.decompress(data, self._PIECE)
                data = self._engine.unconsumed_tail
                if self._engine.unused_data:
                    raise BadAnswer("bytes after the end of a compressed answer")
        except zlib.error:
            raise BadAnswer("the compressed answer cannot be read") from None


def _identity(data: bytes) -> Iterable[bytes]:
    return (data,)


def _decoder(encoding: str) -> Any:
    match encoding.strip().lower():
        case "" | "identity":
            return _identity
        case "gzip" | "x-gzip":
            return _Inflate(16 + zlib.MAX_WBITS)
        case "deflate":
            return _Inflate(zlib.MAX_WBITS)
    raise BadAnswer("the answer uses a compression that was not asked for")
