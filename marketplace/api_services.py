"""`/services`: the catalogue, one listing, its history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router
from ninja.decorators import decorate_view

from accounts import csv_files
from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from ledger import selectors
from ledger.models import ServiceChange
from ledger.records import ChangeEntry, Listing
from marketplace import schemas
from marketplace.api_changes import change_body, changes_csv
from marketplace.api_health import health_body
from marketplace.api_lists import (
    CSV,
    PROBLEMS_404,
    envelope,
    listing_or_404,
    revalidated,
    revalidated_with_health,
)
from marketplace.api_verifications import attestation_body
from marketplace.schemas_changes import Change, OneSortIn, TimelineIn
from marketplace.schemas_listings import ServiceOut
from moderation import selectors as moderation
from moderation.selectors import Decided
from probes import selectors as probes
from probes.selectors import HealthView
from protocol.abi import ZERO_ADDRESS

router = Router(tags=["Services"])


def service_body(
    listing: Listing, standing: StandingView, health: HealthView, decided: Decided
) -> dict[str, Any]:
    """A listing with the fields of its kind; what we have not established is null."""
    body: dict[str, Any] = {
        "kind": listing.kind,
        "provider": listing.provider,
        "service_name": listing.service_name,
        "url": listing.url,
        "tee_signer": listing.tee_signer or ZERO_ADDRESS,
        "tee_signer_acknowledged": listing.tee_signer_acknowledged,
        "stake": listing.stake,
        "created_block": listing.created_block,
        "attestation": attestation_body(standing),
        "health": health_body(health),
        "moderation": moderation.api_body(decided),
    }
    if listing.is_fine_tuning:
        return {
            **body,
            "quota": vars(listing.quota) if listing.quota else None,
            "price_per_token": listing.price_per_token,
            "occupied": listing.occupied,
            "models": list(listing.models),
        }
    return {
        **body,
        "service_type": listing.service_type,
        "model": listing.model,
        "verifiability": listing.verifiability,
        "input_price": listing.input_price,
        "output_price": listing.output_price,
        "additional_info": listing.additional_info,
        "updated_at_unix": listing.updated_at_unix,
    }


def bodies(listings: Sequence[Listing]) -> list[dict[str, Any]]:
    """Listings with what is known about each (3 queries)."""
    keys = [ServiceKey.of(listing) for listing in listings]
    known, measured = attestation.standings(keys), probes.health_of(keys)
    decided = moderation.of_listings(listings)
    return [
        service_body(listing, known[key], measured[key], decided[listing.serving, listing.provider])
        for listing, key in zip(listings, keys, strict=True)
    ]


@router.get(
    "/{kind}/{provider}",
    response={200: ServiceOut, **PROBLEMS_404},
    operation_id="get_service",
    summary="One service",
)
@decorate_view(revalidated_with_health)
def get_service(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    service_name: schemas.ServiceNameIn = "",
) -> dict[str, Any]:
    """A provider's service of a kind.

    A network may have two serving contracts of a kind: without `service_name` the recommended one
    is meant, or, where the provider is not listed there, the newest one it is listed in.
    """
    listing = listing_or_404(kind, provider, service_name, include_removed=False)
    key = ServiceKey.of(listing)
    measured = probes.health_of([key])[key]
    decided = moderation.of_listing(listing)
    return service_body(listing, attestation.standing_of(key), measured, decided)


@router.get(
    "/{kind}/{provider}/timeline",
    response={200: schemas.ListOf[Change], **PROBLEMS_404},
    operation_id="get_service_timeline",
    summary="What changed on chain, newest first",
)
@decorate_view(revalidated)
def get_timeline(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    query: Query[TimelineIn],
    service_name: schemas.ServiceNameIn = "",
) -> dict[str, Any]:
    """The listing's history from registration on; removed services keep theirs."""
    listing = listing_or_404(kind, provider, service_name)
    page = selectors.timeline(
        provider,
        listing.serving,
        page=query.page,
        page_size=query.page_size,
        change=query.change or "",
        after=query.after,
    )
    return envelope(request, page, change_body)


@router.get(
    "/{kind}/{provider}/timeline.csv",
    response={200: None, **PROBLEMS_404},
    operation_id="export_service_timeline",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
)
@decorate_view(revalidated)
def export_timeline(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    query: Query[OneSortIn],
    service_name: schemas.ServiceNameIn = "",
) -> HttpResponseBase:
    """The listing's whole history; `before` and `after` are JSON."""
    listing = listing_or_404(kind, provider, service_name)
    rows = ServiceChange.objects.filter(provider=provider, serving=listing.serving)
    rows = rows.filter(change=query.change) if query.change else rows
    known = selectors.contracts()

    def source() -> Iterator[list[ChangeEntry]]:
        for batch in csv_files.batches(rows):
            yield [ChangeEntry.of(row, known) for row in batch]

    return changes_csv(request, f"timeline-{kind}-{provider}.csv", source)
