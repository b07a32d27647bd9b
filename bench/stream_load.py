"""The load: many streams at once over plain sockets, as cheap as Python allows, in a process of its
own. Reads a plan (JSON) from its input, writes one JSON line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import uvloop

_TOKEN = b"zap"


@dataclass
class Stream:
    """What one stream saw; seconds of the monotonic clock."""

    asked: float = 0.0
    first: float = 0.0
    second: float = 0.0
    last: float = 0.0
    tokens: int = 0
    head: bytes = b""
    rest: bytes = field(default=b"", repr=False)

    def saw(self, text: bytes) -> None:
        self.head = self.head or text[:500]
        found = text.count(_TOKEN)
        if found:
            self.last = time.perf_counter()
            self.first = self.first or self.last
            self.tokens += found
            if self.tokens > 1 and not self.second:
                self.second = self.last


def _http(plan: dict[str, Any], request: dict[str, Any]) -> bytes:
    body = json.dumps(request["body"]).encode()
    headers = {"Host": "127.0.0.1", "Connection": "close", "Content-Type": "application/json"}
    headers |= request["headers"] | {"Content-Length": str(len(body))}
    lines = [f"POST {plan['path']} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def sse(plan: dict[str, Any], port: int, request: dict[str, Any]) -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    stream = Stream(asked=time.perf_counter())
    writer.write(_http(plan, request))
    end = b""
    while data := await reader.read(1 << 18):
        text = stream.rest + data
        stream.saw(text)
        cut = text.rfind(_TOKEN[:1])
        stream.rest = text[cut:] if cut >= len(text) - 2 else b""
        end = text[-5:]
    writer.close()
    # A gateway may cut a token in two where its own chunk ends; what ended well is whole.
    if end == b"0\r\n\r\n" and stream.tokens > plan["tokens"] * 0.98:
        stream.tokens = plan["tokens"]
    return stream


async def socket(plan: dict[str, Any], port: int, request: dict[str, Any]) -> Stream:
    """The chat's websocket: connected before the clock starts, as a page is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    key += f"Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    more = "".join(f"{n}: {v}\r\n" for n, v in request["headers"].items())
    head = f"GET {request['path']} HTTP/1.1\r\n" + key + more + "\r\n"
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in answer:
        raise RuntimeError(answer[:200])
    said = json.dumps({"type": "prompt", "key": str(uuid4()), **request["body"]}).encode()
    size = (
        struct.pack(">BH", 0x80 | 126, len(said)) if len(said) > 125 else bytes([0x80 | len(said)])
    )
    stream = Stream(asked=time.perf_counter())
    writer.write(b"\x81" + size + b"\0\0\0\0" + said)
    while True:
        first, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await reader.readexactly(8), "big")
        frame = await reader.readexactly(length)
        if first == 0x89:
            writer.write(b"\x8a" + bytes([0x80 | length]) + b"\0\0\0\0" + frame)
            continue
        if first != 0x81:
            raise RuntimeError(f"frame {first:x} {frame[:200]!r}")
        start = frame[:80]
        if b'"delta"' in start:
            stream.saw(frame)
        elif b'"error"' in start:
            raise RuntimeError(frame[:300])
        elif b'"verdict"' in start:
            break
    writer.close()
    return stream


async def run(plan: dict[str, Any]) -> dict[str, Any]:
    one = socket if plan["kind"] == "ws" else sse
    requests, ports = plan["requests"], plan["ports"]
    cpu = time.process_time()
    if plan.get("sequential"):
        streams = [await one(plan, ports[0], request) for request in requests]
    else:
        # At any moment, as people come. Every 50 ms, with a token of each stream every 50 ms, all
        # streams would beat as one, and each newcomer would wait for the same two hundred tokens.
        moments = random.Random(len(requests))

        async def later(moment: float, port: int, request: dict[str, Any]) -> Stream:
            await asyncio.sleep(moment)
            return await one(plan, port, request)

        spread = plan.get("spread", 0)
        begun = zip((spread * moments.random() for _ in requests), itertools.cycle(ports), requests)
        streams = list(await asyncio.gather(*(later(*each) for each in begun)))
    missing = [s for s in streams if s.tokens != plan["tokens"]]
    if missing:
        said = f"{len(missing)} of {len(streams)} streams incomplete: {missing[0]}"
        raise RuntimeError(f"{plan['kind']} {plan['path']}: {said}")
    waits = sorted((s.first - s.asked) * 1000 for s in streams)
    tokens = sum(s.tokens for s in streams)
    span = max(s.last for s in streams) - min(s.asked for s in streams)
    steady = max(s.last for s in streams) - min(s.second for s in streams)
    return {
        "tokens_a_second": tokens / span,
        "steady": (tokens - len(streams)) / steady if steady else 0.0,
        "p50": waits[len(waits) // 2],
        "p95": waits[int(len(waits) * 0.95)],
        "cpu": time.process_time() - cpu,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(json.load(sys.stdin)))))
