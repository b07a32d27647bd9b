"""The broker's doors (provider-protocol.md 1.1): parse the path, call one thing, answer."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from protocol import unsettled
from protocol.abi import checksum
from protocol.fees import EMBEDDING
from provider import proof
from provider.adapters import Adapters
from provider.admission import Reader
from provider.amounts import in_0g
from provider.asks import PictureAsk, read_edit, read_generation
from provider.config import CHAT, EDITING, IMAGES, SPEECH, Config
from provider.debts import Debts
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Answer, Receive, Request, Scope, Send, answered, cors
from provider.jobs import Jobs
from provider.metrics import Metrics
from provider.pictures import Pictures
from provider.receipts import Receipts
from provider.relay import Relay
from provider.sharing import Sharing
from provider.tee import Tee, show_quote
from provider.tuning.handover import PATH as HANDOVER_PATH

_FEE_PATH = re.compile(r"/v1/user/(0x[0-9a-fA-F]{40})/unsettledfee\Z")
_SIGNATURE = "/v1/proxy/signature/"
_ADAPTERS = "/v1/lora/adapters"
_ADAPTER_PATHS = (_ADAPTERS, HANDOVER_PATH)
_PICTURE = re.compile(r"/v1/proxy/images/([0-9a-fA-F-]{36})/([0-9]{1,3})\Z")
_JOB = re.compile(r"/v1/async/jobs/([^/]+)\Z")
_SUBMIT: dict[str, Reader[PictureAsk]] = {
    "/v1/async/images/generations": read_generation,
    "/v1/async/images/edits": read_edit,
}
# Methods that no door has, not even one that does not exist: TRACE would repeat a stranger's
# headers, CONNECT would ask for a tunnel.
_NEVER = ("TRACE", "CONNECT")

# What goes in and what comes out, by service type (provider-protocol.md 1.7).
_MODALITIES = {
    CHAT: (["text"], ["text"]),
    IMAGES: (["text", "image"], ["image"]),
    EDITING: (["text", "image"], ["image"]),
    SPEECH: (["audio"], ["text"]),
    EMBEDDING: (["text"], ["embeddings"]),
}

Door = Callable[[Request, Answer], Awaitable[None]]
_NONCE_BYTES = 32
_NONCE = re.compile(r"[0-9a-fA-F]{64}")

log = logging.getLogger("provider.app")


class App:
    """The ASGI application."""

    def __init__(
        self,
        config: Config,
        *,
        relay: Relay,
        pictures: Pictures,
        jobs: Jobs,
        adapters: Adapters | None,
        receipts: Receipts,
        gate: Gate,
        debts: Debts,
        tee: Tee,
        started: int,
        metrics: Metrics,
        sharing: Sharing | None,
    ) -> None:
        self._config = config
        self._doors = _doors(config.service.type, relay, pictures)
        self._pictures = pictures
        self._jobs = jobs if config.jobs.workers and self._makes_pictures else None
        self._adapters = adapters
        self._receipts = receipts
        self._gate = gate
        self._debts = debts
        self._tee = tee
        self._started = started
        self._metrics = metrics
        self._sharing = sharing
        self._running: set[asyncio.Task[None]] = set()

    @property
    def _makes_pictures(self) -> bool:
        return self._config.service.type in (IMAGES, EDITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            task = asyncio.create_task(self._handle(scope, receive, send))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            await task

    async def finish(self, seconds: float) -> None:
        """Let cancelled answers write down what they are owed."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = _canonical(request.path)
        proxied = path.startswith("/v1/proxy/")
        answer = Answer(
            send, {"x-content-type-options": "nosniff", **cors(request, proxied=proxied)}
        )
        with self._metrics.request(request.method, path) as status:
            await answered(request, answer, self._answer(request, path, answer), log)
            if answer.status and not answer.lost:
                status.append(answer.status)

    async def _answer(self, request: Request, path: str, answer: Answer) -> None:
        if request.method == "OPTIONS":
            await answer.whole(204, b"", "text/plain")
        elif request.method in _NEVER:
            raise Refused(405, "method not allowed")
        else:
            await self._route(request, path, answer)

    async def _route(self, request: Request, path: str, answer: Answer) -> None:
        door = (request.method, path)
        read = request.method in ("GET", "HEAD")
        if request.method == "POST" and path in self._doors:
            await self._doors[path](request, answer)
        elif request.method == "GET" and path.startswith(_SIGNATURE):
            await self._receipts.signature(path[len(_SIGNATURE) :], answer)
        elif door == ("GET", "/v1/proxy/attestation/report"):
            await self._report(request, answer)
        elif read and self._makes_pictures and (match := _PICTURE.match(path)):
            await self._pictures.show(request, match[1], match[2], answer)
        elif path == "/v1/proxy" or path.startswith("/v1/proxy/"):
            raise Refused(400, "unsupported endpoint: endpoint not supported")
        elif door == ("GET", "/v1/quote"):
            await show_quote(self._tee, request, answer)
        elif door == ("GET", "/v1/models"):
            await answer.json(200, self._models())
        elif door == ("GET", proof.PATH):
            await proof.show(self._config.wallet_key, request, answer)
        elif self._sharing is not None and door == ("GET", unsettled.PATH):
            await self._sharing.show(answer)
        elif request.method == "GET" and (match := _FEE_PATH.match(path)):
            await self._unsettled_fee(match[1], request, answer)
        elif (request.method == "POST" and path in _SUBMIT) or (
            request.method == "GET" and _JOB.match(path)
        ):
            await self._job(path, request, answer)
        elif self._adapters is not None and path.startswith(_ADAPTER_PATHS):
            await self._adapter(self._adapters, path, request, answer)
        else:
            await answer.not_found()

    async def _adapter(
        self, adapters: Adapters, path: str, request: Request, answer: Answer
    ) -> None:
        door = (request.method, path)
        if door == ("POST", HANDOVER_PATH):
            await adapters.take(request, answer)
        elif door == ("POST", f"{_ADAPTERS}/deploy"):
            await adapters.deploy(request, answer)
        elif door == ("GET", _ADAPTERS):
            await adapters.list_(request, answer)
        elif request.method == "GET" and path.startswith(f"{_ADAPTERS}/"):
            await adapters.show(path[len(_ADAPTERS) + 1 :], request, answer)
        else:
            await answer.not_found()

    async def _job(self, path: str, request: Request, answer: Answer) -> None:
        """One is handed in, or asked after."""
        if self._jobs is None:
            await answer.json(503, {"error": "async processing is not enabled"})
        elif match := _JOB.match(path):
            await self._jobs.show(request, match[1], answer)
        else:
            await self._jobs.submit(request, answer, _SUBMIT[path])

    async def _unsettled_fee(self, address: str, request: Request, answer: Answer) -> None:
        user = await self._gate.session(request.headers.get("authorization"))
        if checksum(address) != user:
            raise Refused(403, "you may only read your own unsettled fee")
        await answer.json(200, {"unsettledFee": str(self._debts.owed(user))})

    async def _report(self, request: Request, answer: Answer) -> None:
        """The model's TD, made for the caller's nonce, or for one of our own without it."""
        if request.query.get("model", self._config.service.model) != self._config.service.model:
            raise Refused(404, "model not found")
        given = request.query.get("nonce", "")
        if given and not _NONCE.fullmatch(given):
            raise Refused(400, "nonce: expected 32 bytes in hex")
        nonce = bytes.fromhex(given) if given else secrets.token_bytes(_NONCE_BYTES)
        await answer.json(200, self._tee.model_report(nonce), {"cache-control": "no-store"})

    def _models(self) -> dict[str, Any]:
        """One entry of provider-protocol.md 1.7; prices in 0G per unit."""
        service = self._config.service
        if self._makes_pictures:
            pricing = {"image": in_0g(service.output_price)}
        elif service.type == EMBEDDING:
            pricing = {"prompt": in_0g(service.input_price)}
        else:
            pricing = {
                "prompt": in_0g(service.input_price),
                "completion": in_0g(service.output_price),
            }
        taken, given = _MODALITIES[service.type]
        if service.type == CHAT and service.takes_pictures:
            taken = [*taken, "image"]
        entry = {
            "id": service.model,
            "object": "model",
            "created": self._started,
            "owned_by": self._config.provider,
            "provider": self._config.provider,
            "type": service.type,
            "architecture": {
                "modality": f"{'+'.join(taken)}->{'+'.join(given)}",
                "input_modalities": taken,
                "output_modalities": given,
            },
            "pricing": pricing,
            "verifiability": service.verifiability,
        }
        return {"object": "list", "data": [entry]}


def _doors(kind: str, relay: Relay, pictures: Pictures) -> dict[str, Door]:
    """What a service of that type answers under `/v1/proxy`. An image service gets both doors; its
    upstream says if it cannot use one."""
    doors: dict[str, dict[str, Door]] = {
        CHAT: {"chat/completions": relay.chat},
        SPEECH: {"audio/transcriptions": relay.transcription},
        EMBEDDING: {"embeddings": relay.embeddings},
        IMAGES: {"images/generations": pictures.generation, "images/edits": pictures.edit},
    }
    chosen = doors[IMAGES if kind == EDITING else kind]
    return {f"/v1/proxy/{path}": door for path, door in chosen.items()}


def _canonical(path: str) -> str:
    """Under the proxy a repeated `/v1` and trailing slashes do not matter."""
    if path.startswith("/v1/proxy/"):
        path = path.rstrip("/").replace("/v1/proxy/v1/", "/v1/proxy/", 1)
    return path
