"""A server that breaks HTTP in every way we know: raw sockets, one port for each attack, in its own
process, so that what an attack costs the one who is attacked can be measured.

    with Hostile() as hostile:
        hostile.url("endless_body")     # http://127.0.0.1:…
        hostile.visits                  # requests at the place that nobody may be sent to
"""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self

from runner.processes import die_with_parent

#: Seconds between the drops of what is slow.
DROP = 0.01
PIECE = b"A" * (64 << 10)
#: What text may never do to a page: leave its place, reverse it, or hide.
STRINGS = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    "\u202eevil\u2066\x00\x07\x1b[31m"
)
JSON = "application/json"


class Conversation:
    """One connection, its request already read."""

    def __init__(self, writer: asyncio.StreamWriter, ports: dict[str, int], name: str) -> None:
        self._writer = writer
        self.ports = ports
        self.here = ports[name]

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, *lines: str, status: str = "200 OK", kind: str = JSON) -> None:
        given = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", "")
        await self.send("\r\n".join(given).encode("latin-1"))

    async def whole(self, body: bytes, *lines: str, status: str = "200 OK") -> None:
        await self.head(f"Content-Length: {len(body)}", "Connection: close", *lines, status=status)
        await self.send(body)

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def cut(self) -> None:
        """Reset: no goodbye."""
        self._writer.transport.abort()


Attack = Callable[[Conversation], Awaitable[None]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(script: Attack) -> Attack:
    ATTACKS[script.__name__] = script
    return script


async def _for_ever() -> None:
    await asyncio.Event().wait()


# --- slow: what is sent would be all right, if it ever came ---------------------------------------


@attack
async def silence(to: Conversation) -> None:
    await _for_ever()


@attack
async def slow_headers(to: Conversation) -> None:
    await to.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await to.send(b"a")
        await asyncio.sleep(DROP)


@attack
async def slow_body(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked")
    while True:
        await to.chunk(b" ")
        await asyncio.sleep(DROP)


@attack
async def slow_events(to: Conversation) -> None:
    """A stream that says nothing, and says it for ever."""
    await to.head("Transfer-Encoding: chunked", kind="text/event-stream")
    while True:
        await to.chunk(b": still thinking\n\n")
        await asyncio.sleep(DROP)


@attack
async def stalled_body(to: Conversation) -> None:
    await to.head("Content-Length: 1000")
    await to.send(b'{"data": [')
    await _for_ever()


@attack
async def endless_continue(to: Conversation) -> None:
    """Interim answers without an end."""
    while True:
        await to.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(DROP)


# --- large ----------------------------------------------------------------------------------------


@attack
async def endless_body(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked")
    while True:
        await to.chunk(PIECE)


@attack
async def endless_events(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked", kind="text/event-stream")
    event = b'data: {"choices": [{"delta": {"content": "' + PIECE[: 8 << 10] + b'"}}]}\n\n'
    while True:
        await to.chunk(event)


@attack
async def endless_line(to: Conversation) -> None:
    """A stream whose first event never ends."""
    await to.head("Transfer-Encoding: chunked", kind="text/event-stream")
    await to.chunk(b"data: ")
    while True:
        await to.chunk(PIECE)


@attack
async def endless_refusal(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked", status="500 No")
    while True:
        await to.chunk(PIECE)


@attack
async def huge_length(to: Conversation) -> None:
    await to.head("Content-Length: 99999999999999999999")
    while True:
        await to.send(PIECE)


@attack
async def endless_headers(to: Conversation) -> None:
    await to.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await to.send(b"X-More: and more\r\n" * 1000)


@attack
async def huge_header(to: Conversation) -> None:
    await to.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        await to.send(PIECE)


@attack
async def many_headers(to: Conversation) -> None:
    lines = (f"X-{number}: 1" for number in range(5_000))
    await to.whole(b"{}", *lines)


def _bomb(window: int) -> bytes:
    """Some hundred kilobytes that become 96 MB, a JSON string that never ends."""
    engine = zlib.compressobj(9, zlib.DEFLATED, window)
    packed = engine.compress(b'{"data": "')
    for _ in range(96):
        packed += engine.compress(b"A" * (1 << 20))
    return packed + engine.flush()


BOMBS: dict[str, bytes] = {}


@attack
async def gzip_bomb(to: Conversation) -> None:
    await to.whole(BOMBS["gzip"], "Content-Encoding: gzip")


@attack
async def deflate_bomb(to: Conversation) -> None:
    await to.whole(BOMBS["deflate"], "Content-Encoding: deflate")


@attack
async def gzip_bomb_refusal(to: Conversation) -> None:
    await to.whole(BOMBS["gzip"], "Content-Encoding: gzip", status="500 No")


# --- broken ---------------------------------------------------------------------------------------


@attack
async def brotli(to: Conversation) -> None:
    """Never asked for, so never undone."""
    await to.whole(b"\x8b\x00\x80\x41\x03" * 100, "Content-Encoding: br")


@attack
async def gzip_twice(to: Conversation) -> None:
    await to.whole(gzip.compress(gzip.compress(b"{}")), "Content-Encoding: gzip, gzip")


@attack
async def gzip_garbage(to: Conversation) -> None:
    await to.whole(b"{}", "Content-Encoding: gzip")


@attack
async def short_body(to: Conversation) -> None:
    await to.head("Content-Length: 1000")
    await to.send(b"{}")


@attack
async def two_lengths(to: Conversation) -> None:
    await to.head("Content-Length: 2", "Content-Length: 40")
    await to.send(b"{}")


@attack
async def negative_length(to: Conversation) -> None:
    await to.head("Content-Length: -1")
    await to.send(b"{}")


@attack
async def chunk_garbage(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked")
    await to.send(b"zz\r\n{}\r\n0\r\n\r\n")


@attack
async def chunk_overflow(to: Conversation) -> None:
    await to.head("Transfer-Encoding: chunked")
    await to.send(b"f" * 40 + b"\r\n{}")


@attack
async def no_http(to: Conversation) -> None:
    await to.send(b"\x16\x03\x01\x02\x00\x01\x00 this is no HTTP\r\n\r\n")


@attack
async def upgrade(to: Conversation) -> None:
    await to.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    await _for_ever()


@attack
async def hangs_up(to: Conversation) -> None: ...


@attack
async def resets(to: Conversation) -> None:
    await to.head("Content-Length: 1000")
    await to.send(b"{")
    to.cut()


# --- elsewhere ------------------------------------------------------------------------------------


async def _sent_to(place: str, to: Conversation) -> None:
    await to.whole(b"", f"Location: {place}", status="307 Elsewhere")


@attack
async def redirect_inside(to: Conversation) -> None:
    await _sent_to("http://169.254.169.254/latest/meta-data/", to)


@attack
async def redirect_next_door(to: Conversation) -> None:
    """Another service of the same machine."""
    await _sent_to(f"http://127.0.0.1:{to.ports['forbidden']}/", to)


@attack
async def redirect_scheme(to: Conversation) -> None:
    await _sent_to("file:///etc/passwd", to)


@attack
async def redirect_loop(to: Conversation) -> None:
    await _sent_to(f"http://127.0.0.1:{to.here}/again", to)


# --- answers that are HTTP, and no answers --------------------------------------------------------


@attack
async def deep_json(to: Conversation) -> None:
    await to.whole(b"[" * 100_000 + b"]" * 100_000)


@attack
async def deep_objects(to: Conversation) -> None:
    await to.whole(b'{"data":' * 50_000 + b"1" + b"}" * 50_000)


@attack
async def huge_number(to: Conversation) -> None:
    await to.whole(b"9" * 100_000)


@attack
async def huge_exponent(to: Conversation) -> None:
    await to.whole(b'{"data": 1e999999, "id": -1e999999, "fee": 1E-999999}')


@attack
async def huge_string(to: Conversation) -> None:
    await to.whole(b'{"error": "' + b"A" * 900_000 + b'"}')


@attack
async def not_a_number(to: Conversation) -> None:
    await to.whole(b'{"data": NaN, "x": Infinity}')


@attack
async def invalid_utf8(to: Conversation) -> None:
    await to.whole(b'{"data": "\xff\xfe\xc0\x80\xed\xa0\x80"}')


@attack
async def lone_surrogate(to: Conversation) -> None:
    await to.whole(b'{"data": "\\ud800", "\\udfff": 1}')


@attack
async def strings(to: Conversation) -> None:
    """A refusal in words that a page must not repeat as they are."""
    await to.whole(json.dumps({"error": STRINGS}).encode(), status="400 No")


@attack
async def raw_strings(to: Conversation) -> None:
    await to.whole(STRINGS.encode(), f"X-Words: {STRINGS[:30]}", status="500 No")


@attack
async def empty(to: Conversation) -> None:
    await to.whole(b"")


# --- the server -----------------------------------------------------------------------------------


class _Server:
    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.visits = 0
        self.open = 0

    async def run(self) -> None:
        BOMBS.update(gzip=_bomb(31), deflate=_bomb(15))
        serving: dict[str, Serve] = {name: partial(self._serve, name) for name in ATTACKS}
        others: dict[str, Serve] = {"forbidden": self._forbidden, "asked": self._asked}
        for name, serve in {**serving, **others}.items():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            self.ports[name] = server.sockets[0].getsockname()[1]
        print(json.dumps(self.ports), flush=True)
        await _for_ever()

    async def _serve(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """The attack, until it ends or the one who is attacked has gone."""
        self.open += 1
        working = None
        try:
            await reader.readuntil(b"\r\n\r\n")
            working = asyncio.ensure_future(ATTACKS[name](Conversation(writer, self.ports, name)))
            gone = asyncio.ensure_future(_until_gone(reader))
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.open -= 1
            if working is not None:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
            writer.close()

    async def _forbidden(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Where nobody may be sent to; it counts whoever comes, a bare connection too."""
        self.visits += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        writer.close()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For the test: how many came where nobody may, and how many are still here."""
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"visits": self.visits, "open": self.open}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """What else is sent is read and thrown away."""
    while await reader.read(1 << 16):
        pass


class Hostile:
    """The server in its own process, from the test's side."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.hostile"],
            cwd=Path(__file__).resolve().parent.parent.parent,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent(),
        )
        assert self._process.stdout is not None
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def visits(self) -> int:
        """How many came where nobody may be sent to."""
        return self._said("visits")

    @property
    def open(self) -> int:
        """Attacks under way: connections that were not closed yet."""
        return self._said("open")

    def _said(self, name: str) -> int:
        with urllib.request.urlopen(self.url("asked")) as answer:
            return int(json.load(answer)[name])


if __name__ == "__main__":
    asyncio.run(_Server().run())
