"""One chat answer from question to bill: check, forward, meter, sign, write down
(provider-protocol.md 1.2, 1.3, 3, 5.1).

A client that leaves changes nothing: the upstream is read to its end, and the answer is billed and
signed as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import aiohttp

from protocol import fees
from provider.book import Book
from provider.config import Config
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Answer, Request
from provider.limits import Gatekeeper
from provider.meter import AnswerMeter, Prompt, read_prompt
from provider.settle import Settler
from provider.store import Charge, Receipt, Store
from provider.tee import Tee

MAX_REQUEST_BYTES = 32 * 1024 * 1024
TOO_LARGE = "Request body size exceeds the maximum allowed size of 32MB"
LONG_BODY_DIGITS = 5  # a declared length of 100,000 bytes and more, or an undeclared one
LONG_BODIES_AT_ONCE = 4
MAX_JSON_BYTES = 10 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_UNREAD_BYTES = 10 * 1024 * 1024  # read on after the client has gone
SIGNATURE_WAIT_SECONDS = 10
LINGER_SECONDS = 1  # after [DONE], for upstreams that do not close the body

# Never forwarded: what addresses the broker (provider-protocol.md 1.2), what belongs to one
# connection (RFC 9110 7.6.1), and what would tell the upstream who asks.
STRIPPED = frozenset(
    {
        "address",
        "fee",
        "input-fee",
        "nonce",
        "request-hash",
        "signature",
        "session-token",
        "session-signature",
        "authorization",
        "host",
        "content-length",
        "accept-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-connection",
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "origin",
        "referer",
    }
)

log = logging.getLogger("provider.relay")


class _Broken(Exception):
    """The upstream failed or misbehaved; the text is for the log."""


@dataclass(frozen=True)
class _Order:
    """One paid request: who asks what, under which id and with which headers to answer."""

    user: str
    prompt: Prompt
    chat_id: str
    headers: dict[str, str]

    @property
    def request_hash(self) -> bytes:
        """SHA-256 of the bytes the upstream gets."""
        return hashlib.sha256(self.prompt.body).digest()


class Relay:
    """Answers `/v1/proxy/chat/completions` and `/v1/proxy/signature/{id}`."""

    def __init__(
        self,
        config: Config,
        *,
        upstream: aiohttp.ClientSession,
        gate: Gate,
        book: Book,
        store: Store,
        tee: Tee,
        settler: Settler,
    ) -> None:
        self._config = config
        self._upstream = upstream
        self._gate = gate
        self._keeper = Gatekeeper(config.limits)
        self._book = book
        self._store = store
        self._tee = tee
        self._settler = settler
        self._provider = config.provider
        service = config.service
        self._tariff = fees.tariff(
            service.input_price, service.output_price, service.additional_info
        )
        self._long_bodies = asyncio.Semaphore(LONG_BODIES_AT_ONCE)
        self._under_way: dict[str, asyncio.Event] = {}

    async def chat(self, request: Request, answer: Answer) -> None:
        """The whole of one chat completion. Raises Refused before anything was answered."""
        user = await self._gate.session(request.headers.get("authorization"))
        await self._gate.acknowledged(user)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(400, "validate request: compressed bodies are not supported")
        prompt = await self._prompt(request)
        rate = self._keeper.count(user, time.time())
        with self._keeper.running(user):
            estimate = fees.chat_fee(self._tariff, prompt.expected)
            left = await self._gate.afford(user, estimate)
            with self._book.reserving(user, estimate):
                if left < self._config.settlement.low_balance and self._book.owed(user):
                    self._settler.kick()
                chat_id = str(uuid4())
                headers = {"ZG-Res-Key": chat_id, "Provider": self._provider, **rate}
                await self._forward(_Order(user, prompt, chat_id, headers), request, answer)

    async def _prompt(self, request: Request) -> Prompt:
        """Read and check the body; long ones wait for each other and are parsed in a thread."""
        names = (self._config.service.model, self._config.upstream.model)
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) <= LONG_BODY_DIGITS:
            raw = await request.body(MAX_REQUEST_BYTES, TOO_LARGE)
            return read_prompt(raw, *names)
        async with self._long_bodies:
            raw = await request.body(MAX_REQUEST_BYTES, TOO_LARGE)
            return await asyncio.to_thread(read_prompt, raw, *names)

    async def signature(self, chat_id: str, answer: Answer) -> None:
        """The signature of an answer; waits a little for one that is just being finished."""
        chat_id = chat_id.lower()
        under_way = self._under_way.get(chat_id)
        if under_way is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(under_way.wait(), SIGNATURE_WAIT_SECONDS)
        found = await asyncio.to_thread(self._store.signature, chat_id)
        if found is None:
            raise Refused(
                400, "prepare HTTP request: Chat id not found or expired, chat_id_not_found"
            )
        await answer.json(
            200,
            {
                "text": found.text,
                "signature": found.signature,
                "signing_address": self._tee.address,
                "signing_algo": "ecdsa",
            },
            {"cache-control": "no-store"},
        )

    # ---- forwarding ------------------------------------------------------------------------

    async def _forward(self, order: _Order, request: Request, answer: Answer) -> None:
        options = self._config.upstream
        finished = self._under_way[order.chat_id] = asyncio.Event()
        try:
            async with self._upstream.post(
                f"{options.url}/chat/completions",
                data=order.prompt.body,
                headers=_upstream_headers(request.headers, options.key),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=options.total_seconds,
                    sock_connect=options.connect_seconds,
                    sock_read=options.first_byte_seconds,
                ),
            ) as reply:
                await self._answer(order, reply, request, answer)
        except (aiohttp.ClientError, TimeoutError, _Broken) as error:
            log.warning("upstream: %r", error)
            if not answer.started:
                raise Refused(502, f"upstream: {error!r}") from error
            # The status line is gone: the only honest end is a connection that breaks.
        finally:
            del self._under_way[order.chat_id]
            finished.set()

    async def _answer(
        self, order: _Order, reply: aiohttp.ClientResponse, request: Request, answer: Answer
    ) -> None:
        kind = reply.headers.get("content-type", "application/json")
        if reply.status != 200:
            await self._pass_on_error(reply, kind, answer)
        elif reply.headers.get("content-encoding", "identity") != "identity":
            raise _Broken("the upstream compresses although identity was asked for")
        elif kind.startswith("text/event-stream"):
            await self._stream(order, reply, kind, request, answer)
        else:
            await self._whole(order, reply, kind, answer)

    async def _pass_on_error(
        self, reply: aiohttp.ClientResponse, kind: str, answer: Answer
    ) -> None:
        """The upstream's own refusal, free of charge."""
        if reply.status in (401, 403) or not 400 <= reply.status <= 599:
            # Our credentials or our address are wrong there: not the client's affair.
            raise _Broken(f"the upstream answers {reply.status}")
        body = await self._read(reply, MAX_ERROR_BYTES)
        await answer.whole(reply.status, body, kind)

    async def _whole(
        self, order: _Order, reply: aiohttp.ClientResponse, kind: str, answer: Answer
    ) -> None:
        body = await self._read(reply, MAX_JSON_BYTES)
        meter = AnswerMeter()
        if not meter.whole(body):
            raise _Broken("the answer is not a JSON object")
        await self._conclude(order, meter, hashlib.sha256(body).hexdigest())
        await answer.whole(200, body, kind, order.headers)

    async def _read(self, reply: aiohttp.ClientResponse, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in self._parts(reply):
            size += len(part)
            if size > limit:
                raise _Broken(f"the answer is longer than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def _parts(
        self, reply: aiohttp.ClientResponse, meter: AnswerMeter | None = None
    ) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TimeoutError when the upstream falls silent, unless
        `meter` has already seen the end of the answer: then silence is the end of the body."""
        while True:
            done = meter is not None and meter.done
            idle = LINGER_SECONDS if done else self._config.upstream.idle_seconds
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

    async def _stream(
        self,
        order: _Order,
        reply: aiohttp.ClientResponse,
        kind: str,
        request: Request,
        answer: Answer,
    ) -> None:
        meter = AnswerMeter()
        digest = hashlib.sha256()
        gone = asyncio.create_task(request.gone())
        size = unread = 0
        held: list[bytes] = []
        try:
            await answer.start(
                200, {"content-type": kind, "cache-control": "no-cache", **order.headers}
            )
            async for part in self._parts(reply, meter):
                digest.update(part)
                meter.feed(part)
                size += len(part)
                answer.lost = answer.lost or gone.done()
                unread += len(part) if answer.lost else 0
                if size > MAX_STREAM_BYTES or unread > MAX_UNREAD_BYTES:
                    raise _Broken(f"the stream does not end after {size} bytes")
                if meter.done:
                    # A client that sees [DONE] may ask for the signature or its debt at once, so
                    # the end is held back until both are on disk.
                    held.append(part)
                else:
                    await answer.write(part, more=True)
        except (aiohttp.ClientError, TimeoutError, _Broken):
            # What was delivered is paid for, but a torso is not signed.
            await self._conclude(order, meter, None)
            raise
        except asyncio.CancelledError:
            # The broker is stopping; there is no time for a thread.
            self._store.record(self._charge(order, meter), None)
            raise
        finally:
            gone.cancel()
        meter.end()
        await self._conclude(order, meter, digest.hexdigest())
        await answer.write(b"".join(held), more=False)

    async def _conclude(
        self, order: _Order, meter: AnswerMeter, response_sha256: str | None
    ) -> None:
        """Bill and sign; both are on disk when this returns, even if we are being cancelled."""
        charge = self._charge(order, meter)
        receipt = None
        if response_sha256 is not None:
            text, signature = self._tee.sign_answer(order.request_hash.hex(), response_sha256)
            receipt = Receipt(order.chat_id, text, signature)
        await asyncio.shield(self._write_down(charge, receipt))

    async def _write_down(self, charge: Charge, receipt: Receipt | None) -> None:
        await asyncio.to_thread(self._store.record, charge, receipt)
        if charge.fee:
            self._book.charge(charge.user, charge.fee)

    def _charge(self, order: _Order, meter: AnswerMeter) -> Charge:
        fee = meter.fee(self._tariff)
        return Charge(order.user, fee, order.request_hash, order.chat_id)


def _upstream_headers(given: Mapping[str, str], key: str) -> dict[str, str]:
    """The client's headers without what is not the upstream's business, with our own key."""
    # A header may also name others that belong to this connection only.
    hop = {name.strip().lower() for name in given.get("connection", "").split(",")}
    headers = {
        name: value for name, value in given.items() if name not in STRIPPED and name not in hop
    }
    headers["accept-encoding"] = "identity"
    headers["content-type"] = "application/json"
    if key:
        headers["authorization"] = f"Bearer {key}"
    return headers
