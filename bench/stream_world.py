"""People, money, keys, tokens and conversations for `bench.streaming`, as rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.utils import timezone

from accounts import crypto, tokens
from accounts.models import ProviderKey, User
from accounts.session_store import SessionStore
from bench.rows import INFERENCE, PROVIDER, fill
from inference import conversations, opening
from inference.models import Chat, Medium, Turn
from ledger.models import Ledger, Service, SubAccount
from protocol import keys as wire

ONE = 10**18
MODEL = "bench-model"
PEOPLE = 64
PROGRAMS = 8


@dataclass(frozen=True)
class World:
    """Cookies by person, and secrets of tokens (several, for each has its own rate)."""

    people: list[tuple[User, str]]
    secrets: list[str]


def build(upstream: str) -> World:
    """A service at `upstream`, and people who may ask it."""
    fill(10, 100)
    Service.objects.filter(provider=PROVIDER).update(
        url=upstream,
        model=MODEL,
        service_type="chatbot",
        input_price=1,
        output_price=1,
        tee_signer_acknowledged=True,
    )
    held = SubAccount.objects.filter(provider=PROVIDER).order_by("user")[:PEOPLE]
    people = []
    for position in held:
        SubAccount.objects.filter(pk=position.pk).update(balance=1000 * ONE)
        Ledger.objects.filter(user=position.user).update(available=ONE, total=2000 * ONE)
        user = User.objects.for_address(position.user)
        _key(user)
        people.append((user, cookie_of(user)))
    wanted = tokens.Wanted("bench", scopes=("inference",), per_minute=tokens.MOST_PER_MINUTE)
    secrets = [tokens.create(user, wanted).secret for user, _ in people[:PROGRAMS]]
    return World(people, secrets)


def _key(user: User) -> None:
    ProviderKey.objects.create(
        user=user,
        provider=PROVIDER,
        serving=INFERENCE,
        sealed=crypto.seal("app-sk-bench"),
        token_id=wire.EPHEMERAL_TOKEN_ID,
        generation=0,
        created_at=timezone.now(),
        expires_at=timezone.now() + timedelta(days=1),
    )


def cookie_of(user: User) -> str:
    """The cookie of a new session."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"


def chats(world: World, count: int) -> list[tuple[Chat, str]]:
    """Fresh conversations, spread over people so that nobody's own limits matter."""
    Turn.objects.all().delete()
    Chat.objects.filter(medium=Medium.CHAT).delete()
    store = redis.Redis.from_url(settings.REDIS_URL)
    for pattern in ("limit:*", ":1:limit:*", "turn:*"):
        for key in store.scan_iter(pattern):
            store.delete(key)
    if -(-count // len(world.people)) > opening.QUESTIONS_PER_MINUTE:
        raise RuntimeError("more streams than people may ask for")
    spread = [world.people[number % len(world.people)] for number in range(count)]
    return [(conversations.create_chat(user, PROVIDER), cookie) for user, cookie in spread]


def requests_of_chats(world: World, count: int, text: str, most: int) -> list[Any]:
    """Websocket requests for `bench.stream_load`."""
    options = {"max_tokens": most}
    return [
        {
            "path": f"/ws/chat/{chat.pk}",
            "headers": {"Cookie": cookie},
            "body": {"text": text, "options": options},
        }
        for chat, cookie in chats(world, count)
    ]
