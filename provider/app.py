"""The broker's doors (provider-protocol.md 1.1): parse the path, call one thing, answer."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from decimal import Decimal
from typing import Any

import orjson

from protocol.abi import checksum
from provider.book import Book
from provider.config import Config
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Answer, ClientGone, Receive, Request, Scope, Send, cors
from provider.relay import Relay
from provider.tee import Tee

_FEE_PATH = re.compile(r"/v1/user/(0x[0-9a-fA-F]{40})/unsettledfee\Z")
_SIGNATURE = "/v1/proxy/signature/"
_NONCE_BYTES = 32
_NONCE = re.compile(r"[0-9a-fA-F]{64}")

log = logging.getLogger("provider.app")


class App:
    """The ASGI application."""

    def __init__(
        self, config: Config, *, relay: Relay, gate: Gate, book: Book, tee: Tee, started: int
    ) -> None:
        self._config = config
        self._relay = relay
        self._gate = gate
        self._book = book
        self._tee = tee
        self._started = started
        self._running: set[asyncio.Task[None]] = set()

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
        try:
            if request.method == "OPTIONS":
                await answer.whole(204, b"", "text/plain")
            else:
                await self._route(request, path, answer)
        except Refused as refused:
            if refused.status >= 500:
                log.warning("%s %s: %s", request.method, path, refused.text)
            if not answer.started:
                await answer.refuse(refused)
        except ClientGone:
            pass
        except Exception:
            log.exception("%s %s", request.method, path)
            if not answer.started:
                await answer.refuse(Refused(500, "internal error"))

    async def _route(self, request: Request, path: str, answer: Answer) -> None:
        door = (request.method, path)
        if door == ("POST", "/v1/proxy/chat/completions"):
            await self._relay.chat(request, answer)
        elif request.method == "GET" and path.startswith(_SIGNATURE):
            await self._relay.signature(path[len(_SIGNATURE) :], answer)
        elif door == ("GET", "/v1/proxy/attestation/report"):
            await self._report(request, answer)
        elif path.startswith("/v1/proxy/"):
            raise Refused(400, "unsupported endpoint: endpoint not supported")
        elif door == ("GET", "/v1/quote"):
            legacy = request.query.get("legacy") != "false"
            await self._evidence(self._tee.quote(legacy=legacy), answer)
        elif door == ("GET", "/v1/models"):
            await answer.json(200, self._models())
        elif request.method == "GET" and (match := _FEE_PATH.match(path)):
            await self._unsettled_fee(match[1], request, answer)
        else:
            await answer.not_found()

    async def _unsettled_fee(self, address: str, request: Request, answer: Answer) -> None:
        user = await self._gate.session(request.headers.get("authorization"))
        if checksum(address) != user:
            raise Refused(403, "you may only read your own unsettled fee")
        await answer.json(200, {"unsettledFee": str(self._book.owed(user))})

    async def _report(self, request: Request, answer: Answer) -> None:
        """The model's TD, made for the caller's nonce, or for one of our own without it."""
        if request.query.get("model", self._config.service.model) != self._config.service.model:
            raise Refused(404, "model not found")
        given = request.query.get("nonce", "")
        if given and not _NONCE.fullmatch(given):
            raise Refused(400, "nonce: expected 32 bytes in hex")
        nonce = bytes.fromhex(given) if given else secrets.token_bytes(_NONCE_BYTES)
        await self._evidence(self._tee.model_report(nonce), answer)

    async def _evidence(self, document: dict[str, Any], answer: Answer) -> None:
        """A report with the signature over its exact bytes (attestation.md 8)."""
        body = orjson.dumps(document)
        headers = {
            "cache-control": "no-store",
            "zg-quote-signature": self._tee.sign_body(body),
        }
        await answer.whole(200, body, "application/json; charset=utf-8", headers)

    def _models(self) -> dict[str, Any]:
        """One entry of provider-protocol.md 1.7; prices in 0G per token."""
        service = self._config.service
        entry = {
            "id": service.model,
            "object": "model",
            "created": self._started,
            "owned_by": self._config.provider,
            "provider": self._config.provider,
            "type": service.type,
            "pricing": {
                "prompt": _in_0g(service.input_price),
                "completion": _in_0g(service.output_price),
            },
            "verifiability": service.verifiability,
        }
        return {"object": "list", "data": [entry]}


def _canonical(path: str) -> str:
    """Under the proxy a repeated `/v1` and trailing slashes do not matter."""
    if path.startswith("/v1/proxy/"):
        path = path.rstrip("/").replace("/v1/proxy/v1/", "/v1/proxy/", 1)
    return path


def _in_0g(neuron: int) -> str:
    text = f"{Decimal(neuron).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
