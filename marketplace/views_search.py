"""Doors of the search: the page, the palette's results, and one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts import roles
from accounts.history import kind as movement_kind
from accounts.models import User
from ledger.records import MovementEntry
from marketplace import limits, links, transactions
from marketplace.changes import ChangeRow
from marketplace.pages_changes import change_rows
from marketplace.search import Found, find
from marketplace.settled import SettlementRow


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """`/search?q=`: an address, transaction, report or task leads on; words list what they mean.
    Without a question it is a field for one, which small screens have no room for in their header.
    """
    found = _find(request)
    if found.direct:
        return HttpResponseRedirect(found.direct)
    return render(request, "marketplace/search.html", {"page": found})


@require_safe
def palette(request: HttpRequest) -> HttpResponse:
    """The same as a part of a page, for the palette."""
    response = render(request, "marketplace/found.html", {"page": _find(request)})
    response["Cache-Control"] = "private, max-age=10"
    return response


def _find(request: HttpRequest) -> Found:
    q = request.GET.get("q", "")
    if q.strip():
        limits.spend(limits.SEARCH, request)
    user = request.user if isinstance(request.user, User) else None
    return find(q, user, staff=not roles.of(request.user).isdisjoint(roles.STAFF))


@dataclass(frozen=True)
class MovementLine:
    user: str
    path: str
    label: str
    entry: MovementEntry


@dataclass(frozen=True)
class TransactionPage:
    """`/tx/{hash}`: what one transaction changed here."""

    seen: transactions.Seen
    changes: tuple[ChangeRow, ...]
    settlements: tuple[SettlementRow, ...]
    movements: tuple[MovementLine, ...]
    sender_path: str


@require_safe
def transaction(request: HttpRequest, tx_hash: str) -> HttpResponse:
    """A chain that does not answer is said by the site's own page for that. Raises TooMany."""
    limits.spend(limits.TRANSACTION, request)
    found = transactions.seen(tx_hash.lower())
    if found is None:
        raise Http404(_("The chain knows no transaction with this hash."))
    page = TransactionPage(
        seen=found,
        changes=change_rows(found.changes, alone=False),
        settlements=tuple(map(SettlementRow.of, found.settlements)),
        movements=tuple(
            MovementLine(user, links.account_path(user), movement_kind(entry.kind), entry)
            for user, entry in found.movements
        ),
        sender_path=links.account_path(found.sender),
    )
    return render(request, "marketplace/transaction.html", {"page": page})
