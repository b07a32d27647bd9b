"""A web process of its own: told to end, killed, and replaced, while an answer streams."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis
import requests
import websockets
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import connection

from inference import conversations
from inference.models import Chat, State, Turn
from tests import factories
from tests.db.chat_world import world
from tests.forks import SITE, Forked
from tests.live.chat_upstream import Asked, Reply, ThreadedUpstream, Upstream
from tests.live.test_chat_socket import cookie

pytestmark = pytest.mark.django_db(transaction=True)


async def endless(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    if b"Briefly" in asked.body:
        await reply.tokens(*[f"word{i} " for i in range(60)], pause=0.02)
        await reply.signed_end("id-1", asked)
        return
    await reply.tokens(*[f"word{i} " for i in range(2000)], pause=0.02)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with ThreadedUpstream(endless) as started:
        yield started


@pytest.fixture
def chat(transactional_db: None, upstream: Upstream) -> Chat:
    return world(upstream.url)


@contextmanager
def web(port: int, **more: str) -> Iterator[Forked]:
    """The site as `./run serve` starts it, on the test's stores; `more` variables."""
    values = connection.settings_dict
    database = (
        f"postgresql://{values['USER']}@/{values['NAME']}?host={quote(values['HOST'], safe='')}"
    )
    site = {"DATABASE_URL": database, "SITE_URL": f"http://127.0.0.1:{port}"}
    process = SITE.start(
        *("uvicorn", "marketplace.asgi:application"),
        *("--host", "127.0.0.1", "--port", str(port), "--lifespan", "on"),
        *("--ws", "websockets-sansio", "--log-level", "warning"),
        *("--timeout-graceful-shutdown", "5"),
        env={**os.environ, **site, **more},
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                if requests.get(f"http://127.0.0.1:{port}/healthz", timeout=20).ok:
                    break
            except requests.RequestException:
                assert process.poll() is None and time.monotonic() < deadline, "no web process"
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait(60)


async def ask(port: int, chat: Chat, text: str = "Hi") -> tuple[int, str]:
    """Ask, and read some words; the turn and what was seen of it."""
    origin = f"http://127.0.0.1:{port}"
    header = {"Cookie": await database_sync_to_async(cookie)(chat.owner), "Origin": origin}
    url = f"ws://127.0.0.1:{port}/ws/chat/{chat.pk}"
    async with websockets.connect(url, additional_headers=header, proxy=None) as socket:
        await socket.send(json.dumps({"type": "prompt", "key": str(uuid4()), "text": text}))
        turn = json.loads(await asyncio.wait_for(socket.recv(), 60))["turn"]
        seen = ""
        while "word9 " not in seen:
            seen += json.loads(await asyncio.wait_for(socket.recv(), 60)).get("text", "")
    return turn, seen


def ended(turn_id: int, seconds: float) -> Turn:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        turn = Turn.objects.select_related("chat").get(pk=turn_id)
        if turn.state != State.OPEN:
            return turn
        time.sleep(0.1)
    raise AssertionError("the turn stayed open")


def check(turn: Turn, seen: str, upstream: Upstream, *, asked: int = 1) -> None:
    assert (turn.state, turn.failure) == (State.CUT_OFF, "interrupted")
    assert turn.answer.startswith(seen)
    words = turn.answer.split()
    assert words == [f"word{i}" for i in range(len(words))], "an exact prefix"
    assert (turn.fee_kind, turn.verdict) == ("unknown", "not_comparable")
    assert len(upstream.chats) == asked, "never sent again"


def test_told_to_end_it_lets_short_answers_end(
    chat: Chat, upstream: Upstream, free_port: int
) -> None:
    """And cuts off the long one."""
    other = conversations.create_chat(chat.owner, factories.PETRA)
    with web(free_port) as process:
        long, seen = asyncio.run(ask(free_port, chat))
        short, read = asyncio.run(ask(free_port, other, "Briefly"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    check(Turn.objects.get(pk=long), seen, upstream, asked=2)
    turn = Turn.objects.select_related("chat").get(pk=short)
    assert turn.state == State.ANSWERED and turn.answer.startswith(read)
    assert turn.answer.split()[-1] == "word59" and turn.fee_kind == "known"


def test_killed_and_replaced(chat: Chat, upstream: Upstream, free_port: int) -> None:
    with web(free_port) as process:
        turn_id, seen = asyncio.run(ask(free_port, chat))
        process.kill()
        process.wait(60)
    assert Turn.objects.get(pk=turn_id).state == State.OPEN
    store: Any = redis.Redis.from_url(settings.REDIS_URL)
    owner = Turn.objects.get(pk=turn_id).process
    assert store.ttl(f"process:{owner}") <= 15, "its heartbeat runs out by itself"
    store.delete(f"process:{owner}")
    store.close()
    with web(free_port):
        check(ended(turn_id, 60), seen, upstream)
