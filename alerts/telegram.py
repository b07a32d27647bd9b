"""A private chat with this site's bot on Telegram (core.telegram.org/bots/api): proven by a code
that comes back through the bot, then told like a webhook. Nothing is asked of Telegram, but while
somebody's code is open: no webhook of Telegram's has to reach this site.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any

import orjson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import crypto, limits
from accounts.addresses import short
from accounts.errors import Problem
from accounts.models import User
from alerts import hooks
from alerts.models import Format
from net import strictjson
from net.addresses import Policy
from net.client import Client
from net.errors import BadAnswer, BadStatus, NetError
from net.limits import JsonLimits, Limits

log = logging.getLogger(__name__)

#: A code is good for so long, and once.
CODE_LIVES = dt.timedelta(minutes=15)
#: Whoever hosts the site chose the place (TELEGRAM_API_URL): it may be a server of their own.
POLICY = Policy(allow_private=True)
#: Of bytes, and what comes of it: _MOST messages are less, however long (4,096 characters, each
#: written as six bytes or more, their marks, and the message that they reply to).
LIMITS = Limits(connect=5, first_byte=15, between=10, total=20, max_bytes=8 << 20, max_redirects=0)
_SHAPE = JsonLimits(max_bytes=LIMITS.max_bytes)
#: Messages of one answer, and answers of one look: strangers write to a bot, too.
_MOST, _ANSWERS = 10, 100
#: Telegram holds a question open for so long, until somebody writes.
_HELD_OPEN = 3
#: The longest wait that Telegram can ask for (429).
_PATIENCE = 3_600
_OPEN, _NEXT, _NAME = "telegram:open", "telegram:next", "telegram:name"
_START = re.compile(r"/start ([\w-]{32})", re.ASCII)
_BOT = re.compile(r"\w{1,64}", re.ASCII)


class Refusal(Exception):
    """Telegram did not do it. `status` as it answered, None: it did not; `wait`: seconds it asks
    for. The text is its own and never has the bot's token."""

    def __init__(self, status: int | None, said: str, wait: int = 0) -> None:
        super().__init__(said)
        self.status, self.wait = status, wait


@dataclass(frozen=True)
class Invitation:
    """What leads a person to the chat: the bot's name, and the code that it has to be told."""

    bot: str
    code: str

    @property
    def url(self) -> str:
        return f"https://t.me/{self.bot}?start={self.code}"


def works() -> bool:
    """Whether this site has a bot (`TELEGRAM_BOT_TOKEN`)."""
    return bool(settings.TELEGRAM_BOT_TOKEN)


def invite(user: User) -> Invitation:
    """A fresh code for this person. Raises Problem."""
    limits.spend("telegram-codes", user.address, limit=10, seconds=3600)
    try:
        bot = _bot()
    except Refusal as refusal:
        log.warning("the Telegram bot does not work", extra={"error": str(refusal)[:200]})
        raise Problem(
            "telegram_failed",
            _("Telegram does not answer for this site’s bot."),
            _("Try again later."),
            status=502,
        ) from None
    with transaction.atomic():
        hooks.room(user, f"https://t.me/{bot}")
    User.objects.filter(pk=user.pk).update(language=translation.get_language())
    code, seconds = secrets.token_urlsafe(24), int(CODE_LIVES.total_seconds())
    cache.set(_key(code), user.pk, seconds)
    cache.set(_OPEN, True, seconds)
    return Invitation(bot, code)


def listen() -> int:
    """Read what the bot was told since the last look; how many chats were connected. One process
    at a time: Telegram refuses a second reader (409)."""
    if not works() or not cache.get(_OPEN):
        return 0
    found = 0
    try:
        bot = _bot()
        for _answer in range(_ANSWERS):
            told = _told()
            found += sum(_connected(bot, update) for update in told)
            if len(told) < _MOST:
                break
    except Refusal as refusal:
        log.warning("the Telegram bot cannot be read", extra={"error": str(refusal)[:200]})
    return found


async def send(client: Client, chat: str, text: str) -> None:
    """One message as plain text, without a preview of its links. Raises Refusal."""
    quiet = {"is_disabled": True}
    url = _address("sendMessage")
    await _ask(client, url, chat_id=int(chat), text=text, link_preview_options=quiet)


def _address(method: str) -> str:
    return f"{settings.TELEGRAM_API_URL}/bot{settings.TELEGRAM_BOT_TOKEN}/{method}"


async def _ask(client: Client, url: str, **fields: Any) -> Any:
    """The result of one method of the bot. Raises Refusal."""
    headers, body = {"Content-Type": "application/json"}, orjson.dumps(fields)
    try:
        async with client.open("POST", url, headers=headers, body=body) as answer:
            given = strictjson.loads(await answer.read(_SHAPE.max_bytes), _SHAPE)
    except BadStatus as error:
        raise _refused(error.status, error.body) from None
    except NetError as error:
        raise Refusal(None, str(error)) from None
    if not isinstance(given, dict) or given.get("ok") is not True:
        raise Refusal(200, "not an answer of Telegram")
    return given.get("result")


def _refused(status: int, body: bytes) -> Refusal:
    """`{"ok": false, "description": …, "parameters": {"retry_after": seconds}}`."""
    try:
        given = strictjson.loads(body, _SHAPE)
    except BadAnswer:
        given = None
    given = given if isinstance(given, dict) else {}
    said, more = given.get("description"), given.get("parameters")
    wait = more.get("retry_after") if isinstance(more, dict) else None
    return Refusal(
        status,
        said[:300].replace("\0", "�") if isinstance(said, str) else "",
        min(wait, _PATIENCE) if type(wait) is int and wait > 0 else 0,
    )


@async_to_sync
async def _now(method: str, **fields: Any) -> Any:
    async with Client(POLICY, LIMITS) as client:
        return await _ask(client, _address(method), **fields)


def _bot() -> str:
    """The bot's name, asked for once an hour. Raises Refusal."""
    if not (name := cache.get(key := _of_bot(_NAME))):
        about = _now("getMe")
        name = about.get("username") if isinstance(about, dict) else None
        if not isinstance(name, str) or not _BOT.fullmatch(name):
            raise Refusal(200, "not an answer of Telegram")
        cache.set(key, name, 3600)
    return str(name)


def _told() -> list[Any]:
    """What comes after that of the last look, which Telegram forgets by this. Raises Refusal."""
    given = _now(
        "getUpdates",
        offset=cache.get(_of_bot(_NEXT), 0),
        limit=_MOST,
        timeout=_HELD_OPEN,
        allowed_updates=["message"],
    )
    updates = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    numbers = [one["update_id"] for one in updates if type(one.get("update_id")) is int]
    if numbers:
        # Lost with the cache, it only means to read again what no code opens any more. Kept for as
        # long as Telegram keeps messages; after a week without any it counts from somewhere else.
        cache.set(_of_bot(_NEXT), max(numbers) + 1, 86_400)
    return updates


def started(update: Any) -> tuple[int, str] | None:
    """Chat and code of a message `/start CODE` in a private chat; None for all else."""
    message = update.get("message")
    chat = message.get("chat") if isinstance(message, dict) else None
    if not isinstance(chat, dict) or chat.get("type") != "private":
        return None
    number, text = chat.get("id"), message.get("text")
    code = _START.fullmatch(text.strip()) if isinstance(text, str) else None
    return (number, code[1]) if code and type(number) is int else None


def _connected(bot: str, update: Any) -> bool:
    """Whether this message proved a chat: its code was open, and is so no more."""
    if (found := started(update)) is None:
        return False
    chat, code = found
    key = _key(code)
    number = cache.get(key)
    if number is None or not cache.delete(key):
        return False
    user = User.objects.filter(pk=number, is_active=True).first()
    if user is None:
        return False
    with translation.override(user.reads):
        try:
            _keep(user, f"https://t.me/{bot}", chat)
            said = _("Connected. The alerts of %(wallet)s that you choose come here: %(url)s") % {
                "wallet": short(user.address),
                "url": f"{settings.SITE_URL}/account/alerts",
            }
        except Problem as problem:
            said = problem.said
    try:
        _now("sendMessage", chat_id=chat, text=said, link_preview_options={"is_disabled": True})
    except Refusal as refusal:  # who blocked the bot at once must not end the look for all others
        log.warning("a Telegram chat was not told", extra={"error": str(refusal)[:200]})
    return True


def _keep(user: User, url: str, chat: int) -> None:
    """The chat as one of the person's webhooks; with a bot there is one. Raises Problem."""
    sealed = crypto.seal(str(chat))
    with transaction.atomic():
        hooks.room(user, url)
        chat_of = {"format": Format.TELEGRAM, "sealed_secret": sealed}
        well = {"enabled": True, "disabled_why": "", "failing_since": None}
        if not user.hooks.filter(url__in=hooks.stored(url)).update(**chat_of, **well):
            user.hooks.create(**hooks.sealed(url), created_at=timezone.now(), **chat_of)


def _of_bot(name: str) -> str:
    """What is kept of this bot: another counts its messages from somewhere else. What stands before
    the colon is its number, and no secret."""
    return f"{name}:{settings.TELEGRAM_BOT_TOKEN.partition(':')[0]}"


def _key(code: str) -> str:
    return f"telegram:code:{hashlib.sha256(code.encode()).hexdigest()}"
