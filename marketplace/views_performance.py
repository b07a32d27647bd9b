"""The doors of `/services/{kind}/{address}/performance`, and of the choice to share times."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.http import own_path
from inference.timings import timings
from ledger.records import Listing
from marketplace import pages
from marketplace.pages_performance import performance as page_of
from marketplace.twins import twinned
from marketplace.views_service import of_service
from probes import selectors, services
from probes.history import DEFAULT, WINDOWS, history

_HEALTH = "/api/v1/services/{kind}/{address}/health"


@require_safe
@twinned(json=_HEALTH, csv=f"{_HEALTH}.csv")
@of_service
def performance(request: HttpRequest, listing: Listing) -> HttpResponse:
    """`window`: 24h (default), 7d or 90d."""
    window = request.GET.get("window", "")
    found = history(listing, window if window in WINDOWS else DEFAULT)
    head = pages.service_head(listing, "performance")
    user = request.user.pk if request.user.is_authenticated else None
    page = page_of(
        head,
        found,
        timings(listing.serving, listing.provider),
        sharing=None if user is None else selectors.shares(user),
        interval=settings.PROBE_INTERVAL_SECONDS,
    )
    return render(request, "probes/performance.html", {"page": page})


@require_POST
def sharing(request: HttpRequest) -> HttpResponse:
    """`/sharing`: let the times of one's answers count (`share=yes`), or no longer; back to `next`,
    a page of ours."""
    if not request.user.is_authenticated:
        raise PermissionDenied(_("Sign in to choose what counts."))
    services.share(request.user.pk, request.POST.get("share") == "yes")
    return HttpResponseRedirect(own_path(request, request.POST.get("next", ""), "/"))
