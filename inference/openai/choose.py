"""Who answers a program's request, and whether it may ask: everything that does not change from one
request to the next.

What is found is good for a moment (`CACHED_SECONDS`), so that a program that asks often does not
make us read the same rows each time. Revocation, expiry and spend limit are not among it: the
statement that sets money aside checks them for every request (`accounts.tokens.RESERVE`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db import IntegrityError
from django.utils import timezone

from accounts import keys
from accounts.crypto import Unreadable
from accounts.models import AccessToken, User
from attestation import assurance, verify
from attestation.assurance import Assurance
from inference import facts, guard, readiness, seals, tuned
from inference.errors import NotReady
from inference.facts import Standing
from inference.models import Chat, Medium
from inference.openai import asks
from inference.openai.asks import Ask
from inference.openai.errors import ApiError
from inference.opening import NOT_READY
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from protocol import fees
from protocol.abi import ZERO_ADDRESS

CACHED_SECONDS = 2.0
MOST_CACHED = 2048
#: More providers of one model than this are not looked at.
MOST_CHOICES = 50

_STATUS = {
    "no_service": 404,
    "signer_not_accepted": 403,
    "no_ledger": 402,
    "not_funded": 402,
    "not_acknowledged": 403,
    "no_key": 403,
    guard.CODE: 403,
}
_WHY = {
    **NOT_READY,
    "no_service": "This provider offers no such service any more.",
    "not_funded": "Your balance at this provider does not cover its reserve and this request.",
}


#: Where a person's wallet makes a key for a provider of this type, if not in the chat.
_PLAYGROUNDS = {
    **dict.fromkeys(fees.IMAGES, "images"),
    fees.SPEECH: "audio",
    fees.EMBEDDING: "embeddings",
}


@dataclass(frozen=True)
class Grant:
    """What one token may ask of one service; `authorization` is the whole header of the stored
    provider key; `version` of what the provider lists, "" where more than that decided.
    """

    token: int
    digest: str
    owner: int
    chat: Chat
    listing: Listing
    signer: verify.Signer | None
    authorization: str
    tariff: fees.Tariff
    until: float
    version: str = ""


class Grants:
    """Grants of the last moment, by token and by what is asked."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], Grant] = OrderedDict()

    def known(self, digest: str, ask: Ask) -> Grant | None:
        """A grant that is still good; costs no query."""
        found = self._known.get(_key(digest, ask))
        return found if found is not None and found.until > time.monotonic() else None

    def find(self, digest: str, token: AccessToken, ask: Ask, site: str) -> Grant:
        """Read a grant (7 to about 14 queries), or what may have changed of one that is known (2
        queries). Raises ApiError.
        """
        key = _key(digest, ask)
        until = time.monotonic() + CACHED_SECONDS
        _check_allowed(token, ask)
        before = self._known.pop(key, None)
        found = before and _renewed(before, token, until, site)
        found = found or _grant(digest, token, ask, until, site)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > MOST_CACHED:
            self._known.popitem(last=False)
        return found


def _key(digest: str, ask: Ask) -> tuple[str, ...]:
    return digest, ask.endpoint, ask.model, ask.pin.lower()


def _check_allowed(token: AccessToken, ask: Ask) -> None:
    if token.model_names and ask.model not in token.model_names:
        raise ApiError(403, "model_not_allowed", "This token may not ask that model.")
    if ask.pin and token.providers and ledger.address_of(ask.pin) not in token.providers:
        raise ApiError(403, "provider_not_allowed", "This token may not ask that provider.")


def _grant(digest: str, token: AccessToken, ask: Ask, until: float, site: str) -> Grant:
    # What an older version is written beside is read anew the next time; the other way round a
    # change in between would never be seen.
    provider = ledger.address_of(ask.pin) if ask.pin and not token.verified_only else None
    before = facts.standing(token.user_id, provider) if provider else None
    listing = _service(token, ask)
    signer = guard.signer_of(listing)
    if token.verified_only:
        try:
            guard.check(listing, signer)
        except NotReady as error:
            raise ApiError(403, error.code, error.sentence) from None
    stands = before or facts.standing(token.user_id, listing.provider)
    return Grant(
        token=token.pk,
        digest=digest,
        owner=token.user_id,
        chat=relay_chat(token.user),
        listing=listing,
        signer=signer,
        authorization=_authorization(token.user, listing, stands, site),
        tariff=fees.tariff(listing.input_price, listing.output_price, listing.additional_info),
        until=until,
        version=before.version if before else "",
    )


def _renewed(grant: Grant, token: AccessToken, until: float, site: str) -> Grant | None:
    """The grant for another moment, where the provider was named and what it lists has not changed.
    None where everything has to be read: to choose, and to see what is verified, rests on more.
    """
    listing = grant.listing
    if not grant.version or token.verified_only:
        return None
    stands = facts.standing(grant.owner, listing.provider, grant.chat.pk)
    if stands is None or not stands.chat or stands.version != grant.version:
        return None
    return replace(
        grant,
        authorization=_authorization(token.user, listing, stands, site),
        until=until,
    )


def relay_chat(user: User) -> Chat:
    """Where a person's programs' requests are gathered; made with the first."""
    rows = Chat.objects.filter(owner=user, medium=Medium.RELAY)
    found = rows.first()
    if found is not None:
        return found
    sealed = seals.seal_key(seals.new_key())
    try:
        return Chat.objects.create(
            owner=user, medium=Medium.RELAY, key_sealed=sealed, provider=ZERO_ADDRESS
        )
    except IntegrityError:
        return rows.get()


# --- which service --------------------------------------------------------------------------------


def candidates(
    model: str, endpoint: str, providers: Iterable[str], *, everything: bool = False
) -> list[Listing]:
    """Services of a model that answer an endpoint, their signer accepted, among `providers` (empty:
    all), cheapest first (3 queries). `everything`: also what moderators hid, which is never chosen
    for anybody, only named.
    """
    query = ledger.ServiceQuery(
        kind=Kind.INFERENCE.value, model=model, sort="price", everything=everything
    )
    rows = ledger.services(query, page_size=ledger.MAX_PAGE_SIZE).items
    allowed = set(providers)
    return readiness.one_each(
        row
        for row in rows
        if row.service_type in asks.TYPES[endpoint]
        and row.tee_signer_acknowledged
        and (not allowed or row.provider in allowed)
    )


def assured(listings: Sequence[Listing]) -> list[tuple[Listing, Assurance]]:
    """What the strict reading of `attestation.assurance` says of each (up to 4 queries)."""
    signers = [guard.signer_of(listing) for listing in listings]
    asked = [
        (x, signer.address if signer else "") for x, signer in zip(listings, signers, strict=True)
    ]
    return list(zip(listings, assurance.of_all(asked), strict=True))


def _service(token: AccessToken, ask: Ask) -> Listing:
    found = candidates(ask.model, ask.endpoint, token.providers, everything=bool(ask.pin))
    if ask.pin:
        pinned = ledger.address_of(ask.pin)
        for listing in found:
            if listing.provider == pinned:
                return listing
        beside = _tuned_beside(ask, pinned)
        if beside is not None:
            return beside
        _refuse_endpoint(ask, pinned)
        raise ApiError(
            404,
            "model_not_found",
            "That provider offers no such model here, or the network's owner has not accepted its "
            "signing key. GET /v1/models lists what there is.",
            more={"choices": [_choice(x) for x in found[:MOST_CHOICES]]},
        )
    if not found:
        if ask.model.startswith(tuned.PREFIX):
            raise ApiError(
                404,
                "model_not_found",
                "A tuned model is asked where it is loaded: write `model@0x…` or name the provider "
                "in the header X-Provider.",
            )
        _refuse_endpoint(ask)
        raise ApiError(
            404, "model_not_found", "No provider offers this model. GET /v1/models lists them."
        )
    known = assured(found[:MOST_CHOICES])
    good = [listing for listing, word in known if word.holds]
    if len(good) == 1:
        return good[0]
    raise ambiguous(known)


def ambiguous(known: Sequence[tuple[Listing, Assurance]]) -> ApiError:
    """The error about a name that several of these services may mean, or an unverified one."""
    choices = [
        {**_choice(listing), "verified": word.holds, "verification": word.overall}
        for listing, word in known
    ]
    return ApiError(
        400,
        "provider_ambiguous",
        f"{_said([word for _, word in known])}; say which one you mean: `model@0x…` or the "
        "header X-Provider. `choices` lists them, cheapest first.",
        more={"choices": choices},
    )


def _refuse_endpoint(ask: Ask, provider: str | None = None) -> None:
    """Raises ApiError with the endpoint that the model, or this provider's, does answer, where
    there is one (1 query)."""
    query = ledger.ServiceQuery(kind=Kind.INFERENCE.value, model=ask.model)
    rows = ledger.services(query, page_size=ledger.MAX_PAGE_SIZE).items
    types = {row.service_type for row in rows if provider in (None, row.provider)}
    if types & set(asks.TYPES[ask.endpoint]):
        return
    for endpoint in asks.ENDPOINTS:
        if types & set(asks.TYPES[endpoint]):
            sentence = f"This model answers /v1/{endpoint}, not /v1/{ask.endpoint}."
            raise ApiError(404, "model_not_found", sentence)


def _tuned_beside(ask: Ask, provider: str | None) -> Listing | None:
    """The chat service beside whose base model a provider may have loaded this tuned one. Whose it
    is, the provider checks (provider-protocol.md 1.6)."""
    if ask.endpoint != asks.CHAT or provider is None or not ask.model.startswith(tuned.PREFIX):
        return None
    listing = readiness.chat_service(provider)
    fits = listing is not None and listing.service_type in asks.TYPES[asks.CHAT]
    return listing if fits and listing and listing.tee_signer_acknowledged else None


def _said(known: Sequence[Assurance]) -> str:
    """How many providers of a model are verified, in the words of the market's pages."""
    good = [word for word in known if word.holds]
    if not good:
        return "No provider of this model counts as verified for sending"
    warned = sum(word.overall.endswith("warn") for word in good)
    counts = ((len(good) - warned, "verified"), (warned, "verified, with warnings"))
    said = [f"{n} {'is' if n == 1 else 'are'} {words}" for n, words in counts if n]
    return f"Of {len(known)} providers of this model, {' and '.join(said)}"


def _choice(listing: Listing) -> dict[str, object]:
    return {
        "provider": listing.provider,
        "model": f"{listing.model}@{listing.provider}",
        "input_price": str(listing.input_price),
        "output_price": str(listing.output_price),
    }


# --- what the person has there --------------------------------------------------------------------


def not_ready(code: str, listing: Listing, site: str) -> ApiError:
    page = _PLAYGROUNDS.get(listing.service_type, "chat")
    where = f"{site}/playground/{page}?provider={listing.provider}"
    if code in ("no_ledger", "not_funded"):
        where = f"{site}/account?action=transfer&provider={listing.provider}"
    return ApiError(
        _STATUS.get(code, 403), code, f"{_WHY[code]} {where}", more={"provider": listing.provider}
    )


def _authorization(user: User, listing: Listing, stands: Standing | None, site: str) -> str:
    """The header of the person's key. Raises ApiError where the provider would surely refuse; its
    own count decides in the end.
    """
    has = stands.held(listing.serving) if stands else None
    state = readiness.check(user, listing, 1, 0, has=has, named=True)
    if not state.ready:
        raise not_ready(state.code, listing, site)
    key = stands.key if stands else None
    try:
        if key is not None:
            keys.touch(key, timezone.now())
            return key.bearer()
    except Unreadable:
        keys.forget(user, listing.provider)
    raise not_ready("no_key", listing, site)
