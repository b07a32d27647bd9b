"""`/changes` as JSON, CSV and Atom: what changed about services, newest first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router
from ninja.decorators import decorate_view

from accounts import csv_files
from ledger.records import ChangeEntry
from marketplace import feeds, history, schemas
from marketplace.api_lists import (
    CSV,
    PROBLEMS,
    envelope,
    revalidated_as_feed,
    revalidated_with_verdicts,
    sends,
)
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
        "report": entry.report if isinstance(entry, history.VerdictEntry) else None,
    }


@router.get(
    "/changes",
    response={200: schemas.ListOf[NetworkChange], **PROBLEMS},
    operation_id="list_changes",
    summary="Changes of all listings, newest first",
)
@decorate_view(revalidated_with_verdicts)
def list_changes(request: HttpRequest, query: Query[ChangesIn]) -> dict[str, Any]:
    """New and removed services, prices, addresses, models, signers, acknowledgements, stakes; and
    verdicts on their evidence that became worse or recovered."""
    page = history.changes(query.asked, query.page, query.page_size, after=query.after)
    return envelope(request, page, network_change_body)


@router.get(
    "/changes.atom",
    response={200: None, **PROBLEMS},
    operation_id="feed_changes",
    summary="The newest changes as an Atom feed",
    openapi_extra=sends("application/atom+xml", "Atom feed"),
)
@decorate_view(revalidated_as_feed)
def feed_changes(request: HttpRequest, query: Query[FeedIn]) -> HttpResponse:
    """For feed readers; the same filters as `/changes`, and without `kind` and `change` also what
    providers announced. Also served as `/changes.atom`."""
    return feeds.of_network(query.asked, request.path)


@router.get(
    "/changes.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_changes",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
)
@decorate_view(revalidated_with_verdicts)
def export_changes(request: HttpRequest, query: Query[FeedIn]) -> HttpResponseBase:
    """All changes the filters select, in one file; `before` and `after` are JSON."""
    return changes_csv(request, "changes.csv", lambda: history.everything(query.asked))


def changes_csv(
    request: HttpRequest, name: str, source: Callable[[], Iterator[list[ChangeEntry]]]
) -> HttpResponseBase:
    def line(entry: ChangeEntry) -> dict[str, Any]:
        body = network_change_body(entry)
        # Not orjson, which ends at 64 bits: a stranger's uint256 is a number, too.
        texts = {
            side: json.dumps(body[side], ensure_ascii=False, separators=(",", ":"))
            for side in ("before", "after")
        }
        return {**body, **texts}

    return csv_files.streamed(request, name, tuple(NetworkChange.model_fields), source, line)
