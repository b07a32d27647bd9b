"""What is published now and what somebody is about to publish: the chain's word first, then the
draft on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum

from accounts import reading, selectors
from accounts.errors import NodeError
from accounts.models import User
from attestation import trust
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.models import SubAccount
from ledger.records import Contract, Listing
from net.addresses import Policy
from operators import listing, listing_changes
from operators.listing import FINE_TUNING, Values
from operators.listing_changes import Customers
from operators.models import ListingDraft
from protocol import abi

_ABI = {listing.INFERENCE: abi.INFERENCE_SERVING, FINE_TUNING: abi.FINE_TUNING_SERVING}
#: Drafts are texts of a person's own; nobody types more than this.
_MOST_TYPED = 40_000


@dataclass(frozen=True)
class Published:
    """A provider's service in one serving contract. `values` None: not listed there.

    `from_chain`: asked of the contract at `block` just now; else the index's row, as of `block`.
    `stake` is what is locked now, `least` what a registration locks (None: nobody could be asked),
    neuron.
    """

    kind: str
    contract: Contract
    values: Values | None
    acknowledged: bool
    stake: int
    least: int | None
    block: int
    from_chain: bool
    listing: Listing | None

    @property
    def name(self) -> str:
        return self.contract.service_name

    @property
    def texts(self) -> dict[str, str]:
        if self.values is None:
            return listing.blank(self.kind)
        return listing.texts(self.kind, self.values)


def policy() -> Policy:
    """Where a published URL may lead."""
    return trust.provider_policy()


def contract_of(kind: str, provider: str, service_name: str = "") -> Contract | None:
    """The contract of that name (None where there is none); without a name the one the provider is
    listed in, else the recommended one (4 queries at most)."""
    known = ledger.contracts()
    named = [c for c in known.values() if c.kind == kind and c.service_name == service_name]
    if named or service_name:
        return named[0] if named else None
    found = ledger.service(kind, provider)
    return known.get(found.serving) if found else ledger.recommended(kind, known)


def published(contract: Contract, provider: str) -> Published:
    """The service at the newest block, or as the index has it while the chain is silent."""
    found = ledger.service(contract.kind, provider, contract.service_name)
    block = selectors.height()
    if block is None:
        return _indexed(contract, found)
    name, at = _ABI[contract.kind], contract.address
    wanted = [(name, at, "getService", (provider,)), (name, at, "MIN_PROVIDER_STAKE", ())]
    try:
        raw, least = reading.views(wanted, block)
    except NodeError:
        return _indexed(contract, found)
    acknowledged = bool(raw and raw["teeSignerAcknowledged"])
    values, stake = _of_view(contract.kind, raw) if raw else None, found.stake if found else 0
    return Published(
        contract.kind, contract, values, acknowledged, stake, least, block, True, found
    )


def _indexed(contract: Contract, found: Listing | None) -> Published:
    block = max(0, chain.head().indexed_block)
    if found is None:
        return Published(contract.kind, contract, None, False, 0, None, block, False, None)
    values, acknowledged = of_listing(found), found.tee_signer_acknowledged
    return Published(
        contract.kind, contract, values, acknowledged, found.stake, None, block, False, found
    )


def of_listing(found: Listing) -> Values:
    """A row of the index as the values that were published."""
    if found.kind == FINE_TUNING:
        quota = vars(found.quota) if found.quota else dict.fromkeys(listing.QUOTA, 0)
        return {
            "url": found.url,
            "models": list(found.models),
            "price_per_token": found.price_per_token,
            "occupied": found.occupied,
            "quota": dict(quota),
            "tee_signer": found.tee_signer,
        }
    return {name: getattr(found, name) for name in listing.FIELDS[listing.INFERENCE]}


def _of_view(kind: str, raw: Mapping[str, Any]) -> Values:
    names = {
        "url": "url",
        "service_type": "serviceType",
        "model": "model",
        "verifiability": "verifiability",
        "input_price": "inputPrice",
        "output_price": "outputPrice",
        "additional_info": "additionalInfo",
        "tee_signer": "teeSignerAddress",
        "models": "models",
        "price_per_token": "pricePerToken",
        "occupied": "occupied",
    }
    values = {ours: raw[theirs] for ours, theirs in names.items() if ours in listing.FIELDS[kind]}
    if kind == FINE_TUNING:
        quota = ("cpuCount", "nodeMemory", "gpuCount", "nodeStorage", "gpuType")
        given = raw["quota"]
        values["quota"] = {
            ours: given[theirs] for ours, theirs in zip(listing.QUOTA, quota, strict=True)
        }
        values["models"] = list(values["models"])
    return values


def customers(contract: Contract, provider: str) -> Customers:
    """Who holds money at the service, by the index (1 query)."""
    rows = SubAccount.current.filter(
        serving=contract.address, provider=provider, live=True, balance__gt=0
    )
    found = rows.aggregate(count=Count("pk"), held=Sum("balance"))
    return Customers(found["count"], int(found["held"] or 0))


# --- drafts ---------------------------------------------------------------------------------------


def draft(user: User, now: Published) -> dict[str, str]:
    """What the person typed and the chain does not say yet (1 query, 2 where the chain has caught
    up with all of it)."""
    row = ListingDraft.objects.filter(user=user, kind=now.kind, service_name=now.name).first()
    if row is None:
        return {}
    texts = now.texts
    left = {name: text for name, text in row.typed.items() if texts.get(name, text) != text}
    if now.from_chain and (not left or _published(now, {**texts, **left})):
        row.delete()
        return {}
    return left


def _published(now: Published, typed: Mapping[str, str]) -> bool:
    """Whether the chain says all of it already, however it is spelled."""
    if now.values is None:
        return False
    parsed = listing.parse(now.kind, typed, policy())
    return not parsed.errors and not listing_changes.differing(now.kind, now.values, parsed.values)


def _plain(text: str) -> str:
    """A text as it is after the way through a form and back."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")[:_MOST_TYPED]


def overtaken(now: Published, typed: Mapping[str, str], seen: Mapping[str, str]) -> set[str]:
    """Fields that nobody touched and that the chain has otherwise by now: `seen` is what it had
    when the form was made. None while the chain is silent: the index may be behind the form."""
    if not now.from_chain:
        return set()
    texts = {name: _plain(text) for name, text in now.texts.items()}
    same = (name for name in texts if name in typed and name in seen)
    return {name for name in same if _plain(typed[name]) == _plain(seen[name]) != texts[name]}


def keep(user: User, now: Published, typed: Mapping[str, str]) -> dict[str, str]:
    """Remember what differs from the chain; what equals it is forgotten. Returns the whole form."""
    texts = now.texts
    given = {name: _plain(typed[name]) for name in texts if name in typed}
    changed = {name: text for name, text in given.items() if text != _plain(texts[name])}
    if changed:
        ListingDraft.objects.update_or_create(
            user=user, kind=now.kind, service_name=now.name, defaults={"typed": changed}
        )
    else:
        forget(user, now)
    return {**texts, **changed}


def forget(user: User, now: Published) -> None:
    """Begin again from what is on chain."""
    ListingDraft.objects.filter(user=user, kind=now.kind, service_name=now.name).delete()
