"""Websockets end with the session that opened them, whatever they are for.

An ASGI layer between the session's middleware and the consumers. Ending a session tells its open
sockets at once through the channel layer; because such a message can be lost, and because a
session also expires and a wallet can be blocked, each socket asks the database now and then.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from accounts.models import User

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

#: Close code of a session that is over; a page should not come back with the same cookie.
SIGNED_OUT = 4401
#: How long an unnoticed end can go unnoticed, seconds.
CHECK_EVERY = 60.0


def tell(session_key: str | None) -> None:
    """Close the open sockets of a session; never fails the sign-out itself."""
    layer = get_channel_layer()
    if layer is None or not session_key:
        return
    try:
        async_to_sync(layer.group_send)(_group(session_key), {"type": "session.end"})
    except (OSError, RuntimeError, RedisError) as error:
        log.warning("open sockets were not told of a sign-out", extra={"error": str(error)})


def _group(session_key: str) -> str:
    # Group names travel in the clear between processes; a session key is a secret.
    return "session." + hashlib.sha256(session_key.encode()).hexdigest()[:40]


class EndsWithSession:
    """Stands inside `AuthMiddlewareStack`; sockets without a signed-in session pass untouched."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        user, session = scope.get("user"), scope.get("session")
        key = session.session_key if session is not None else None
        if not key or user is None or not user.is_authenticated:
            await self.application(scope, receive, send)
            return
        guard = _Guard(key, user.pk, receive, send)
        await guard.run(self.application, scope)


class _Guard:
    """One socket: passes its events on until the session ends, then closes it once."""

    def __init__(self, session_key: str, user_id: int, receive: Receive, send: Send) -> None:
        self._key, self._user_id = session_key, user_id
        self._receive, self._send = receive, send
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.Event()
        self._next: asyncio.Future[Event] | None = None
        self._closed = False

    async def run(self, application: Application, scope: MutableMapping[str, Any]) -> None:
        watchers = [asyncio.create_task(self._listen()), asyncio.create_task(self._check())]
        try:
            await application(scope, self.receive, self.send)
        finally:
            waiting: list[asyncio.Future[Any]] = [*watchers, *filter(None, [self._next])]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def receive(self) -> Event:
        """The browser's next event, or `websocket.disconnect` once the session is over."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        either: set[asyncio.Future[Any]] = {self._next, self._over}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._over.done():
            event, self._next = self._next.result(), None
            return event
        if not self._closed:
            self._closed = True
            await self._send(
                {"type": "websocket.close", "code": SIGNED_OUT, "reason": "signed out"}
            )
        return {"type": "websocket.disconnect", "code": SIGNED_OUT}

    async def send(self, event: Event) -> None:
        if self._closed:
            return
        self._closed = event["type"] == "websocket.close"
        await self._send(event)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        group = _group(self._key)
        try:
            channel = await layer.new_channel("session.")
            await layer.group_add(group, channel)
            self._listening.set()
            try:
                while True:
                    await layer.receive(channel)
                    self._end()
            finally:
                await layer.group_discard(group, channel)
        except (OSError, RuntimeError, RedisError) as error:
            log.warning("a socket does not hear of sign-outs", extra={"error": str(error)})

    async def _check(self) -> None:
        # The session may have ended between the handshake and our listening.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), 5)
        while await database_sync_to_async(_lives)(self._key, self._user_id):
            await asyncio.sleep(CHECK_EVERY)
        self._end()


def _lives(session_key: str, user_id: int) -> bool:
    """False only for what is known to be over: a database that does not answer ends nobody."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        known = store.get("_auth_user_id") == str(user_id)
        return known and User.objects.filter(pk=user_id, is_active=True).exists()
    except DatabaseError as error:
        log.warning("a socket's session could not be checked", extra={"error": str(error)})
        return True
