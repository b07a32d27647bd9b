"""Doors of what changed: the network's feed, one service's tab, and their feeds."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_safe

from accounts import links as account_links
from accounts.http import number_of
from accounts.pages_parts import Option, pager
from accounts.pages_transaction import Link
from ledger import selectors
from ledger.models import ServiceChange
from ledger.records import ChangeEntry, Listing
from marketplace import feeds, history, links, pages, parts, pricehistory
from marketplace.api_lists import revalidated_as_feed
from marketplace.changes import CHANGES as WORDS
from marketplace.pages_changes import ChangesPage, ChangesTab, change_rows
from marketplace.schemas import MAX_DEPTH
from marketplace.schemas_changes import CHANGES, FEED_CHANGES
from marketplace.twins import twinned
from marketplace.views import at_address
from marketplace.views_service import of_service

#: How many rows of the history a chart is made of at most.
READ_STEPS = 500
_LAST_PAGE = MAX_DEPTH // selectors.PAGE_SIZE
_OCCUPIED = (gettext_noop("Occupancy changed"), "")


def sort_label(change: str) -> str:
    return _(WORDS.get(change, _OCCUPIED)[0])


def sort_options(chosen: str, sorts: tuple[str, ...]) -> tuple[Option, ...]:
    named = sorted((sort_label(change), change) for change in sorts)
    return (
        Option("", _("Any change"), not chosen),
        *(Option(change, label, change == chosen) for label, change in named),
    )


def page_of(request: HttpRequest) -> int:
    return min(number_of(request), _LAST_PAGE)


def chosen_sort(request: HttpRequest, sorts: tuple[str, ...]) -> str:
    change = request.GET.get("change", "")
    return change if change in sorts else ""


@require_safe
@twinned(json="/api/v1/changes", csv="/api/v1/changes.csv", atom="/changes.atom")
def changes(request: HttpRequest) -> HttpResponse:
    """`/changes`: everything, or one kind, one sort, one provider (about 6 queries)."""
    kind = request.GET.get("kind", "")
    kind = kind if kind in selectors.KINDS else ""
    change = chosen_sort(request, FEED_CHANGES)
    asked = request.GET.get("provider", "").replace("\x00", "").strip()[:80]
    provider = selectors.address_of(asked) or ""
    found = history.changes(history.Asked(kind, provider, change), page_of(request))

    def path(**changed: str | int) -> str:
        values: dict[str, str | int] = {"kind": kind, "change": change, "provider": provider}
        return links.with_query("/changes", **{**values, **changed})

    given = links.with_query("", kind=kind, change=change, provider=provider)
    chips = {
        "kind": parts.kind_label(kind) if kind else "",
        "change": sort_label(change) if change else "",
        "provider": provider,
    }
    page = ChangesPage(
        rows=change_rows(found.items, alone=False),
        pager=pager(found, _("changes"), lambda number: path(page=number)),
        count=found.count,
        kinds=tuple(
            Link(parts.kind_label(one) if one else _("All"), path(kind=one), one == kind)
            for one in ("", *selectors.KINDS)
        ),
        kind=kind,
        sorts=sort_options(change, FEED_CHANGES),
        provider=provider or asked,
        wrong=""
        if provider or not asked
        else _("This is not an address; all providers are shown."),
        chips=tuple(
            parts.Chip(label, path(**{name: ""})) for name, label in chips.items() if label
        ),
        twins=twin_links(f"/changes{{}}{given}"),
        feed=f"/changes.atom{given}",
    )
    return render(request, "marketplace/changes.html", {"page": page})


def twin_links(path: str) -> tuple[Link, ...]:
    """`{}` stands where the suffix goes."""
    named = (("Atom", ".atom"), ("JSON", ".json"), ("CSV", ".csv"))
    return tuple(Link(label, path.format(suffix)) for label, suffix in named)


@require_safe
@revalidated_as_feed
def feed(request: HttpRequest) -> HttpResponse:
    """`/changes.atom`, the address people subscribe to; a filter that means nothing is a 404."""
    kind, change = request.GET.get("kind", ""), request.GET.get("change", "")
    named = request.GET.get("provider", "")
    provider = selectors.address_of(named)
    if (kind and kind not in selectors.KINDS) or (change and change not in FEED_CHANGES):
        raise Http404("There is no such kind or sort of change.")
    if named and provider is None:
        raise Http404("The provider is not an address.")
    return feeds.of_network(history.Asked(kind, provider or "", change), "/changes.atom")


@require_safe
@revalidated_as_feed
@at_address
def provider_feed(request: HttpRequest, address: str) -> HttpResponse:
    """`/providers/{address}/changes.atom`: one provider over all contracts."""
    page = links.provider_path(address)
    about = feeds.Feed(f"Changes of provider {address}", page, f"{page}/changes.atom")
    return feeds.answer(about, history.Asked(provider=address))


_TIMELINE = "/api/v1/services/{kind}/{address}/timeline"


@require_safe
@twinned(json=_TIMELINE, csv=f"{_TIMELINE}.csv")
@of_service
def service_changes(request: HttpRequest, listing: Listing) -> HttpResponse:
    """A service's tab Changes: its prices over time, then its timeline."""
    change = chosen_sort(request, CHANGES)
    found = selectors.timeline(
        listing.provider, listing.serving, page=page_of(request), change=change
    )
    window = request.GET.get("window", "90d")
    window = window if window in pricehistory.WINDOWS else ""
    path = account_links.service_of(listing.kind, listing.provider, "changes")
    other = account_links.other_name(listing)
    query = links.with_query("", service_name=other, change=change)
    page = ChangesTab(
        service=pages.service_head(listing, "changes"),
        chart=pricehistory.chart(
            price_steps(listing),
            timezone.now(),
            window,
            links.with_query(f"{path}.csv", service_name=other, change="price"),
        ),
        windows=tuple(
            Link(
                days.replace("d", " d") if days else _("All"),
                links.with_query(path, service_name=other, change=change, window=days or "all"),
                days == window,
            )
            for days in pricehistory.WINDOWS
        ),
        rows=change_rows(found.items, alone=True),
        pager=pager(
            found,
            _("changes"),
            lambda number: links.with_query(path, service_name=other, change=change, page=number),
        ),
        sorts=sort_options(change, CHANGES),
        path=path,
        all_path=links.with_query(path, service_name=other),
        service_name=other,
        twins=(
            Link("Atom", f"{links.provider_path(listing.provider)}/changes.atom"),
            Link("JSON", f"{path}.json{query}"),
            Link("CSV", f"{path}.csv{query}"),
        ),
        feed=f"{links.provider_path(listing.provider)}/changes.atom",
    )
    return render(request, "marketplace/service_changes.html", {"page": page})


def price_steps(listing: Listing) -> tuple[pricehistory.Step, ...]:
    """The newest steps of a listing, oldest first (2 queries)."""
    rows = ServiceChange.objects.filter(
        provider=listing.provider, serving=listing.serving, change__in=pricehistory.KINDS
    )
    known = selectors.contracts()
    newest = selectors.newest_first(rows)[:READ_STEPS]
    entries = [ChangeEntry.of(row, known) for row in reversed(newest)]
    return pricehistory.steps(entries, listing.service_type)
