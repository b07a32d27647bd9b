"""The server behind the broker: what it is told, and how much of what it says is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from provider.asks import Ask
from provider.config import Upstream as Options
from provider.meter import Meter
from provider.metrics import Metrics

MAX_ERROR_BYTES = 1024 * 1024
LONG_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
LINGER_SECONDS = 1  # after [DONE], for upstreams that do not close the body

# Never forwarded.
STRIPPED = frozenset(
    {
        # What addresses the broker (provider-protocol.md 1.2).
        *("address", "fee", "input-fee", "nonce", "request-hash", "signature", "session-token"),
        *("session-signature", "authorization", "host", "content-length", "accept-encoding"),
        # What belongs to one connection (RFC 9110 7.6.1).
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("proxy-authorization", "proxy-authenticate", "proxy-connection"),
        # What would tell the upstream who asks.
        *("cookie", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("x-real-ip", "origin", "referer"),
    }
)


class Broken(Exception):
    """The upstream failed or misbehaved; the text is for the log."""


FAILURES = (aiohttp.ClientError, TimeoutError, Broken)


class Upstream:
    """An OpenAI-compatible server."""

    def __init__(self, session: aiohttp.ClientSession, options: Options, metrics: Metrics) -> None:
        self._session = session
        self._options = options
        self._metrics = metrics

    @asynccontextmanager
    async def post(
        self, ask: Ask, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Its reply, body unread. Raises one of FAILURES, here and while it is being read."""
        try:
            async with self._post(ask, headers) as reply:
                yield reply
        except FAILURES:
            self._metrics.upstream_failures.inc()
            raise

    @asynccontextmanager
    async def _post(
        self, ask: Ask, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        options = self._options
        async with self._session.post(
            options.url + ask.path,
            # Sent piece by piece, not copied whole into the socket's buffer (or, as aiohttp does
            # with io.BytesIO, beside it).
            data=_pieces(ask.body) if len(ask.body) > LONG_BYTES else ask.body,
            headers={
                **_passed_on(headers),
                "accept-encoding": "identity",
                "content-type": ask.content_type,
                "content-length": str(len(ask.body)),
                **options.authorization,
            },
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=options.total_seconds,
                sock_connect=options.connect_seconds,
                sock_read=options.first_byte_seconds,
            ),
        ) as reply:
            if reply.status == 200 and reply.headers.get("content-encoding", "identity") != (
                "identity"
            ):
                raise Broken("the upstream compresses although identity was asked for")
            if not content_type(reply).isascii():
                # No header of ours could name it: found later, the answer would be billed already.
                raise Broken("the upstream gives its answer a type that is none")
            yield reply

    async def read(self, reply: aiohttp.ClientResponse, limit: int) -> bytes:
        """The whole body, at most `limit` bytes of it. Raises one of FAILURES."""
        parts: list[bytes] = []
        size = 0
        async for part in self.parts(reply):
            size += len(part)
            if size > limit:
                raise Broken(f"the answer is longer than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def parts(
        self, reply: aiohttp.ClientResponse, meter: Meter | None = None
    ) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TimeoutError when the upstream falls silent, unless
        `meter` has already seen the end of the answer: then silence is the end of the body."""
        while True:
            done = meter is not None and meter.done
            idle = LINGER_SECONDS if done else self._options.idle_seconds
            try:
                async with asyncio.timeout(idle):
                    part = await reply.content.readany()
            except TimeoutError:
                if done:
                    return
                raise
            if not part:
                return
            yield part

    async def refusal(self, reply: aiohttp.ClientResponse) -> bytes:
        """The body of the upstream's own refusal. Raises one of FAILURES, also where it means us
        and not the client."""
        if reply.status in (401, 403) or not 400 <= reply.status <= 599:
            raise Broken(f"the upstream answers {reply.status}")
        return await self.read(reply, MAX_ERROR_BYTES)


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    whole = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]


def content_type(reply: aiohttp.ClientResponse) -> str:
    """What the upstream calls its answer."""
    return reply.headers.get("content-type", "application/json")


def _passed_on(given: Mapping[str, str]) -> dict[str, str]:
    """The client's headers without what is not the upstream's business."""
    # A header may also name others that belong to this connection only.
    hop = {name.strip().lower() for name in given.get("connection", "").split(",")}
    dropped = STRIPPED | hop
    return {name: value for name, value in given.items() if name not in dropped}
