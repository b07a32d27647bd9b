"""Who is at work: web processes with their open websockets, and when each background task last ran.

Told to Redis by those who know (each web process every few seconds, each worker after a task), so
that any process can show it. Nothing here is a fact: an empty Redis only means that nobody told.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
import psutil
import redis
from django.conf import settings

from inference import turnlog
from net import stores

if TYPE_CHECKING:
    from inference.hub import Hub

log = logging.getLogger(__name__)

WEB, TASKS = "presence:web", "presence:tasks"
#: A web process that was silent for this long is gone (seconds; it tells every BEAT_SECONDS = 4).
SILENT_SECONDS = 15
#: Nobody told for this long: not even history.
KEPT_SECONDS = 7 * 24 * 3600
#: Where Celery keeps what waits (its default queue), and what a worker took but did not end.
QUEUE, UNACKED = "celery", "unacked"

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

#: The part behind `/ws/`; anything else is `other`.
KINDS = ("chat", "inbox", "live", "tasks", "other")
#: Open websockets of this process by the part behind `/ws/`.
sockets: Counter[str] = Counter()


class Counted:
    """ASGI layer that counts the websockets inside it."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        kind = str(scope["path"]).removeprefix("/ws/").partition("/")[0]
        kind = kind if kind in KINDS else "other"
        sockets[kind] += 1
        try:
            await self.application(scope, receive, send)
        finally:
            sockets[kind] -= 1


async def tell(hub: Hub) -> None:
    """One of `inference.hub.CHORES`: this process, as it is now."""
    from inference.lifespan import ENDING  # with the hub: workers and commands need neither

    said = {
        "at": time.time(),
        "pid": os.getpid(),
        "sockets": {kind: number for kind, number in sockets.items() if number},
        "memory": psutil.Process().memory_info().rss,
        "ending": ENDING.is_set(),
    }
    client: Any = turnlog.client()
    await client.hset(WEB, hub.process, orjson.dumps(said))
    await client.expire(WEB, 4 * SILENT_SECONDS)


@dataclass(frozen=True)
class Web:
    """One web process; `memory` in bytes, `sockets` by kind."""

    process: str
    pid: int
    sockets: dict[str, int]
    memory: int
    ending: bool


@dataclass(frozen=True)
class Ran:
    """The last run of one background task; `milliseconds` of that run."""

    name: str
    at: float
    milliseconds: int
    ok: bool


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return stores.client(url, **stores.PROMPT)


def client() -> redis.Redis:
    return _client(settings.REDIS_URL)


def web() -> tuple[Web, ...]:
    """Web processes that told lately; forgets those that did not. Raises RedisError."""
    now, found = time.time(), []
    rows: Any = client().hgetall(WEB)
    for name, raw in rows.items():
        said = orjson.loads(raw)
        age = max(0, round(now - said["at"]))
        if age > SILENT_SECONDS:
            client().hdel(WEB, name)
            continue
        found.append(
            Web(
                name.decode(),
                *(said["pid"], said["sockets"], said["memory"], said["ending"]),
            )
        )
    return tuple(sorted(found, key=lambda one: one.pid))


def ran(name: str, milliseconds: int, ok: bool) -> None:
    """A worker has ended a task. Never fails the task."""
    said = orjson.dumps({"at": time.time(), "ms": milliseconds, "ok": ok})
    try:
        with client().pipeline(transaction=False) as pipe:
            pipe.hset(TASKS, name, said)
            pipe.expire(TASKS, KEPT_SECONDS)
            pipe.execute()
    except redis.RedisError as error:
        log.debug("not told that %s ran: %s", name, error)


def tasks() -> dict[str, Ran]:
    """The last run of each task, by name. Raises RedisError."""
    rows: Any = client().hgetall(TASKS)
    found = {name.decode(): orjson.loads(raw) for name, raw in rows.items()}
    return {n: Ran(n, one["at"], one["ms"], one["ok"]) for n, one in found.items()}


def waiting() -> tuple[int, int]:
    """(tasks in the queue, tasks taken and not ended yet). Raises RedisError."""
    with client().pipeline(transaction=False) as pipe:
        pipe.llen(QUEUE)
        pipe.hlen(UNACKED)
        queued, taken = pipe.execute()
    return int(queued), int(taken)
