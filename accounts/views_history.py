"""The pages of an account's past: transactions, movements, statements, spend, and files of them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import (
    analytics,
    clock,
    exports,
    follow,
    funds,
    history,
    pages_history,
    pages_parts,
    selectors,
)
from accounts import pages_transaction as shown
from accounts.addresses import short
from accounts.http import number_of, signed_out, taker, user_of
from accounts.models import FOLLOWED, User
from accounts.problems import json_door
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.records import Page

PER_PAGE = 25


@require_GET
@never_cache
def transactions(request: HttpRequest) -> HttpResponse:
    """`/account/transactions`: what was sent from here, and every movement on the chain."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Transactions"))
    user = user_of(request)
    for intent in selectors.intents_of(user).filter(state__in=FOLLOWED)[:5]:
        follow.look(intent)
    number = number_of(request)
    sent: Page[Any] = ledger.paginate(
        selectors.intents_of(user), number, PER_PAGE, shown.transaction
    )
    wanted = history.Filter.of({name: str(value) for name, value in request.GET.items()})
    moved = history.movements(user.address, wanted, number_of(request, "movements"), PER_PAGE)
    held = ((p, short(p)) for p in history.providers(user.address))
    page = pages_history.TransactionsPage(
        sent.items,
        pages_parts.pager(sent, _("transactions"), lambda n: f"?page={n}"),
        pages_parts.movement_rows(moved.items),
        pages_parts.pager(
            moved, _("movements"), lambda n: f"?{wanted.query(movements=n)}#movements"
        ),
        address=user.address,
        filter=wanted,
        kinds=pages_parts.options(
            (("", _("Any movement")), *((name, history.kind(name)) for name in history.KINDS)),
            wanted.kind,
        ),
        balances=pages_parts.options(
            (("", _("Any balance")), *pages_parts.named(history.BALANCES)), wanted.balance
        ),
        providers=pages_parts.options((("", _("Any provider")), *held), wanted.provider),
    )
    return render(request, "accounts/transactions.html", {"page": page})


@require_GET
@never_cache
def statement(request: HttpRequest) -> HttpResponse:
    """`/account/statement?month=2026-05`: opening + movements = closing, by UTC months."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Statement"))
    user, head = user_of(request), chain.head()
    today = clock.now(head).date()
    months = history.months(user.address, today)
    month = history.month_of(request.GET.get("month", ""), months)
    links = (shown.Link(date_format(m, "F Y"), f"?month={m:%Y-%m}", m == month) for m in months)
    page = pages_history.StatementPage(
        history.statement(user.address, month, today), tuple(links), user.address, head
    )
    return render(request, "accounts/statement.html", {"page": page})


@require_GET
@never_cache
def spending(request: HttpRequest) -> HttpResponse:
    """`/account/analytics?window=30`: where the money went and how long the rest lasts."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Analytics"))
    user, now = user_of(request), timezone.now()
    window = request.GET.get("window", "30")
    window = window if window in analytics.WINDOWS else "30"
    windows = (
        shown.Link(_(label), f"?window={name}", name == window)
        for name, label in analytics.WINDOWS.items()
    )
    spent = analytics.spending(user.address, window, now)
    runways = analytics.runways(user.address, spent.pace)
    ways = funds.top_ups([r.position for r in runways])
    rows = tuple(
        pages_history.RunwayRow(
            r, r.empty_on(now.date()), ways[r.position.serving, r.position.provider]
        )
        for r in runways
    )
    page = pages_history.AnalyticsPage(spent, tuple(windows), rows, chain.head())
    return render(request, "accounts/analytics.html", {"page": page})


@require_GET
@never_cache
def waiting(request: HttpRequest) -> HttpResponse:
    """The header's number of transactions that wait for a block; nothing for visitors, so that a
    page whose session has ended stops asking. Looks at one of them, the longest not looked at: a
    silent node costs seconds for each, and the worker looks at all."""
    if not request.user.is_authenticated:
        return HttpResponse()
    user = user_of(request)
    if intent := selectors.next_waiting(user):
        follow.look(intent)
    return render(request, "accounts/waiting.html", {"count": selectors.waiting(user)})


# --- files ---------------------------------------------------------------------------------------


@require_GET
@never_cache
@json_door
def transactions_csv(request: HttpRequest) -> HttpResponseBase:
    """`/account/transactions.csv`: the movements that the page with the same filters lists."""
    user = taker(request, _("Movements as CSV"))
    if not isinstance(user, User):
        return user
    wanted = history.Filter.of({name: str(value) for name, value in request.GET.items()})
    return exports.movements(request, user.address, wanted)


@require_GET
@never_cache
@json_door
def statement_csv(request: HttpRequest) -> HttpResponseBase:
    """`/account/statement.csv?month=2026-05`: the month line by line, between its balances."""
    user = taker(request, _("Statement as CSV"))
    if not isinstance(user, User):
        return user
    months = history.months(user.address, clock.now().date())
    month = history.month_of(request.GET.get("month", ""), months)
    return exports.statement(request, user.address, month)
