"""Doors of the catalogue pages: parse, read once, render one `page`."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from ledger import selectors
from ledger.records import ChangeEntry
from marketplace import links, pages, parts, specimens
from marketplace.changes import ChangeRow
from marketplace.filters import page_number
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
def styleguide(request: HttpRequest) -> HttpResponse:
    return render(request, "marketplace/styleguide.html", {"page": specimens.page()})
