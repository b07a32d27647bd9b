"""The pages of an account: funds, refunds, transactions, keys, and anybody's public account."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import (
    actions,
    analytics,
    clock,
    follow,
    funds,
    history,
    keyring,
    limits,
    pages,
    selectors,
    spendable,
)
from accounts import pages_transaction as shown
from accounts.http import user_of
from accounts.models import FOLLOWED
from accounts.problems import json_door
from chain import selectors as chain
from ledger import selectors as ledger
from ledger.records import Page

PER_PAGE = 25
#: Parts of the funds page that a script asks for one by one.
_PARTS = ("review", "funds", "positions")


def _number(request: HttpRequest, name: str = "page") -> int:
    text = request.GET.get(name, "1")
    return min(int(text), ledger.MAX_PAGE) if text.isascii() and text.isdigit() else 1


def signed_out(request: HttpRequest, title: str) -> HttpResponse:
    return render(request, "accounts/signed_out.html", {"page": pages.SignedOut(title)})


@require_GET
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """`/account`: the four numbers, one form, its review, the sub-accounts.

    `?action=&amount=&account=` fills and reviews the form, so a review is a link and works without
    a script.
    """
    if not request.user.is_authenticated:
        return signed_out(request, "Funds")
    user = user_of(request)
    page = funds.page(user, {name: str(value) for name, value in request.GET.items()})
    target = request.headers.get("HX-Target", "")
    part = f"#{target}" if target in _PARTS else ""
    response = render(request, f"accounts/funds.html{part}", {"page": page})
    response["Vary"] = "HX-Request, HX-Target, Cookie"
    return response


@require_GET
@never_cache
@json_door
def spendable_now(request: HttpRequest) -> HttpResponse:
    """`/account/spendable?account=service:provider`: asks the provider what it has not settled."""
    if not request.user.is_authenticated:
        return signed_out(request, "Spendable now")
    user = user_of(request)
    name, _, provider = request.GET.get("account", "").rpartition(":")
    held = ledger.account(user.address).positions
    position = next((p for p in held if (p.service_name, p.provider) == (name, provider)), None)
    if position is None:
        raise Http404("no such account")
    limits.spend("spendable", user.address, limit=60, seconds=60)
    page = pages.SpendablePage(
        spendable.of(user, position), funds.link("transfer", position), chain.head()
    )
    return render(request, "accounts/spendable.html", {"page": page})


@require_GET
@never_cache
def transactions(request: HttpRequest) -> HttpResponse:
    """`/account/transactions`: what was sent from here, and every movement on the chain."""
    if not request.user.is_authenticated:
        return signed_out(request, "Transactions")
    user = user_of(request)
    for intent in selectors.intents_of(user).filter(state__in=FOLLOWED)[:5]:
        follow.look(intent)
    number = _number(request)
    sent: Page[Any] = ledger.paginate(
        selectors.intents_of(user), number, PER_PAGE, shown.transaction
    )
    wanted = history.Filter.of({name: str(value) for name, value in request.GET.items()})
    moved = history.movements(user.address, wanted, _number(request, "movements"), PER_PAGE)
    held = ((p, f"{p[:6]}…{p[-4:]}") for p in history.providers(user.address))
    page = pages.TransactionsPage(
        sent.items,
        pages.pager(sent, "transactions", lambda n: f"?page={n}"),
        pages.movement_rows(moved.items),
        pages.pager(moved, "movements", lambda n: f"?{wanted.query(movements=n)}#movements"),
        address=user.address,
        filter=wanted,
        kinds=pages.options((("", "Any movement"), *history.KINDS.items()), wanted.kind),
        balances=pages.options((("", "Any balance"), *history.BALANCES.items()), wanted.balance),
        providers=pages.options((("", "Any provider"), *held), wanted.provider),
    )
    return render(request, "accounts/transactions.html", {"page": page})


@require_GET
@never_cache
def statement(request: HttpRequest) -> HttpResponse:
    """`/account/statement?month=2026-05`: opening + movements = closing, by UTC months."""
    if not request.user.is_authenticated:
        return signed_out(request, "Statement")
    user, today = user_of(request), timezone.now().date()
    months = history.months(user.address, today)
    month = history.month_of(request.GET.get("month", ""), months)
    links = (shown.Link(f"{m:%B %Y}", f"?month={m:%Y-%m}", m == month) for m in months)
    page = pages.StatementPage(
        history.statement(user.address, month, today), tuple(links), user.address, chain.head()
    )
    return render(request, "accounts/statement.html", {"page": page})


@require_GET
@never_cache
def spending(request: HttpRequest) -> HttpResponse:
    """`/account/analytics?window=30`: where the money went and how long the rest lasts."""
    if not request.user.is_authenticated:
        return signed_out(request, "Analytics")
    user, now = user_of(request), timezone.now()
    window = request.GET.get("window", "30")
    window = window if window in analytics.WINDOWS else "30"
    links = (
        shown.Link(label, f"?window={name}", name == window)
        for name, label in analytics.WINDOWS.items()
    )
    rows = tuple(
        pages.RunwayRow(r, r.empty_on(now.date()), funds.link("transfer", r.position))
        for r in analytics.runways(user.address, now)
    )
    page = pages.AnalyticsPage(
        analytics.spending(user.address, window, now), tuple(links), rows, chain.head()
    )
    return render(request, "accounts/analytics.html", {"page": page})


@require_GET
@never_cache
def keys(request: HttpRequest) -> HttpResponse:
    """`/account/keys`: the stored provider keys, never their secrets."""
    if not request.user.is_authenticated:
        return signed_out(request, "Keys")
    page = keyring.page(user_of(request), request.session.session_key)
    return render(request, "accounts/keys.html", {"page": page})


@require_GET
def public_account(request: HttpRequest, address: str) -> HttpResponse:
    """`/accounts/{address}`: anybody's account, read only."""
    try:
        known = actions.address(address)
    except ValueError:
        raise Http404("not an address") from None
    found = ledger.account(known)
    moved = ledger.movements(known, _number(request), PER_PAGE)
    page = pages.AccountPage(
        address=known,
        balances=pages.balances(found, None),
        has_account=found.ledger is not None,
        rows=funds.position_rows(found.positions, clock.now_unix()),
        movements=pages.movement_rows(moved.items),
        movements_pager=pages.pager(moved, "movements", lambda n: "?" + urlencode({"page": n})),
        freshness=chain.head(),
    )
    return render(request, "accounts/public.html", {"page": page})
