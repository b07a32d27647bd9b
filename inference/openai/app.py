"""The door of `/v1`: who asks, how often, what, of whom; then it is forwarded.

Pure ASGI: no session, no cookie, no middleware. A browser's page cannot use it by accident (there
is no CORS, and nothing but a token lets anybody in).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from redis.exceptions import RedisError

from accounts import limits, tokens
from accounts.errors import Problem
from accounts.models import AccessToken
from inference import turnlog
from inference.errors import ChatError
from inference.hub import Hub, hub
from inference.openai import asks, choose, listing, turn_rows
from inference.openai.asks import Ask
from inference.openai.choose import Grant, Grants
from inference.openai.errors import ApiError
from inference.openai.forward import Forwarder, verification
from inference.openai.reply import Receive, Reply, Scope, Send
from inference.openai.room import Room, full
from inference.queues import Queues
from net import callers

log = logging.getLogger(__name__)

PREFIX = "/v1/"
BODY_SECONDS = 120.0
#: Requests of one person at a time.
MOST_OPEN = 100
#: Requests from here on are read in a thread.
LONG_BYTES = 100_000
READS_PER_MINUTE = 600
#: Tokens that one network address may have looked up; each is remembered for a moment.
LOOK_UPS_PER_MINUTE = 600
WINDOW_SECONDS = 60
#: Requests of one person in a day of UTC, whose rows are kept: a token asks no more at its highest
#: rate. At a provider of their own they cost nothing.
MOST_A_DAY, DAY_SECONDS = 1_000_000, 24 * 3600


@dataclass
class _Visit:
    """A request at the door, before it is read."""

    method: str
    path: str
    headers: dict[str, str]
    remote: str
    receive: Receive
    reply: Reply

    @property
    def caller(self) -> str:
        forwarded = self.headers.get("x-forwarded-for", "")
        return callers.caller(self.remote, forwarded, settings.TRUSTED_PROXIES)

    @property
    def length(self) -> int | None:
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None


@dataclass(frozen=True)
class _Bearer:
    """A token as it was a moment ago."""

    token: AccessToken
    digest: str
    until: float


@dataclass
class Relay:
    """`/v1` of one process."""

    grants: Grants = field(default_factory=Grants)
    _bearers: dict[str, _Bearer] = field(default_factory=dict)
    _queues: Queues = field(default_factory=Queues)
    _open: Counter[int] = field(default_factory=Counter)
    _room: Room = field(default_factory=Room)

    def forget(self) -> None:
        """Read everything anew from here on."""
        self.grants = Grants()
        self._bearers.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            given = raw.decode("latin-1")
            before = f"{headers[given]}," if given in headers else ""
            headers[given] = before + value.decode("latin-1")
        name = str(scope.get("request_id") or secrets.token_hex(8))
        reply = Reply(send, {"x-request-id": name})
        path = str(scope["path"])[len(PREFIX) :].rstrip("/")
        remote = str((scope.get("client") or ("",))[0])
        visit = _Visit(str(scope["method"]), path, headers, remote, receive, reply)
        try:
            await self._visit(visit)
        except ApiError as error:
            await reply.error(error)
        except Problem as error:
            await reply.error(ApiError(error.status, error.code, error.said))
        except ChatError as error:  # this process ends, or Redis is away
            await reply.error(ApiError(503, error.code, error.sentence, retry=True, retry_after=2))
        except DatabaseError:
            log.exception("the relay's database does not answer")
            sentence = "The database does not answer. Nothing was sent."
            await reply.error(ApiError(503, "unavailable", sentence, retry=True, retry_after=2))
        except Exception:
            log.exception("/v1/ failed at %r", path[:100])
            await reply.error(ApiError(500, "internal_error", f"Our fault; quote {name}."))

    async def _visit(self, visit: _Visit) -> None:
        path = visit.path
        if path in asks.ENDPOINTS:
            _require(visit, "POST")
            await self._ask(visit)
        elif path == "models" or path.startswith("models/"):
            _require(visit, "GET")
            token = await self._reader(visit)
            one = unquote(path.removeprefix("models").lstrip("/"))
            if one:
                pin = visit.headers.get("x-provider", "").strip()
                found = await database_sync_to_async(listing.model)(token, one, pin)
                await _json(visit.reply, found)
            else:
                await _json(visit.reply, await database_sync_to_async(listing.models)(token))
        elif path.startswith("verifications/"):
            _require(visit, "GET")
            token = await self._reader(visit)
            number = path.removeprefix("verifications/")
            turn_id = await database_sync_to_async(listing.mine)(token, number)
            turn = await verification(turn_id, hub())
            await _json(visit.reply, listing.verification(turn))
        else:
            known = ", ".join(("models", *asks.ENDPOINTS, "verifications/{id}"))
            raise ApiError(404, "not_found", f"There is no such endpoint; /v1 has: {known}.")

    # --- who ---------------------------------------------------------------------------------

    async def _bearer(self, visit: _Visit) -> _Bearer:
        """The token that a request shows. Raises Problem (401), ApiError."""
        secret = tokens.secret_of(visit.headers.get("authorization", ""))
        digest = tokens.digest_of(secret)
        known = self._bearer_of(digest)
        if known is None:
            async with self._queues.turn(digest):
                known = self._bearer_of(digest)
                if known is None:
                    await _look_up(visit)
                    token = await database_sync_to_async(tokens.find)(secret)
                    if len(self._bearers) > choose.MOST_CACHED:
                        self._bearers.clear()
                    known = _Bearer(token, digest, time.monotonic() + choose.CACHED_SECONDS)
                    self._bearers[digest] = known
        return known

    def _bearer_of(self, digest: str) -> _Bearer | None:
        known = self._bearers.get(digest)
        return known if known is not None and known.until > time.monotonic() else None

    async def _reader(self, visit: _Visit) -> AccessToken:
        bearer = await self._bearer(visit)
        await _count(visit.reply, f"read:{bearer.token.pk}", READS_PER_MINUTE)
        return bearer.token

    # --- what --------------------------------------------------------------------------------

    async def _ask(self, visit: _Visit) -> None:
        own = hub()
        await own.start()
        bearer = await self._bearer(visit)
        token = bearer.token
        if not token.may_infer:
            raise ApiError(
                403, "insufficient_scope", "This token does not have the scope `inference`."
            )
        await _count(visit.reply, str(token.pk), token.per_minute, token.user_id)
        most = asks.most_bytes(visit.path)
        if (visit.length or 0) > most:
            raise _too_large(most)
        if self._open[token.user_id] >= MOST_OPEN:
            raise full()
        self._open[token.user_id] += 1
        try:
            whose = f"person {token.user_id}", f"address {visit.caller}"
            with self._room.held(*whose, network=callers.around(visit.caller)) as take:
                body = await _body(visit, most, take)
                read = partial(
                    asks.read,
                    visit.path,
                    visit.headers.get("content-type", ""),
                    body,
                    pin=visit.headers.get("x-provider", "").strip(),
                    bounded=token.spend_limit is not None,
                )
                if len(body) < LONG_BYTES:
                    ask = read()
                else:  # beside everybody's answers, and one of a person at a time
                    async with self._queues.turn(f"person {token.user_id}"):
                        ask = await asyncio.to_thread(read)
                await self._carry(visit, own, bearer, ask)
        finally:
            self._open[token.user_id] -= 1
            if not self._open[token.user_id]:
                del self._open[token.user_id]

    async def _carry(self, visit: _Visit, own: Hub, bearer: _Bearer, ask: Ask) -> None:
        grant = self.grants.known(bearer.digest, ask)
        if grant is None:
            async with self._queues.turn(bearer.digest):
                grant = self.grants.known(bearer.digest, ask)
                if grant is None:
                    grant = await database_sync_to_async(self.grants.find)(
                        bearer.digest, bearer.token, ask, settings.SITE_URL
                    )
        begun = own.whole(_begin(own, grant, ask, visit.reply, self._room))
        turn, forwarder, task = await begun
        watcher = asyncio.create_task(_left(visit.receive))
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not forwarder.over:
                # Servers swallow what is sent to somebody who has gone: without this the provider
                # would go on writing, and charging (stack.md 5).
                await own.stop(turn, own.process)
            await asyncio.wait({task})
        except asyncio.CancelledError:
            if not forwarder.over:
                await own.stop(turn, own.process)
            raise
        finally:
            watcher.cancel()


async def _begin(
    own: Hub, grant: Grant, ask: Ask, reply: Reply, room: Room
) -> tuple[int, Forwarder, asyncio.Task[None]]:
    """Open the row and start to forward, as one step that a leaving program cannot cut in two."""
    sha256 = hashlib.sha256(ask.body).hexdigest()
    opened = await database_sync_to_async(turn_rows.open_row)(grant, ask, own.process, sha256)
    day, _ = _day(grant.owner)
    # Nobody waits for it: the next request hears of it.
    turnlog.pipe().tell(lambda said: None, ("INCR", day), ("EXPIRE", day, DAY_SECONDS))
    forwarder = Forwarder(own, grant, ask, opened, reply, sha256, room)
    return opened.turn, forwarder, own.work(opened.turn, forwarder.run())


async def _left(receive: Receive) -> None:
    """Wait until whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _require(visit: _Visit, method: str) -> None:
    allowed = ("GET", "HEAD") if method == "GET" else (method,)  # the server drops HEAD's body
    if visit.method not in allowed:
        visit.reply.add({"allow": ", ".join(allowed)})
        raise ApiError(405, "method_not_allowed", f"Use {method} here.")


async def _body(visit: _Visit, most: int, take: Callable[[int], None]) -> bytes:
    """The whole body; `take` hears how many bytes have come. Raises ApiError for one that is too
    large, has no room or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await visit.receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(400, "disconnected", "The request was not sent to its end.")
                part = message.get("body", b"")
                if len(body) + len(part) > most:
                    raise _too_large(most)
                take(len(part))
                body += part
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise ApiError(408, "timeout", "The request did not arrive in time.") from None


def _too_large(most: int) -> ApiError:
    return ApiError(413, "too_large", f"The request is larger than {most >> 20} MiB.")


def _day(person: int) -> tuple[str, int]:
    """Where the rows of a person's day are counted, and how many seconds of it are left."""
    number, into = limits.window(DAY_SECONDS)
    return limits.key("v1-day", str(person), number), DAY_SECONDS - into


async def _count(reply: Reply, who: str, limit: int, person: int = 0) -> None:
    """Count one request of this minute and say so in headers. Raises ApiError 429, also where this
    day of the `person` is used up.

    While Redis is away nothing can be counted; a started hub saw it a moment ago.
    """
    number, into = limits.window(WINDOW_SECONDS)
    key, (day, left) = limits.key("v1", who, number), _day(person)
    try:
        used, _, today = await turnlog.pipe().send(
            ("INCR", key), ("EXPIRE", key, WINDOW_SECONDS + 5), ("GET", day)
        )
    except RedisError as error:
        log.warning("rate not counted: %s", error)
        return
    reset = WINDOW_SECONDS - into
    reply.add(
        {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(max(0, limit - used)),
            "x-ratelimit-reset-requests": f"{reset}s",
        }
    )
    if used > limit:
        raise ApiError(
            429,
            "rate_limit_exceeded",
            f"Up to {limit} requests a minute.",
            retry=True,
            retry_after=reset,
        )
    if int(today or 0) >= MOST_A_DAY:
        sentence = f"Up to {MOST_A_DAY:,} requests of one person a day (UTC)."
        raise ApiError(429, "daily_limit", sentence, retry_after=left)


async def _look_up(visit: _Visit) -> None:
    """Count a token that somebody has looked up: whoever tries secrets is slowed down before the
    database is asked, and so is all of an IPv6 network. Raises ApiError 429."""
    who, most = visit.caller, LOOK_UPS_PER_MINUTE
    await _count(visit.reply, f"address:{who}", most)
    if around := callers.around(who):
        await _count(visit.reply, f"address:{around}", most * callers.SHARES)


async def _json(reply: Reply, document: dict[str, Any]) -> None:
    await reply.whole(200, {"content-type": "application/json"}, orjson.dumps(document))


relay = Relay()
