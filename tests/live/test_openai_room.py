"""What `/v1` holds in memory, for whoever asks for as much of it as there is."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager

import openai
import pytest

from accounts.models import User
from inference.openai import app, asks, forward
from inference.openai.room import MOST_LARGE, Room
from ledger.models import Service
from tests.live.test_openai_relay import HELLO, NAME, WORDS, client, secret
from tests.live.test_openai_relay import alice as alice
from tests.live.test_openai_relay import upstream as upstream


def test_what_was_only_announced_takes_room_from_nobody(
    asgi_server: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight requests that never come to their end were once the memory of a whole process."""
    monkeypatch.setattr(app, "MOST_A_DAY", 1)
    host, port = asgi_server.removeprefix("http://").split(":")
    asked = f"POST /v1/{asks.TRANSCRIPTIONS} HTTP/1.1\r\nHost: {host}\r\n"
    asked += f"Authorization: Bearer {secret(alice)}\r\n"
    asked += "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n"
    with ExitStack() as opened:
        for _ in range(8):
            one = opened.enter_context(socket.create_connection((host, int(port)), timeout=20))
            one.sendall(f"{asked}\r\n1\r\n-\r\n".encode())
        while app.relay._open.total() < 8:
            time.sleep(0.02)
        own = client(asgi_server, secret(alice), max_retries=0)
        said = own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=100)
        assert said.choices[0].message.content == "".join(WORDS)
        # Of what was answered, a row is kept.
        with pytest.raises(openai.RateLimitError, match="of one person a day"):
            own.chat.completions.create(model=NAME, messages=HELLO, max_tokens=100)


def test_large_answers_are_held_a_few_at_a_time(
    asgi_server: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had a provider too once made a process hold a hundred of 64 MB."""
    inside, most, place = [0], [0], Room.large

    @asynccontextmanager
    async def counted(self: Room, owner: int) -> AsyncIterator[None]:
        async with place(self, owner):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            yield
            inside[0] -= 1

    monkeypatch.setattr(Room, "large", counted)
    monkeypatch.setattr(forward, "SMALL_BYTES", 1000)
    Service.objects.update(service_type="embedding")
    own = client(asgi_server, secret(alice), max_retries=0)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(own.embeddings.create, model=NAME, input="Hello") for _ in range(12)]
    assert all(len(one.result().data) == 1 for one in asked)
    assert 1 <= most[0] <= MOST_LARGE and app.relay._room._large == {}
