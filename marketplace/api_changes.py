"""`/changes` as JSON, CSV and Atom: what providers changed on chain, newest first."""

from __future__ import annotations

from typing import Any

import orjson
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router
from ninja.decorators import decorate_view

from ledger import selectors
from ledger.models import ServiceChange
from ledger.records import ChangeEntry, Contract
from marketplace import api_csv, feeds, schemas
from marketplace.api_lists import PROBLEMS, envelope, revalidated
from marketplace.schemas_changes import ChangesIn, FeedIn, NetworkChange

router = Router(tags=["Changes"])


def change_body(entry: ChangeEntry) -> dict[str, Any]:
    return {
        "block": entry.block,
        "at": entry.at,
        "tx_hash": entry.tx_hash,
        "change": entry.change,
        "before": entry.before,
        "after": entry.after,
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
    response={200: schemas.ListOf[NetworkChange], **PROBLEMS},
    operation_id="list_changes",
    summary="Changes of all listings, newest first",
)
@decorate_view(revalidated)
def list_changes(request: HttpRequest, query: Query[ChangesIn]) -> dict[str, Any]:
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
def feed_changes(request: HttpRequest, query: Query[FeedIn]) -> HttpResponse:
    """For feed readers; the same filters as `/changes`. Also served as `/changes.atom`."""
    page = selectors.changes(
        query.kind or "", query.provider or "", 1, feeds.LENGTH, change=query.change or ""
    )
    title = f"Changes on {settings.NETWORK.label}"
    return feeds.answer(feeds.Feed(title, "/changes", request.get_full_path()), page.items)


@router.get(
    "/changes.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_changes",
    summary="The same as CSV, complete",
    openapi_extra=api_csv.OPENAPI,
)
@decorate_view(revalidated)
def export_changes(request: HttpRequest, query: Query[FeedIn]) -> HttpResponseBase:
    """All changes the filters select, in one file; `before` and `after` are JSON."""
    known = selectors.contracts()
    where = selectors.changes_where(known, query.provider or "", kind=query.kind or "")
    rows = ServiceChange.objects.filter(where)
    return changes_csv(request, "changes.csv", rows, query.change or "", known)


def changes_csv(
    request: HttpRequest,
    name: str,
    rows: QuerySet[ServiceChange],
    change: str,
    known: dict[str, Contract],
) -> HttpResponseBase:
    def line(row: ServiceChange) -> dict[str, Any]:
        body = network_change_body(ChangeEntry.of(row, known))
        texts = {side: orjson.dumps(body[side]).decode() for side in ("before", "after")}
        return {**body, **texts}

    columns = tuple(NetworkChange.model_fields)
    return api_csv.response(
        request, name, columns, rows.filter(change=change) if change else rows, line
    )
