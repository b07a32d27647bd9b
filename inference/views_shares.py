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

from accounts import limits, roles, sessions
from inference import shares
from inference.errors import BadPrompt
from inference.models import Share
from inference.pages import SharePage
from inference.views import chat_of, user_of
from moderation import queue
from moderation.subjects import Subject, SubjectKind
from moderation.views import STAFF


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

    _pay(request, 1)
    try:
        page = shares.read(token, lambda size: _pay(request, size // LARGE))
    except shares.Ended as ended:
        page_of = {"page": ended.said}
        response = render(request, "inference/shared_ended.html", page_of, status=410)
    except Share.DoesNotExist:
        raise Http404(_("This link has ended, or never was.")) from None
    else:
        response = render(request, "inference/shared.html", {"page": page})
    return _unfollowed(response)


@never_cache
@require_safe
@roles.require(*STAFF)
def reported(request: HttpRequest, digest: str) -> HttpResponse:
    """What a reader of a link sees, for staff: only while the link lives, and only because somebody
    reported it or its owner appeals. Raises TooMany."""
    subject = Subject.parse(SubjectKind.SHARE, digest)
    if subject is None or not queue.is_readable(subject):
        raise Http404(_("Nobody reports such a link, or it has ended."))
    _pay(request, 1)
    try:
        page = shares.read_reported(digest, lambda size: _pay(request, size // LARGE))
    except Share.DoesNotExist:
        raise Http404(_("This link has ended.")) from None
    return _unfollowed(render(request, "inference/shared.html", {"page": page, "desk": True}))


def _pay(request: HttpRequest, uses: int) -> None:
    who = limits.address(request)
    limits.spend("shared", who, limit=READ_PER_MINUTE, seconds=60, uses=uses)


def _unfollowed(response: HttpResponse) -> HttpResponse:
    """Nobody is told where its reader came from, and no search engine keeps it."""
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    response["Referrer-Policy"] = "no-referrer"
    return response
