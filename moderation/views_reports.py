"""Doors of users' reports: the form, sending it, one's own reports with what came of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import pages_parts
from accounts.errors import Problem
from accounts.http import signed_out, user_of
from accounts.models import User
from accounts.pages_parts import Option
from ledger import selectors as ledger
from moderation import above, pages, queue, reports, selectors, services
from moderation.models import Category
from moderation.subjects import Subject, SubjectKind
from moderation.views_log import paths

MINE = "/account/reports"
_FIELDS = ("category", "text", "evidence")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def report(request: HttpRequest) -> HttpResponse:
    """`/moderation/report?about=service&key=…`: say what is wrong with a listing, or with a shared
    conversation."""
    given = request.POST if request.method == "POST" else request.GET
    subject = Subject.parse(str(given.get("about", "")), str(given.get("key", "")))
    signed_in = request.user.is_authenticated
    if subject is None or not reports.known(subject, user_of(request) if signed_in else None):
        raise Http404(_("Nothing of that name is listed here."))
    if not signed_in:
        return signed_out(request, _("Report a problem"))
    user = user_of(request)
    fields = {name: str(given.get(name, "")) for name in _FIELDS}
    if request.method != "POST":
        return _form(request, user, subject, fields)
    try:
        reports.submit(
            user,
            subject,
            reports.Wish(fields["category"], fields["text"], fields["evidence"]),
            request=request,
        )
    except Problem as problem:
        return _form(request, user, subject, fields, problem.said, problem.status)
    return HttpResponseRedirect(f"{MINE}?{urlencode({'sent': '1'})}")


def _form(
    request: HttpRequest,
    user: User,
    subject: Subject,
    typed: Mapping[str, str],
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    own = above.owner(subject) == user.address
    chosen = typed["category"] or (Category.APPEAL if own else "")
    choices = [
        (one.value, one.label)
        for one in reports.categories(subject)
        if (one == Category.APPEAL) == own or one == chosen
    ]
    about = urlencode({"about": subject.kind, "key": subject.key})
    page = pages.ReportPage(
        kind=subject.kind,
        key=subject.key,
        title=queue.titles([subject])[subject],
        path=paths([subject]).get(subject, ""),
        categories=tuple(Option(value, str(label), value == chosen) for value, label in choices),
        typed=typed,
        allowance=reports.allowance(user, appeal=subject if own else None),
        decide_path=f"/moderation?{about}"
        if services.may_decide(user) and not selectors.is_of(user.address, subject)
        else "",
        error=error,
    )
    return render(request, "moderation/report.html", {"page": page}, status=status)


_BACK = re.compile(
    r"/playground/(?:chat(?:/[0-9a-f-]{36})?|images|audio|embeddings)"
    r"(?:\?provider=0x[0-9a-fA-F]{40})?"
)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def anyway(request: HttpRequest) -> HttpResponse:
    """`/moderation/anyway?key=…&then=…`: why a listing is hidden, and asking it all the same."""
    given = request.POST if request.method == "POST" else request.GET
    subject = Subject.parse(SubjectKind.SERVICE, str(given.get("key", "")))
    then = str(given.get("then", ""))
    then = then if _BACK.fullmatch(then) else "/playground/chat"
    if subject is None:
        raise Http404("there is no such service")
    if not request.user.is_authenticated:
        return signed_out(request, _("Hidden by moderators"))
    user = user_of(request)
    if request.method == "POST":
        services.ask_anyway(user, subject.serving, subject.address)
        return HttpResponseRedirect(then)
    found = [x for x in ledger.services_of(subject.address) if x.serving == subject.serving]
    decided = selectors.of_listing(found[0]) if found else selectors.NOTHING
    if decided.hidden is None:
        return HttpResponseRedirect(then)
    page = pages.AnywayPage(subject.key, queue.titles([subject])[subject], decided, then)
    return render(request, "moderation/anyway.html", {"page": page})


@require_safe
@never_cache
def mine(request: HttpRequest) -> HttpResponse:
    """`/account/reports`: one's own reports, newest first (7 queries)."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Your reports"))
    user = user_of(request)
    found = list(user.reports.order_by("-at")[:100])
    subjects = [row.about for row in found]
    names, where = queue.titles(subjects), paths(subjects)
    page = pages.OwnReportsPage(
        rows=tuple(
            pages.OwnReport(row, names[row.about], where.get(row.about, "")) for row in found
        ),
        allowance=reports.allowance(user),
        sent=request.GET.get("sent") == "1",
        tabs=pages_parts.tabs(MINE),
    )
    return render(request, "moderation/reports.html", {"page": page})
