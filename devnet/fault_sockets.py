"""The websocket side of the misbehaving proxy: `newHeads` that come late, never, or as nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, web

#: A message over the listener's limit (bytes).
TOO_LONG = 2 << 20
NO_HEADS: tuple[Any, ...] = ("0x" + "f" * 64, "0x0", "-0x1", "latest", None, 7, {}, "0x")


async def relay(
    request: web.Request,
    session: ClientSession,
    upstream: str,
    hit: Callable[[str], bool],
    rng: random.Random,
) -> web.StreamResponse:
    """Pass messages both ways between who asked and the node, with the faults that `hit` draws."""
    if hit("socket_refused"):
        return web.Response(status=rng.choice((400, 403, 404, 503)))
    near = web.WebSocketResponse()
    await near.prepare(request)
    url = "ws" + upstream.removeprefix("http")
    try:
        async with session.ws_connect(url, max_msg_size=0) as far:
            asking = asyncio.ensure_future(_ask(near, far))
            try:
                await _tell(near, far, hit, rng)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
    except (ClientError, ConnectionError):
        pass
    with contextlib.suppress(ConnectionError):
        await near.close()
    return near


async def _ask(near: web.WebSocketResponse, far: ClientWebSocketResponse) -> None:
    async for message in near:
        if message.type == WSMsgType.TEXT:
            await far.send_str(message.data)
    await far.close()


async def _tell(
    near: web.WebSocketResponse,
    far: ClientWebSocketResponse,
    hit: Callable[[str], bool],
    rng: random.Random,
) -> None:
    async for message in far:
        if message.type != WSMsgType.TEXT:
            continue
        if hit("socket_cut"):
            return
        if hit("socket_silent"):
            continue
        said = _nonsense(message.data, rng) if hit("socket_nonsense") else message.data
        await near.send_str(said)


def _nonsense(message: str, rng: random.Random) -> str:
    """Something else than what the node said."""
    told: Any = orjson.loads(message)
    result = told.get("params", {}).get("result") if isinstance(told, dict) else None
    if isinstance(result, dict) and rng.random() < 0.6:
        told["params"]["result"] = {**result, "number": rng.choice(NO_HEADS)}
        return orjson.dumps(told).decode()
    spoiled: tuple[str, ...] = ("", "{", "null", "[]", "7", '{"params": 3}', "x" * TOO_LONG)
    return rng.choice(spoiled)
