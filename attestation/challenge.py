"""The key challenge: a small paid request whose answer the attested key has to sign.

Off unless SITE_WALLET_KEY is set; only for providers of the allow-list, within a daily bound that
is reserved before anything is sent, and never because a visitor asked. The site's sub-account at
the provider has to be funded by its operator.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from attestation.models import Payment, Trigger
from ledger import selectors as ledger
from ledger.records import Position
from net import locks, strictjson
from net.client import Client
from net.errors import BadStatus, NetError
from net.limits import JsonLimits, Limits
from protocol import keys
from protocol.digests import address_of_key, sign

#: PostgreSQL advisory lock of one reservation at a time: "0G pay" in bytes.
_LOCK = 0x3047_2070_6179
MAX_TOKENS = 48
KEY_MS = 10 * 60_000
RANDOM_BYTES = 24
_LIMITS = Limits(connect=5, first_byte=20, between=10, total=30, max_bytes=256 << 10)
_SIGNATURE = Limits(connect=5, first_byte=8, between=5, total=10, max_bytes=64 << 10)
_SHAPE = JsonLimits(max_depth=4, max_bytes=64 << 10)
#: Seconds before each question for the signature: a broker signs when its accounting is done.
_WAITS = (0.0, 0.5, 1.5, 3.0)
CHAT = "chatbot"


class NotChallenged(Exception):
    """Why the key was not challenged, in words for the row."""


async def challenge(client: Client, service: Mapping[str, Any], trigger: Trigger) -> dict[str, Any]:
    """An exchange for `engine.evidence.Context.challenge`; never raises for what a provider does.

    `service`: provider, serving, url, model, service_type, input_price, output_price.
    """
    try:
        wallet = _wallet(service, trigger)
        random = secrets.token_hex(RANDOM_BYTES)
        request = _request(str(service["model"]), random)
        position = await sync_to_async(_reserve)(wallet, service, _most(service, request))
        return await _exchange(client, service, _key(wallet, position), random, request)
    except NotChallenged as reason:
        return {"missing": str(reason)}
    except NetError as error:
        return {"missing": f"the paid request failed: {error}"}


async def paying_key(service: Mapping[str, Any], request: bytes) -> str:
    """A provider key for one request of the site's own (`max_tokens` up to MAX_TOKENS), its cost
    reserved within the same bounds. Raises NotChallenged.

    `service` as in `challenge`; for speed probes (`probes.asking`).
    """
    wallet = _wallet(service, Trigger.SCHEDULE)
    position = await sync_to_async(_reserve)(wallet, service, _most(service, request))
    return _key(wallet, position)


def _wallet(service: Mapping[str, Any], trigger: Trigger) -> bytes:
    """The key to pay with. Raises NotChallenged."""
    if not settings.SITE_WALLET_KEY:
        raise NotChallenged("this site has no wallet for key challenges")
    if trigger == Trigger.ASKED:
        raise NotChallenged("runs that a visitor asks for spend no money")
    if service["provider"] not in settings.SITE_WALLET_PROVIDERS:
        raise NotChallenged("this provider is not on the site wallet's list")
    if service["service_type"] != CHAT:
        raise NotChallenged("only chat services are challenged")
    return bytes.fromhex(settings.SITE_WALLET_KEY)


def _request(model: str, random: str) -> bytes:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Repeat exactly: {random}"}],
        "max_tokens": MAX_TOKENS,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _most(service: Mapping[str, Any], request: bytes) -> int:
    """The most that it can cost, neuron: no tokenizer makes more tokens than there are bytes."""
    whole = int(service["input_price"]) * len(request) + int(service["output_price"]) * MAX_TOKENS
    return min(whole, 2**256 - 1)


@transaction.atomic
def _reserve(wallet: bytes, service: Mapping[str, Any], amount: int) -> Position:
    """Write the payment down within today's bounds. Raises NotChallenged."""
    provider = service["provider"]
    locks.in_turn(_LOCK)
    position = ledger.position(str(address_of_key(wallet)), provider, service["serving"])
    if position is None or position.spendable < amount:
        raise NotChallenged("the site's sub-account at this provider is not funded")
    now = timezone.now()
    today = Payment.objects.filter(at__gte=now.replace(hour=0, minute=0, second=0, microsecond=0))
    spent = today.aggregate(whole=Sum("amount"))["whole"] or 0
    here = today.filter(provider=provider).aggregate(whole=Sum("amount"))["whole"] or 0
    if here + amount > settings.SITE_WALLET_DAILY_PER_PROVIDER or (
        spent + amount > settings.SITE_WALLET_DAILY
    ):
        raise NotChallenged("the site wallet's bound for today is reached")
    Payment.objects.create(at=now, provider=provider, amount=amount)
    return position


def _key(wallet: bytes, position: Position) -> str:
    """An ephemeral provider key of the site's wallet, ten minutes long."""
    fields = keys.build(
        address=str(address_of_key(wallet)),
        provider=position.provider,
        now_ms=int(time.time() * 1000),
        lifetime_ms=KEY_MS,
        nonce=secrets.token_hex(16),
        generation=position.generation,
        token_id=keys.EPHEMERAL_TOKEN_ID,
    )
    raw = keys.raw_message(fields)
    return keys.encode(raw, sign(keys.signing_digest(raw), wallet))


async def _exchange(
    client: Client, service: Mapping[str, Any], key: str, random: str, request: bytes
) -> dict[str, Any]:
    """Send the request, read the whole answer, ask for its signature. Raises NetError."""
    root = str(service["url"]).rstrip("/")
    headers = {"Authorization": keys.authorization(key), "Content-Type": "application/json"}
    url = f"{root}/v1/proxy/chat/completions"
    async with client.open("POST", url, headers=headers, body=request, limits=_LIMITS) as answer:
        response = await answer.read()
        answer_id = answer.header("ZG-Res-Key")[:128]
    exchange: dict[str, Any] = {
        "random": random,
        "request": base64.b64encode(request).decode(),
        "response": base64.b64encode(response).decode(),
        "answer_id": answer_id,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "signature": None,
    }
    if not answer_id:
        return exchange
    path = f"/v1/proxy/signature/{quote(answer_id, safe='')}"
    asked = f"{root}{path}?model={quote(str(service['model']), safe='')}"
    return {**exchange, "signature": await _signature(client, asked)}


async def _signature(client: Client, url: str) -> Any:
    """The provider's document as it is, None where it has none. Raises NetError."""
    for wait in _WAITS:
        await asyncio.sleep(wait)
        try:
            async with client.open("GET", url, limits=_SIGNATURE) as answer:
                return strictjson.loads(await answer.read(_SHAPE.max_bytes), _SHAPE)
        except BadStatus as error:
            if error.status >= 500:
                raise
    return None
