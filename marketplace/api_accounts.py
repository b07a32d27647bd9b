"""`/accounts`: what an address owns in the contracts, and how it came to that."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router
from ninja.decorators import decorate_view

from accounts import csv_files
from ledger import selectors
from ledger.models import Kind, Movement
from ledger.records import MovementEntry, Position
from marketplace import schemas
from marketplace.api_lists import CSV, PROBLEMS, envelope, revalidated
from marketplace.schemas_accounts import AccountOut, MovementOut

router = Router(tags=["Accounts"])


def sub_account_body(position: Position) -> dict[str, Any]:
    body: dict[str, Any] = {
        "service_name": position.service_name,
        "kind": position.kind,
        "provider": position.provider,
        "balance": position.balance,
        "pending_refund": position.pending_refund,
        "nonce": position.nonce,
        "acknowledged": position.acknowledged,
        "additional_info": position.additional_info,
        "refunds": [vars(refund) for refund in position.refunds],
    }
    if position.kind == Kind.FINE_TUNING:
        return {**body, "deliverables": [vars(one) for one in position.deliverables]}
    return {
        **body,
        "generation": position.generation,
        "revoked_bitmap": position.revoked_bitmap,
    }


def movement_body(entry: MovementEntry) -> dict[str, Any]:
    return {
        "block": entry.block,
        "at": entry.at,
        "tx_hash": entry.tx_hash,
        "log_index": entry.log_index,
        "kind": entry.kind,
        "provider": entry.provider,
        "service_name": entry.service_name,
        "balance": entry.balance,
        "amount": entry.amount,
        "balance_after": entry.balance_after,
        "source": entry.source,
    }


@router.get(
    "/{address}",
    response={200: AccountOut, **PROBLEMS},
    operation_id="get_account",
    summary="Main account and sub-accounts of an address",
)
@decorate_view(revalidated)
def get_account(request: HttpRequest, address: schemas.AddressIn) -> dict[str, Any]:
    """An address nobody has seen yet owns nothing: `ledger` is null and there are no sub-accounts.

    `balance` still contains `pending_refund`. A refund can be collected from `unlocks_at_unix` on.
    """
    account = selectors.account(address)
    purse = account.ledger
    return {
        "address": account.address,
        "ledger": {
            "total": purse.total,
            "available": purse.available,
            "additional_info": purse.additional_info,
        }
        if purse
        else None,
        "sub_accounts": [sub_account_body(position) for position in account.positions],
    }


@router.get(
    "/{address}/movements",
    response={200: schemas.ListOf[MovementOut], **PROBLEMS},
    operation_id="list_movements",
    summary="Every movement of an account, newest first",
)
@decorate_view(revalidated)
def list_movements(
    request: HttpRequest, address: schemas.AddressIn, query: Query[schemas.HistoryIn]
) -> dict[str, Any]:
    """Signed changes of `available` and of sub-accounts; per balance they sum to its present
    value.
    """
    page = selectors.movements(address, query.page, query.page_size, after=query.after)
    return envelope(request, page, movement_body)


@router.get(
    "/{address}/movements.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_movements",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
)
@decorate_view(revalidated)
def export_movements(request: HttpRequest, address: schemas.AddressIn) -> HttpResponseBase:
    """All movements in one file: amounts in neuron, with block and log index."""
    known = selectors.contracts()
    return csv_files.response(
        request,
        f"movements-{address}.csv",
        tuple(MovementOut.model_fields),
        Movement.objects.filter(user=address),
        lambda row: movement_body(MovementEntry.of(row, known)),
    )
