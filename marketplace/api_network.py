"""`/status`: the network as a whole."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from chain import selectors as chain
from ledger import reconcile, selectors
from marketplace import announcements, components, releases
from marketplace.api_lists import PROBLEMS
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
