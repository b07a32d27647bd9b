"""`/status`, `/network` and `/settlements`: the network as a whole."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router

from chain import selectors as chain
from ledger import reconcile, selectors
from marketplace import announcements, components, network, releases, schemas, settlements
from marketplace.api_lists import PROBLEMS, PROBLEMS_404, envelope, known_or_404
from marketplace.api_providers import settlement_body
from marketplace.schemas_network import (
    NetworkIn,
    NetworkOut,
    NetworkSettlementOut,
    SettlementsIn,
)
from marketplace.schemas_status import Status
from probes import exchange

router = Router(tags=["Network"])


@router.get(
    "/status",
    response={200: Status, **PROBLEMS},
    operation_id="get_status",
    summary="How far the index is, and how this site is",
)
def get_status(request: HttpRequest) -> dict[str, Any]:
    """Blocks are null until the first one was indexed.

    `lag_seconds` is the time since we last agreed with the node's head: an idle chain is not stale.
    """
    head = chain.head()
    ledger = {
        "address": settings.LEDGER_ADDRESS,
        "role": "ledger",
        "service_name": None,
        "start_block": settings.START_BLOCK,
    }
    serving = [
        {
            "address": contract.address,
            "role": contract.kind,
            "service_name": contract.service_name,
            "start_block": contract.start_block,
        }
        for contract in selectors.contracts().values()
    ]
    known = head.indexed_block >= 0
    last = reconcile.latest()
    now, rate = timezone.now(), exchange.current()
    return {
        "network": settings.NETWORK.name,
        "chain_id": settings.CHAIN_ID,
        "head_block": head.head_block if head.head_block >= 0 else None,
        "indexed_block": head.indexed_block if known else None,
        "final_block": head.final_block if head.final_block >= 0 else None,
        "lag_blocks": head.lag_blocks if known else None,
        "lag_seconds": None if head.lag_seconds is None else int(head.lag_seconds),
        "logs": chain.log_count().rows,
        "contracts": [ledger, *serving],
        "halted": head.halted,
        "blocks_per_second": head.blocks_per_second,
        "events_per_second": head.events_per_second,
        "reconciliation": {
            "at": last.at,
            "block": last.block,
            "compared": last.entities,
            "drift": last.drift,
        }
        if last is not None
        else None,
        "version": releases.version(),
        "parts": [
            {
                "name": part.name,
                "label": part.label,
                "state": part.state or None,
                "not_down": part.well,
                "looks": part.looks,
            }
            for part in components.lines(now)
        ],
        "announcements": [
            {
                "id": row.pk,
                "kind": row.kind,
                "title": row.title,
                "state": row.state(now),
                "starts_at": row.starts_at,
                "ends_at": row.ends_at,
                "updates": [{"at": one.at, "text": one.text} for one in row.updates.all()],
            }
            for row in announcements.shown(now)
        ],
        "exchange_rate": {"source": rate.source, "usd": rate.usd, "at": rate.at} if rate else None,
    }


# What follows goes by the clock too, so its tag is that of its bytes and not the index's.


@router.get(
    "/network",
    response={200: NetworkOut, **PROBLEMS},
    operation_id="get_network",
    summary="The network in numbers",
)
def get_network(request: HttpRequest, query: Query[NetworkIn]) -> dict[str, Any]:
    """What is listed, held, staked and spent, what became of all settlements, and what was paid on
    each day of a window. Sums over days are at most 30 seconds old.
    """
    page = network.page(chain.head(), query.window or "30d")
    totals, results, found = page.totals, page.results, page.spending
    days = network.whole_days(found, network.DAYS[page.window], timezone.now().date())
    return {
        "services": totals.services,
        "services_by_kind": totals.services_by_kind,
        "providers": totals.providers,
        "models": totals.models,
        "acknowledged": totals.acknowledged,
        "accounts": totals.accounts,
        "deposited": totals.deposited,
        "locked": totals.locked,
        "staked": totals.staked,
        "spent": totals.spent,
        "spent_24h": totals.spent_24h,
        "settlements_24h": totals.settlements_24h,
        "settlements": {
            "count": results.items,
            "in_part": results.in_part,
            "refused": results.refused,
            "lost": results.lost,
        },
        "window": page.window,
        "payers": found.payers,
        "by_day": [
            {"date": day.date, "paid": day.paid, "settlements": day.items, "users": day.users}
            for day in days
        ],
    }


@router.get(
    "/settlements",
    response={200: schemas.ListOf[NetworkSettlementOut], **PROBLEMS_404},
    operation_id="list_network_settlements",
    summary="Settlement items of all providers, newest first",
)
def list_network_settlements(request: HttpRequest, query: Query[SettlementsIn]) -> dict[str, Any]:
    """Items of the whole network, or of a provider or a user, by result and time. Of a provider or
    a user `next` goes on by cursor; of all, pages reach 20,000 items deep: ask for one `day` then.
    """
    page = settlements.items(
        query.asked(_serving(query.service_name)), query.page_size, query.after
    )
    body = envelope(request, page, lambda x: {**settlement_body(x), "provider": x.provider})
    if page.cursor is None and page.number * page.size > schemas.MAX_DEPTH:
        body["next"] = None
    return body


def _serving(service_name: str) -> str:
    """The address of a serving contract; "" where none is named."""
    if not service_name:
        return ""
    named = (x.address for x in selectors.contracts().values() if x.service_name == service_name)
    return known_or_404("This serving contract", next(named, None))
