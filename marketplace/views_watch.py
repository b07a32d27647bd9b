"""`/watch`: keep an eye on a listing, or stop; a form without script, a fetch with it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import limits, watching
from accounts.errors import Problem
from accounts.http import own_path
from marketplace.selectors import listing_named
from marketplace.views_errors import for_script

PER_MINUTE = 120
#: Lists that visitors of one network address may begin in an hour: each is a session of a week.
BEGUN_PER_HOUR = 60


@require_http_methods(["GET", "HEAD", "POST"])
def watch(request: HttpRequest) -> HttpResponse:
    """The watched list; posted, `watch=` or `unwatch=` a service, then back to `next`, or 204 for
    a page's script. Raises Problem."""
    if request.method != "POST":
        return HttpResponseRedirect("/?watched=1")
    limits.spend("watch", limits.caller(request), limit=PER_MINUTE, seconds=60)
    if not request.user.is_authenticated and watching.KEY not in request.session:
        who = limits.address(request)
        limits.spend("watch-begun", who, limit=BEGUN_PER_HOUR, seconds=3600)
    on = "watch" in request.POST
    listing = listing_named(request.POST.get("watch" if on else "unwatch", ""))
    if listing is None:
        raise Problem("unknown_service", _("This service is not known."))
    if not watching.put(request, (listing.serving, listing.provider), on):
        text = _("You watch %(n)s services already; take one off the list first.") % {
            "n": watching.MOST
        }
        raise Problem("watch_list_full", text)
    if for_script(request):
        return HttpResponse(status=204)
    return HttpResponseRedirect(own_path(request, request.POST.get("next", ""), "/"))
