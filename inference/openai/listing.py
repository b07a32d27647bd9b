"""`/v1/models` and `/v1/verifications/{id}` as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accounts.models import AccessToken
from attestation.assurance import Assurance
from inference import abilities, readiness
from inference.models import Turn
from inference.openai import asks, choose
from inference.openai.errors import ApiError
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from protocol.declared import context_of
from protocol.fees import EMBEDDING

CACHED_SECONDS = 5.0
#: A thousand services; anybody may list one.
MOST_PAGES = 5


@dataclass(frozen=True)
class _Offered:
    """`context`: tokens that the model reads at once, as its provider says; 0: it does not."""

    listing: Listing
    word: Assurance
    context: int


_known: tuple[float, list[_Offered]] = (0.0, [])


def models(token: AccessToken) -> dict[str, Any]:
    """What a token may ask: each service as `model@provider`, and the plain name where it means one
    verified provider.
    """
    found = _allowed(token)
    verified: dict[tuple[str, str], list[_Offered]] = {}
    for x in found:
        if x.word.holds:
            verified.setdefault((x.listing.model, x.listing.service_type), []).append(x)
    plain = [_entry(x[0], x[0].listing.model) for x in verified.values() if len(x) == 1]
    every = [_entry(x, f"{x.listing.model}@{x.listing.provider}") for x in found]
    return {"object": "list", "data": plain + every}


def model(token: AccessToken, name: str, pin: str) -> dict[str, Any]:
    """One entry of the list; `pin` is the `X-Provider` header.

    Raises ApiError: 400 where the list has the name with its providers alone, else 404.
    """
    plain, pin = asks.named(name, pin)
    wanted = f"{plain}@{ledger.address_of(pin)}" if pin else plain
    for entry in models(token)["data"]:
        if entry["id"] == wanted:
            return dict(entry)
    named = [(x.listing, x.word) for x in _allowed(token) if x.listing.model == wanted]
    if named:
        raise choose.ambiguous(named[: choose.MOST_CHOICES])
    raise ApiError(404, "model_not_found", "There is no such model; GET /v1/models lists them.")


def _allowed(token: AccessToken) -> list[_Offered]:
    return [
        x
        for x in _services()
        if (not token.providers or x.listing.provider in token.providers)
        and (not token.model_names or x.listing.model in token.model_names)
        and (x.word.holds or not token.verified_only)
    ]


def _services() -> list[_Offered]:
    """Services that can be asked here and what is known of each; read every few seconds."""
    global _known
    until, found = _known
    if until < time.monotonic():
        types = {kind for kinds in asks.TYPES.values() for kind in kinds}
        query = ledger.ServiceQuery(kind=Kind.INFERENCE.value, sort="price")
        rows = (x for x in _rows(query) if x.service_type in types and x.tee_signer_acknowledged)
        # One provider may be in several contracts: as `choose.candidates` takes it.
        fit = readiness.one_each(rows, lambda x: (x.provider, x.model, x.service_type))
        said = zip(choose.assured(fit), abilities.known_of(fit), strict=True)
        found = [
            _Offered(x, word, context_of(x.additional_info) or able.context)
            for (x, word), able in said
        ]
        _known = (time.monotonic() + CACHED_SECONDS, found)
    return found


def _rows(query: ledger.ServiceQuery) -> Iterator[Listing]:
    """Of the cheapest `MOST_PAGES` pages."""
    for number in range(1, MOST_PAGES + 1):
        page = ledger.services(query, number, ledger.MAX_PAGE_SIZE)
        yield from page.items
        if number >= page.pages:
            return


def _entry(offered: _Offered, name: str) -> dict[str, Any]:
    listing = offered.listing
    return {
        "id": name,
        "object": "model",
        "created": listing.updated_at_unix,
        "owned_by": listing.provider,
        "provider": listing.provider,
        "type": listing.service_type,
        "endpoints": [f"/v1/{x}" for x in asks.ENDPOINTS if listing.service_type in asks.TYPES[x]],
        "verified": offered.word.holds,
        **({"context_length": offered.context} if offered.context else {}),
        "pricing": {
            "input_neuron": str(listing.input_price),
            # Embeddings answer with no token.
            "output_neuron": str(0 if listing.service_type == EMBEDDING else listing.output_price),
        },
    }


def mine(token: AccessToken, number: str) -> int:
    """The id of a request that a token may see: with `read` any of its person's, else its own.

    Raises ApiError 404.
    """
    rows = Turn.objects.filter(chat__owner=token.user_id, chat__deleted_at=None)
    if not token.may_read:
        rows = rows.filter(token=token)
    if number.isascii() and number.isdecimal() and len(number) < 19:
        found = rows.filter(pk=int(number)).values_list("pk", flat=True).first()
        if found is not None:
            return int(found)
    raise ApiError(404, "not_found", "There is no such verification.")


def verification(turn: Turn) -> dict[str, Any]:
    """Everything that a verdict rests on; enough to judge it again without us."""
    return {
        "id": str(turn.pk),
        "object": "verification",
        "created": int(turn.created_at.timestamp()),
        "verdict": turn.verdict,
        "reason": turn.verdict_reason,
        "state": turn.state,
        "failure": turn.failure,
        "endpoint": turn.endpoint or "chat/completions",
        "model": turn.model,
        "provider": turn.provider,
        "serving": turn.serving,
        "answer_id": turn.answer_id,
        "complete": turn.complete,
        "request_sha256": turn.request_sha256,
        "response_sha256": turn.response_sha256,
        "signed_request_sha256": turn.signed_request,
        "signed_response_sha256": turn.signed_response,
        "expected_signer": turn.expected_signer,
        "signer": turn.signer,
        "scheme": turn.scheme,
        "signature": turn.signature,
        "usage": {
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": turn.completion_tokens,
        },
        "cost": {"neuron": str(turn.fee), "kind": turn.fee_kind},
    }
