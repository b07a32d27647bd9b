"""Doors of "Your data": what is kept, taking it away, being forgotten."""

from __future__ import annotations

from uuid import UUID

from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import limits, pages_personal, personal, personal_erase, personal_export, sessions
from accounts.errors import Problem
from accounts.http import in_pieces, signed_out, user_of
from accounts.models import Erasure, Export
from accounts.tasks import export_person
from chain import selectors as chain
from net import queue

HERE = "/account/data"
#: Files that people of one network address may have made in a day: each is a worker's, which
#: everybody waits for, and wallets cost nothing.
FILES_A_DAY = 60


@require_GET
@never_cache
def data(request: HttpRequest) -> HttpResponse:
    """`/account/data`: what is kept about the signed-in person, by category."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Your data"))
    return _page(request)


@require_POST
@never_cache
def export(request: HttpRequest) -> HttpResponse:
    """Have a file made. Needs a fresh signature, like the file itself."""
    user = user_of(request)
    try:
        sessions.require_fresh(request)
        who = limits.address(request)
        limits.spend("personal-export-from", who, limit=FILES_A_DAY, seconds=24 * 3600)
        row = personal_export.ask(user)
    except Problem as problem:
        return _page(request, problem)
    queue.put(export_person, str(row.pk))  # where it is down, beat finds what waits
    return HttpResponseRedirect(f"{HERE}#export")


@require_GET
@never_cache
def download(request: HttpRequest, export_id: UUID) -> HttpResponseBase:
    """The ZIP, for its owner alone, with a fresh signature, until it expires."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Your data"))
    user = user_of(request)
    row = Export.objects.filter(pk=export_id, user=user).first()
    if row is None or not row.ready(timezone.now()):
        raise Http404("no such file")
    try:
        sessions.require_fresh(request)
        limits.spend("exports", user.address, limit=20, seconds=60)
    except Problem as problem:
        return _page(request, problem)
    parts = in_pieces(request, personal_export.read(row))
    answer = StreamingHttpResponse(parts, content_type="application/zip")
    name = f"my-data-{row.created_at:%Y-%m-%d}-{user.address}.zip"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Content-Length"] = str(row.size)
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


@require_POST
@never_cache
def erase(request: HttpRequest) -> HttpResponse:
    """Plan to forget the person. Needs a fresh signature and the word typed."""
    user = user_of(request)
    try:
        limits.spend("personal-erase", user.address, limit=20, seconds=3600)
        sessions.require_fresh(request)
        personal_erase.ask(user, request.POST.get("confirm", "")[:40])
    except Problem as problem:
        return _page(request, problem)
    return HttpResponseRedirect(f"{HERE}#erase")


@require_POST
@never_cache
def undo(request: HttpRequest) -> HttpResponse:
    """Take the wish back: needs no fresh signature, it only keeps things."""
    personal_erase.undo(user_of(request))
    return HttpResponseRedirect(f"{HERE}#erase")


@require_GET
@never_cache
def receipt(request: HttpRequest, erasure_id: UUID) -> HttpResponse:
    """`/account/erased/{id}`: how far an erasure is, for whoever has the address: it names nobody.
    The account that asked is gone, so no session could be asked for."""
    row = Erasure.objects.filter(pk=erasure_id).first()
    if row is None:
        raise Http404("no such erasure")
    page = pages_personal.Receipt(row, sum(row.done.values()))
    return render(request, "accounts/erased.html", {"page": page})


def _page(request: HttpRequest, problem: Problem | None = None) -> HttpResponse:
    user = user_of(request)
    rows = tuple(
        pages_personal.Kept(x.key, x.title, x.what, x.why, x.count(user), _kept(x))
        for x in personal.shown()
    )
    page = pages_personal.PersonalPage(
        rows=tuple(row for row in rows if row.count),
        nothing=tuple(row.title for row in rows if not row.count),
        stays=tuple((entry.title, entry.why) for entry in personal.stays()),
        export=Export.objects.filter(user=user).order_by("-created_at").first(),
        erasure=Erasure.objects.filter(user=user).first(),
        fresh=sessions.is_fresh(request),
        freshness=chain.head(),
        now=timezone.now(),
        error=problem.said if problem else "",
    )
    status = problem.status if problem else 200
    return render(request, "accounts/personal.html", {"page": page}, status=status)


def _kept(category: personal.Category) -> str:
    """How long: the rule of the table that is counted."""
    return personal.kept(category.tables[0].model)
