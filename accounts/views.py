"""The pages of an account's present: funds, what is spendable, keys, anybody's public account."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import actions, clock, funds, keyring, limits, pages, pages_parts, spendable
from accounts.http import number_of, signed_out, user_of
from accounts.problems import json_door
from accounts.session_store import name_of
from chain import selectors as chain
from ledger import selectors as ledger

PER_PAGE = 25
#: Parts of the funds page that a script asks for one by one.
_PARTS = ("review", "funds", "positions", "act", "amounts", "tx-account")


@require_GET
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """`/account`: the four numbers, one form, its review, the sub-accounts.

    `?action=&amount=&account=` fills and reviews the form, so a review is a link and works without
    a script.
    """
    if not request.user.is_authenticated:
        return signed_out(request, _("Funds"))
    user = user_of(request)
    target = request.headers.get("HX-Target", "")
    query = {name: str(value) for name, value in request.GET.items()}
    count = partial(limits.spend_check, request)
    page = funds.page(user, query, whole=target != "review", before_review=count)
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
        return signed_out(request, _("Spendable now"))
    user = user_of(request)
    name, _colon, provider = request.GET.get("account", "").rpartition(":")
    held = ledger.account(user.address).positions
    position = next((p for p in held if (p.service_name, p.provider) == (name, provider)), None)
    if position is None:
        raise Http404("no such account")
    limits.spend("spendable", user.address, limit=60, seconds=60)
    (top_up,) = funds.top_ups([position]).values()
    page = pages.SpendablePage(spendable.of(user, position), top_up, chain.head())
    return render(request, "accounts/spendable.html", {"page": page})


@require_GET
@never_cache
def keys(request: HttpRequest) -> HttpResponse:
    """`/account/keys`: the stored provider keys, never their secrets."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Keys"))
    changing, number = request.GET.get("token", ""), number_of(request)
    session = name_of(request.session.session_key)
    page = keyring.page(user_of(request), session, changing, number)
    return render(request, "accounts/keys.html", {"page": page})


@require_GET
def public_account(request: HttpRequest, address: str) -> HttpResponse:
    """`/accounts/{address}`: anybody's account, read only."""
    try:
        known = actions.address(address)
    except ValueError:
        raise Http404("not an address") from None
    found = ledger.account(known)
    moved = ledger.movements(known, number_of(request), PER_PAGE)
    page = pages.AccountPage(
        address=known,
        balances=pages.balances(found, None),
        has_account=found.ledger is not None,
        rows=funds.position_rows(found.positions, clock.now_unix()),
        movements=pages_parts.movement_rows(moved.items, public=True),
        movements_pager=pages_parts.pager(
            moved, _("movements"), lambda n: "?" + urlencode({"page": n})
        ),
        freshness=chain.head(),
    )
    return render(request, "accounts/public.html", {"page": page})
