"""`/providers`: what a provider was paid, and by which settlements."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router
from ninja.decorators import decorate_view

from accounts import csv_files
from chain import selectors as chain
from ledger import selectors, statistics
from ledger.models import Settlement
from ledger.records import SettlementEntry
from marketplace import schemas, settlements
from marketplace.api_lists import (
    CSV,
    PROBLEMS,
    PROBLEMS_404,
    envelope,
    revalidated,
    revalidated_as_provider,
)
from marketplace.api_notes import note_body
from marketplace.api_services import bodies
from marketplace.memo import at_block
from marketplace.problems import not_found
from marketplace.schemas_providers import EarningsOut, ProviderOut, SettlementOut
from marketplace.settlements import Asked
from operators import notes

router = Router(tags=["Providers"])


def settlement_body(entry: SettlementEntry) -> dict[str, Any]:
    return {
        "block": entry.block,
        "at": entry.at,
        "tx_hash": entry.tx_hash,
        "log_index": entry.log_index,
        "service_name": entry.service_name,
        "user": entry.user,
        "status": entry.status,
        "settled": entry.settled,
        "unsettled": entry.unsettled,
    }


@router.get(
    "/{address}",
    response={200: ProviderOut, **PROBLEMS_404},
    operation_id="get_provider",
    summary="One provider over all serving contracts",
)
@decorate_view(revalidated_as_provider)
def get_provider(request: HttpRequest, address: schemas.AddressIn) -> dict[str, Any]:
    """What it lists now and what settlements say of it, as its page shows. A provider that removed
    all its services keeps its sums; an address that never was one is not found."""
    found = statistics.provider(address)
    if not found.services and not selectors.timeline(address, page_size=1).count:
        raise not_found("This provider")
    said = [note_body(note) for note in notes.open_notes([address])]
    return {**vars(found), "services": bodies(found.services), "notes": said}


@router.get(
    "/{address}/earnings",
    response={200: EarningsOut, **PROBLEMS},
    operation_id="get_earnings",
    summary="Settled income of a provider",
)
@decorate_view(revalidated)
def get_earnings(request: HttpRequest, address: schemas.AddressIn) -> dict[str, Any]:
    """Income by service, by UTC day and by user; each of the three sums to `total`, to the neuron.

    An address that never was a provider has earned 0.
    """
    # Sums over every settlement: made once per block, whoever asks.
    income = at_block.get(
        chain.head().indexed_hash, ("earnings", address), lambda: statistics.earnings(address)
    )
    return {
        "total": income.total,
        "by_service": income.by_service,
        "by_day": [vars(day) for day in income.by_day],
        "by_user": [vars(payer) for payer in income.by_user],
    }


@router.get(
    "/{address}/settlements",
    response={200: schemas.ListOf[SettlementOut], **PROBLEMS},
    operation_id="list_settlements",
    summary="Settlement items of a provider, newest first",
)
@decorate_view(revalidated)
def list_settlements(
    request: HttpRequest, address: schemas.AddressIn, query: Query[schemas.HistoryIn]
) -> dict[str, Any]:
    """Every item with its outcome, refused ones too: what was paid and what was not."""
    asked = Asked(provider=address, page=query.page)
    page = settlements.items(asked, query.page_size, query.after)
    return envelope(request, page, settlement_body)


@router.get(
    "/{address}/settlements.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_settlements",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
)
@decorate_view(revalidated)
def export_settlements(request: HttpRequest, address: schemas.AddressIn) -> HttpResponseBase:
    """All settlement items in one file: amounts in neuron, with block and log index."""
    known = selectors.contracts()
    return csv_files.response(
        request,
        f"settlements-{address}.csv",
        tuple(SettlementOut.model_fields),
        Settlement.objects.filter(provider=address),
        lambda row: settlement_body(SettlementEntry.of(row, known)),
    )
