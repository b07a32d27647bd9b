"""`/watch`: keep an eye on a listing, or stop; a form without script, a fetch with it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import limits, watching
from accounts.errors import TooMany
from accounts.http import own_path
from marketplace import views_errors
from marketplace.selectors import listing_named


@require_http_methods(["GET", "HEAD", "POST"])
def watch(request: HttpRequest) -> HttpResponse:
    """The watched list; posted, `watch=` or `unwatch=` a service, then back to `next`, or 204 where
    JSON is accepted."""
    if request.method != "POST":
        return HttpResponseRedirect("/?watched=1")
    scripted = request.headers.get("Accept") == "application/json"
    try:
        limits.spend("watch", limits.caller(request), limit=120, seconds=60)
    except TooMany as problem:
        return _refused(request, scripted, 429, problem.title)
    on = "watch" in request.POST
    listing = listing_named(request.POST.get("watch" if on else "unwatch", ""))
    if listing is None:
        return _refused(request, scripted, 400, _("This service is not known."))
    if not watching.put(request, (listing.serving, listing.provider), on):
        text = _("You watch %(n)s services already; take one off the list first.") % {
            "n": watching.MOST
        }
        return _refused(request, scripted, 400, text)
    if scripted:
        return HttpResponse(status=204)
    return HttpResponseRedirect(own_path(request, request.POST.get("next", ""), "/"))


def _refused(request: HttpRequest, scripted: bool, status: int, text: str) -> HttpResponse:
    if scripted:
        return JsonResponse({"detail": text}, status=status)
    return views_errors.error(request, status, text)
