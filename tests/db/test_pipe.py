"""Many commands on one connection: in order, together, and through a connection that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from inference import pipe as pipes
from inference import turnlog
from inference.pipe import Pipe
from runner.processes import free_port


@pytest_asyncio.fixture
async def pipe() -> AsyncIterator[Pipe]:
    yield turnlog.pipe()
    await turnlog.close()


async def test_calls_of_one_moment_are_answered_each_with_its_own(pipe: Pipe) -> None:
    key = f"test:{uuid4()}"
    calls = [pipe.send(("INCR", key), ("EXPIRE", key, 60)) for _ in range(300)]
    wrong = pipe.send(("LPUSH", key, "x"), ("INCR", key))
    gone = pipe.send(("INCR", key))
    gone.cancel()  # whoever asked has left: it is sent all the same
    heard: list[object] = []
    pipe.tell(lambda said: heard.append(1 // 0), ("ECHO", "lost"))  # what fails costs nobody else
    pipe.tell(heard.append, ("ECHO", "told"))
    after = pipe.send(("GET", key))
    assert await asyncio.gather(*calls) == [[n, 1] for n in range(1, 301)]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await wrong
    assert await after == [b"302"]
    assert heard == [[b"told"]]


async def test_a_connection_that_was_closed_is_made_again(pipe: Pipe) -> None:
    (own,) = await pipe.send(("CLIENT", "ID"))
    await turnlog.client().client_kill_filter(_id=own)
    (other,) = await pipe.send(("CLIENT", "ID"))
    assert other != own


async def test_a_redis_that_hangs_or_is_away_fails_what_waits_and_nothing_later(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "SECONDS", 0.2)
    hanging = pipe.send(("BLPOP", f"nothing:{uuid4()}", 1))
    with pytest.raises(RedisError):
        await hanging
    # the late answer of the lost command is nobody's
    assert await pipe.send(("ECHO", "mine")) == [b"mine"]

    monkeypatch.setattr(pipes, "PAUSES", (0.0,))
    nobody = Redis(host="127.0.0.1", port=free_port())
    away = Pipe(nobody.connection_pool)
    for _ in range(2):
        with pytest.raises(RedisError):
            await away.send(("ECHO", "lost"))
    await nobody.aclose()


async def test_a_timer_of_long_ago_ends_nothing_that_has_yet_to_begin(pipe: Pipe) -> None:
    await pipe.send(("ECHO", "before"))
    while pipe._task is not None:
        await asyncio.sleep(0)
    pipe._since -= pipes.SECONDS
    reply = pipe.send(("ECHO", "mine"))
    pipe._look()  # as the loop may, between the question and the first step of its task
    assert pipe._task is not None and not pipe._task.cancelling()
    assert await reply == [b"mine"]
