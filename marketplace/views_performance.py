"""The door of `/services/{kind}/{address}/performance`."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from marketplace import pages
from marketplace.pages_performance import performance as page_of
from marketplace.views_service import listing_of
from probes.history import DEFAULT, WINDOWS, history


@require_safe
def performance(request: HttpRequest, kind: str, address: str) -> HttpResponse:
    """`window`: 24h (default), 7d or 90d."""
    listing = listing_of(request, kind, address)
    if isinstance(listing, HttpResponse):
        return listing
    window = request.GET.get("window", "")
    found = history(listing, window if window in WINDOWS else DEFAULT)
    head = pages.service_head(listing, "performance")
    page = page_of(head, found, settings.PROBE_INTERVAL_SECONDS)
    return render(request, "probes/performance.html", {"page": page})
