"""Alice with money, a key and a chat at Petra's service: what every chat test starts from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from channels.db import database_sync_to_async
from django.core.cache import cache
from django.utils import timezone
from eth_account import Account

from accounts import crypto, limits
from accounts.models import ProviderKey, User
from inference import conversations, turnlog
from inference.hub import Hub
from inference.models import Chat, State, Turn, Verdict
from inference.relay import Timeouts
from protocol import keys
from tests import factories
from tests.live.chat_upstream import SIGNER, Script, Upstream

P = ParamSpec("P")
T = TypeVar("T")

ALICE_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
QUICK = Timeouts(connect=2, first_token=5, between_tokens=5, whole=20, after_done=0.5)


def in_db(call: Callable[P, T]) -> Callable[P, Any]:
    wrapped: Callable[P, Any] = database_sync_to_async(call)
    return wrapped


async def watched(turn: int, after: int = 0) -> list[turnlog.Entry]:
    """All that a watcher of an answer is told, to its verdict."""
    return [entry async for entries in turnlog.batches(turn, after) for entry in entries]


def make_key(user: User, provider: str = factories.PETRA) -> ProviderKey:
    """A key as the wallet would make it, sealed as the site keeps it."""
    fields = keys.build(
        address=user.address,
        provider=provider,
        now_ms=int(time.time() * 1000),
        lifetime_ms=3_600_000,
        nonce="0" * 32,
        generation=0,
        token_id=keys.EPHEMERAL_TOKEN_ID,
    )
    raw = keys.raw_message(fields)
    signed = Account.from_key(ALICE_KEY).unsafe_sign_hash(keys.message_hash(raw))
    return ProviderKey.objects.create(
        user=user,
        provider=provider,
        serving=factories.INFERENCE,
        sealed=crypto.seal(keys.encode(raw, "0x" + signed.signature.hex())),
        token_id=255,
        generation=0,
        created_at=timezone.now(),
        expires_at=timezone.now() + timedelta(hours=1),
    )


def world(url: str, **service: Any) -> Chat:
    """Rows: the contract, Petra's service at `url`, Alice's money and key, and an empty chat."""
    factories.head()
    factories.contract()
    factories.service(url=url, tee_signer=SIGNER, **service)
    factories.purse()
    factories.sub_account(acknowledged=True)
    alice = User.objects.for_address(factories.ALICE)
    # Every test is Alice's first minute.
    cache.delete(limits.key("chat", alice.address, limits.window(60)[0]))
    make_key(alice)
    return conversations.create_chat(alice, factories.PETRA)


@dataclass
class Stage:
    """A chat, the provider's side, and a hub of its own."""

    chat: Chat
    upstream: Upstream
    hub: Hub

    async def ask(
        self, text: str = "Hello?", key: UUID | None = None, accept_signer: str = ""
    ) -> int:
        opened = await self.hub.ask(self.chat, text, prompt_key=key, accept_signer=accept_signer)
        return opened.turn

    async def turn(self, turn_id: int) -> Turn:
        found: Turn = await in_db(Turn.objects.select_related("chat").get)(pk=turn_id)
        return found

    async def ended(self, turn_id: int, *, judged: bool = True) -> Turn:
        """The turn once it has ended (and been judged)."""
        for _ in range(400):
            turn = await self.turn(turn_id)
            if turn.state != State.OPEN and not (judged and turn.verdict == Verdict.PENDING):
                return turn
            await asyncio.sleep(0.025)
        raise AssertionError(f"turn still {turn.state}, verdict {turn.verdict}")


@asynccontextmanager
async def stage(
    script: Script, *, timeouts: Timeouts = QUICK, **service: Any
) -> AsyncIterator[Stage]:
    async with Upstream(script) as upstream:
        chat = await in_db(world)(upstream.url, **service)
        hub = Hub(timeouts)
        await hub.start()
        try:
            yield Stage(chat, upstream, hub)
        finally:
            await hub.close()
