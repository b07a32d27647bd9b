"""Pictures, from question to bill (provider-protocol.md 1.1, 1.3, 3.1, 5.1).

The upstream always sends the pictures themselves. The signature is about their bytes, so it holds
however they travel: inside the answer, or behind URLs of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from protocol import fees, media
from provider.admission import Admission, Reader
from provider.asks import PictureAsk, read_edit, read_generation
from provider.errors import Refused, plain
from provider.http import Answer, Request
from provider.limits import Windows
from provider.picture_store import Job, PictureStore
from provider.receipts import Receipts
from provider.store import Charge, Receipt
from provider.upstream import FAILURES, Broken, Upstream, content_type

MAX_ANSWER_BYTES = 64 * 1024 * 1024
DOWNLOADS_PER_MINUTE = 120
# What a picture begins with. Nothing else is ever served as anything a browser would show.
SIGNS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
DOWNLOAD_HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "private, max-age=600",
}


class UpstreamRefused(Exception):
    """The upstream's own refusal, to be passed on: free of charge."""

    def __init__(self, status: int, body: bytes, kind: str) -> None:
        super().__init__(f"the upstream answers {status}")
        self.status = status
        self.body = body
        self.kind = kind


@dataclass(frozen=True)
class Made:
    """What the upstream made: the answer for the client, each picture's hash, and the pictures that
    the answer has URLs for."""

    body: bytes
    kind: str
    hashes: tuple[str, ...]
    shown: tuple[bytes, ...]


class Pictures:
    """Makes pictures and shows them; `url` is where clients reach the broker."""

    def __init__(
        self,
        *,
        admission: Admission,
        upstream: Upstream,
        receipts: Receipts,
        picture_store: PictureStore,
        url: str,
    ) -> None:
        self._admission = admission
        self._upstream = upstream
        self._receipts = receipts
        self._picture_store = picture_store
        self._url = url
        self._downloads = Windows(DOWNLOADS_PER_MINUTE)

    async def generation(self, request: Request, answer: Answer) -> None:
        """`POST /v1/proxy/images/generations`. Raises Refused."""
        await self._relay(request, answer, read_generation)

    async def edit(self, request: Request, answer: Answer) -> None:
        """`POST /v1/proxy/images/edits`. Raises Refused."""
        await self._relay(request, answer, read_edit)

    async def _relay(self, request: Request, answer: Answer, read: Reader[PictureAsk]) -> None:
        async with self._admission.admit(request, read) as admitted:
            with self._receipts.under_way(admitted.chat_id):
                try:
                    made = await self._make(admitted.ask, request.headers, admitted.chat_id)
                except UpstreamRefused as refused:
                    await answer.whole(refused.status, refused.body, refused.kind)
                    return
                except FAILURES as error:
                    raise Refused(502, f"upstream: {plain(error)}") from error
                charge, receipt = self._bill(admitted.user, admitted.ask, admitted.chat_id, made)
                write = partial(self._picture_store.record, shown=made.shown)
                await self._receipts.record(charge, receipt, write=write)
            await answer.whole(200, made.body, made.kind, admitted.headers)

    async def work(self, job: Job, chat_id: str) -> None:
        """Do a job: result and price are on disk when this returns. Raises UpstreamRefused or one
        of FAILURES."""
        made = await self._make(job.ask, {}, chat_id)
        charge, receipt = self._bill(job.user, job.ask, chat_id, made)
        write = partial(self._picture_store.complete, job=job, result=made.body, shown=made.shown)
        await self._receipts.record(charge, receipt, write=write)

    def _bill(self, user: str, ask: PictureAsk, chat_id: str, made: Made) -> tuple[Charge, Receipt]:
        """Charged is every picture that was delivered, and never more than were asked for."""
        count = min(ask.count, len(made.hashes))
        fee = fees.image_fee(self._admission.terms.tariff.output_price, count)
        charge = Charge(user, fee, ask.request_hash, chat_id)
        return charge, self._receipts.receipt(charge, made.hashes)

    async def _make(self, ask: PictureAsk, headers: Mapping[str, str], chat_id: str) -> Made:
        async with self._upstream.post(ask, headers) as reply:
            kind = content_type(reply)
            if reply.status != 200:
                body = await self._upstream.refusal(reply)
                raise UpstreamRefused(reply.status, body, kind)
            body = await self._upstream.read(reply, MAX_ANSWER_BYTES)
        where = f"{self._url}/v1/proxy/images/{chat_id}" if ask.by_url else None
        return await asyncio.to_thread(_read, body, kind, where)

    async def show(self, request: Request, chat_id: str, number: str, answer: Answer) -> None:
        """`GET /v1/proxy/images/{id}/{number}`, for whoever knows the id. Raises Refused."""
        self._downloads.count(request.sender, time.time())
        data = await asyncio.to_thread(self._picture_store.picture, chat_id.lower(), int(number))
        if data is None:
            raise Refused(404, "image not found or expired")
        await answer.whole(200, data, picture_type(data), DOWNLOAD_HEADERS)


def picture_type(data: bytes) -> str:
    """The media type by the first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for sign, kind in SIGNS:
        if data.startswith(sign):
            return kind
    return "application/octet-stream"


def _read(body: bytes, kind: str, where: str | None) -> Made:
    """The pictures in an upstream's answer; with `where`, an answer of URLs instead of pictures.

    Raises Broken.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Broken("the answer is not JSON") from error
    found = media.pictures(document)
    if found is None:
        raise Broken("the answer does not hold pictures as b64_json")
    if where is not None:
        kept = [{k: v for k, v in row.items() if k != "b64_json"} for row in document["data"]]
        rows = [{**row, "url": f"{where}/{number}"} for number, row in enumerate(kept)]
        body, kind = orjson.dumps({**document, "data": rows}), "application/json"
    hashes = tuple(hashlib.sha256(picture).hexdigest() for picture in found)
    return Made(body, kind, hashes, () if where is None else found)
