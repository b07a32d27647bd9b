"""Answers in words, from question to bill: check, forward, meter, sign, write down
(provider-protocol.md 1.2, 1.3, 3, 5.1).

A client that leaves changes nothing: the upstream is read to its end, and the answer is billed and
signed as a whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import aiohttp

from provider.adapters import Adapters, adapter_of
from provider.admission import Admission, Admitted, Reader
from provider.asks import Ask, Terms, read_chat, read_embeddings, read_transcription
from provider.errors import Refused, plain
from provider.http import Answer, Request
from provider.meter import AnswerMeter, Meter, SpeechMeter, VectorMeter
from provider.receipts import Receipts
from provider.store import Charge
from provider.upstream import FAILURES, Broken, Upstream, content_type

MAX_WHOLE_BYTES = 10 * 1024 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_UNREAD_BYTES = 10 * 1024 * 1024  # read on after the client has gone

log = logging.getLogger("provider.relay")


class Relay:
    """Answers chat completions, transcriptions and requests for embeddings."""

    def __init__(
        self,
        *,
        admission: Admission,
        upstream: Upstream,
        receipts: Receipts,
        adapters: Adapters | None,
    ) -> None:
        self._admission = admission
        self._upstream = upstream
        self._receipts = receipts
        self._adapters = adapters

    async def chat(self, request: Request, answer: Answer) -> None:
        """One chat completion. Raises Refused before anything was answered."""
        adapters, tuned = self._adapters, ""

        def read(raw: bytes, kind: str, terms: Terms) -> Ask:
            nonlocal tuned
            tuned = adapter_of(raw) if adapters is not None else ""
            if tuned:
                terms = replace(terms, model=tuned, upstream_model="")
            return read_chat(raw, kind, terms)

        async def check(user: str) -> None:
            if adapters is not None and tuned:
                await asyncio.to_thread(adapters.usable, user, tuned)

        await self._relay(request, answer, read, AnswerMeter(), check)

    async def transcription(self, request: Request, answer: Answer) -> None:
        """One transcription. Raises Refused before anything was answered."""
        meter = SpeechMeter(self._admission.terms.speech_rule)
        await self._relay(request, answer, read_transcription, meter)

    async def embeddings(self, request: Request, answer: Answer) -> None:
        """Texts as vectors. Raises Refused before anything was answered."""
        await self._relay(request, answer, read_embeddings, VectorMeter())

    async def _relay(
        self,
        request: Request,
        answer: Answer,
        read: Reader[Ask],
        meter: Meter,
        check: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        async with self._admission.admit(request, read) as admitted:
            if check is not None:
                await check(admitted.user)
            with self._receipts.under_way(admitted.chat_id):
                try:
                    async with self._upstream.post(admitted.ask, request.headers) as reply:
                        await self._answer(admitted, meter, reply, request, answer)
                except FAILURES as error:
                    log.warning("upstream: %s", plain(error))
                    if not answer.started:
                        raise Refused(502, f"upstream: {plain(error)}") from error
                    # The status line is gone: the only honest end is a connection that breaks.

    async def _answer(
        self,
        admitted: Admitted[Ask],
        meter: Meter,
        reply: aiohttp.ClientResponse,
        request: Request,
        answer: Answer,
    ) -> None:
        if reply.status != 200:
            body = await self._upstream.refusal(reply)  # free of charge
            await answer.whole(reply.status, body, content_type(reply))
        elif meter.streams and content_type(reply).startswith("text/event-stream"):
            await self._stream(admitted, meter, reply, request, answer)
        else:
            await self._whole(admitted, meter, reply, answer)

    async def _whole(
        self, admitted: Admitted[Ask], meter: Meter, reply: aiohttp.ClientResponse, answer: Answer
    ) -> None:
        body = await self._upstream.read(reply, MAX_WHOLE_BYTES)
        if not meter.whole(body):
            raise Broken("the answer is not what was asked for")
        await self._conclude(admitted, meter, hashlib.sha256(body).hexdigest())
        await answer.whole(200, body, content_type(reply), admitted.headers)

    async def _stream(
        self,
        admitted: Admitted[Ask],
        meter: Meter,
        reply: aiohttp.ClientResponse,
        request: Request,
        answer: Answer,
    ) -> None:
        digest = hashlib.sha256()
        gone = asyncio.create_task(request.gone())
        size = unread = 0
        held: list[bytes] = []
        start = {"content-type": content_type(reply), "cache-control": "no-cache"}
        try:
            await answer.start(200, {**start, **admitted.headers})
            async for part in self._upstream.parts(reply, meter):
                digest.update(part)
                meter.feed(part)
                size += len(part)
                answer.lost = answer.lost or gone.done()
                unread += len(part) if answer.lost else 0
                if size > MAX_STREAM_BYTES or unread > MAX_UNREAD_BYTES:
                    raise Broken(f"the stream does not end after {size} bytes")
                if meter.done:
                    # A client that sees [DONE] may ask for the signature or its debt at once, so
                    # the end is held back until both are on disk.
                    held.append(part)
                else:
                    await answer.write(part, more=True)
        except FAILURES:
            # What was delivered is paid for, but a torso is not signed.
            await self._conclude(admitted, meter, None, delivered=True)
            raise
        except asyncio.CancelledError:
            self._receipts.record_last(self._charge(admitted, meter))
            raise
        finally:
            gone.cancel()
        meter.end()
        await self._conclude(admitted, meter, digest.hexdigest(), delivered=True)
        await answer.write(b"".join(held), more=False)

    async def _conclude(
        self,
        admitted: Admitted[Ask],
        meter: Meter,
        response_sha256: str | None,
        *,
        delivered: bool = False,
    ) -> None:
        charge = self._charge(admitted, meter)
        receipt = None
        if response_sha256 is not None:
            receipt = self._receipts.receipt(charge, [response_sha256])
        await self._receipts.record(charge, receipt, delivered=delivered)

    def _charge(self, admitted: Admitted[Ask], meter: Meter) -> Charge:
        fee = meter.fee(self._admission.terms.tariff)
        return Charge(admitted.user, fee, admitted.ask.request_hash, admitted.chat_id)
