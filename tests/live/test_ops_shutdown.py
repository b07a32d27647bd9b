"""A web process that is told to end behind a load balancer: it says so first, refuses new turns,
and lets the running one end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any
from uuid import uuid4

import pytest
import requests
import websockets
from channels.db import database_sync_to_async

from inference.models import Chat, State
from tests.live.chat_upstream import Upstream
from tests.live.test_chat_process import ask, chat, ended, upstream, web
from tests.live.test_chat_socket import cookie

pytestmark = pytest.mark.django_db(transaction=True)
FIXTURES = (chat, upstream)  # found by their names


def status(url: str, wanted: int) -> None:
    """Wait until a path answers so."""
    deadline = time.monotonic() + 60
    while (found := requests.get(url, timeout=20).status_code) != wanted:
        assert time.monotonic() < deadline, f"{url} answers {found}"
        time.sleep(0.05)


async def refused(port: int, chat: Chat) -> dict[str, Any]:
    """What a new question is told."""
    header = {
        "Cookie": await database_sync_to_async(cookie)(chat.owner),
        "Origin": f"http://127.0.0.1:{port}",
    }
    url = f"ws://127.0.0.1:{port}/ws/chat/{chat.pk}"
    async with websockets.connect(url, additional_headers=header, proxy=None) as socket:
        await socket.send(json.dumps({"type": "prompt", "key": str(uuid4()), "text": "More?"}))
        found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 60))
    return found


def test_it_says_so_before_it_goes(chat: Chat, upstream: Upstream, free_port: int) -> None:
    site = f"http://127.0.0.1:{free_port}"
    with web(free_port, SHUTDOWN_DELAY_SECONDS="300", DRAIN_SECONDS="120") as process:
        status(f"{site}/readyz", 200)
        turn_id, seen = asyncio.run(ask(free_port, chat, "Briefly"))
        process.send_signal(signal.SIGTERM)
        status(f"{site}/readyz", 503)
        assert requests.get(f"{site}/healthz", timeout=20).ok, "visitors are still answered"
        assert requests.get(f"{site}/status", timeout=20).ok
        told = asyncio.run(refused(free_port, chat))
        assert (told["type"], told["code"]) == ("error", "closing")
        turn = ended(turn_id, 120)
        assert turn.state == State.ANSWERED and turn.answer.startswith(seen)
        assert process.poll() is None, "the delay is not over"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), "a second signal does not wait"
    assert len(upstream.chats) == 1
