"""The row of each request that a program makes: opened before anything is sent, ended once.

It is a `Turn` like every other question of its person, so that log, costs, signatures and clearing
up after a dead process are the same. What was said is not kept: hashes, counts and signature are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from django.db.models import Q
from django.utils import timezone

from accounts import keys, tokens
from accounts.models import AccessToken, User
from inference import costs, services, turn_sql
from inference.failures import Failure
from inference.models import State
from inference.openai import outcome
from inference.openai.asks import CHAT, USUAL_MAX_TOKENS, Ask
from inference.openai.choose import CACHED_SECONDS, Grant
from inference.openai.errors import ApiError
from protocol import fees


@dataclass(frozen=True)
class Opened:
    """An open row, what was set aside for it (neuron), and when."""

    turn: int
    reserved: int
    at: datetime


@dataclass
class Answered:
    """How a request went; exact at every moment, as `inference.relay.Record` is. `first_seconds`:
    until a stream said something; what is no stream has no first token."""

    request_sha256: str
    headers: dict[str, str] = field(default_factory=dict)
    answer_id: str = ""
    response_sha256: str = ""
    size: int = 0
    complete: bool = False
    first_seconds: float | None = None
    seconds: float = 0.0
    usage: fees.Usage | None = None
    finish_reason: str = ""
    quantity: str = ""


def open_row(grant: Grant, ask: Ask, process: str, request_sha256: str) -> Opened:
    """Set aside what the request can cost at most, and write it down as open (1 statement).

    Raises ApiError where the token ended, or its limit was reached, meanwhile.
    """
    reserved, now = outcome.most(ask, grant.tariff, USUAL_MAX_TOKENS), timezone.now()
    given = {
        "chat_id": grant.chat.pk,
        "token_id": grant.token,
        "endpoint": ask.endpoint,
        "prompt_key": uuid4(),
        "process": process,
        "model": ask.model,
        "max_tokens": ask.max_tokens or (USUAL_MAX_TOKENS if ask.writes else 0),
        "request_bytes": len(ask.body),
        "request_sha256": request_sha256,
        "fee": reserved,
        "created_at": now,
        **services.of_service(grant.listing, grant.signer),
    }
    bounded = ask.endpoint != CHAT or ask.max_tokens > 0
    number = turn_sql.open_relay_turn(given, grant.digest, bounded=bounded)
    if number is None:
        raise _why_not(grant.digest, bounded)
    return Opened(number, reserved, now)


def _why_not(digest: str, bounded: bool) -> ApiError:
    """Why nothing could be set aside for a token whose grant was still known."""
    now = timezone.now()
    known = Q(digest=digest) | Q(previous_digest=digest, previous_until__gt=now)
    token = AccessToken.objects.filter(known).first()
    word = tokens.state(token, now) if token is not None else "revoked"
    if word in ("revoked", "expired"):
        return ApiError(
            401,
            f"token_{word}",
            f"This token was {word}." if word == "revoked" else "This token has expired.",
        )
    if not bounded:  # it was read as one of a token without a limit
        sentence = "This token's limits were changed a moment ago. Nothing was sent."
        seconds = int(CACHED_SECONDS)
        return ApiError(503, "busy", sentence, retry=True, retry_after=seconds)
    return ApiError(
        402,
        "spend_limit_reached",
        "This token's spend limit does not hold what the request can cost at most. Send a smaller "
        f"`max_tokens`, or raise the limit on {tokens.page()}.",
    )


def end_row(
    opened: Opened,
    grant: Grant,
    state: State,
    answered: Answered,
    cost: costs.Cost,
    failure: Failure | None = None,
) -> bool | None:
    """Store how an open request ended and count what it cost (1 statement); says whether its
    answer's id had been used before. None if somebody else ended it.
    """
    if failure is not None and failure.kind == "key_rejected":
        keys.forget(User.objects.get(pk=grant.owner), grant.listing.provider, opened.at)
    return turn_sql.end(
        opened.turn,
        grant.token,
        cost.fee - opened.reserved,
        state=state,
        response_headers=services.storable(answered.headers),
        response_sha256=answered.response_sha256,
        response_bytes=answered.size,
        complete=answered.complete,
        answer_id=answered.answer_id,
        finish_reason=answered.finish_reason,
        quantity=answered.quantity,
        first_token_ms=services.milliseconds(answered.first_seconds),
        total_ms=services.milliseconds(answered.seconds),
        **services.spent(answered.usage, cost),
        **services.ending(failure),
    )
