"""Whether sessions still live, asked once for all open sockets and streams of a process."""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.utils import timezone

log = logging.getLogger(__name__)

#: How often it is asked; seconds.
EVERY = 3.0


class _Watch:
    """Who waits for the end of which session, on one event loop."""

    def __init__(self) -> None:
        self.waiting: dict[str, set[asyncio.Future[None]]] = {}
        self.task: asyncio.Task[None] | None = None


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = WeakKeyDictionary()


async def ended(session_key: str | None) -> None:
    """Return once the session does not live any more (within about EVERY seconds)."""
    if not session_key:
        return
    loop = asyncio.get_running_loop()
    watch = _watches.setdefault(loop, _Watch())
    future: asyncio.Future[None] = loop.create_future()
    watch.waiting.setdefault(session_key, set()).add(future)
    if watch.task is None or watch.task.done():
        watch.task = loop.create_task(_look(watch))
    try:
        await future
    finally:
        waiting = watch.waiting.get(session_key, set())
        waiting.discard(future)
        if not waiting:
            watch.waiting.pop(session_key, None)


async def _look(watch: _Watch) -> None:
    """Ask for all sessions that somebody waits for; ends when nobody does."""
    while watch.waiting:
        await asyncio.sleep(EVERY)
        keys = set(watch.waiting)
        try:
            alive: set[str] = await database_sync_to_async(living)(keys)
        except DatabaseError as error:
            log.warning("sessions of open sockets are not looked after: %s", error)
            continue
        for key in keys - alive:
            for future in watch.waiting.get(key, ()):
                if not future.done():
                    future.set_result(None)


def living(keys: set[str]) -> set[str]:
    """Those of `keys` that are sessions still (1 query)."""
    rows = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return set(rows.values_list("session_key", flat=True))
