"""Just enough HTTP over ASGI for the broker and the answerer: one request, one answer, no
framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import parse_qsl

import orjson

from provider.errors import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SLOW_READER_SECONDS = 30
BODY_SECONDS = 60
SILENT_SECONDS = 10
CUSTOMER_BITS = 64


class Request:
    """What the client asks. Header names are lower case; repeated headers and query parameters keep
    the last value.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        self.peer: str = (scope.get("client") or ("",))[0]
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self._receive = receive

    @property
    def sender(self) -> str:
        """Who asks, for limits alone: the peer or, where that is a proxy on this machine or in its
        network, the address that it names last; of IPv6 the /64, which one customer owns whole.
        Proof of nothing."""
        told = self.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        try:
            peer = ip_address(self.peer)
            return _customer(told) if peer.is_private else _customer(self.peer)
        except ValueError:
            return self.peer

    async def body(
        self, limit: int, too_large: str, take: Callable[[int], None] | None = None
    ) -> bytes:
        """The whole body; `take` hears how many bytes have come and may refuse.

        Raises Refused 413 with the text `too_large` beyond `limit` bytes, 408 when the body does
        not come to an end.
        """
        body = bytearray()  # grows in place; a list of pieces would leave holes in the heap
        async for part in self.pieces(limit, too_large, BODY_SECONDS):
            if take is not None:
                take(len(part))
            body += part
        return bytes(body)

    async def pieces(self, limit: int, too_large: str, seconds: float) -> AsyncIterator[bytes]:
        """The body as it comes, never all of it in memory.

        Raises Refused 413 beyond `limit` bytes, 408 when it stops coming or takes longer than
        `seconds`.
        """
        declared = self.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()) or int(declared[:12]) > limit:
            raise Refused(413, too_large)
        loop = asyncio.get_running_loop()
        size, deadline = 0, loop.time() + seconds
        more = True
        while more:
            try:
                async with asyncio.timeout_at(min(loop.time() + SILENT_SECONDS, deadline)):
                    message = await self._receive()
            except TimeoutError as error:
                raise Refused(408, "the request body did not arrive in time") from error
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise Refused(413, too_large)
            more = message.get("more_body", False)
            if part:
                yield part

    async def gone(self) -> None:
        """Returns when the client has closed the connection; call it after the body is read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _customer(address: str) -> str:
    """Raises ValueError for what is no address."""
    found = ip_address(address)
    if not isinstance(found, IPv6Address):
        return address
    inner = found.ipv4_mapped
    return str(inner or ip_network((int(found), CUSTOMER_BITS), strict=False))


class ClientGone(Exception):
    """The client closed the connection while it was still asking."""


class Answer:
    """What the client gets; a client that is gone or does not read is written off silently."""

    def __init__(self, send: Send, extra: Mapping[str, str]) -> None:
        self._send = send
        self._extra = dict(extra)
        self.started = False
        self.lost = False
        self.status = 0

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The status line and headers."""
        self.started = True
        self.status = status
        merged = {name.lower(): value for name, value in {**headers, **self._extra}.items()}
        await self._hand_over(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in merged.items()],
            }
        )

    async def write(self, part: bytes, *, more: bool) -> None:
        """A piece of the body."""
        await self._hand_over({"type": "http.response.body", "body": part, "more_body": more})

    async def _hand_over(self, message: Message) -> None:
        """A reader slower than SLOW_READER_SECONDS per piece is dropped. The beginning is a piece
        too: it waits behind an earlier answer that was not read."""
        if self.lost:
            return
        try:
            async with asyncio.timeout(SLOW_READER_SECONDS):
                await self._send(message)
        except (TimeoutError, OSError):
            self.lost = True

    async def whole(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """A complete answer."""
        await self.start(
            status,
            {"content-type": content_type, "content-length": str(len(body)), **(headers or {})},
        )
        await self.write(body, more=False)

    async def json(
        self, status: int, document: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """A complete JSON answer."""
        await self.whole(status, orjson.dumps(document), "application/json; charset=utf-8", headers)

    async def refuse(self, refused: Refused) -> None:
        """`{"error": text}`; the text of 5xx stays with us."""
        text = refused.text if refused.status < 500 else HTTPStatus(refused.status).phrase
        await self.json(refused.status, {"error": text}, refused.headers)

    async def not_found(self) -> None:
        """Plain text, as the reference server's router answers (provider-protocol.md 1)."""
        await self.whole(404, b"404 page not found", "text/plain")


async def answered(
    request: Request, answer: Answer, route: Awaitable[None], log: logging.Logger
) -> None:
    """Do `route`. What it refuses, or breaks on, becomes the answer where none has begun."""
    try:
        await route
    except Refused as refused:
        if refused.status >= 500:
            log.warning("%s %s: %s", request.method, request.path, refused.text)
        if not answer.started:
            await answer.refuse(refused)
    except ClientGone:
        pass
    except Exception:
        log.exception("%s %s", request.method, request.path)
        if not answer.started:
            await answer.refuse(Refused(500, "internal error"))


def cors(request: Request, *, proxied: bool) -> dict[str, str]:
    """CORS headers of provider-protocol.md 1.4; none for a client without an Origin."""
    origin = request.headers.get("origin")
    if origin is None or any(ord(c) < 32 for c in origin):
        return {}
    if not proxied:
        return {
            "access-control-allow-origin": "*",
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE, PATCH",
            "access-control-allow-headers": "Content-Type, Content-Length, Accept-Encoding, "
            "X-CSRF-Token, Authorization, accept, origin, Cache-Control, X-Requested-With",
            # Beyond the protocol's list: the id of a finished job's signature is in a header.
            "access-control-expose-headers": "ZG-Res-Key, Provider, Retry-After",
            "access-control-max-age": "86400",
        }
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS, PATCH",
        "access-control-allow-headers": "Content-Type, Authorization, X-Requested-With, Accept, "
        "Origin",
        "access-control-expose-headers": "ZG-Res-Key, Provider, Content-Type, Content-Encoding",
        "access-control-max-age": "43200",
        "vary": "Origin",
    }
