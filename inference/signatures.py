"""Fetch the provider's signature of an answer and judge it. Signatures expire at the provider
(about 20 minutes), so this runs as soon as the answer has ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

from channels.db import database_sync_to_async
from django.db.models import F, Q

from attestation import verify
from inference import services
from inference.models import Medium, State, Turn, Verdict
from net import strictjson
from net.client import Client
from net.errors import BadStatus, NetError, TooLarge
from net.limits import JsonLimits, Limits

#: Seconds before each try right after the answer: a broker signs once its own accounting is done.
AT_ONCE = (0.0, 0.3, 1.0, 2.0)
#: A signature is kept for ever, and one of 64 pictures, the most that are asked for, has 5 kB.
_MOST_BYTES = 16 << 10
_LIMITS = Limits(connect=5, first_byte=10, between=5, total=15, max_bytes=_MOST_BYTES)
_SHAPE = JsonLimits(max_depth=4, max_bytes=_MOST_BYTES)


class Later(Exception):
    """The provider could not be asked just now; ask again."""


async def settle(client: Client, turn_id: int, *, waits: tuple[float, ...] = (0.0,)) -> Verdict:
    """Judge an ended turn and store the verdict, asking once after each wait (seconds).

    Stays `pending` when the provider cannot be reached; the worker asks again later
    (`inference.tasks`). A provider that says it has no signature is `unavailable`.
    """
    turn, used = await database_sync_to_async(_look_up)(turn_id)
    if turn.state == State.OPEN:
        return Verdict.PENDING
    exchange = verify.Exchange(
        turn.request_sha256,
        turn.response_sha256,
        complete=turn.complete,
        reused=used,
        model=turn.model,
        pictures=turn.chat.medium == Medium.IMAGES or turn.endpoint.startswith("images/"),
    )
    asked = Asked(turn_id, turn.url, turn.answer_id, turn.model)
    signer = verify.Signer(turn.expected_signer, turn.signer_acknowledged, turn.routing_proof)
    return await judge(client, asked, exchange, signer, waits=waits)


@dataclass(frozen=True)
class Asked:
    """Whom to ask about which turn."""

    turn: int
    url: str
    answer_id: str
    model: str


async def judge(
    client: Client,
    asked: Asked,
    exchange: verify.Exchange,
    signer: verify.Signer,
    *,
    waits: tuple[float, ...],
) -> Verdict:
    """`settle` for whoever still has the facts at hand; `signer.address` "" = it never signs."""
    document: object | None = None
    missing: Exception | None = None
    for wait in waits if asked.answer_id and signer.address else ():
        await asyncio.sleep(wait)
        try:
            document = await fetch(client, asked.url, asked.answer_id, asked.model)
            break
        except (Later, BadStatus) as error:
            missing = error
    if document is not None:
        result = verify.reply(document, exchange, signer)
    elif isinstance(missing, Later) and exchange.complete:
        await database_sync_to_async(_count_tries)(asked.turn)
        return Verdict.PENDING
    elif not signer.address:
        result = verify.no_reply(exchange, "never_signs")
    else:
        result = verify.no_reply(exchange, "not_found" if asked.answer_id else "no_id")
    keep = database_sync_to_async(services.store_verdict)
    kept: Verdict = await keep(asked.turn, result, document, asked=True)
    return kept


def give_up(turn: Turn) -> None:
    """The provider could not be reached for too long: say so instead of waiting for ever."""
    exchange = verify.Exchange(turn.request_sha256, turn.response_sha256, turn.complete)
    services.store_verdict(turn.pk, verify.no_reply(exchange, "not_found"), None)


async def fetch(client: Client, url: str, answer_id: str, model: str) -> object:
    """The signature document of an answer. Raises BadStatus (the provider has none) or Later."""
    path = f"/v1/proxy/signature/{quote(answer_id, safe='')}?model={quote(model, safe='')}"
    try:
        async with client.open("GET", url.rstrip("/") + path, limits=_LIMITS) as answer:
            body = await answer.read(_SHAPE.max_bytes)
    except BadStatus as error:
        if error.status in (400, 404, 410, 501):
            raise
        raise Later(str(error)) from error
    except TooLarge as error:
        return str(error)  # nor is that a signature
    except NetError as error:
        raise Later(str(error)) from error
    try:
        return strictjson.loads(body, _SHAPE)
    except NetError:
        # It answered, and what it said is no signature: keep what it said as text.
        return body.decode("utf-8", "replace").replace("\x00", "\ufffd")[:2000]


def _look_up(turn_id: int) -> tuple[Turn, bool]:
    """A turn, and whether its answer's id had been used before."""
    heavy = ("request_sealed", "response_sealed", "question_sealed", "answer_sealed")
    turn = Turn.objects.select_related("chat").defer(*heavy).get(pk=turn_id)
    return turn, reused(turn)


def reused(turn: Turn) -> bool:
    """Whether its provider gave the same id to an answer, of anybody, that was asked for earlier or
    ended earlier: clocks do not tell which of two was the first, and one signature proves one.
    """
    if not turn.answer_id or turn.ended_at is None:
        return False
    same = Turn.objects.filter(provider=turn.provider, answer_id__iexact=turn.answer_id)
    before = Q(pk__lt=turn.pk) | Q(ended_at__lt=turn.ended_at)
    return same.filter(before).exclude(pk=turn.pk).exists()


def _count_tries(turn_id: int) -> None:
    Turn.objects.filter(pk=turn_id).update(signature_tries=F("signature_tries") + 1)
