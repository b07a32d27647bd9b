"""What a job of pictures takes, while a provider sends as much as it may."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc

from inference.media import asking, pictures
from net.addresses import Policy
from net.client import Client
from tests.db.test_pictures import claiming


async def test_a_large_answer_is_at_no_time_whole_in_memory() -> None:
    """Three pictures of 11 MB, 44 MB of JSON: little more is held than the pictures themselves."""
    size, count = 11 << 20, 3
    head = claiming(100)
    padding = b"B" * (3 - len(head) % 3)
    first = base64.b64encode(head + padding)
    block = base64.b64encode(b"B" * 49_152)

    async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"/v1/async" in asked:
            writer.write(b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"data": [')
            for number in range(count):
                writer.write(b'%s{"b64_json": "%s' % (b", " if number else b"", first))
                for _ in range(size // 49_152):
                    writer.write(block)
                    await writer.drain()
                writer.write(b'"}')
            writer.write(b"]}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(provider, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    call = asking.Call(url, "Bearer x", pictures.GENERATIONS, "application/json", b"{}")

    async def told(_: object) -> None:
        return

    async with server, Client(Policy(allow_private=True)) as client:
        tracemalloc.start()
        try:
            outcome = await asking.draw(client, call, told)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert outcome.failure is None and len(outcome.pictures) == count
    made = sum(len(picture.data) for picture, _ in outcome.pictures)
    assert made > count * (size - 49_152)
    # While one is put together it is there twice, and nothing else is.
    assert held < made + (2 << 20) and peak < made + size + (6 << 20), (made, held, peak)
