"""A provider under a test's control: speaks the documented protocol byte by byte, faults included.

Real brokers are tested with `provider/`; this one exists to misbehave in ways no broker of ours
can.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from protocol import replies

SIGNER_KEY = bytes.fromhex("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6")
SIGNER = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script = Callable[["Reply", Asked], Awaitable[None]]


class Reply:
    """Writes raw bytes of an answer."""

    def __init__(self, upstream: Upstream, writer: asyncio.StreamWriter) -> None:
        self.upstream = upstream
        self.writer = writer
        self.body = b""

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, /, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def whole(self, body: bytes, status: int = 200, **headers: str) -> None:
        await self.head(status, Content_Length=str(len(body)), Connection="close", **headers)
        await self.raw(body)

    async def start(self, chat_id: str = "", **extra: str) -> None:
        """Begin a chunked event stream."""
        headers = {"Transfer_Encoding": "chunked", "Content_Type": "text/event-stream", **extra}
        if chat_id:
            headers["ZG_Res_Key"] = chat_id
        await self.head(200, **headers)

    async def send(self, data: bytes) -> None:
        """One chunk of the stream."""
        self.body += data
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def tokens(self, *texts: str, pause: float = 0) -> None:
        for text in texts:
            await self.send(token(text))
            await asyncio.sleep(pause)

    async def end(self, usage: tuple[int, int] | None = (11, 7)) -> None:
        await self.send(closing(usage))
        await self.raw(b"0\r\n\r\n")

    async def signed_end(
        self, answer_id: str, asked: Asked, usage: tuple[int, int] | None = (11, 7)
    ) -> None:
        """End the answer of a provider that signs what it sent."""
        self.upstream.sign(answer_id, asked, self.body + closing(usage))
        await self.end(usage)

    def abort(self) -> None:
        """Reset the connection: no closing chunk, no goodbye."""
        self.writer.transport.abort()


def token(text: str, counted: int = 0) -> bytes:
    """A chunk; `counted`: the tokens up to here, for servers that count in each."""
    said: dict[str, Any] = {"choices": [{"delta": {"content": text}}]}
    if counted:
        said["usage"] = {"prompt_tokens": 9, "completion_tokens": counted}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def closing(usage: tuple[int, int] | None) -> bytes:
    last: dict[str, Any] = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    if usage:
        last["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return b"data: " + json.dumps(last).encode() + b"\n\ndata: [DONE]\n\n"


@dataclass
class Upstream:
    """`script` answers chat requests; signatures are served from `signatures`, by id."""

    script: Script
    signatures: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    closed_early: int = 0
    url: str = ""
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def sign(self, chat_id: str, asked: Asked, answer: bytes, key: bytes = SIGNER_KEY) -> None:
        text = replies.signed_text(replies.sha256_hex(asked.body), replies.sha256_hex(answer))
        self.signatures[chat_id] = {
            "text": text,
            "signature": replies.sign_text(text, key),
            "signing_address": SIGNER,
            "signing_algo": "ecdsa",
        }

    @property
    def chats(self) -> list[Asked]:
        return [a for a in self.asked if a.path.endswith("/chat/completions")]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        reply = Reply(self, writer)
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            if "/v1/proxy/signature/" in asked.path:
                await self._signature(reply, asked)
            else:
                await self._watched(reader, reply, asked)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _watched(self, reader: asyncio.StreamReader, reply: Reply, asked: Asked) -> None:
        """Run the script until it ends or the client goes away."""
        script = asyncio.ensure_future(self.script(reply, asked))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([script, gone], return_when=asyncio.FIRST_COMPLETED)
            if not script.done():
                self.closed_early += 1
        finally:
            script.cancel()
            gone.cancel()
            await asyncio.gather(script, gone, return_exceptions=True)

    async def _signature(self, reply: Reply, asked: Asked) -> None:
        chat_id = asked.path.partition("?")[0].rsplit("/", 1)[-1]
        found = self.signatures.get(chat_id)
        if found is None:
            body = b'{"error":"prepare HTTP request: Chat id not found or expired"}'
            await reply.whole(body, 400, Content_Type="application/json")
        elif isinstance(found, int):
            await reply.whole(b"{}", found)
        else:
            await reply.whole(json.dumps(found).encode(), Content_Type="application/json")


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)


class ThreadedUpstream:
    """The same in a thread of its own, for tests that block (Chromium)."""

    def __init__(self, script: Script) -> None:
        self.upstream = Upstream(script)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.upstream.__aenter__(), self._loop).result(10)
        return self.upstream

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.upstream.__aexit__(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
