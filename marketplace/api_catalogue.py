"""`/services` as a list: the catalogue's filters as JSON, CSV and Atom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe
from ninja import Query, Router
from ninja.decorators import decorate_view

from accounts import csv_files
from accounts import feeds as atoms
from accounts import links as account_links
from accounts.feeds import xml_text
from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from ledger import selectors
from ledger.records import Listing
from marketplace import cards, feeds, formats, parts, ranking, verdicts
from marketplace.api_lists import CSV, PROBLEMS, envelope, revalidated_as_list
from marketplace.api_services import bodies
from marketplace.filters import Filters
from marketplace.schemas_listings import ServiceList
from marketplace.schemas_services import FilteredIn, ServicesIn
from probes import selectors as probes
from probes.selectors import HealthView
from protocol.declared import context_of

router = Router(tags=["Services"])


@router.get(
    "/services",
    response={200: ServiceList, **PROBLEMS},
    operation_id="list_services",
    summary="All listed services",
)
@decorate_view(revalidated_as_list)
def list_services(request: HttpRequest, query: Query[ServicesIn]) -> dict[str, Any]:
    """Every service providers offer now, in every serving contract, filtered and sorted.

    Prices are neuron per token, image or second. Strings are the providers' own words.
    `attestation` is our verdict on the provider's evidence: `expired` after 24 hours, null after
    72. On a devnet, `verified=pass` also finds `dev-pass`. `health` is what our probes measured.
    `proven`, `verified` and `uptime` filter by our own findings, `tee` and `context` by what the
    provider declares, `label` by what moderators declared (`moderation`). Services that moderators
    hid are in no list; asked for by address they are there, with the reason.
    """
    filters = query.filters
    version = selectors.listings_version()
    page = ranking.services(filters, version, query.page_size, beyond=True)
    found = iter(bodies(page.items))
    return envelope(request, page, lambda _: next(found))


# --- CSV ------------------------------------------------------------------------------------------

COLUMNS = (
    "kind", "provider", "service_name", "service_type", "model", "url", "verifiability",
    "input_price", "output_price", "cached_price_per_million", "price_per_token", "month_cost",
    "stake", "tee_signer", "tee_signer_acknowledged", "verdict", "checked_at", "declared_tee",
    "declared_context", "uptime_7d_percent", "probes_7d", "first_token_ms_p50",
    "tokens_per_second_p50", "example_data", "created_block", "updated_at_unix",
)  # fmt: skip


@router.get(
    "/services.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_services",
    summary="The same list as CSV, complete",
    openapi_extra=CSV,
)
def export_services(request: HttpRequest, query: Query[FilteredIn]) -> StreamingHttpResponse:
    """All services that the filters select in one file, in the same order. Prices are neuron per
    token, image or second; `cached_price_per_million` neuron per million tokens; `month_cost`
    neuron for 30 days of the asked workload; verdict, uptime and latencies are our own.
    """
    filters = query.filters

    def source() -> Iterator[list[dict[str, Any]]]:
        version = selectors.listings_version()
        number: int | None = 1
        while number is not None:
            asked = filters.at(number)
            page = ranking.services(asked, version, selectors.MAX_PAGE_SIZE, beyond=True)
            keys = [ServiceKey.of(listing) for listing in page.items]
            known, measured = attestation.standings(keys), probes.health_of(keys)
            yield [
                _line(listing, known[key], measured[key], filters)
                for listing, key in zip(page.items, keys, strict=True)
            ]
            number = page.next_number

    return csv_files.streamed(request, "services.csv", COLUMNS, source, lambda line: line)


def _line(
    listing: Listing, standing: StandingView, health: HealthView, filters: Filters
) -> dict[str, Any]:
    offer = parts.offer_of(listing)
    uptime, speed = health.uptime_7d, health.tokens
    fine = listing.is_fine_tuning
    return {
        "kind": listing.kind,
        "provider": listing.provider,
        "service_name": listing.service_name,
        "service_type": listing.service_type,
        "model": ", ".join(listing.models) if fine else listing.model,
        "url": listing.url,
        "verifiability": listing.verifiability,
        "input_price": None if fine else listing.input_price,
        "output_price": None if fine else listing.output_price,
        "cached_price_per_million": offer.cached.neuron if offer.cached else None,
        "price_per_token": listing.price_per_token if fine else None,
        "month_cost": ranking.monthly(listing, filters.workload),
        "stake": listing.stake,
        "tee_signer": listing.tee_signer,
        "tee_signer_acknowledged": str(listing.tee_signer_acknowledged).lower(),
        "verdict": standing.overall,
        "checked_at": standing.checked_at,
        "declared_tee": cards.verifier_of(listing.additional_info),
        "declared_context": context_of(listing.additional_info),
        "uptime_7d_percent": uptime and uptime.percent,
        "probes_7d": uptime and uptime.probes,
        "first_token_ms_p50": health.first_token and health.first_token.p50,
        "tokens_per_second_p50": speed and formats.tenths(speed.p50),
        "example_data": "true" if health.example else None,
        "created_block": listing.created_block,
        "updated_at_unix": listing.updated_at_unix or None,
    }


# --- Atom -----------------------------------------------------------------------------------------


@require_safe
@revalidated_as_list
def site_feed(request: HttpRequest) -> HttpResponse:
    """`/services.atom`: the services that the filters select, those changed last first; what makes
    no sense is what nobody asked for, as on the page."""
    filters = Filters.parse({**request.GET.dict(), "sort": "-updated", "page": "1", "watched": ""})
    version = selectors.listings_version()
    page = ranking.services(filters, version, feeds.LENGTH)
    known = attestation.standings(map(ServiceKey.of, page.items))
    site = settings.SITE_URL
    narrowed = f": {' and '.join(filters.active.values())}" if filters.active else ""
    feed = atoms.Feed(
        f"Services on {settings.NETWORK.label}{narrowed}",
        site + filters.path(sort=""),
        site + filters.path("/services.atom", sort=""),
    )
    for listing in page.items:
        at = formats.of_unix(listing.updated_at_unix) or atoms.NEVER
        place = f"{settings.CHAIN_ID}/{listing.service_name}/{listing.provider}"
        feed.add_item(
            title=xml_text(f"{parts.service_title(listing)} by {listing.provider}"),
            link=site + account_links.service(listing),
            description=xml_text(_said(listing, known[ServiceKey.of(listing)])),
            updateddate=at,
            pubdate=at,
            unique_id=f"tag:0g-market,2026:{place}/{listing.updated_at_unix}",
            categories=(listing.kind,),
        )
    return HttpResponse(feed.written(), content_type=atoms.MEDIA)


def _said(listing: Listing, standing: StandingView) -> str:
    prices = ", ".join(
        f"{price.label.lower()} {formats.amount(price.neuron)} 0G / {price.unit}"
        for price in parts.listed_prices(listing)
    )
    return f"{prices}. {verdicts.word(standing.overall).text}."
