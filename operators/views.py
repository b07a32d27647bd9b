"""The pages of an operator's money. Everything here is about the signed-in wallet's own services:
no path and no parameter names another provider."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import limits, pages_parts
from accounts.errors import Problem
from accounts.http import number_of, user_of
from accounts.pages_transaction import Link
from accounts.problems import json_door
from chain import selectors as chain
from ledger import selectors as ledger
from operators import (
    batches,
    charts,
    customers,
    debts,
    earnings,
    exports,
    flows,
    gas,
    market,
    pages,
    selectors,
)
from operators.batches import GROUPS, Asked
from operators.earnings import CUTS
from operators.pages import Outside
from operators.period import Period
from operators.reasons import UNPAID, of
from operators.tabs import tabs
from operators.tasks import refresh_soon

_HASH = re.compile(r"0x[0-9a-f]{64}\Z")
View = Callable[..., HttpResponseBase]


def for_owner(view: View) -> View:
    """Only for wallets that have, or ever had, a service; the view gets the wallet's address.
    Others are told how to become a provider: that is no secret, so it is no error."""

    @wraps(view)
    def door(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return render(request, "operators/outside.html", {"page": Outside(False)})
        user = user_of(request)
        if not ledger.offers(user.address):
            page = Outside(True, user.address)
            return render(request, "operators/outside.html", {"page": page})
        return view(request, user.address, *args, **kwargs)

    return never_cache(require_GET(door))


def file_for_owner(view: View) -> View:
    """The same for files: programs get a problem document instead of a page."""

    @wraps(view)
    def door(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            fix = _("Connect your wallet and sign in.")
            raise Problem("signed_out", _("You are not signed in."), fix, status=401)
        user = user_of(request)
        if not ledger.offers(user.address):
            fix = _("Sign in with the wallet that registered your service.")
            raise Problem("no_service", _("This wallet never offered a service."), fix, status=403)
        return view(request, user.address, *args, **kwargs)

    return json_door(never_cache(require_GET(door)))


def _given(request: HttpRequest) -> dict[str, str]:
    return {name: str(value) for name, value in request.GET.items()}


@for_owner
def overview(request: HttpRequest, address: str) -> HttpResponse:
    """`/operator?period=30d&by=user` or `?since=&until=`: what was earned, and what needs you."""
    now, head = timezone.now(), chain.head()
    period = Period.parse(_given(request), now.date())
    by = request.GET.get("by", "")
    by = by if by in CUTS else "service"
    known = ledger.contracts()
    listings = selectors.services(address)
    standing = selectors.condition(listings, head, now)
    found = earnings.earnings(address, period, known)
    rows = pages.service_rows(listings, standing.health, standing.standings, found)
    measured = [row for row in rows if not row.listing.removed and row.health.uptime_7d]
    economy = gas.economy(address, period)
    refresh_soon(address)
    page = pages.OverviewPage(
        address=address,
        now=earnings.now(address, now),
        services=rows,
        uptime=min(measured, key=_uptime, default=None),
        banners=standing.banners,
        period=period,
        windows=pages.windows("/operator", period, f"&by={by}"),
        chart=charts.by_day(found, period, now.date()),
        cuts=pages.cuts(by, period),
        cut=pages.cut(found, by, period),
        owed=debts.known(listings, now),
        unpaid=batches.unpaid(address, period),
        economy=economy,
        freshness=head,
        tabs=tabs("/operator"),
    )
    return render(request, "operators/overview.html", {"page": page})


def _uptime(row: pages.ServiceRow) -> int:
    return row.health.uptime_7d.share if row.health.uptime_7d else 10_000


@for_owner
def settlements(request: HttpRequest, address: str) -> HttpResponse:
    """`/operator/settlements`: one row per transaction, and sums that close."""
    today, known = timezone.now().date(), ledger.contracts()
    asked = Asked.parse(_given(request), today, number_of(request))
    found = batches.batches(address, asked, known)
    names = [one.service_name for one in ledger.services_of(address, include_removed=True)]
    refresh_soon(address)
    page = pages.SettlementsPage(
        address=address,
        asked=asked,
        windows=pages.windows("/operator/settlements", asked.period),
        services=pages_parts.options(
            (("", _("Any service")), *((name, name) for name in dict.fromkeys(names))),
            asked.service,
        ),
        statuses=pages_parts.options(_statuses(), asked.status),
        rows=found.items,
        pager=pages_parts.pager(
            batches.bounded(found), _("transactions"), lambda n: f"?{asked.query(page=n)}"
        ),
        sums=batches.sums(address, asked, known),
        books=_books(address, asked),
        unpaid=batches.unpaid(address, asked.period),
        economy=gas.economy(address, asked.period),
        csv=f"/operator/settlements.csv?{asked.query()}",
        json=f"/operator/settlements.json?{asked.query()}",
        tabs=tabs("/operator/settlements"),
    )
    return render(request, "operators/settlements.html", {"page": page})


def _statuses() -> tuple[tuple[str, str], ...]:
    groups = tuple((key, _(label)) for key, (label, _where) in GROUPS.items())
    return (("", _("Any result")), *groups, *((s, of(s).label) for s in UNPAID if s != "partial"))


def _books(address: str, asked: Asked) -> flows.Books | None:
    if asked.narrows:
        return None
    return flows.books(address, asked.period, chain.head().final_block)


@for_owner
def batch(request: HttpRequest, address: str, tx_hash: str) -> HttpResponse:
    """`/operator/settlements/<hash>`: a transaction user by user; 404 for one of anybody else."""
    known = ledger.contracts()
    found = batches.opened(address, tx_hash, known) if _HASH.match(tx_hash) else None
    if found is None:
        raise Http404("none of your settlements")
    page = pages.BatchPage(found, tabs("/operator/settlements"))
    return render(request, "operators/batch.html", {"page": page})


@for_owner
def customer_list(request: HttpRequest, address: str) -> HttpResponse:
    """`/operator/customers?only=risk`: who holds money here, and whose will not last."""
    now, known = timezone.now(), ledger.contracts()
    listings = selectors.services(address)
    only = "risk" if request.GET.get("only") == "risk" else ""
    found = customers.customers(listings, address, known, now, number_of(request), only)
    at = "/operator/customers"
    refresh_soon(address)
    page = pages.CustomersPage(
        address=address,
        sums=found.sums,
        rows=found.page.items,
        pager=pages_parts.pager(
            found.page, _("sub-accounts"), lambda n: f"?page={n}" + ("&only=risk" if only else "")
        ),
        more=found.more,
        views=(
            Link(_("All"), at, not only),
            Link(
                _("At risk (%(count)s)") % {"count": f"{found.sums.at_risk:,}"},
                f"{at}?only=risk",
                bool(only),
            ),
        ),
        owed=debts.known(listings, now),
        tabs=tabs(at),
    )
    return render(request, "operators/customers.html", {"page": page})


@for_owner
def market_position(request: HttpRequest, address: str) -> HttpResponse:
    """`/operator/market`: own prices against those of the same model, and demand by week."""
    now = timezone.now()
    places = [market.place(one, now) for one in selectors.services(address) if not one.removed]
    page = pages.MarketPage(
        cards=tuple(
            pages.PlaceCard(found, charts.demand(found, number), found.model)
            for number, found in enumerate(places)
        ),
        tabs=tabs("/operator/market"),
    )
    return render(request, "operators/market.html", {"page": page})


# --- files ----------------------------------------------------------------------------------------


@file_for_owner
def settlements_csv(request: HttpRequest, address: str) -> HttpResponseBase:
    """`/operator/settlements.csv`: every item that the page with the same filters counts."""
    limits.spend("exports", address, limit=20, seconds=60)
    asked = Asked.parse(_given(request), timezone.now().date())
    return exports.settlements_csv(request, address, asked, ledger.contracts())


@file_for_owner
def settlements_json(request: HttpRequest, address: str) -> HttpResponseBase:
    """`/operator/settlements.json`: the same in pages of 200, with the books of the period."""
    limits.spend("exports:json", address, limit=60, seconds=60)
    asked = Asked.parse(_given(request), timezone.now().date())
    books = _books(address, asked)
    return exports.settlements_json(address, asked, ledger.contracts(), number_of(request), books)


@file_for_owner
def earnings_csv(request: HttpRequest, address: str) -> HttpResponseBase:
    """`/operator/earnings.csv?by=day`: one cut of the earnings of a period."""
    limits.spend("exports", address, limit=20, seconds=60)
    period = Period.parse(_given(request), timezone.now().date())
    by = request.GET.get("by", "")
    found = earnings.earnings(address, period)
    return exports.earnings_csv(address, found, by if by in CUTS else "day", period)
