"""The pages of an account: funds, refunds, transactions, keys, and anybody's public account."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import actions, clock, follow, funds, limits, pages, selectors, spendable
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
    moved = ledger.movements(user.address, _number(request, "movements"), PER_PAGE)
    page = pages.TransactionsPage(
        sent.items,
        pages.pager(sent, "transactions", lambda n: f"?page={n}"),
        pages.movement_rows(moved.items),
        pages.pager(moved, "movements", lambda n: f"?movements={n}#movements"),
    )
    return render(request, "accounts/transactions.html", {"page": page})


@require_GET
@never_cache
def keys(request: HttpRequest) -> HttpResponse:
    """`/account/keys`: the stored provider keys, never their secrets."""
    if not request.user.is_authenticated:
        return signed_out(request, "Keys")
    now = timezone.now()
    held = user_of(request).provider_keys.order_by("-created_at")[:200]
    rows = tuple(pages.KeyRow(key, key.expired(now)) for key in held)
    return render(request, "accounts/keys.html", {"page": pages.KeysPage(rows)})


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
