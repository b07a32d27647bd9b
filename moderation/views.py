"""Doors for staff: the queue with its evidence, decisions, proposals, undo. All of it works without
JavaScript."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import pgettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import limits, roles
from accounts.errors import Problem
from accounts.http import page_number, row_number, user_of
from accounts.models import User
from accounts.pages_parts import pager
from accounts.pages_transaction import Link
from accounts.roles import Role
from moderation import audit, forms, pages, phrases, queue, selectors, services
from moderation.fold import Action
from moderation.models import Act, Item, ItemKind
from moderation.selectors import Said
from moderation.services import DECIDING
from moderation.subjects import Subject

STAFF = (*DECIDING, Role.AUDITOR)
HERE = "/moderation"
TABS = (
    (ItemKind.PROPOSAL, N_("Second person")),
    (ItemKind.APPEAL, N_("Appeals")),
    (ItemKind.URL, N_("Moved")),
    (ItemKind.SIGNER, N_("Keys")),
    (ItemKind.HARDWARE, N_("Evidence")),
    (ItemKind.REGRESSION, N_("Regressions")),
    (ItemKind.REPORT, N_("Reports")),
    (ItemKind.WORDS, N_("Own words")),
    (ItemKind.NEW, N_("New")),
)
_KEPT = ("kind", "mine", "closed", "q")


@require_safe
@never_cache
@roles.require(*STAFF)
def home(request: HttpRequest) -> HttpResponse:
    """`/moderation?kind=&mine=1&closed=1&item=&about=&key=&done=`: the queue, and the evidence of
    one item or subject beside it."""
    return _show(request, request.GET.dict(), pages.Form())


def _show(
    request: HttpRequest, given: Mapping[str, str], form: pages.Form, status: int = 200
) -> HttpResponse:
    user, now = user_of(request), timezone.now()
    asked = queue.Filter.parse(given)
    me = audit.name_of(user)
    rows = queue.rows(asked, me, now, page_number(given.get("page", "")))
    item, subject = _chosen(given, rows.items)
    kept = _kept(given)
    evidence = queue.evidence(subject, item, now) if subject else None
    if evidence:
        # Who complains of a moderator's listing is not for that moderator to read.
        readable = tuple(
            one
            for one in evidence.reports
            if one.reporter_id == user.pk or not selectors.is_of(me, one.about)
        )
        evidence = replace(evidence, reports=readable)
    page = pages.QueuePage(
        tabs=_tabs(asked),
        rows=rows.items,
        count=rows.count,
        pager=pager(rows, _("items"), lambda n: f"?{urlencode({**kept, 'page': n})}"),
        asked=asked,
        filtered=bool(asked.kind or asked.mine or asked.text),
        closed=asked.closed,
        query=urlencode(kept | ({"page": str(rows.number)} if rows.number > 1 else {})),
        following=_following(item, rows.items),
        evidence=evidence,
        form=form,
        can_decide=services.may_decide(user),
        me=me,
        done=_undoable(given.get("done", ""), me, now),
        undone=_undone(given.get("undone", ""), me, now),
        own=subject is not None and selectors.is_of(me, subject),
    )
    return render(request, "moderation/queue.html", {"page": page}, status=status)


def _chosen(
    given: Mapping[str, str], rows: Sequence[queue.Row]
) -> tuple[Item | None, Subject | None]:
    """The item or subject that an address names, else the first of the list."""
    if (number := row_number(given.get("item", ""))) is not None:
        item = Item.objects.filter(pk=number).first()
        return item, item.concerns if item else None
    if given.get("about"):
        return None, Subject.parse(given["about"], given.get("key", ""))
    first = rows[0].item if rows else None
    return first, first.concerns if first else None


def _following(item: Item | None, rows: Sequence[queue.Row]) -> int:
    """The item below one in the list, else 0: where whoever works through the list goes on."""
    numbers = [row.item.pk for row in rows]
    here = numbers.index(item.pk) + 1 if item and item.pk in numbers else len(numbers)
    return numbers[here] if here < len(numbers) else 0


def _kept(given: Mapping[str, str]) -> dict[str, str]:
    """The list's own filters, as its addresses have them."""
    return {name: given[name][: queue.MOST_TYPED] for name in _KEPT if given.get(name)}


def _sent(request: HttpRequest) -> dict[str, str]:
    """What a form sent, and the list that its address names."""
    return request.GET.dict() | {name: str(value) for name, value in request.POST.items()}


def _list(given: Mapping[str, str]) -> dict[str, str]:
    """The part of the list that was shown beside a form."""
    number = page_number(given.get("page", ""))
    return _kept(given) | ({"page": str(number)} if number > 1 else {})


def _tabs(asked: queue.Filter) -> tuple[Link, ...]:
    found = queue.counts()
    plain = not (asked.kind or asked.mine or asked.closed or asked.text)
    kinds = (
        Link(_(label), f"{HERE}?kind={kind}", asked.kind == kind, found.get(kind, 0))
        for kind, label in TABS
        if found.get(kind) or asked.kind == kind
    )
    return (
        Link(_("Everything"), HERE, plain, sum(found.values())),
        *kinds,
        Link(_("Mine"), f"{HERE}?mine=1", asked.mine),
        Link(pgettext("items of a queue", "Done"), f"{HERE}?closed=1", asked.closed),
    )


def _undoable(number: str, who: str, now: dt.datetime) -> Act | None:
    if (known := row_number(number)) is None:
        return None
    act = Act.objects.filter(pk=known, actor=who).first()
    return act if act is not None and now - act.at < services.UNDO_FOR else None


def _undone(number: str, who: str, now: dt.datetime) -> int:
    """The number of one's own act that took another back a moment ago, else 0 (1 query)."""
    if (known := row_number(number)) is None:
        return 0
    fresh = Act.objects.filter(actor=who, action=Action.UNDO, at__gt=now - services.UNDO_FOR)
    return known if fresh.filter(pk=known).exists() else 0


# --- deciding -------------------------------------------------------------------------------------


@require_POST
@roles.require(*DECIDING)
def decide(request: HttpRequest) -> HttpResponse:
    """One decision about `item` or about the subject `about`, `key`; `preview` only shows it."""
    user = user_of(request)
    limits.spend("moderation", user.get_username(), limit=600, seconds=600)
    given = _sent(request)
    item, subject = _chosen(given, [])
    if subject is None:
        raise Http404("there is nothing of that name")
    fields = forms.typed(given)
    if "preview" in given:
        return _show(request, given, pages.Form(fields, preview=_preview(fields, user)))
    try:
        act = services.decide(user, subject, forms.decision(fields), item=item, request=request)
    except Problem as problem:
        form = pages.Form(fields, error=problem.said)
        return _show(request, given, form, problem.status)
    return _on(given, act, stay=item is None)


def _preview(fields: Mapping[str, str], who: object) -> Said:
    """What the public would read."""
    now, hours = timezone.now(), forms.hours_of(fields)
    until = None if hours is None else now + dt.timedelta(hours=hours)
    text = phrases.public(fields["public_text"]) or _("(no public text)")
    return Said("hidden", "", text, now, until, str(who), 0, "service")


def _on(given: Mapping[str, str], act: Act, *, stay: bool) -> HttpResponse:
    """To the next of the list, with the undo of what was just done."""
    query = _list(given) | {"done": str(act.number)}
    following = row_number(given.get("next", ""))
    if stay:
        query |= {"about": act.subject_kind, "key": act.subject}
    elif following and Item.objects.filter(pk=following, closed_at=None).exists():
        query |= {"item": str(following)}
    return HttpResponseRedirect(f"{HERE}?{urlencode(query)}")


@require_POST
@roles.require(*DECIDING)
def proposal(request: HttpRequest, number: int) -> HttpResponse:
    """The second person's answer: `act` is confirm or decline."""
    user, given = user_of(request), _sent(request)
    try:
        if given.get("act") == "confirm":
            act = services.confirm(user, number, request=request)
        else:
            act = services.decline(user, number, given.get("reason", ""), request=request)
    except Problem as problem:
        if (answered := _answered(user, number)) is None:
            return _show(request, given, pages.Form(error=problem.said), problem.status)
        act = answered
    return _on(given, act, stay=False)


def _answered(user: User, number: int) -> Act | None:
    """The person's own answer to a proposal, a moment ago: of two presses the second finds it
    done."""
    since = timezone.now() - services.UNDO_FOR
    last = Act.objects.filter(actor=audit.name_of(user), at__gt=since).order_by("number").last()
    mine = last is not None and last.action != Action.UNDO and last.said.get("answers") == number
    return last if mine else None


@require_POST
@roles.require(*DECIDING)
def undo(request: HttpRequest, number: int) -> HttpResponse:
    """Take back what one did a moment ago."""
    try:
        act = services.undo(user_of(request), number, request=request)
    except Problem as problem:
        form = pages.Form(error=problem.said)
        return _show(request, _list(_sent(request)), form, problem.status)
    query = {"about": act.subject_kind, "key": act.subject, "undone": str(act.number)}
    query |= _list(_sent(request))
    return HttpResponseRedirect(f"{HERE}?{urlencode(query)}")


@require_POST
@roles.require(*DECIDING)
def claim(request: HttpRequest, item_id: int) -> HttpResponse:
    """Say that one looks at it, or no longer does."""
    item = get_object_or_404(Item, pk=item_id)
    services.claim(user_of(request), item, release=request.POST.get("act") == "release")
    query = _list(_sent(request)) | {"item": str(item.pk)}
    return HttpResponseRedirect(f"{HERE}?{urlencode(query)}")
