"""The answerer over HTTP, as OpenAI's API: chat completions, whole or streamed at a human pace,
images, transcriptions and embeddings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from hmac import compare_digest
from itertools import count
from typing import Any

import orjson

from provider.answerer.calls import Call, Offer, check_results, choose, quoted, read_offer
from provider.answerer.compose import Turn, answer, tokens
from provider.answerer.search import Index
from provider.answerer.sight import MAX_PICTURES, Seen, look
from provider.answerer.studio import LISTENER, PAINTER, Studio
from provider.answerer.vectors import HASHER, Vectors
from provider.errors import Refused
from provider.http import Answer, ClientGone, Receive, Request, Scope, Send

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ANSWER_TOKENS = 4096
BYTES_PER_TOKEN = 4
MAX_STOPS = 4


@dataclass(frozen=True)
class Ask:
    """A chat request, checked."""

    model: str
    turns: list[Turn]
    stream: bool
    with_usage: bool
    max_tokens: int
    stops: tuple[str, ...]
    as_json: bool
    picture_tokens: int
    offer: Offer


class AnswererApp:
    """The ASGI application; `rate` is tokens per second, `key` "" asks for none."""

    def __init__(self, index: Index, *, model: str, rate: float, key: str = "") -> None:
        self._index = index
        self._model = model
        self._pause = 1 / rate
        self._key = key
        self._started = int(time.time())
        self._ids = count(1)
        self._studio = Studio()
        self._vectors = Vectors()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, reply = Request(scope, receive), Answer(send, {})
        await answered(reply, self._route(request, reply))

    async def _route(self, request: Request, reply: Answer) -> None:
        door = (request.method, request.path.rstrip("/"))
        if self._key and not compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {self._key}".encode()
        ):
            raise Refused(401, "a valid API key is required")
        if door == ("GET", "/v1/models"):
            names = (self._model, PAINTER, LISTENER, HASHER)
            await reply.json(200, {"object": "list", "data": [self._entry(n) for n in names]})
        elif door == ("POST", "/v1/chat/completions"):
            body = await request.body(MAX_BODY_BYTES, "the request is too large")
            ask = await asyncio.to_thread(read_ask, body, self._model)
            await self._complete(ask, request, reply)
        elif door == ("POST", "/v1/images/generations"):
            await self._studio.generation(request, reply)
        elif door == ("POST", "/v1/images/edits"):
            await self._studio.edit(request, reply)
        elif door == ("POST", "/v1/audio/transcriptions"):
            await self._studio.transcription(request, reply)
        elif door == ("POST", "/v1/embeddings"):
            await self._vectors.embeddings(request, reply)
        else:
            raise Refused(404, f"no such endpoint: {request.method} {request.path}")

    def _entry(self, name: str) -> dict[str, Any]:
        entry = {"id": name, "object": "model", "created": self._started}
        return {**entry, "owned_by": "this project"}

    async def _complete(self, ask: Ask, request: Request, reply: Answer) -> None:
        call = choose(ask.offer, ask.turns)
        if call is None:
            text = quoted(ask.turns) or await asyncio.to_thread(answer, self._index, ask.turns)
            text = orjson.dumps({"answer": text}).decode() if ask.as_json else text
            text = min((text.partition(stop)[0] for stop in ask.stops), key=len, default=text)
        else:
            text = call.arguments
        pieces = tokens(text)
        kept = pieces[: ask.max_tokens]
        prompt = sum(len(tokens(turn.content)) for turn in ask.turns) + ask.picture_tokens
        prompt += ask.offer.size // BYTES_PER_TOKEN
        ended = "stop" if call is None else "tool_calls"
        completion = _Completion(
            head={
                "id": f"chatcmpl-{self._started:x}-{next(self._ids)}",
                "created": int(time.time()),
                "model": ask.model,
            },
            pieces=kept,
            finish=ended if len(kept) == len(pieces) else "length",
            call=call,
            usage={
                "prompt_tokens": prompt,
                "completion_tokens": len(kept),
                "total_tokens": prompt + len(kept),
            },
        )
        if ask.stream:
            await self._stream(completion, ask, request, reply)
        else:
            await reply.json(200, completion.whole())

    async def _stream(
        self, completion: _Completion, ask: Ask, request: Request, reply: Answer
    ) -> None:
        await reply.start(200, {"content-type": "text/event-stream", "cache-control": "no-cache"})
        gone = asyncio.create_task(request.gone())
        started = time.monotonic()
        try:
            for number, chunk in enumerate(completion.chunks(with_usage=ask.with_usage)):
                # Against the clock, not by a sleep per token: a busy machine must not slow us down.
                delay = started + number * self._pause - time.monotonic()
                if delay > 0 and number <= len(completion.pieces):
                    await asyncio.wait({gone}, timeout=delay)
                if gone.done() or reply.lost:
                    return
                await reply.write(b"data: " + chunk + b"\n\n", more=True)
            await reply.write(b"", more=False)
        finally:
            gone.cancel()


async def answered(reply: Answer, route: Awaitable[None]) -> None:
    """Do `route`; what it refuses becomes the answer, as OpenAI's API says it."""
    try:
        await route
    except Refused as refused:
        if not reply.started:
            error = {"message": refused.text, "type": "invalid_request_error", "code": None}
            await reply.json(refused.status, {"error": error})
    except ClientGone:
        pass


@dataclass(frozen=True)
class _Completion:
    """One answer, able to be sent whole or in chunks; of a `call` the pieces are the arguments."""

    head: dict[str, Any]
    pieces: list[str]
    finish: str
    usage: dict[str, int]
    call: Call | None = None

    def whole(self) -> dict[str, Any]:
        said = "".join(self.pieces)
        message: dict[str, Any] = {"role": "assistant", "content": said}
        if self.call is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [self._called(said)]}
        return {
            **self.head,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
            "usage": self.usage,
        }

    def chunks(self, *, with_usage: bool) -> Iterator[bytes]:
        head = {**self.head, "object": "chat.completion.chunk"}

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return orjson.dumps({**head, "choices": [choice]})

        if self.call is None:
            yield chunk({"role": "assistant", "content": ""})
            for piece in self.pieces:
                yield chunk({"content": piece})
        else:
            begun = {"index": 0, **self._called("")}
            yield chunk({"role": "assistant", "content": None, "tool_calls": [begun]})
            for piece in self.pieces:
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, self.finish)
        if with_usage:
            yield orjson.dumps({**head, "choices": [], "usage": self.usage})
        yield b"[DONE]"

    def _called(self, arguments: str) -> dict[str, Any]:
        name = self.call.name if self.call else ""
        made = {"name": name, "arguments": arguments}
        return {"id": f"call-{self.head['id']}", "type": "function", "function": made}


def read_ask(body: bytes, model: str) -> Ask:
    """The chat request in `body`. Raises Refused 400."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "the body is not valid JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("messages"), list):
        raise Refused(400, "messages must be a list")
    limit = document.get("max_completion_tokens") or document.get("max_tokens")
    limit = MAX_ANSWER_TOKENS if limit is None else limit
    if type(limit) is not int or limit < 1:
        raise Refused(400, "max_tokens must be a whole number above zero")
    if document.get("n") not in (None, 1):
        raise Refused(400, "n must be 1: this stand-in has one answer to a question")
    if document.get("logprobs"):
        raise Refused(400, "logprobs are not offered: this stand-in counts no probabilities")
    check_results(document["messages"])
    options = document.get("stream_options")
    name = document.get("model")
    room = MAX_PICTURES
    turns: list[Turn] = []
    picture_tokens = 0
    for message in reversed(document["messages"]):  # the newest pictures are looked at first
        turn, seen = _turn(message, room)
        room -= len(seen)
        picture_tokens += sum(one.tokens for one in seen)
        turns.insert(0, turn)
    return Ask(
        model=name if isinstance(name, str) and name else model,
        turns=turns,
        picture_tokens=picture_tokens,
        stream=document.get("stream") is True,
        with_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=min(limit, MAX_ANSWER_TOKENS),
        stops=_stops(document.get("stop")),
        as_json=_as_json(document.get("response_format")),
        offer=read_offer(document),
    )


def _stops(given: object) -> tuple[str, ...]:
    """The texts before which the answer ends."""
    stops = [given] if isinstance(given, str) else given if given is not None else []
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise Refused(400, f"stop must be a text, or a list of at most {MAX_STOPS}")
    texts = tuple(stop for stop in stops if isinstance(stop, str) and stop)
    if len(texts) < len(stops):
        raise Refused(400, "every stop must be a text that is not empty")
    return texts


def _as_json(given: object) -> bool:
    """Whether the answer is wanted as JSON: it is then the one text of an object."""
    form = given.get("type") if isinstance(given, dict) else given
    if form not in (None, "text", "json_object"):
        raise Refused(
            400, "response_format must be text or json_object: no schema is followed here"
        )
    return form == "json_object"


def _turn(message: object, room: int) -> tuple[Turn, list[Seen]]:
    """The message, and what is seen on at most `room` of its pictures."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Refused(400, "every message needs a role")
    content = message.get("content")
    seen: list[Seen] = []
    if isinstance(content, list):
        parts = [part.get("image_url") for part in content if isinstance(part, dict)]
        urls = [part.get("url") for part in parts if isinstance(part, dict)]
        seen = [look(url) for url in urls[:room] if isinstance(url, str)]
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(text for text in texts if isinstance(text, str))
    words = content if isinstance(content, str) else ""
    return Turn(message["role"], words, tuple(one.sentence for one in seen)), seen
