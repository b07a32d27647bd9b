"""The private feed: the newest notifications as Atom, for whoever knows its address."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from accounts import feeds as atoms
from accounts.addresses import short
from accounts.feeds import xml_text
from alerts import selectors

_MOST = 50


@require_GET
def atom(request: HttpRequest, token: str) -> HttpResponse:
    """`/account/feed/{token}.atom`; 404 for a token that is none."""
    user = selectors.feed_owner(token)
    if user is None:
        raise Http404("no such feed")
    site = str(settings.SITE_URL)
    title = f"0G Market: alerts of {short(user.address)}"
    feed = atoms.Feed(title, f"{site}/account/inbox", f"{site}{request.path}")
    for row in selectors.inbox(user)[:_MOST]:
        feed.add_item(
            title=xml_text(row.title),
            link=f"{site}{row.path}",
            description=xml_text(row.text),
            unique_id=f"urn:uuid:{row.pk}",
            updateddate=row.at,
        )
    answer = HttpResponse(feed.written(), content_type=atoms.MEDIA)
    answer["Cache-Control"] = "private, max-age=60"
    answer["Referrer-Policy"] = "no-referrer"
    return answer
