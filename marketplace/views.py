"""Doors of the catalogue pages: parse, read once, render one `page`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from ledger import selectors, statistics
from ledger.records import ChangeEntry
from marketplace import findings, links, pages, parts, specimens
from marketplace.catalogue import Filters, catalogue_page, count_of, page_number, totals
from marketplace.changes import ChangeRow
from marketplace.context import head_of
from marketplace.memo import at_block, at_listing
from marketplace.selectors import service_types


def partial(request: HttpRequest, template: str, page: Any, part: str) -> HttpResponse:
    """The page, or the named part of it where htmx asks for that; caches must keep the two
    apart."""
    wanted = (
        request.headers.get("HX-Request") == "true"
        and "HX-History-Restore-Request" not in request.headers
    )
    response = render(request, f"{template}#{part}" if wanted else template, {"page": page})
    patch_vary_headers(response, ["HX-Request"])
    return response


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    page = catalogue_page(Filters.parse(request.GET.dict()), head_of(request))
    return partial(request, "marketplace/catalogue.html", page, "results")


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """An address leads to its page, anything else to the filtered catalogue; nothing to a field
    for it, which small screens have no room for in their header."""
    text = request.GET.get("q", "").strip()
    if not text:
        return render(request, "marketplace/search.html")
    address = selectors.address_of(text)
    if address is None:
        return HttpResponseRedirect(links.with_query("/", q=text[:200]))
    listed = selectors.services_of(address, include_removed=True)
    return HttpResponseRedirect(
        links.provider_path(address)
        if listed
        else links.account_path(address) or links.provider_path(address)
    )


@require_safe
def freshness(request: HttpRequest) -> HttpResponse:
    """The footer's line, which the page asks for again every ten seconds."""
    response = render(request, "ui/freshness.html")
    response["Cache-Control"] = "no-store"
    return response


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    q = request.GET.get("q", "").replace("\x00", "").strip()[:200]
    number = page_number(request.GET.get("page", ""))
    found = at_listing.get(
        selectors.listings_version(), ("models", q, number), lambda: statistics.models(q, number)
    )
    page = pages.ModelsPage(
        rows=tuple(pages.ModelEntry.of(row) for row in found.items),
        pager=parts.pager(
            found, "models", lambda number: links.with_query("/models", q=q, page=number)
        ),
        q=q,
    )
    return render(request, "marketplace/models.html", {"page": page})


@require_safe
def model(request: HttpRequest, model: str) -> HttpResponse:
    query = selectors.ServiceQuery(model=model, sort="price")
    count = count_of(query, selectors.listings_version())
    found = selectors.services(query, page_number(request.GET.get("page", "")), count=count)
    if not found.count:
        raise Http404("No provider offers a model of this name.")
    page = pages.ModelPage(
        title=parts.name(model),
        rows=parts.rows(found.items),
        pager=parts.pager(
            found, "services", lambda number: links.with_query(links.model_path(model), page=number)
        ),
        providers=found.count,
    )
    return render(request, "marketplace/model.html", {"page": page})


@require_safe
def providers(request: HttpRequest) -> HttpResponse:
    number = page_number(request.GET.get("page", ""))
    offering = at_listing.get(
        selectors.listings_version(), ("providers", number), lambda: statistics.offering(number)
    )
    found = statistics.with_earnings(offering)
    page = pages.ProvidersPage(
        rows=tuple(pages.ProviderEntry.of(row) for row in found.items),
        pager=parts.pager(
            found, "providers", lambda number: links.with_query("/providers", page=number)
        ),
    )
    return render(request, "marketplace/providers.html", {"page": page})


def canonical(request: HttpRequest, address: str) -> str | HttpResponse:
    """The EIP-55 form of an address in the path; a redirect where it was spelled otherwise, 404
    where it is none."""
    spelled = selectors.address_of(address)
    if spelled is None:
        raise Http404(
            "This is not an address: 0x and 40 hex digits, with a right checksum if cases "
            "are mixed."
        )
    if spelled != address:
        return HttpResponseRedirect(request.get_full_path().replace(address, spelled, 1))
    return spelled


@require_safe
def provider(request: HttpRequest, address: str) -> HttpResponse:
    spelled = canonical(request, address)
    if isinstance(spelled, HttpResponse):
        return spelled
    summary = statistics.provider(spelled)
    changes = selectors.timeline(spelled, page_size=10)
    page = pages.ProviderPage(
        summary=summary,
        known=bool(summary.services or changes.count),
        rows=parts.rows(summary.services),
        findings=findings.open_rows(spelled),
        changes=change_rows(changes.items, alone=True),
        account_path=links.account_path(spelled),
    )
    return render(request, "marketplace/provider.html", {"page": page})


def change_rows(entries: tuple[ChangeEntry, ...], *, alone: bool) -> tuple[ChangeRow, ...]:
    types = service_types({entry.provider for entry in entries})
    return tuple(
        ChangeRow.of(entry, types.get((entry.provider, entry.service_name), ""), alone=alone)
        for entry in entries
    )


@require_safe
def changes(request: HttpRequest) -> HttpResponse:
    kind = request.GET.get("kind", "")
    kind = kind if kind in selectors.KINDS else ""
    found = selectors.changes(kind=kind, page=page_number(request.GET.get("page", "")))
    page = pages.ChangesPage(
        rows=change_rows(found.items, alone=False),
        pager=parts.pager(
            found, "changes", lambda number: links.with_query("/changes", kind=kind, page=number)
        ),
        kinds=(
            parts.Link("All", "/changes", not kind),
            *(
                parts.Link(
                    parts.kind_label(one), links.with_query("/changes", kind=one), one == kind
                )
                for one in selectors.KINDS
            ),
        ),
    )
    return render(request, "marketplace/changes.html", {"page": page})


@require_safe
def network(request: HttpRequest) -> HttpResponse:
    version = selectors.listings_version()
    page = pages.NetworkPage(
        totals=at_block.get(
            head_of(request).indexed_hash, "network", lambda: totals(version, all_time=True)
        ),
        contracts=tuple(selectors.contracts().values()),
        ledger_address=settings.LEDGER_ADDRESS,
        ledger_start=settings.START_BLOCK,
    )
    return render(request, "marketplace/network.html", {"page": page})


@require_safe
def styleguide(request: HttpRequest) -> HttpResponse:
    return render(request, "marketplace/styleguide.html", {"page": specimens.page()})
