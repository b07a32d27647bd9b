"""`/ws/live`: tells open pages that there is something new to ask for. Messages carry no facts."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from django.db import DatabaseError
from eth_utils.address import is_checksum_address
from redis.exceptions import RedisError

from accounts.limits import address_of_socket
from accounts.sockets import TOO_MANY, Doors, Listening
from chain import selectors as chain
from inference import turnlog
from ledger import selectors, topics
from marketplace import limits

log = logging.getLogger(__name__)

#: Open sockets of one network address, and of all, in this process.
MOST_PER_ADDRESS, MOST = 60, 2_000
#: A page that is still there comes back; one that nobody looks at does not (seconds).
LIFETIME = 3_600.0
#: The one message a page may send: what it shows, and as of which block.
MOST_CHARACTERS, MOST_SHOWN = 16_384, 200

#: How often the way of the messages is tried, for all sockets of this process at once (seconds).
WATCH_SECONDS = 5.0

#: Close codes: not understood, come back, nothing can be told now.
NOT_UNDERSTOOD, COME_BACK, TRY_AGAIN = 4400, 4408, 1012
#: The answer to a handshake while Redis is away.
NOT_NOW = {
    "type": "websocket.http.response.start",
    "status": 503,
    "headers": [(b"retry-after", b"5"), (b"content-length", b"0")],
}


doors = Doors(MOST_PER_ADDRESS, MOST)


class Watch:
    """Closes the sockets of this process while Redis is away, and lets none in until it answers: an
    open one looks as if there were no news, and a page that cannot come back says that live updates
    are off. A Redis that hangs lets sockets open that will never hear anything."""

    def __init__(self) -> None:
        self._sockets: set[LiveConsumer] = set()
        self._task: asyncio.Task[None] | None = None
        self._away = False

    def away(self) -> bool:
        """Whether the last look found no answer. The next one comes by itself."""
        if self._away:
            self._keep_looking()
        return self._away

    def enter(self, socket: LiveConsumer) -> None:
        self._sockets.add(socket)
        self._keep_looking()

    def leave(self, socket: LiveConsumer) -> None:
        self._sockets.discard(socket)

    def _keep_looking(self) -> None:
        here = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not here:
            self._task = here.create_task(self._look())

    async def _look(self) -> None:
        """Until nobody listens any more, and Redis answers."""
        while self._sockets or self._away:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await turnlog.client().ping()
                self._away = False
            except (RedisError, OSError) as error:  # a timeout is an OSError
                if not self._away:
                    log.warning("live updates are off: %s", str(error) or "no answer in time")
                self._away = True
                told, self._sockets = self._sockets, set()
                # Whoever is gone already must not keep the others from hearing it.
                closing = (socket.close(TRY_AGAIN, "try again") for socket in told)
                await asyncio.gather(*closing, return_exceptions=True)


watch = Watch()


class LiveConsumer(Listening):
    """Relays the follower's messages (`ledger.topics`); everything in them is public."""

    groups = (topics.GROUP,)
    who = ""
    inside = False
    told = False
    timer: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        if watch.away():
            # Before it is open: a page counts what opened as live updates that work.
            await self.base_send(NOT_NOW)
            await self.base_send({"type": "websocket.http.response.body", "body": b""})
            raise StopConsumer
        self.who = address_of_socket(self.scope)
        await self.accept()
        often = await database_sync_to_async(limits.take)(limits.LIVE, self.who)
        self.inside = often.allowed and doors.enter(self.who)
        if not self.inside:
            await self.close(TOO_MANY, "too many")
            return
        watch.enter(self)
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(LIFETIME, lambda: loop.create_task(self.close(COME_BACK)))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Makes room however it ends: a message that finds nobody any more, or a Redis that is away
        when somebody leaves, ends it without `disconnect`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.timer is not None:
                self.timer.cancel()
            if self.inside:
                watch.leave(self)
                doors.leave(self.who)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The page's one message; a second one, or any other, ends the socket."""
        shown = None if self.told else Shown.parse(text_data or "")
        if shown is None:
            await self.close(NOT_UNDERSTOOD)
            return
        self.told = True
        try:
            missed = await database_sync_to_async(shown.missed)()
        except DatabaseError as error:
            # The page polls its footer as well, and the next block brings a message.
            log.warning("a page was not told what it missed: %s", error)
            return
        if missed is not None:
            await self.send(orjson.dumps(missed).decode())

    async def live_message(self, event: dict[str, Any]) -> None:
        if self.inside:
            message = {key: value for key, value in event.items() if key != "type"}
            await self.send(orjson.dumps(message).decode())


class Shown:
    """What a page shows: rows of these providers and users, or of every listing, as of `block`."""

    def __init__(
        self, block: int, providers: frozenset[str], users: frozenset[str], listings: bool
    ) -> None:
        self.block, self.providers, self.users, self.listings = block, providers, users, listings

    @classmethod
    def parse(cls, text: str) -> Shown | None:
        """A stranger's text; None where it is anything else than `ledger.topics` says."""
        if len(text) > MOST_CHARACTERS:
            return None
        try:
            said = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(said, dict):
            return None
        listings = said.pop("listings", False)
        if type(listings) is not bool or set(said) != {"block", "providers", "users"}:
            return None
        block, names = said["block"], (said["providers"], said["users"])
        if type(block) is not int or not -1 <= block < 2**63:
            return None
        for listed in names:
            if not isinstance(listed, list) or len(listed) > MOST_SHOWN:
                return None
            if not all(isinstance(name, str) and is_checksum_address(name) for name in listed):
                return None
        return cls(block, frozenset(names[0]), frozenset(names[1]), listings)

    def missed(self) -> dict[str, Any] | None:
        """The message about what changed since, as if it were sent now; None when nothing did
        (5 queries)."""
        head = chain.head()
        if head.indexed_block <= self.block:
            return None
        users, providers = selectors.changed_since(self.block, self.users, self.providers)
        most = topics.MAX_ADDRESSES + 1
        listed = selectors.listed_since(self.block, most) if self.listings else []
        if not users and not providers and not listed:
            return None
        return topics.ledger_message(head.indexed_block, head.final_block, users, providers, listed)
