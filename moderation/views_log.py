"""Doors of the public log: the page, its Atom, JSON and CSV twins; and the whole record for
staff."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import csv_files, limits, links, pages_parts, problems, roles
from accounts import feeds as atoms
from accounts.feeds import xml_text
from accounts.http import number_of, row_number
from accounts.pages_parts import Option
from accounts.pages_transaction import Link
from ledger import selectors as ledger
from ledger.models import Service
from moderation import audit, decisions, entries, pages, phrases, queue, state
from moderation.fold import Action
from moderation.models import Act
from moderation.subjects import Subject, SubjectKind
from moderation.views import STAFF

PER_PAGE, FEED_LENGTH, PER_FILE = 25, 50, 5_000
HERE, RECORD = "/moderation/log", "/moderation/record"


class Asked:
    """The filters of the log, as they come from an address."""

    def __init__(self, request: HttpRequest) -> None:
        action = request.GET.get("action", "")
        self.action = action if action in decisions.PUBLIC else ""
        given = request.GET.get("provider", "").replace("\x00", "").strip()[:80]
        self.typed = given
        self.provider = ledger.address_of(given) or "" if given else ""
        self.wrong = "" if not given or self.provider else _("This is no address.")

    def rows(self) -> QuerySet[Act]:
        found = Act.objects.filter(public=True, area=state.AREA).order_by("-number")
        if self.action:
            found = found.filter(action=self.action)
        if self.typed:
            about = Q(subject=self.provider) | Q(
                subject_kind=SubjectKind.SERVICE, subject__endswith=f":{self.provider}"
            )
            found = found.filter(about) if self.provider else found.none()
        return found

    def path(self, at: str = HERE, **more: object) -> str:
        given = {"action": self.action, "provider": self.provider, **more}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{at}?{query}" if query else at


@require_safe
def log(request: HttpRequest) -> HttpResponse:
    """`/moderation/log?action=&provider=&page=`: public decisions, newest first (7 queries)."""
    asked = Asked(request)
    found = ledger.paginate(asked.rows(), number_of(request), PER_PAGE, lambda act: act)
    page = pages.LogPage(
        rows=tuple(_rows(found.items)),
        pager=pages_parts.pager(found, _("decisions"), lambda number: asked.path(page=number)),
        actions=tuple(
            Option(value, label, value == asked.action)
            for value, label in (
                ("", _("Any decision")),
                *((a.value, phrases.words(a)) for a in Action if a in decisions.PUBLIC),
            )
        ),
        provider=asked.typed,
        wrong=asked.wrong,
        filtered=bool(asked.action or asked.typed),
        head=audit.head(),
        twins=(
            Link("Atom", asked.path(f"{HERE}.atom")),
            Link(_("JSON, provable"), f"{HERE}.json"),
            Link("CSV", asked.path(f"{HERE}.csv")),
        ),
        contact=settings.MODERATION_CONTACT,
    )
    return render(request, "moderation/log.html", {"page": page})


def _rows(acts: Iterable[Act]) -> list[pages.LogRow]:
    """Acts in words, with what undid them and whether they ended (2 queries)."""
    found, now = list(acts), timezone.now()
    subjects = [act.about for act in found]
    names = queue.titles(subjects)
    where = paths(subjects)
    undone = {
        undo.said.get("answers"): undo.number
        for undo in Act.objects.filter(
            area=state.AREA,
            action=Action.UNDO,
            subject__in={one.key for one in subjects},
        )
    }
    return [
        pages.LogRow(
            act=act,
            said=act.words,
            label=str(act.said.get("label", "")),
            title=names.get(act.about, ""),
            path=where.get(act.about, ""),
            undone_by=undone.get(act.number),
            over=act.until is not None and act.until <= now,
            proposed_by=str(act.said.get("proposed_by", "")),
        )
        for act in found
    ]


def paths(subjects: Iterable[Subject]) -> dict[Subject, str]:
    """Public pages of subjects (2 queries)."""
    asked = set(subjects)
    known = ledger.contracts()
    services_ = Service.current.filter(
        provider__in={one.address for one in asked if one.kind == SubjectKind.SERVICE}
    )
    found: dict[Subject, str] = {}
    for serving, provider, kind in services_.values_list("serving", "provider", "kind"):
        contract = known.get(serving)
        other = links.other_name(contract) if contract else ""
        path = links.service_of(kind, provider, service_name=other)
        found[Subject.service(serving, provider)] = path
    for one in asked:
        if one.kind == SubjectKind.PROVIDER:
            found[one] = f"/providers/{one.key}"
        elif one.kind == SubjectKind.MODEL:
            found[one] = "/?" + urlencode({"model": one.key})
    return found


# --- twins ----------------------------------------------------------------------------------------


@require_safe
def atom(request: HttpRequest) -> HttpResponse:
    """`/moderation/log.atom`: the newest decisions, with the page's filters."""
    asked, site = Asked(request), str(settings.SITE_URL)
    title = f"Decisions of moderators, {settings.NETWORK.label}"
    feed = atoms.Feed(title, site + asked.path(), site + asked.path(f"{HERE}.atom"))
    for row in _rows(asked.rows()[:FEED_LENGTH]):
        act = row.act
        label = f" “{row.label}”" if row.label else ""
        feed.add_item(
            title=xml_text(f"{row.said}{label}: {row.title}"),
            link=site + (row.path or HERE),
            description=xml_text(act.public_text),
            unique_id=f"tag:0g-market,2026:moderation/{act.number}",
            updateddate=act.at,
            pubdate=act.at,
        )
    return _answer(feed.written(), atoms.MEDIA)


def _answer(body: str | bytes, kind: str) -> HttpResponse:
    response = HttpResponse(body, content_type=kind)
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
def export(request: HttpRequest) -> HttpResponse:
    """`/moderation/log.json?after=`: the chain itself, oldest first, at most 5,000 entries a file.

    Public acts show what they say; of every other one only that it is there. Whoever keeps the
    files proves them with `verify_audit` or with the twelve lines of docs/moderation.md.
    """
    limits.spend("moderation-log", limits.address(request), limit=120, seconds=600)
    after = row_number(request.GET.get("after", "")) or 0
    previous = entries.START
    if after:
        before = Act.objects.filter(pk=after).values_list("hash", flat=True).first()
        previous = before or entries.START
        after = after if before else 0
    found = list(islice(audit.rows(after), PER_FILE))
    number, last = audit.head()
    cut = bool(found) and found[-1].open["number"] < number
    body: dict[str, Any] = {
        "format": "0g-market-audit-1",
        "previous": previous,
        "entries": [
            {"open": dict(e.open), "sealed": e.sealed, "previous": e.previous, "hash": e.hash}
            for e in found
        ],
        "head": {"number": number, "hash": last},
        "next": f"{settings.SITE_URL}{HERE}.json?after={found[-1].open['number']}" if cut else None,
    }
    response = problems.answer(body)
    response["Access-Control-Allow-Origin"] = "*"
    return response


COLUMNS = (
    "number", "at", "action", "label", "subject_kind", "subject", "public_text", "until", "actor",
    "proposed_by", "undone_by", "hash",
)  # fmt: skip


@require_safe
def export_csv(request: HttpRequest) -> HttpResponseBase:
    """`/moderation/log.csv`: every public decision that the filters select, newest first."""
    asked = Asked(request)

    def batches() -> Iterator[list[pages.LogRow]]:
        rows, last = asked.rows(), None
        while True:
            part = rows if last is None else rows.filter(number__lt=last)
            batch = _rows(part[:1_000])
            if not batch:
                return
            last = batch[-1].act.number
            yield batch

    return csv_files.streamed(request, "moderation.csv", COLUMNS, batches, _line)


def _line(row: pages.LogRow) -> dict[str, Any]:
    names = ("number", "at", "action", "subject_kind", "subject", "public_text", "until", "actor")
    return {
        **{name: getattr(row.act, name) for name in (*names, "hash")},
        "label": row.label,
        "proposed_by": row.proposed_by,
        "undone_by": row.undone_by,
    }


# --- for staff ------------------------------------------------------------------------------------


@require_safe
@never_cache
@roles.require(*STAFF)
def record(request: HttpRequest) -> HttpResponse:
    """`/moderation/record?area=&actor=&page=`: every staff act of every area, private reasons and
    all."""
    areas = sorted(set(Act.objects.order_by().values_list("area", flat=True).distinct()))
    area = request.GET.get("area", "")
    area = area if area in areas else ""
    actor = request.GET.get("actor", "").replace("\x00", "")[:150]
    found = ledger.paginate(
        queue.record(area, actor), number_of(request), PER_PAGE, lambda act: act
    )

    def path(number: int) -> str:
        query = {"area": area, "actor": actor, "page": number}
        return f"{RECORD}?{urlencode({k: v for k, v in query.items() if v})}"

    page = pages.LogPage(
        rows=tuple(_rows(found.items)),
        pager=pages_parts.pager(found, _("acts"), path),
        actions=(),
        provider=actor,
        wrong="",
        filtered=bool(area or actor),
        head=audit.head(),
        twins=(),
        contact="",
        whole=True,
        areas=(
            Option("", _("Any area"), not area),
            *(Option(name, phrases.area(name), name == area) for name in areas),
        ),
    )
    return render(request, "moderation/record.html", {"page": page})
