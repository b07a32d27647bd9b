"""A server for images and speech that behaves as the prompt's or the file's first word tells it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VERBOSE = {"task": "transcribe", "duration": 12.49, "text": "two words", "segments": []}
SRT = "1\n00:00:00,000 --> 00:00:03,100\none\n\n2\n00:00:03,100 --> 00:01:02,600\ntwo\n"
#: What each file name gets, as (media type, body).
TRANSCRIPTS: dict[str, tuple[str, bytes]] = {
    "duration": (
        "application/json",
        b'{"text" : "hello",  "usage":{"type":"duration","seconds":7}}',
    ),
    "tokens": (
        "application/json",
        b'{"text":"hello","usage":{"type":"tokens","input_tokens":100,"output_tokens":40}}',
    ),
    "verbose": ("application/json", json.dumps(VERBOSE).encode()),
    "srt": ("application/x-subrip", SRT.encode()),
    "vtt": ("text/vtt", b"WEBVTT\n\n00:01.000 --> 00:09.500 align:start\nhi\n"),
    "text": ("text/plain; charset=utf-8", b"three plain words\n"),
    "empty": ("text/plain", b""),
    "absurd": (
        "application/json",
        b'{"text":"a b","usage":{"type":"duration","seconds":1e300}}',
    ),
    "cheeky": (
        "application/json",
        b'{"text":"a b","usage":{"type":"duration","seconds":-5,"input_tokens":1000000}}',
    ),
}


def picture(number: int) -> bytes:
    """Pictures that differ, so that their order matters."""
    return PNG + bytes([number])


class MediaUpstream:
    """Remembers what it was sent; `gate` holds answers back until it is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.held = False
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "GET":  # the broker looks whether we are there
            await self._send(send, 200, "application/json", b'{"object":"list","data":[]}')
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.paths.append(scope["path"])
        self.bodies.append(body)
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        while self.held:
            await asyncio.sleep(0.02)
        if scope["path"].endswith("/transcriptions"):
            await self._transcribe(send, body)
        else:
            await self._draw(send, body)

    async def _send(self, send: Any, status: int, kind: str, body: bytes) -> None:
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _transcribe(self, send: Any, body: bytes) -> None:
        match = re.search(rb'filename="([a-z]+)', body)
        assert match is not None
        word = match[1].decode()
        if word == "refuse":
            await self._send(send, 400, "application/json", b'{"error":{"message":"not audio"}}')
        elif word == "stream":
            events = [
                {"type": "transcript.text.delta", "delta": "hello "},
                {"type": "transcript.text.delta", "delta": "there"},
                {
                    "type": "transcript.text.done",
                    "text": "hello there",
                    "usage": {"type": "duration", "seconds": 3},
                },
            ]
            lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            await self._send(send, 200, "text/event-stream", lines.encode())
        else:
            kind, text = TRANSCRIPTS[word]
            await self._send(send, 200, kind, text)

    async def _draw(self, send: Any, body: bytes) -> None:
        word, count = _wish(body)
        if word == "refuse":
            await self._send(send, 400, "application/json", b'{"error":{"message":"no cats"}}')
        elif word == "denied":
            await self._send(send, 401, "application/json", b'{"error":"key upstream-secret"}')
        elif word == "explode":
            await self._send(send, 500, "application/json", b'{"error":"boom"}')
        elif word == "huge":
            await self._send(send, 200, "application/json", b'{"x":"' + b"y" * (65 << 20) + b'"}')
        elif word == "html":
            await self._send(send, 200, "text/html", b"<h1>It works!</h1>")
        elif word == "hosted":
            document: Any = {"created": 1, "data": [{"url": "http://10.0.0.1/secret.png"}]}
            await self._send(send, 200, "application/json", json.dumps(document).encode())
        elif word == "broken":
            await self._send(send, 200, "application/json", b'{"data":[{"b64_json":"@@@"}]}')
        else:
            count += {"fewer": -1, "more": 1}.get(word, 0)
            await self._send(send, 200, "application/json", drawn(count))


def drawn(count: int) -> bytes:
    """An image answer, laid out as no serialiser of ours would."""
    rows = [{"b64_json": base64.b64encode(picture(i)).decode(), "seed": i} for i in range(count)]
    return json.dumps({"created": 7, "data": rows}, indent=3).encode()


def _wish(body: bytes) -> tuple[str, int]:
    """The first word of the prompt and n, from JSON or a form."""
    if body.startswith(b"{"):
        document = json.loads(body)
        return document["prompt"].split()[0], document.get("n") or 1
    prompt = re.search(rb'name="prompt"\r\n\r\n([a-z]+)', body)
    count = re.search(rb'name="n"\r\n\r\n([0-9]+)', body)
    return (prompt[1].decode() if prompt else ""), int(count[1]) if count else 1
