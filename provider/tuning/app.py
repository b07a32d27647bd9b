"""The fine-tuning broker's routes (provider-protocol.md 6.1): parse the path, call one thing."""

from __future__ import annotations

import asyncio
import logging
import re
import time

from provider import proof
from provider.errors import Refused
from provider.http import Answer, Receive, Request, Scope, Send, answered, cors
from provider.limits import Windows
from provider.tee import Tee, show_quote
from provider.tuning.endpoints import Endpoints, address
from provider.tuning.options import Options
from provider.tuning.tasks import Tasks

#: Everything that costs us a signature check or a disk, by the caller's address.
POSTS_PER_MINUTE = 120

_USER = re.compile(r"/v1/user/([^/]+)/(task|dataset)(?:/([^/]+))?(?:/(cancel|log|lora))?/?\Z")
_MODEL = re.compile(r"/v1/model/([^/]+)\Z")
_USAGE = re.compile(r"/v1/model/desc/([^/]+)\Z")

log = logging.getLogger("provider.tuning.app")


class App:
    """The ASGI application."""

    def __init__(self, options: Options, *, endpoints: Endpoints, tasks: Tasks, tee: Tee) -> None:
        self._options = options
        self._endpoints = endpoints
        self._tasks = tasks
        self._tee = tee
        self._posts = Windows(POSTS_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = Answer(send, {"x-content-type-options": "nosniff", **cors(request, proxied=False)})
        if request.method == "OPTIONS":
            await answer.whole(204, b"", "text/plain")
        else:
            await answered(request, answer, self._route(request, answer), log)

    async def _route(self, request: Request, answer: Answer) -> None:
        door = (request.method, request.path)
        if request.method == "POST":
            self._posts.count(request.sender, time.time())
        if match := _USER.match(request.path):
            await self._user(match, request, answer)
        elif door == ("GET", "/v1/task/pending"):
            pending = await asyncio.to_thread(self._tasks.pending)
            await answer.whole(200, str(pending).encode(), "text/plain")
        elif door == ("GET", "/v1/model"):
            ours = [m for m in self._options.models if m.customised]
            await answer.json(200, [m.document(self._options.provider) for m in ours])
        elif request.method == "GET" and (match := _USAGE.match(request.path)):
            await self._usage(match[1], answer)
        elif request.method == "GET" and (match := _MODEL.match(request.path)):
            model = self._options.model(match[1])
            if model is None:
                raise Refused(404, "model not found")
            await answer.json(200, model.document(self._options.provider))
        elif door == ("GET", proof.PATH):
            await proof.show(self._options.wallet_key, request, answer)
        elif door == ("GET", "/v1/quote"):
            await show_quote(self._tee, request, answer)
        else:
            # The SDK parses every error as JSON (6.1), so also this one.
            raise Refused(404, "404 page not found")

    async def _user(self, match: re.Match[str], request: Request, answer: Answer) -> None:
        user, kind, id_, action = address(match[1]), match[2], match[3], match[4]
        door = (request.method, kind, id_ is not None, action)
        if door == ("POST", "task", False, None):
            await self._endpoints.create(user, request, answer)
        elif door == ("GET", "task", False, None):
            await self._endpoints.list_(user, request, answer)
        elif door == ("GET", "task", True, None):
            await self._endpoints.show(user, id_, answer)
        elif door == ("GET", "task", True, "log"):
            await self._endpoints.log(user, id_, answer)
        elif door == ("POST", "task", True, "cancel"):
            await self._endpoints.cancel(user, id_, request, answer)
        elif door == ("POST", "task", True, "lora"):
            await self._endpoints.download(user, id_, request, answer)
        elif door == ("POST", "dataset", False, None):
            await self._endpoints.upload(user, request, answer)
        else:
            raise Refused(404, "404 page not found")

    async def _usage(self, name: str, answer: Answer) -> None:
        model = self._options.model(name)
        if model is None or model.usage_file is None:
            raise Refused(404, "model not found, or nothing is written about it")
        raw = await asyncio.to_thread(model.usage_file.read_bytes)
        await answer.whole(200, raw, "application/zip")
