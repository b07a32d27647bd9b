"""Doors of the log: every request, one request in full, and all as a file."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import csv_files
from accounts.http import number_of, taker
from accounts.models import User
from inference import access, inspector, requests
from inference.media.services import TYPES
from inference.media.views_works import path_of
from inference.models import Turn
from inference.requests import Filter
from inference.seals import Unreadable
from inference.views import as_file, session_of, turn_of, user_of

#: A file holds so many of the newest requests; filters reach the older ones.
MAX_ROWS = 50_000


@never_cache
@require_GET
def log(request: HttpRequest) -> HttpResponse:
    """Every request of the person, with filters."""
    user = user_of(request)
    if user is None:
        return render(request, "inference/requests.html", {"page": None})
    asked = Filter.of(request.GET.dict())
    page = requests.page(user, session_of(request), asked, number_of(request))
    return render(request, "inference/requests.html", {"page": page})


@never_cache
@require_GET
def log_csv(request: HttpRequest) -> HttpResponse:
    """The requests that the page with the same filters lists; facts only, nothing that was said.
    Needs a fresh signature. Raises TooMany.
    """
    user = taker(request, _("Requests as CSV"), reverse("inference:requests"))
    if not isinstance(user, User):
        return user
    rows = Filter.of(request.GET.dict()).rows(user, session_of(request))[:MAX_ROWS]
    made = csv_files.lines(list(requests.csv_rows(rows)))
    return as_file(made, "text/csv; charset=utf-8; header=present", "requests.csv")


@never_cache
@require_GET
def request_body(request: HttpRequest, turn: int) -> HttpResponse:
    """The exact bytes that were sent, as a file: all that was said until then. Needs a fresh
    signature. Raises TooMany.
    """
    found = turn_of(request, turn)
    back = reverse("inference:inspect", args=[turn])
    user = taker(request, _("Conversation as a file"), back)
    if not isinstance(user, User):
        return user
    try:
        body = found.request
    except Unreadable:
        raise Http404(_("Its key is gone: nobody can read it any more.")) from None
    return as_file(body, "application/json", "request.json")


@never_cache
@require_GET
def inspect(request: HttpRequest, turn: int) -> HttpResponse:
    """One request as it went over the wire; what is no chat has pages of its own."""
    user = user_of(request)
    mine = access.turns_of(user, session_of(request)) if user else Turn.objects.none()
    found = mine.filter(pk=turn).select_related("token").first()
    if found is None:
        raise Http404("no such answer")
    if found.chat.medium in TYPES:
        return HttpResponseRedirect(path_of(found.chat))
    return render(request, "inference/inspect.html", {"page": inspector.page(found)})
