"""Doors of the inbox and of rules. Every form works without a script."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import limits, pages_parts, sessions
from accounts.addresses import short
from accounts.days import moment_of
from accounts.errors import Problem
from accounts.http import number_of, row_number, signed_out, unless_fresh, user_of, uuid_of
from accounts.models import User
from alerts import forms, mailbox, own_service, pages, past, selectors, services, unsubscribing
from alerts.forms import Typed
from alerts.kinds import OPERATORS, Kind
from alerts.models import Hook, Notification, Rule
from alerts.tasks import send_due
from ledger import selectors as ledger
from ledger.records import Page
from net import queue

PER_PAGE = 25
HERE = "/account/alerts"
#: How long a rule can be told to be quiet, by the value of the button.
QUIET = {"day": dt.timedelta(days=1), "week": dt.timedelta(days=7)}
#: What most people want to know, offered in one go.
USUAL = (
    *(Kind.LOW_BALANCE, Kind.REFUND_UNLOCKED, Kind.DEADLINE),
    *(Kind.SIGNER, Kind.URL, Kind.VERIFICATION),
)
#: The same for who offers a service: the first four are about the own one.
USUAL_OF_OPERATORS = (
    *(Kind.PROVIDER_DOWN, Kind.SIGNER, Kind.VERIFICATION, Kind.ACKNOWLEDGED),
    *(Kind.DECIDED, Kind.CERTIFICATE, Kind.UNPAID, Kind.LOW_GAS),
)


@require_GET
@never_cache
def alerts(request: HttpRequest) -> HttpResponse:
    """`/account/alerts?kind=&provider=&number=&preview=1`: rules, and the form of a new one."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Alerts"))
    user = user_of(request)
    fields = {name: str(value) for name, value in request.GET.items()}
    form = rule_form(user, fields, preview=fields.get("preview") == "1")
    return render(request, "alerts/alerts.html", {"page": _page(request, form, fields)})


def _page(request: HttpRequest, form: pages.RuleForm, fields: dict[str, str]) -> pages.AlertsPage:
    user = user_of(request)
    now, way = timezone.now(), services.channels_of(user)
    rules, fresh = selectors.rules(user), sessions.is_fresh(request)
    covered = any(r.kind in OPERATORS or r.provider == user.address for r in rules)
    return pages.AlertsPage(
        rules=tuple(pages.rule_row(rule, now) for rule in rules),
        form=form,
        channels=way,
        hooks=tuple(selectors.hooks(user)),
        deliveries=tuple(selectors.deliveries(user)),
        feed_url=f"{settings.SITE_URL}/account/feed/{way.feed}.atom" if fresh and way.feed else "",
        feed_lost=fresh and not way.feed,
        undo=row_number(fields.get("undo", "")),
        operator=not covered and own_service.offers(user.address),
    )


def rule_form(user: User, fields: dict[str, str], *, preview: bool) -> pages.RuleForm:
    """The form as typed, with what it would have told where `preview` asks for that."""
    typed = forms.typed(fields)
    held = {p.provider for p in ledger.account(user.address).positions}
    held |= {typed["provider"]} if typed["provider"] else set()
    operator = own_service.offers(user.address)
    held |= {user.address} if operator else set()
    choices = [("", _("Each provider where I hold money or that I watch"))]
    choices += [(provider, short(provider)) for provider in sorted(held)]
    made = pages.RuleForm(
        typed,
        pages.kind_options(typed["kind"], operator=operator),
        pages_parts.options(choices, typed["provider"]),
    )
    if not preview:
        return made
    try:
        wish = forms.wish(typed)
    except Problem as problem:
        return replace(made, error=problem.said)
    now = timezone.now()
    found = past.hits(user, wish, now)
    return replace(
        made,
        previewed=True,
        says=pages.rule_row(wish.rule(user), now).sentence,
        past=None if found is None else tuple(found),
        days=past.window(wish.kind).days,
    )


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Make the rule, or (`preview`) go to what it would have told: an address of its own, in which
    the form's CSRF token does not stand."""
    user = user_of(request)
    limits.spend("alert-rules", user.address, limit=60, seconds=600)
    fields = {name: str(value) for name, value in request.POST.items()}
    if fields.get("preview") == "1":
        asked = {
            name: fields[name] for name in (*Typed.__annotations__, "preview") if name in fields
        }
        return HttpResponseRedirect(f"{HERE}?{urlencode(asked)}#new")
    try:
        services.add(user, forms.wish(forms.typed(fields)))
    except Problem as problem:
        return _say(request, problem, fields)
    return HttpResponseRedirect(HERE)


@require_POST
def add_usual(request: HttpRequest) -> HttpResponse:
    """The rules that most people want, or (`for=operator`) most who offer a service; what there is
    already stays as it is."""
    user = user_of(request)
    limits.spend("alert-rules", user.address, limit=60, seconds=600)
    own = request.POST.get("for") == "operator"
    for kind in USUAL_OF_OPERATORS if own else USUAL:
        fields = {"kind": kind.value, "provider": user.address if own else ""}
        try:
            services.add(user, forms.wish(forms.typed(fields)))
        except Problem as problem:
            if problem.code != "rule_exists":
                return _say(request, problem)
    return HttpResponseRedirect(HERE)


def _rule(request: HttpRequest, rule_id: int) -> Rule:
    return get_object_or_404(Rule, pk=rule_id, user=user_of(request))


@require_POST
def change(request: HttpRequest, rule_id: int) -> HttpResponse:
    """One button of a rule's row: `act` is delete, restore, day, week, wake, ways, or number."""
    rule, act = _rule(request, rule_id), request.POST.get("act", "")
    if act == "delete":
        services.delete(rule)
        return HttpResponseRedirect(f"{HERE}?undo={rule.pk}")
    if act == "restore":
        try:
            services.restore(rule)
        except Problem as problem:
            return _say(request, problem)
    elif act == "ways":
        named, only = request.POST.get("hook", ""), None
        if named not in ("", "on"):
            only = get_object_or_404(Hook, pk=uuid_of(named), user=rule.user_id)
        services.send_by(rule, email="email" in request.POST, hook=bool(named), only=only)
    elif act == "number":
        typed = {"kind": rule.kind, "number": request.POST.get("number", "")}
        try:
            services.renumber(rule, forms.wish(forms.typed(typed)))
        except Problem as problem:
            return _say(request, problem)
    elif act in QUIET:
        services.snooze(rule, timezone.now() + QUIET[act])
    elif act == "wake":
        services.snooze(rule, None)
    return HttpResponseRedirect(HERE)


def _say(
    request: HttpRequest, problem: Problem, typed: dict[str, str] | None = None
) -> HttpResponse:
    """The page with what is wrong, and the form of a new rule as it was typed."""
    user = user_of(request)
    form = replace(rule_form(user, typed or {}, preview=False), error=problem.said)
    page = _page(request, form, {})
    return render(request, "alerts/alerts.html", {"page": page}, status=problem.status)


# --- mail -----------------------------------------------------------------------------------------


@require_POST
def mail(request: HttpRequest) -> HttpResponse:
    """`act`: ask (address; needs a fresh signature), prove (code), forget, at-once, daily, test."""
    user, act = user_of(request), request.POST.get("act", "")
    if act == "ask" and (asked := unless_fresh(request, _("Mail address"), HERE)) is not None:
        return asked
    way = services.channels_of(user)
    try:
        if act == "ask":
            mailbox.ask(user, request.POST.get("email", "")[:254], limits.address(request))
        elif act == "prove":
            mailbox.prove(user, request.POST.get("code", "")[:20])
        elif act == "forget":
            mailbox.forget(user)
        elif act in ("at-once", "daily"):
            type(way).objects.filter(pk=way.pk).update(digest=act == "daily")
        elif act == "test":
            mailbox.test(user)
            queue.put(send_due)
    except Problem as problem:
        page = _page(request, rule_form(user, {}, preview=False), {})
        if act != "ask" or way.email_verified_at or not page.mail_works:
            return _say(request, problem)
        page = replace(page, mail=request.POST.get("email", "")[:254], mail_error=problem.said)
        return render(request, "alerts/alerts.html", {"page": page}, status=problem.status)
    return HttpResponseRedirect(f"{HERE}#mail")


@csrf_exempt  # a mail program has no session; the address itself is the permission
@require_http_methods(["GET", "POST"])
@never_cache
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """`/account/unsubscribe/{token}` of a mail: GET asks, POST ends mails and forgets the address;
    404 for a token that ends nothing (any more)."""
    way = unsubscribing.way_of(token)
    if way is None:
        raise Http404("no such address")
    page = pages.UnsubscribePage(way.address, ended=request.method == "POST")
    if page.ended:
        mailbox.forget(way.user)
    answer = render(request, "alerts/unsubscribe.html", {"page": page})
    answer["Referrer-Policy"] = "no-referrer"
    return answer


@require_POST
def new_feed(request: HttpRequest) -> HttpResponse:
    """A new secret address of the feed; the old one is gone."""
    services.renew_feed(user_of(request))
    return HttpResponseRedirect(f"{HERE}#feed")


# --- inbox ----------------------------------------------------------------------------------------


@require_GET
@never_cache
def inbox(request: HttpRequest) -> HttpResponse:
    """`/account/inbox?unread=1&page=2`."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Inbox"))
    user = user_of(request)
    only = request.GET.get("unread") == "1"
    newest = selectors.inbox(user, only_unread=True).first()
    rows: Page[Notification] = ledger.paginate(
        selectors.inbox(user, only_unread=only), number_of(request), PER_PAGE, lambda row: row
    )
    more = "&unread=1" if only else ""
    page = pages.InboxPage(
        tuple(rows.items),
        pages_parts.pager(rows, _("messages"), lambda n: f"?page={n}{more}"),
        pages.Bell(selectors.unread(user)).shown,
        only,
        newest.at.isoformat() if newest else "",
    )
    return render(request, "alerts/inbox.html", {"page": page})


@require_GET
@never_cache
def follow(request: HttpRequest, notification_id: uuid.UUID) -> HttpResponse:
    """Read, and on to the page with the cause."""
    user = user_of(request)
    row = user.notifications.filter(pk=notification_id).first()
    if row is None or not row.path.startswith("/") or row.path.startswith("//"):
        raise Http404("no such message")
    services.read(user, str(row.pk))
    return HttpResponseRedirect(row.path)


@require_POST
def read_all(request: HttpRequest) -> HttpResponse:
    """All that were there when the page was made: nobody saw what came since."""
    services.read(user_of(request), until=moment_of(request.POST.get("until", "")))
    return HttpResponseRedirect("/account/inbox")


@require_GET
@never_cache
def bell(request: HttpRequest) -> HttpResponse:
    """The bell alone, for a page that heard of news."""
    page = pages.Bell(selectors.unread(user_of(request)))
    return render(request, "alerts/bell.html#bell", {"page": page})
