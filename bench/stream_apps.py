"""Two ASGI apps for `bench.streaming`: the upstream that everything is measured against, and the
bare path that ours is compared with.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_WANTED = re.compile(rb"n=(\d+) rate=(\d+) of=(\d+) run=(\d+)")
_waiting: dict[int, list[asyncio.Future[None]]] = {}
#: A paragraph's length in tokens: an answer without line ends would spare the chat its Markdown.
_PARAGRAPH = 60
_HEAD = b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
_CHUNKS = [
    _HEAD
    + b'[{"index":0,"delta":{"role":"assistant","content":"zap%d%s"},"finish_reason":null}]}\n\n'
    % (i % 10, b"\\n\\n" if i == _PARAGRAPH - 1 else b" ")
    for i in range(_PARAGRAPH)
]
_END = (
    _HEAD
    + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    + _HEAD
    + b'[],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":99}}\n\n'
    + b"data: [DONE]\n\n"
)
_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def upstream(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """A chat server: `n=1000 rate=20 of=50 run=3` in the last message are tokens, tokens a second
    (0: as fast as it can), and how many requests of one run it waits for after the first token.
    Signs nothing.
    """
    if scope["type"] != "http":
        return
    found = _WANTED.findall(await _body(receive))
    if not found:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
        return
    count, rate, crowd, run = (int(x) for x in found[-1])
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    started = time.perf_counter()
    for i in range(count):
        if i == 1 and crowd > 1:
            await _together(run, crowd)
        if rate:
            wait = started + i / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
        chunk = _CHUNKS[i % _PARAGRAPH]
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": _END % count})


async def _together(run: int, crowd: int) -> None:
    """Wait until all of a run are here: what opening costs is measured elsewhere."""
    waiting = _waiting.setdefault(run, [])
    waiting.append(asyncio.get_running_loop().create_future())
    if len(waiting) < crowd:
        await waiting[-1]
        return
    for one in _waiting.pop(run):
        if not one.done():
            one.set_result(None)


_session: aiohttp.ClientSession | None = None


async def bare(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """What any gateway that counts has to do and nothing else: pass on, parse every event, hash."""
    global _session
    if scope["type"] != "http":
        return
    body = await _body(receive)
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024))
    digest, tokens, rest = hashlib.sha256(), 0, b""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    async with _session.post(os.environ["BENCH_UPSTREAM"], data=body) as answer:
        async for chunk in answer.content.iter_any():
            digest.update(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    choices = orjson.loads(line[6:])["choices"]
                    tokens += bool(choices and choices[0]["delta"].get("content"))
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    said = b": n=%d sha256=%s\n\n" % (tokens, digest.hexdigest().encode())
    await send({"type": "http.response.body", "body": said})
