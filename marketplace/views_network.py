"""Doors of the network's numbers and of the rows behind them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.csv_files import few
from accounts.http import number_of
from ledger import selectors
from marketplace import network as numbers
from marketplace import settled
from marketplace.context import head_of
from marketplace.settlements import Asked
from marketplace.twins import twinned


@require_safe
@twinned(json="/api/v1/network")
def network(request: HttpRequest) -> HttpResponse:
    window = request.GET.get("window", "")
    page = numbers.page(head_of(request), window if window in numbers.DAYS else "30d")
    return render(request, "marketplace/network.html", {"page": page})


@require_safe
def days(request: HttpRequest) -> HttpResponse:
    """The charts' rows: UTC day, neuron paid, accepted settlements, distinct users."""
    asked, today = request.GET.get("window", ""), timezone.now().date()
    window = asked if asked in numbers.DAYS else "30d"
    found = numbers.kept_spending(selectors.listings_version(), window, today)
    rows = [
        (day.date.isoformat(), day.paid, day.items, day.users)
        for day in numbers.whole_days(found, numbers.DAYS[window], today)
    ]
    return few(f"network-{window}.csv", [("date", "paid", "settlements", "users"), *rows])


@require_safe
@twinned(json="/api/v1/settlements")
def settlements(request: HttpRequest) -> HttpResponse:
    table = settled.table(Asked.parse(request.GET.dict()), numbers.SETTLEMENTS)
    return render(request, "marketplace/network_settlements.html", {"page": table})


@require_safe
def accounts(request: HttpRequest) -> HttpResponse:
    sort = "locked" if request.GET.get("sort") == "locked" else "total"
    number = number_of(request)
    page = numbers.accounts_page(head_of(request), sort, number)
    return render(request, "marketplace/network_accounts.html", {"page": page})
