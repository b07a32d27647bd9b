"""Websockets know who opened them, and end with the session that did, whatever they are for.

`signed` is what stands around the consumers: channels' own layers, but for what they would do to
each frame that is sent. Ending a session tells its open
sockets at once through the channel layer; because such a message can be lost, and because a
session also expires and a wallet can be blocked, each socket asks the database now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import Any

from channels.auth import AuthMiddleware
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from accounts import limits
from accounts.session_store import name_of
from net import callers, layer
from net.postgres import statements

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

#: Close code of a session that is over; a page should not come back with the same cookie.
SIGNED_OUT = 4401
#: Close code of one socket too many, each of which holds a connection, a channel and two tasks, or
#: of one message too many.
TOO_MANY = 4429
#: Open sockets of one person, of one network address (wallets cost nothing: with a few dozen one
#: visitor would hold all), and of all who are signed in, in this process.
MOST_OF_ONE, MOST_OF_ADDRESS, MOST = 200, 1_000, 5_000
#: How long an unnoticed end can go unnoticed, seconds.
CHECK_EVERY = 60.0
#: Before the first such look, seconds: a page's first question comes with the handshake, and the
#: database is asked by one thread.
FIRST_CHECK = 1.0


def tell(session: str) -> None:
    """Close the open sockets of a session, by its name (`accounts.session_store`); never fails the
    sign-out itself."""
    layer.tell(_group(session), "session.end")


def _group(session: str) -> str:
    return f"session.{session}"


class Doors:
    """Counts the open sockets of this process, all and by who opened them; of network addresses
    also by the IPv6 network around them, which has `callers.SHARES` times as many, and never more
    than half of all."""

    def __init__(self, most_each: int, most: int) -> None:
        self.open: Counter[str] = Counter()
        self._around: Counter[str] = Counter()
        self._most_each, self._most = most_each, most

    def enter(self, who: str) -> bool:
        """Whether one more is let in; if so, `leave` must follow."""
        around = callers.around(who)
        most = min(self._most_each * callers.SHARES, self._most // 2)
        if self.open.total() >= self._most or self.open[who] >= self._most_each:
            return False
        if around and self._around[around] >= most:
            return False
        self.open[who] += 1
        self._around[around] += 1
        return True

    def leave(self, who: str) -> None:
        for counted, name in ((self.open, who), (self._around, callers.around(who))):
            counted[name] -= 1
            if not counted[name]:
                del counted[name]


people, networks = Doors(MOST_OF_ONE, MOST), Doors(MOST_OF_ADDRESS, MOST)


class Listening(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """A consumer that hears of news in `groups` and `group`, and of none once it has ended."""

    group = ""
    channel_name = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _let_go(self.channel_name, *self.groups, self.group)


async def _let_go(channel: str, *groups: str) -> None:
    """Leave nothing of a channel behind. The layer itself tidies up only where a reader is
    cancelled while it waits: a socket that ends as a message comes would stay subscribed for as
    long as its process lives, and each later message be kept for it.
    """
    whole = get_channel_layer()
    here = whole._get_layer()
    with suppress(*layer.LOST):
        if here.channels.pop(channel, None) is not None:
            await here._get_shard(channel).unsubscribe(channel)
    for group in groups:
        with suppress(*layer.LOST):
            await whole.group_discard(group, channel)


def signed(application: Application) -> Application:
    """Gives a websocket's `scope` its session and user, and ends it with that session."""
    found: Application = CookieMiddleware(WithSession(AuthMiddleware(EndsWithSession(application))))
    return found


class WithSession:
    """The session of the cookie. A frame can carry no cookie back, so, other than channels' layer
    of this kind, it does not look at each: that costs as much as sending one.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self._store = import_module(settings.SESSION_ENGINE).SessionStore

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        session = self._store(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        await self.application({**scope, "session": session}, receive, send)


class EndsWithSession:
    """Stands inside the two; sockets without a signed-in session pass untouched."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        user, session = scope.get("user"), scope.get("session")
        name = name_of(session.session_key) if session is not None else ""
        if not name or user is None or not user.is_authenticated:
            await self.application(scope, receive, send)
            return
        places = ((people, str(user.pk)), (networks, limits.address_of_socket(scope)))
        with ExitStack() as held:
            for doors, who in places:
                if not doors.enter(who):
                    await receive()
                    await send({"type": "websocket.accept"})
                    await send({"type": "websocket.close", "code": TOO_MANY, "reason": "too many"})
                    return
                held.callback(doors.leave, who)
            await _Guard(name, user.pk, receive, send).run(self.application, scope)


class _Guard:
    """One socket: passes its events on until the session ends, then closes it once."""

    def __init__(self, session: str, user_id: int, receive: Receive, send: Send) -> None:
        self._session, self._user_id = session, user_id
        self._receive, self._send = receive, send
        self._over = False
        self._listening = asyncio.Event()
        self._waiting: asyncio.Task[Any] | None = None
        self._closed = False

    async def run(self, application: Application, scope: MutableMapping[str, Any]) -> None:
        watchers = [asyncio.create_task(self._listen()), asyncio.create_task(self._check())]
        try:
            await application(scope, self.receive, self.send)
        finally:
            await layer.end(watchers)

    async def receive(self) -> Event:
        """The browser's next event, or `websocket.disconnect` once the session is over."""
        if not self._over:
            # By whoever asks, whom `_end` wakes: each task in between is a turn of the loop that a
            # question waits for.
            self._waiting = task = asyncio.current_task()
            try:
                event = await self._receive()
            except asyncio.CancelledError:
                if not self._over or task is None:
                    raise
                task.uncancel()
            finally:
                self._waiting = None
            if not self._over:
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
        if not self._over:
            self._over = True
            if self._waiting is not None:
                self._waiting.cancel()

    async def _listen(self) -> None:
        whole = get_channel_layer()
        group, channel = _group(self._session), ""
        try:
            channel = await whole.new_channel("session.")
            await whole.group_add(group, channel)
            self._listening.set()
            while True:
                await whole.receive(channel)
                self._end()
        except layer.LOST as error:
            log.warning("a socket does not hear of sign-outs", extra={"error": str(error)})
        finally:
            await _let_go(channel, group)

    async def _check(self) -> None:
        # The session may have ended between the handshake and our listening.
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._listening.wait()
        await asyncio.sleep(FIRST_CHECK)
        while await database_sync_to_async(_lives)(self._session, self._user_id):
            await asyncio.sleep(CHECK_EVERY)
        self._end()


# A session is never another person's: signing in makes a new one.
_LIVES = """
SELECT EXISTS (SELECT FROM django_session WHERE session_key = %s AND expire_date > %s)
    AND EXISTS (SELECT FROM accounts_user WHERE id = %s AND is_active)
"""


def _lives(session: str, user_id: int) -> bool:
    """False only for what is known to be over: a database that does not answer ends nobody."""
    try:
        with statements.prepared() as cursor:
            cursor.execute(_LIVES, [session, timezone.now(), user_id])
            return bool(cursor.fetchone()[0])
    except DatabaseError as error:
        log.warning("a socket's session could not be checked", extra={"error": str(error)})
        return True
