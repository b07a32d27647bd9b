"""`/ops/announcements`: what staff says about the site itself, read on `/status` by everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from marketplace import announcements
from marketplace.models import Announcement, AnnouncementKind
from marketplace.status import Announced
from moderation import audit
from ops.views import LOOK, presses

PAGE = "/ops/announcements"
_FIELDS = ("kind", "title", "text", "starts_at", "ends_at")
_MOST = 4_000


@dataclass(frozen=True)
class Field:
    value: str
    error: str


@dataclass(frozen=True)
class AnnouncementsPage:
    """`form` by the field's name."""

    may_act: bool
    form: dict[str, Field]
    kinds: tuple[tuple[str, str, bool], ...]
    unfinished: tuple[Announced, ...]
    over: tuple[Announced, ...]


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@roles.require(*LOOK)
def page(request: HttpRequest) -> HttpResponse:
    """A POST announces; what is wrong is said at its field."""
    if request.method != "POST":
        return _page(request, {}, {})
    user = presses(request)
    now = timezone.now()
    typed = {name: request.POST.get(name, "")[:_MOST] for name in _FIELDS}
    written, errors = announcements.parse(typed, now)
    if written is None:
        return _page(request, typed, errors, status=422)
    with transaction.atomic():
        if (row := announcements.announce(written, now)) is not None:
            _record(request, user, "announced", row, {"title": row.title})
    return HttpResponseRedirect(PAGE)


@require_POST
@roles.require(Role.ADMIN)
def update(request: HttpRequest, announcement_id: int) -> HttpResponse:
    """`text`, and `act`: `say` or `end`."""
    user = presses(request)
    row = get_object_or_404(Announcement, pk=announcement_id)
    end = request.POST.get("act") == "end"
    text = request.POST.get("text", "")[:_MOST]
    with transaction.atomic():
        if announcements.add(row, text, end=end, now=timezone.now()) is not None:
            act = "announcement_ended" if end else "announcement_updated"
            _record(request, user, act, row, {})
    return HttpResponseRedirect(PAGE)


def _page(
    request: HttpRequest, typed: dict[str, str], errors: dict[str, str], status: int = 200
) -> HttpResponse:
    now = timezone.now()
    kind = typed.get("kind") or AnnouncementKind.INCIDENT
    rows = [(row, Announced.of(row, now)) for row in announcements.shown(now)]
    shown = AnnouncementsPage(
        may_act=Role.ADMIN in roles.of(request.user),
        form={name: Field(typed.get(name, ""), errors.get(name, "")) for name in _FIELDS},
        kinds=(
            ("incident", _("Incident"), kind == AnnouncementKind.INCIDENT),
            ("maintenance", _("Maintenance"), kind == AnnouncementKind.MAINTENANCE),
        ),
        unfinished=tuple(one for row, one in rows if row.state(now) != "over"),
        over=tuple(one for row, one in rows if row.state(now) == "over"),
    )
    return render(request, "ops/announcements.html", {"page": shown}, status=status)


def _record(
    request: HttpRequest, user: User, action: str, row: Announcement, after: dict[str, Any]
) -> None:
    audit.record(
        user,
        action,
        ("announcement", str(row.pk)),
        area="ops",
        after={"kind": row.kind, **after},
        request=request,
    )
