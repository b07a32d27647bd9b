"""Hearing of new blocks at once: `newHeads` over a websocket, in a thread of its own.

Only a hint to look now: what a message says is never stored, and without a websocket the follower
polls. The node is a stranger here too: messages are bounded, and anything unexpected ends the
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import aiohttp
import orjson

from chain import facts
from chain.errors import Unavailable

CONNECT_SECONDS, HEARTBEAT_SECONDS = 5.0, 20.0
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
MAX_MESSAGE = 1 << 20
#: Heads found by polling alone after which a connection counts as dead.
MISSES = 3
#: How often a waiting follower looks whether it should stop (seconds).
SLICE = 0.2


def session() -> aiohttp.ClientSession:
    """Goes where it was sent and nowhere else: a node's redirect could lead into our own network,
    and aiohttp has no other way to say that a websocket follows none."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(trace_configs=[trace])


async def _refuse(*_: object) -> None:
    raise aiohttp.ClientError("a redirect")


def websocket_url(url: str) -> str:
    """Where nodes that serve both listen: the same place, `http` replaced by `ws`."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url


class Heads:
    """New heads of the first of `urls` that speaks `eth_subscribe`; started by the first wait."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = list(dict.fromkeys(urls))
        #: The URL we listen at now, or None.
        self.live: str | None = None
        #: The number of the newest head that was announced.
        self.number = -1
        #: How often its reader has looked for that one in vain.
        self.looks = 0
        self._news = threading.Event()
        self._stop = threading.Event()
        self._missed = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    def wait(self, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Wait for a new head, at most `seconds`; whether there was one."""
        if self._thread is None and self.urls:
            self._thread = threading.Thread(target=self._main, name="heads", daemon=True)
            self._thread.start()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stopping():
            if self._news.wait(min(left, SLICE)):
                self._news.clear()
                self._missed = 0
                return True
        return False

    def missed(self) -> None:
        """A new head was found by polling although we listen: is the connection still alive?"""
        self._missed += 1
        loop, socket = self._loop, self._socket
        if self._missed >= MISSES and loop is not None and socket is not None:
            self._missed = 0
            with contextlib.suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(socket.close(), loop)

    def close(self) -> None:
        self._stop.set()
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not None:
            self._thread.join(5)

    # --- in the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        pause = FIRST_PAUSE
        async with session() as found:
            while not self._stop.is_set():
                heard = False
                for url in self.urls:
                    heard = await self._listen(found, url) or heard
                pause = FIRST_PAUSE if heard else min(LAST_PAUSE, pause * 2)
                await asyncio.sleep(pause)

    async def _listen(self, session: aiohttp.ClientSession, url: str) -> bool:
        """Listen until the connection ends; whether there was a subscription at all."""
        timeout = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=2.0)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await session.ws_connect(
                    url, heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_MESSAGE, timeout=timeout
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False
        self._socket = socket
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await socket.send_json(
                    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
                )
                answer = orjson.loads(await socket.receive_str())
            subscription = answer.get("result") if isinstance(answer, dict) else None
            if not isinstance(subscription, str):
                return False
            self.live = url
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    self._hear(subscription, orjson.loads(message.data))
        except (aiohttp.ClientError, OSError, TimeoutError, TypeError, orjson.JSONDecodeError):
            return self.live is not None
        finally:
            self.live, self._socket = None, None
            await socket.close()
        return True

    def _hear(self, subscription: str, message: object) -> None:
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict) or params.get("subscription") != subscription:
            return
        result = params.get("result")
        try:
            number = facts.quantity(result.get("number") if isinstance(result, dict) else None)
        except Unavailable:
            return
        self.number, self.looks = number, 0
        self._news.set()
