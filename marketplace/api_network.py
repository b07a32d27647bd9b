"""`/status` and `/changes` (JSON and Atom): the network as a whole."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import feedgenerator
from django.views.decorators.http import require_safe
from ninja import Query, Router
from ninja.decorators import decorate_view

from chain import selectors as chain
from ledger import reconcile, selectors
from ledger.records import ChangeEntry
from marketplace import schemas
from marketplace.api_lists import PROBLEMS, envelope, revalidated
from marketplace.api_services import change_body

router = Router(tags=["Network"])
FEED_LENGTH = 50


@router.get(
    "/status",
    response={200: schemas.Status, **PROBLEMS},
    operation_id="get_status",
    summary="How far the index is",
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
    }


def network_change_body(entry: ChangeEntry) -> dict[str, Any]:
    return {
        **change_body(entry),
        "kind": entry.kind,
        "provider": entry.provider,
        "service_name": entry.service_name,
    }


@router.get(
    "/changes",
    response={200: schemas.ListOf[schemas.NetworkChange], **PROBLEMS},
    operation_id="list_changes",
    summary="Changes of all listings, newest first",
)
@decorate_view(revalidated)
def list_changes(request: HttpRequest, query: Query[schemas.ChangesIn]) -> dict[str, Any]:
    """New and removed services, prices, addresses, models, signers, acknowledgements, stakes."""
    page = selectors.changes(
        query.kind or "",
        query.provider or "",
        query.page,
        query.page_size,
        change=query.change or "",
        after=query.after,
    )
    return envelope(request, page, network_change_body)


@router.get(
    "/changes.atom",
    response={200: None, **PROBLEMS},
    operation_id="feed_changes",
    summary="The newest changes as an Atom feed",
    openapi_extra={
        "responses": {
            200: {
                "description": "Atom feed",
                "content": {"application/atom+xml": {"schema": {"type": "string"}}},
            }
        }
    },
)
@decorate_view(revalidated)
def feed_changes(request: HttpRequest, query: Query[schemas.FeedIn]) -> HttpResponse:
    """For feed readers; the same filters as `/changes`. Also served as `/changes.atom`."""
    page = selectors.changes(query.kind or "", query.provider or "", 1, FEED_LENGTH)
    return HttpResponse(atom(page.items), content_type="application/atom+xml; charset=utf-8")


@require_safe
@revalidated
def site_feed(request: HttpRequest) -> HttpResponse:
    """`/changes.atom`, the address people subscribe to; a filter that means nothing selects
    nothing.
    """
    kind, provider = request.GET.get("kind", ""), request.GET.get("provider", "")
    address = selectors.address_of(provider)
    if (kind and kind not in selectors.KINDS) or (provider and address is None):
        raise Http404
    page = selectors.changes(kind, address or "", 1, FEED_LENGTH)
    return HttpResponse(atom(page.items), content_type="application/atom+xml; charset=utf-8")


WORDS = {
    "registered": "registered",
    "price": "changed its price",
    "url": "changed its address",
    "model": "changed its model",
    "type": "changed its type",
    "verifiability": "changed its declared verifiability",
    "signer": "changed its signing key",
    "additional_info": "changed its additional data",
    "quota": "changed its hardware quota",
    "occupied": "changed its occupancy",
    "models": "changed its models",
    "acknowledged": "was acknowledged by the contract owner",
    "unacknowledged": "lost the contract owner's acknowledgement",
    "staked": "staked",
    "stake_returned": "got its stake back",
    "removed": "was removed",
}


def atom(entries: tuple[ChangeEntry, ...]) -> str:
    """An Atom document. Ids are tag URIs of chain facts, so that a reader sees an entry once, on
    any host.
    """
    site = settings.SITE_URL
    feed = feedgenerator.Atom1Feed(
        title=f"Changes on {settings.NETWORK.label}",
        link=f"{site}/changes",
        feed_url=f"{site}/changes.atom",
        description="Every on-chain change of a provider's listing.",
        language="en",
    )
    for entry in entries:
        what = WORDS.get(entry.change, entry.change)
        feed.add_item(
            title=f"{entry.provider} {what}",
            link=f"{site}/services/{entry.kind}/{entry.provider}",
            description=xml_text(f"{_words(entry.before)} → {_words(entry.after)}"),
            pubdate=entry.at,
            updateddate=entry.at,
            unique_id=_entry_id(entry),
            categories=(entry.change,),
        )
    return str(feed.writeString("utf-8"))


def _entry_id(entry: ChangeEntry) -> str:
    log = "view" if entry.log_index is None else entry.log_index
    place = f"{entry.tx_hash or entry.block}/{log}/{entry.service_name}/{entry.provider}"
    return f"tag:0g-market,2026:{settings.CHAIN_ID}/{place}/{entry.change}"


def _words(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(one)}" for key, one in value.items())
    return str(value)[:500]


def xml_text(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold: a provider's string must not break
    the feed.
    """
    return "".join(
        character
        if character in "\t\n"
        or " " <= character < "\ud800"
        or "\ue000" <= character < "\ufffe"
        or character >= "\U00010000"
        else "\ufffd"
        for character in text
    )
