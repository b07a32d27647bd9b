"""`python -m provider.smallmodel.serve --port N`: the small model behind OpenAI's chat API, with
adapters that can be loaded and unloaded (vLLM's two endpoints for that).

Prints `small model READY <url> <parameters> parameters` when it serves. For the broker beside it
only: whoever reaches it may load adapters from this machine's disk.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import contextlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from provider.answerer.app import MAX_BODY_BYTES, Ask, answered, read_ask
from provider.errors import ConfigError, Refused
from provider.http import Answer, Receive, Request, Scope, Send
from provider.server import listen, serve_app
from provider.smallmodel import MODEL_NAME, tune
from provider.smallmodel.examples import prompt_tokens
from provider.smallmodel.network import Network, load_base
from provider.smallmodel.safetensors import BadTensors
from provider.smallmodel.tokenizer import Tokenizer

MAX_ADAPTERS = 32
MAX_NAME_CHARS = 200
TEMPERATURE = 0.0


class SmallModelApp:
    """The ASGI application; one answer is computed at a time."""

    def __init__(self, base: Network, tokenizer: Tokenizer) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._tuned: OrderedDict[str, Network] = OrderedDict()
        self._turn = asyncio.Lock()
        self._started = int(time.time())
        self._ids = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, reply = Request(scope, receive), Answer(send, {})
        await answered(reply, self._route(request, reply))

    async def _route(self, request: Request, reply: Answer) -> None:
        door = (request.method, request.path.rstrip("/"))
        if door == ("GET", "/v1/models"):
            entry = {"object": "model", "created": self._started, "owned_by": "this project"}
            names = (MODEL_NAME, *self._tuned)
            await reply.json(200, {"object": "list", "data": [{"id": n, **entry} for n in names]})
        elif door == ("POST", "/v1/chat/completions"):
            body = await request.body(MAX_BODY_BYTES, "the request is too large")
            await self._complete(body, request, reply)
        elif door == ("POST", "/v1/load_lora_adapter"):
            await self._load(await self._names(request), reply)
        elif door == ("POST", "/v1/unload_lora_adapter"):
            name = (await self._names(request))["lora_name"]
            if self._tuned.pop(name, None) is None:
                raise Refused(404, f"no such adapter: {name}")
            await reply.whole(200, b"unloaded", "text/plain")
        else:
            raise Refused(404, f"no such endpoint: {request.method} {request.path}")

    # ---- adapters --------------------------------------------------------------------------

    async def _names(self, request: Request) -> dict[str, str]:
        try:
            document = orjson.loads(await request.body(MAX_BODY_BYTES, "the request is too large"))
            name = document["lora_name"]
            found = {"lora_name": name, "lora_path": document.get("lora_path", "")}
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise Refused(400, "lora_name is missing") from error
        if not all(isinstance(value, str) for value in found.values()) or not name:
            raise Refused(400, "lora_name and lora_path must be texts")
        if len(name) > MAX_NAME_CHARS or name == MODEL_NAME:
            raise Refused(400, "this name cannot be given")
        return found

    async def _load(self, names: dict[str, str], reply: Answer) -> None:
        if names["lora_name"] in self._tuned:
            raise Refused(400, f"{names['lora_name']} has already been loaded")
        folder = Path(names["lora_path"])
        try:
            adapter = await asyncio.to_thread(tune.load_adapter, folder, self._base.shape)
        except (BadTensors, OSError) as error:
            raise Refused(400, f"the adapter cannot be used: {error}") from error
        self._tuned[names["lora_name"]] = Network(self._base.shape, self._base.weights, adapter)
        while len(self._tuned) > MAX_ADAPTERS:
            self._tuned.popitem(last=False)
        await reply.whole(200, b"loaded", "text/plain")

    # ---- answers ---------------------------------------------------------------------------

    async def _complete(self, body: bytes, request: Request, reply: Answer) -> None:
        ask = read_ask(body, MODEL_NAME)
        network = self._tuned.get(ask.model)
        if network is None and ask.model != MODEL_NAME:
            raise Refused(404, f"The model `{ask.model}` does not exist.")
        if ask.stops or ask.as_json:
            raise Refused(400, "stop and response_format are not offered by this model")
        question = next((t.content for t in reversed(ask.turns) if t.role == "user"), "")
        prompt = prompt_tokens(self._tokenizer, question, self._base.shape.context // 2)
        pieces = Pieces(network or self._base, self._tokenizer, prompt, ask, _temperature(body))
        head = {
            "id": f"chatcmpl-{self._started:x}-{next(self._ids)}",
            "created": int(time.time()),
            "model": ask.model,
        }
        async with self._turn:
            if ask.stream:
                await self._stream(pieces, ask, head, request, reply)
            else:
                text = await asyncio.to_thread("".join, pieces)
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": pieces.finish}
                document = {**head, "object": "chat.completion", "choices": [choice]}
                await reply.json(200, {**document, "usage": pieces.usage})

    async def _stream(
        self, pieces: Pieces, ask: Ask, head: dict[str, Any], request: Request, reply: Answer
    ) -> None:
        head = {**head, "object": "chat.completion.chunk"}

        async def event(delta: dict[str, str], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            raw = orjson.dumps({**head, "choices": [choice]})
            await reply.write(b"data: " + raw + b"\n\n", more=True)

        await reply.start(200, {"content-type": "text/event-stream", "cache-control": "no-cache"})
        gone = asyncio.create_task(request.gone())
        try:
            await event({"role": "assistant", "content": ""})
            following = iter(pieces)
            while (piece := await asyncio.to_thread(next, following, None)) is not None:
                if gone.done() or reply.lost:
                    return
                if piece:
                    await event({"content": piece})
            await event({}, pieces.finish)
            if ask.with_usage:
                raw = orjson.dumps({**head, "choices": [], "usage": pieces.usage})
                await reply.write(b"data: " + raw + b"\n\n", more=True)
            await reply.write(b"data: [DONE]\n\n", more=False)
        finally:
            gone.cancel()


class Pieces:
    """An answer as it is computed: iterate once, then ask for `usage` and `finish`."""

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        prompt: list[int],
        ask: Ask,
        temperature: float,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._most = ask.max_tokens
        self._temperature = temperature
        self._count = 0

    def __iter__(self) -> Iterator[str]:
        """Texts, one per token; "" where a character is not complete yet. Blocks."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rng = np.random.default_rng()
        tokens = self._network.generate(
            self._prompt, most=self._most, temperature=self._temperature, rng=rng
        )
        for token in tokens:
            self._count += 1
            yield decoder.decode(self._tokenizer.raw([token]))
        yield decoder.decode(b"", final=True)

    @property
    def finish(self) -> str:
        """Why it ended; a full context counts as too long."""
        room = self._network.shape.context - len(self._prompt)
        return "length" if self._count >= min(self._most, room) else "stop"

    @property
    def usage(self) -> dict[str, int]:
        given = len(self._prompt)
        return {
            "prompt_tokens": given,
            "completion_tokens": self._count,
            "total_tokens": given + self._count,
        }


def _temperature(body: bytes) -> float:
    """The request's temperature; 0 without one, so that the same question has the same answer."""
    value = orjson.loads(body).get("temperature")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2:
        return float(value)
    return TEMPERATURE


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="provider.smallmodel.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    base, tokenizer = load_base()
    try:
        sock = listen("127.0.0.1", arguments.port)
    except ConfigError as error:
        print(f"small model: {error}", file=sys.stderr)
        return 2
    size = sum(weights.size for weights in base.weights.values())
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    ready = f"small model READY {url} {size} parameters"
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_app(SmallModelApp(base, tokenizer), sock, ready))
    return 0


if __name__ == "__main__":
    sys.exit(main())
