"""Doors of shared conversations: its owner's page of links, and what a reader gets."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import limits, sessions
from inference import shares
from inference.errors import BadPrompt
from inference.models import Share
from inference.pages import SharePage
from inference.views import chat_of, user_of


@never_cache
@require_http_methods(["GET", "POST"])
def share(request: HttpRequest, chat: UUID) -> HttpResponse:
    """The links of one's own conversation; POST makes one, which needs a fresh signature: a link
    carries the conversation away.
    """
    found, error = chat_of(request, chat), ""
    fresh = sessions.is_fresh(request)
    if request.method == "POST" and fresh:
        try:
            shares.create(found, request.POST.get("days", ""))
        except BadPrompt as wrong:
            error = wrong.sentence
        else:
            return HttpResponseRedirect(reverse("inference:share", args=[chat]))
    shown = shares.newest(found, shares.shareable(found))
    page = SharePage(
        chat=found,
        links=shares.links(found),
        answers=len(shown),
        results=found.turns.filter(pk__in=shown).exclude(results_sealed=b"").exists(),
        lifetimes=tuple((days, _(text)) for days, text in shares.LIFETIMES.items()),
        usual=shares.USUAL_DAYS,
        error=error,
        site_url=settings.SITE_URL,
        fresh=fresh,
    )
    status = 403 if request.method == "POST" and not fresh else 400 if error else 200
    return render(request, "inference/share.html", {"page": page}, status=status)


@require_POST
def end(request: HttpRequest, share: int) -> HttpResponse:
    """End one of one's own links."""
    user = user_of(request)
    try:
        if user is None:
            raise Share.DoesNotExist
        chat = shares.end(user, share)
    except (Share.DoesNotExist, OverflowError):
        raise Http404("no such link") from None
    return HttpResponseRedirect(reverse("inference:share", args=[chat.pk]))


#: Conversations that one network address may open in a minute; each LARGE bytes of answers count as
#: another one, since laying them out takes the time.
READ_PER_MINUTE, LARGE = 60, 20_000


@never_cache
@require_safe
def shared(request: HttpRequest, token: str) -> HttpResponse:
    """A conversation for whoever has its link. Nobody is told where they came from, and no search
    engine keeps it. Raises TooMany."""

    def pay(uses: int) -> None:
        who = limits.address(request)
        limits.spend("shared", who, limit=READ_PER_MINUTE, seconds=60, uses=uses)

    pay(1)
    try:
        page = shares.read(token, lambda size: pay(size // LARGE))
    except Share.DoesNotExist:
        raise Http404("This link has ended, or never was.") from None
    response = render(request, "inference/shared.html", {"page": page})
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    response["Referrer-Policy"] = "no-referrer"
    return response
