"""Plans about trust, keys, results and a provider's own listing (contracts.md 4, 5, 6.6, 6.7).
Pure.
"""

from __future__ import annotations

from typing import Any

from accounts import preview_words as words
from accounts.facts import FINE_TUNING, Facts, Listing
from accounts.preview_types import (
    Effect,
    Plan,
    Predicted,
    account_of,
    acknowledgement,
    target_of,
)

#: additionalInfo on chain (contracts.md 4).
MAX_INFO_BYTES = 4096


def acknowledge_signer(params: dict[str, Any], facts: Facts) -> Plan:
    provider, acknowledged = params["provider"], params["acknowledged"]
    account = account_of(facts, provider)
    if account.acknowledged and not acknowledged and account.balance:
        raise Predicted("CannotRevokeWithNonZeroBalance", facts.sender, provider, account.balance)
    listing = facts.listings.get(provider)
    warnings = [words.CHANGES_NOTHING] if acknowledged == account.acknowledged else []
    if acknowledged and (listing is None or not listing.owner_acknowledged):
        warnings.append(words.NOT_ACKNOWLEDGED)
    effects = acknowledgement(provider, account.acknowledged, acknowledged)
    return Plan(effects, tuple(warnings))


def revoke_token(params: dict[str, Any], facts: Facts) -> Plan:
    return _revoked(params["provider"], [params["token_id"]], facts)


def revoke_tokens(params: dict[str, Any], facts: Facts) -> Plan:
    return _revoked(params["provider"], params["token_ids"], facts)


def _revoked(provider: str, ids: list[int], facts: Facts) -> Plan:
    account = account_of(facts, provider)
    effects = tuple(
        Effect("key_revoked", bool(account.revoked_bitmap >> i & 1), True, who=f"{provider}#{i}")
        for i in dict.fromkeys(ids)
    )
    warnings = [words.CHANGES_NOTHING] if all(effect.before for effect in effects) else []
    if 255 in ids:
        warnings.append(words.SHARED_SLOT)
    return Plan(effects, tuple(warnings))


def revoke_all_tokens(params: dict[str, Any], facts: Facts) -> Plan:
    provider = params["provider"]
    generation = account_of(facts, provider).generation
    effect = Effect(
        "key_revoked", f"generation {generation}", f"generation {generation + 1}", provider
    )
    return Plan((effect,), (words.REVOKES_ALL,))


def acknowledge_deliverable(params: dict[str, Any], facts: Facts) -> Plan:
    account, identifier = account_of(facts, params["provider"]), params["deliverable_id"]
    found = next((d for d in account.deliverables if d.id == identifier), None)
    if found is None:
        raise Predicted("DeliverableNotExists", identifier)
    if found.settled:
        raise Predicted("CannotAcknowledgeSettledDeliverable", identifier)
    if found.acknowledged:
        return Plan((), (words.ACKNOWLEDGED_BEFORE,))
    return Plan((), (words.CHARGES_IN_FULL,))


def add_or_update(params: dict[str, Any], facts: Facts) -> Plan:
    """Stake is paid once, at the first registration; later calls must carry none."""
    serving = target_of(facts)
    due = 0 if facts.stake else serving.min_stake
    if serving.contract != FINE_TUNING and len(params["additional_info"].encode()) > MAX_INFO_BYTES:
        raise Predicted("AdditionalInfoTooLong")
    listing = facts.listings.get(facts.sender)
    effects = [Effect("service", "listed" if listing else "not listed", "listed")]
    if due:
        effects = [
            Effect("wallet", facts.wallet, facts.wallet - due),
            Effect("stake", facts.stake, due),
            *effects,
        ]
    if listing is not None and listing.owner_acknowledged:
        if not _resets(params, listing):
            return Plan(tuple(effects))
        effects += acknowledgement(facts.sender, True, False)
    return Plan(tuple(effects), (words.NOT_CHARGEABLE,))


#: Parameters whose change withdraws the owner's acknowledgement, as the view names them; a
#: fine-tuning listing has the signer alone (contracts.md 6.6).
_RESETTING = {
    "service_type": "serviceType",
    "model": "model",
    "verifiability": "verifiability",
    "additional_info": "additionalInfo",
    "tee_signer": "teeSignerAddress",
}


def _resets(params: dict[str, Any], listing: Listing) -> bool:
    return any(
        params[ours] != listing.fields.get(theirs)
        for ours, theirs in _RESETTING.items()
        if ours in params
    )


def remove_service(params: dict[str, Any], facts: Facts) -> Plan:
    target_of(facts)
    if facts.listings.get(facts.sender) is None:
        raise Predicted("ServiceNotExist", facts.sender)
    effects = [Effect("service", "listed", "not listed")]
    if facts.stake:
        effects = [
            Effect("wallet", facts.wallet, facts.wallet + facts.stake),
            Effect("stake", facts.stake, 0),
            *effects,
        ]
    return Plan(tuple(effects), (words.ACCOUNTS_STAY,))
