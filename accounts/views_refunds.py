"""The pages of money on its way back: the queue, collecting all of it, and (devnet) a day that
passes at once.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import clock, follow, funds, limits, pages_refunds, refunds, selectors, timeskip
from accounts import pages_transaction as shown
from accounts.http import signed_out, user_of
from accounts.models import FOLLOWED
from accounts.problems import json_door
from chain import selectors as chain
from ledger import selectors as ledger


@require_GET
@never_cache
def refunds_page(request: HttpRequest) -> HttpResponse:
    """`/account/refunds`: every open entry with its countdown, and what made entries smaller."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Refunds"))
    address, head = user_of(request).address, chain.head()
    positions, now = ledger.account(address).positions, clock.now_unix(head)
    rows = funds.refund_rows(positions, now, clock.lead_seconds(head))
    page = pages_refunds.RefundsPage(
        rows=rows,
        total=sum(row.amount for row in rows),
        unlocked=sum(row.amount for row in rows if row.unlocked),
        full=refunds.full_queues(positions, now),
        reductions=refunds.reductions(address),
        freshness=head,
        skip=timeskip.possible(),
    )
    return render(request, "accounts/refunds.html", {"page": page})


@require_GET
@never_cache
def collect(request: HttpRequest) -> HttpResponse:
    """`/account/refunds/collect`: all that is unlocked, 20 providers at a time, one transaction
    after the other.

    Nothing is remembered but the chain: what was collected is gone from the list, so one can leave
    and come back at any point.
    """
    if not request.user.is_authenticated:
        return signed_out(request, _("Collect all"))
    user, head = user_of(request), chain.head()
    positions = ledger.account(user.address).positions
    left = refunds.batches(positions, clock.now_unix(head))
    collections = refunds.recent_collections(user)
    for intent in collections:
        if intent.state in FOLLOWED:
            follow.look(intent)
    current = next((i for i in collections if i.state in selectors.MOVING), None)
    wanted = [("retrieve", batch.params) for batch in left]
    waits = (one for one in selectors.under_way(user) if (one.action, one.params) in wanted)
    current = current or next((one for one in waits if shown.transaction(one).may_send), None)
    review = None
    if left and current is None:
        limits.spend_check(request)
        review = funds.reviewed(user, "retrieve", left[0].params)
    sent = (shown.transaction(intent) for intent in collections if intent != current)
    page = pages_refunds.CollectPage(
        batches=left,
        review=review,
        current=shown.transaction(current) if current else None,
        sent=tuple(tx for tx in sent if tx.collects),
        relocked=refunds.relocked(user.address, positions, collections),
        contracts=selectors.contract_addresses(),
        freshness=head,
    )
    return render(request, "accounts/collect.html", {"page": page})


@require_POST
@json_door
def skip_time(request: HttpRequest) -> HttpResponse:
    """A day passes on the local chain; 404 everywhere else."""
    if not timeskip.possible():
        raise Http404("time passes by itself here")
    limits.spend("skip-time", user_of(request).address, limit=30, seconds=60)
    timeskip.skip()
    return redirect("accounts:refunds")
