"""An entity as a view says it and as we hold it, in the same words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ledger import fold_views
from ledger.state import Account, Ledger, Refund

Fields = dict[str, Any]


def fields(entity: object, names: Iterable[str]) -> Fields:
    return {name: getattr(entity, name) for name in names}


def chain_ledger(value: Fields) -> Fields:
    return {
        "available": value["availableBalance"],
        "total": value["totalBalance"],
        "additional_info": value["additionalInfo"],
    }


def our_ledger(ledger: Ledger) -> Fields:
    return fields(ledger, ("available", "total", "additional_info"))


def chain_service(kind: str, value: Fields) -> Fields:
    return {
        **fold_views.service_fields(kind, value),
        "tee_signer_acknowledged": value["teeSignerAcknowledged"],
    }


def chain_account(value: Fields) -> Fields:
    """An account as a view has it: whole, or as its summary in a list."""
    found = {
        "balance": value["balance"],
        "pending_refund": value["pendingRefund"],
        "nonce": value["nonce"],
        "acknowledged": value["acknowledged"],
        "additional_info": value["additionalInfo"],
    }
    if "refunds" not in value:
        return found
    valid = value["refunds"][: value["validRefundsLength"]]
    found["refunds"] = [Refund(r["amount"], r["createdAt"]) for r in valid]
    if "deliverables" in value:
        return {**found, "deliverables": list(fold_views.deliverables(value))}
    return {
        **found,
        "generation": value["generation"],
        "revoked_bitmap": value["revokedBitmap"],
    }


def our_account(account: Account, kind: str) -> Fields:
    names = ("balance", "pending_refund", "nonce", "acknowledged", "additional_info")
    found = {**fields(account, names), "refunds": list(account.refunds)}
    if kind == "fine-tuning":
        return {**found, "deliverables": list(account.deliverables)}
    return {**found, **fields(account, ("generation", "revoked_bitmap"))}
