"""`/ws/chat/{id}`: a thin reader and writer of one conversation. Answers belong to the hub.

In:  {"type": "prompt", "key": uuid, "text", "provider"?, "also"?, "accept_signer"?, "again"?,
      "called"?, "seen"?, "results"?, "options"?, "pictures"?, "had"?} (`inference.prompts`,
      `inference.options`) ·
     {"type": "stop", "turn"} ·
     {"type": "resume", "turn", "after"} (also as {"resume": turn, "after": seq})
Out: {"type": "turn", "key", "turn", "turns", "refused"} ·
     {"type": "delta", "turn", "seq", "text"} ·
     {"type": "call", "turn", "seq", "id", "name"}, of whose arguments more comes as
     {"type": "arguments", "turn", "seq", "text"} ·
     {"type": "end", "turn", "seq", "state", "tokens", "calls"} ·
     {"type": "verdict", "turn", "seq", "verdict"} ·
     {"type": "reasoning", "turn", "seq", "text"} · {"type": "fence", "turn", "seq"} (ignore it) ·
     {"type": "block", "turn", "seq", "upto", "html"} ·
     {"type": "error", "key", "code", "sentence", "href"?, "signer"?}
Anything else closes the socket with a reason. Sending waits for a slow reader and for nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import orjson
from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from redis.exceptions import RedisError

from accounts.models import User
from accounts.session_store import name_of
from accounts.sockets import SIGNED_OUT, TOO_MANY
from inference import access, turnlog, watching
from inference.errors import ChatError, SignedOut, SignerChanged, Unavailable
from inference.hub import Hub, hub
from inference.models import Chat, State, Turn
from inference.prompts import Malformed, Prompt
from inference.subscribers import Entry

log = logging.getLogger(__name__)

#: The longest question with the longest settings, each character of them escaped.
MAX_FRAME_CHARS = 140_000
MAX_WATCHED = 4
#: Messages one socket may send per window of seconds; a person never comes near.
MESSAGES, WINDOW_SECONDS = 40, 20.0

BAD_MESSAGE = 4400
TRY_AGAIN = 1012


class Refused(Exception):
    """Ends the socket: close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One browser's view of one conversation."""

    chat: Chat
    hub: Hub

    async def connect(self) -> None:
        self._watching: dict[int, asyncio.Task[None]] = {}
        self._sent: list[float] = []
        user = self.scope.get("user")
        if not isinstance(user, User) or not user.is_authenticated:
            await self.close()
            return
        try:
            wanted = self.scope["url_route"]["kwargs"]["chat"]
            self.chat = await database_sync_to_async(access.chat_for)(
                user, wanted, name_of(self.scope["session"].session_key)
            )
        except Chat.DoesNotExist:
            await self.close()
            return
        self.hub = hub()
        await self.accept()
        try:
            await self.hub.start()
        except Unavailable:
            await self.close(TRY_AGAIN, "try again")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As channels does for a consumer that only its browser speaks to: what a question waits
        for is neither a channel of its own, nor tasks to hear both, nor a visit of the database's
        thread before each message (whoever asks the database here closes what is old).
        """
        self.scope, self.base_send = scope, send
        with suppress(StopConsumer):
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)

    async def disconnect(self, code: int) -> None:
        """The answers go on: they belong to the server, and the provider bills them anyway.

        (A socket of an ended session is closed by `accounts.sockets`.)
        """
        for task in self._watching.values():
            task.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            await self._handle(_message(text_data))
        except Refused as refused:
            await self.close(refused.code, refused.reason)
        except (RedisError, DatabaseError) as error:
            log.warning("chat socket: %s", error)
            await self.close(TRY_AGAIN, "try again")

    async def _handle(self, message: dict[str, Any]) -> None:
        self._count()
        match message:
            case {"type": "prompt"}:
                await self._prompt(message)
            case {"type": "stop", "turn": int(turn)}:
                await self._stop(turn)
            case {"type": "resume", "turn": int(turn), "after": int(after)} if after >= 0:
                await self._resume(turn, after)
            case {"resume": int(turn), "after": int(after)} if after >= 0:
                await self._resume(turn, after)
            case _:
                raise Refused(BAD_MESSAGE, "unknown message")

    async def _prompt(self, message: dict[str, Any]) -> None:
        key = str(message.get("key"))
        # Signing out must end what an open socket may spend.
        session = name_of(self.scope["session"].session_key)
        try:
            all_opened = await self.hub.ask_all(self.chat, Prompt.of(message), session)
        except Malformed:
            raise Refused(BAD_MESSAGE, "unknown message") from None
        except SignedOut:
            raise Refused(SIGNED_OUT, "signed out") from None
        except ChatError as error:
            more = {"signer": error.signer} if isinstance(error, SignerChanged) else {}
            if error.href:
                more["href"] = error.href
            await self._send(
                type="error", key=key, code=error.code, sentence=error.sentence, **more
            )
            return
        turns = [opened.turn for opened in all_opened]
        await self._send(
            type="turn", key=key, turn=turns[0], turns=turns, refused=all_opened[0].refused
        )
        for turn in turns:
            await self._watch(turn, 0)

    async def _stop(self, turn_id: int) -> None:
        turn = await self._turn(turn_id)
        if turn.state == State.OPEN:
            await self.hub.stop(turn_id, turn.process)

    async def _resume(self, turn_id: int, after: int) -> None:
        turn = await self._turn(turn_id)
        await self._watch(turn_id, after, over=turn.state != State.OPEN)

    async def _turn(self, turn_id: int) -> Turn:
        try:
            turn: Turn = await database_sync_to_async(self.chat.turns.get)(pk=turn_id)
            return turn
        except (Turn.DoesNotExist, OverflowError, ValueError):
            raise Refused(BAD_MESSAGE, "no such turn") from None

    async def _watch(self, turn_id: int, after: int, *, over: bool = False) -> None:
        old = self._watching.pop(turn_id, None)
        if old is not None:
            old.cancel()
        if len(self._watching) >= MAX_WATCHED:
            # The oldest has ended and waits for its verdict: a page looks for that by itself.
            self._watching.pop(next(iter(self._watching))).cancel()
        task = asyncio.create_task(self._relay(turn_id, watching.told(turn_id, after, over=over)))
        self._watching[turn_id] = task
        task.add_done_callback(lambda done: self._forget(turn_id, done))

    def _forget(self, turn_id: int, task: asyncio.Task[None]) -> None:
        if self._watching.get(turn_id) is task:
            del self._watching[turn_id]
        # A browser that has gone is no error; anything else should be seen.
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, OSError):
            log.error("watching turn %s failed", turn_id, exc_info=error)

    async def _relay(self, turn_id: int, told: AsyncGenerator[list[Entry], None]) -> None:
        try:
            async with aclosing(told) as batches:
                async for entries in batches:
                    for entry in entries:
                        # The event is JSON already; its numbers are put in front.
                        rest = entry.raw[1:].decode()
                        await self.send(text_data=f'{{"turn":{turn_id},"seq":{entry.seq},{rest}')
        except turnlog.TooManyWatchers:
            await self.close(TOO_MANY, "too many watch this answer")
        except RedisError as error:
            log.warning("turn %s cannot be watched: %s", turn_id, error)
            await self.close(TRY_AGAIN, "try again")

    def _count(self) -> None:
        now = time.monotonic()
        self._sent = [at for at in self._sent if at > now - WINDOW_SECONDS] + [now]
        if len(self._sent) > MESSAGES:
            raise Refused(TOO_MANY, "too many messages")

    async def _send(self, **message: Any) -> None:
        await self.send(text_data=orjson.dumps(message).decode())


def _message(text: str | None) -> dict[str, Any]:
    if text is None:
        raise Refused(BAD_MESSAGE, "text messages only")
    if len(text) > MAX_FRAME_CHARS:
        raise Refused(BAD_MESSAGE, "message too long")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(BAD_MESSAGE, "not JSON") from None
    if not isinstance(message, dict):
        raise Refused(BAD_MESSAGE, "unknown message")
    # JSON has no way to say "whole number that is not true or false".
    if any(isinstance(message.get(name), bool) for name in ("turn", "after", "resume")):
        raise Refused(BAD_MESSAGE, "unknown message")
    return message
