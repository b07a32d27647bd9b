"""The fine-tuning provider's HTTP interface, as its client (provider-protocol.md 6.1).

Everything that comes back is a stranger's: sizes, shapes and times are bounded here, and its words
are cut and made printable.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
from channels.db import database_sync_to_async
from django.utils.translation import gettext_noop as N_

from attestation import trust
from finetune.errors import BrokerRefused, BrokerSilent
from net import strictjson
from net.client import Answer, Client
from net.errors import BadStatus, NetError
from net.limits import JsonLimits, Limits
from protocol import tuning

_QUICK = Limits(connect=5, first_byte=15, between=10, total=30, max_bytes=4 << 20, max_redirects=0)
#: An upload's answer comes after its last byte: the limit covers both.
_SENDING = Limits(
    connect=10, first_byte=900, between=60, total=1_800, max_bytes=1 << 20, max_redirects=0
)
#: Of a result, from the provider or from storage.
FETCHING = Limits(
    connect=10, first_byte=60, between=60, total=1_800, max_bytes=200 << 20, max_redirects=0
)
_MOST_MODELS = 50
#: Of a log only the beginning is taken: what is decoded at a time may reach beyond it.
MOST_LOG_BYTES = 4 << 20
_LOG = Limits(connect=5, first_byte=15, between=10, total=60, max_bytes=8 << 20, max_redirects=0)
_WORDS = 300
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Model:
    """A model of the provider's own."""

    name: str
    hash: str
    description: str
    data_type: str
    tokenizer: str
    usage: bool


@dataclass(frozen=True)
class Said:
    """A task as its provider tells it. `fee` in neuron, 0 until it was counted."""

    id: UUID
    progress: str
    fee: int
    deliver_index: str
    deliver_time: int
    updated_at: dt.datetime | None
    created_at: dt.datetime | None
    model_hash: str
    dataset_hash: str
    parameters: str
    nonce: int


class Broker:
    """One provider's interface; belongs to one event loop. Raises BrokerError only."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url.rstrip("/")

    async def pending(self) -> int:
        """Tasks that wait or run there."""
        text = (await self._get("/v1/task/pending")).decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise BrokerSilent(N_("It does not say how many tasks wait."))
        return int(text)

    async def models(self) -> list[Model]:
        """Models of its own; the well-known ones are in its listing on the chain."""
        found = document(await self._get("/v1/model"))
        if found is None:
            return []
        if not isinstance(found, list):
            raise BrokerSilent("Its list of models is not a list.")
        return [_model(one) for one in found[:_MOST_MODELS] if isinstance(one, dict)]

    async def usage(self, model: str) -> bytes:
        """The zip that explains a model."""
        return await self._get(f"/v1/model/desc/{quote(model, safe='')}")

    async def create(self, user: str, body: dict[str, Any]) -> UUID:
        """Hand in a task; its id there."""
        raw = await self._post(f"/v1/user/{user}/task", orjson.dumps(body), accept=(200, 201))
        found = document(raw)
        try:
            return UUID(str(found["id"]))
        except (TypeError, KeyError, ValueError):
            raise BrokerSilent(N_("It took the task and gave no id for it.")) from None

    async def task(self, user: str, id_: UUID) -> Said:
        return _said(document(await self._get(f"/v1/user/{user}/task/{id_}")))

    async def tasks(self, user: str) -> list[Said]:
        """The newest first, at most a hundred; what cannot be read of them hides no other."""
        found = document(await self._get(f"/v1/user/{user}/task?order=desc"))
        told: list[Said] = []
        for one in found[:100] if isinstance(found, list) else ():
            with suppress(BrokerSilent):
                told.append(_said(one))
        return told

    async def log(self, user: str, id_: UUID) -> bytes:
        """Its log from the beginning, at most MOST_LOG_BYTES of it; the rest is not asked for."""
        path, raw = f"/v1/user/{user}/task/{id_}/log", bytearray()
        async with self._open("GET", path, limits=_LOG) as answer:
            # Not `beginning`: a log that broke off must not look like one that became shorter.
            async for part in answer.chunks():
                raw += part
                if len(raw) >= MOST_LOG_BYTES:
                    break
        return bytes(raw[:MOST_LOG_BYTES])

    async def cancel(self, user: str, id_: UUID, signature: str) -> None:
        body = orjson.dumps({"signature": signature})
        await self._post(f"/v1/user/{user}/task/{id_}/cancel", body)

    async def upload(
        self, user: str, name: str, size: int, pieces: Iterator[bytes], signed: tuple[str, int]
    ) -> str:
        """Send a dataset into its machine; its hash for it. `signed`: signature, unix seconds."""
        mark = secrets.token_hex(16)
        fields = {"signature": signed[0], "timestamp": str(signed[1])}
        head = "".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        safe = re.sub(r"[^\w.-]", "_", name)[:80] or "dataset.jsonl"
        head += (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        first, last = head.encode(), f"\r\n--{mark}--\r\n".encode()

        async def body() -> AsyncIterator[bytes]:
            yield first
            step = database_sync_to_async(lambda: next(pieces, b""))
            while part := await step():
                yield part
            yield last

        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(len(first) + size + len(last)),
        }
        path = f"/v1/user/{user}/dataset"
        async with self._open(
            "POST", path, body=body(), headers=headers, limits=_SENDING
        ) as answer:
            found = document(await read(answer))
        hash_ = found.get("datasetHash") if isinstance(found, dict) else None
        if not isinstance(hash_, str) or not tuning.is_hash(hash_.lower()):
            raise BrokerSilent(N_("It took the dataset and gave no hash for it."))
        return hash_.lower()

    @asynccontextmanager
    async def download(
        self, user: str, id_: UUID, signed: tuple[str, int], start: int = 0
    ) -> AsyncIterator[Answer]:
        """The encrypted result as it comes; from byte `start` on where the broker can (206)."""
        body = orjson.dumps({"signature": signed[0], "timestamp": signed[1]})
        path = f"/v1/user/{user}/task/{id_}/lora"
        headers = {"Content-Type": "application/json", **from_byte(start)}
        async with self._open(
            "POST", path, body=body, headers=headers, limits=FETCHING, accept=(200, 206)
        ) as answer:
            yield answer

    # ---- how it is asked -------------------------------------------------------------------

    async def _get(self, path: str) -> bytes:
        async with self._open("GET", path) as answer:
            return await read(answer)

    async def _post(self, path: str, body: bytes, *, accept: tuple[int, ...] = (200,)) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with self._open("POST", path, body=body, headers=headers, accept=accept) as answer:
            return await read(answer)

    def _open(self, method: str, path: str, **given: Any) -> AbstractAsyncContextManager[Answer]:
        return opened(self._client, method, self._url + path, **given)


@asynccontextmanager
async def opened(client: Client, method: str, url: str, **given: Any) -> AsyncIterator[Answer]:
    """`Client.open` at a provider, whose trouble is a BrokerError."""
    try:
        async with client.open(method, url, **given) as answer:
            yield answer
    except BadStatus as error:
        raise BrokerRefused(error.status, words(error)) from None
    except NetError as error:
        raise BrokerSilent(f"The provider gives no answer: {error}.") from None


def from_byte(start: int) -> dict[str, str]:
    """The header that asks for the rest of a file."""
    return {"Range": f"bytes={start}-"} if start else {}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broker]:
    """The broker at a listing's URL, under the site's address policy."""
    async with Client(trust.provider_policy(), _QUICK) as client:
        yield Broker(client, url)


async def read(answer: Answer) -> bytes:
    """The whole body. Raises BrokerSilent."""
    try:
        return await answer.read()
    except NetError as error:
        raise BrokerSilent(f"The provider's answer broke off: {error}.") from None


def document(raw: bytes) -> Any:
    """The JSON in it. Raises BrokerSilent."""
    try:
        return strictjson.loads(raw, JsonLimits(max_bytes=4 << 20))
    except NetError as error:
        raise BrokerSilent(f"The provider's answer cannot be read: {error}.") from None


def words(error: BadStatus) -> str:
    """What it said, one printable line; a broker wraps it as `{"error"}`."""
    text = error.body.decode("utf-8", "replace")
    try:
        found = orjson.loads(error.body)
        text = str(found["error"]) if isinstance(found, dict) and "error" in found else text
    except orjson.JSONDecodeError:
        pass
    return printable(text) or f"status {error.status}"


def printable(text: str) -> str:
    """A stranger's words on one line, at most 300 characters of them."""
    return " ".join(_UNPRINTABLE.sub(" ", text[: 4 * _WORDS]).split())[:_WORDS]


def _model(raw: dict[str, Any]) -> Model:
    def text(name: str) -> str:
        value = raw.get(name)
        return value[:500].replace("\0", "") if isinstance(value, str) else ""

    return Model(
        name=text("name")[:200],
        hash=text("hash")[:66],
        description=text("description"),
        data_type=text("dataType")[:60],
        tokenizer=text("tokenizer")[:100],
        usage=bool(text("usageFile")),
    )


def _said(raw: Any) -> Said:
    if not isinstance(raw, dict):
        raise BrokerSilent(N_("What it says of the task is not an object."))
    progress = raw.get("progress")
    if progress not in (*tuning.STAGES, tuning.FAILED):
        raise BrokerSilent(N_("It names a stage that does not exist."))
    try:
        id_ = UUID(str(raw.get("id")))
    except ValueError:
        raise BrokerSilent(N_("What it says of the task has no id.")) from None
    return Said(
        id=id_,
        progress=progress,
        fee=_whole(raw.get("fee")),
        deliver_index=_text(raw.get("deliverIndex"), 80),
        deliver_time=min(_whole(raw.get("deliverTime")), 2**40),
        updated_at=_moment(raw.get("updatedAt")),
        created_at=_moment(raw.get("createdAt")),
        model_hash=_text(raw.get("preTrainedModelHash"), 66),
        dataset_hash=_text(raw.get("datasetHash"), 66),
        parameters=_text(raw.get("trainingParams"), tuning.MAX_PARAMETER_CHARS),
        nonce=_whole(raw.get("nonce")),
    )


def _text(value: Any, most: int) -> str:
    """Text as it was said, without what a database cannot hold."""
    return str(value or "")[:most].replace("\0", "")


def _whole(value: Any) -> int:
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,78}", text) else 0


def _moment(value: Any) -> dt.datetime | None:
    """A time of our days, in UTC: there are years and zones that a database cannot hold."""
    try:
        found = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.astimezone(dt.UTC) if found.tzinfo and 2000 < found.year < 3000 else None
