"""`/services/{kind}/{provider}/health`: what our probes measured, as JSON and CSV."""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema
from ninja.decorators import decorate_view

from accounts import csv_files
from marketplace import schemas
from marketplace.api_lists import CSV, PROBLEMS_404, listing_or_404, revalidated_with_health
from marketplace.formats import tenths
from marketplace.schemas_health import HealthHistoryOut
from probes.fold import percent
from probes.history import Cell, History, history
from probes.selectors import HealthView, Spread, Uptime

router = Router(tags=["Services"])

_COLUMNS = (
    *("start", "state", "uptime_percent", "probes"),
    *("answer_ms_p50", "answer_ms_p95", "answer_n"),
    *("first_token_ms_p50", "first_token_ms_p95", "first_token_n"),
    *("tokens_per_second_p50", "tokens_per_second_p5", "tokens_n", "example_data"),
)


class HealthIn(Schema):
    """Which window, and of which of a provider's services of the kind."""

    window: Literal["24h", "7d", "90d"] = Field("24h", description="how far back")
    service_name: schemas.ServiceNameIn = ""


def health_body(found: HealthView) -> dict[str, Any] | None:
    """The `health` of a service; None where it was never probed."""
    return None if found.checked_at is None and not found.opted_out else _now(found)


def _now(found: HealthView) -> dict[str, Any]:
    uptime = found.uptime or {}
    return {
        "state": found.state,
        "since": found.since,
        "checked_at": found.checked_at,
        "failure": found.failure or None,
        "note": found.note or None,
        "uptime": {f"last_{name}": _uptime(uptime.get(name)) for name in ("24h", "7d", "90d")},
        "answer_ms": _milliseconds(found.answer),
        "first_token_ms": _milliseconds(found.first_token),
        "tokens_per_second": _tokens(found.tokens),
        "tls_days": found.tls_days,
        "cors": found.cors,
        "model_listed": found.model_listed,
        "usage_in_final_chunk": found.usage_last,
        "opted_out": found.opted_out,
        "example": found.example,
    }


@router.get(
    "/{kind}/{provider}/health",
    response={200: HealthHistoryOut, **PROBLEMS_404},
    operation_id="get_service_health",
    summary="What our probes measured",
)
@decorate_view(revalidated_with_health)
def get_health(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    query: Query[HealthIn],
) -> dict[str, Any]:
    """Uptime, time to first token, speed and answer time of one service in a window, cell by cell.

    A cell that nobody measured has the state `none`. See `/docs/how-we-measure`.
    """
    return _body(_history(kind, provider, query))


@router.get(
    "/{kind}/{provider}/health.csv",
    response={200: None, **PROBLEMS_404},
    operation_id="get_service_health_csv",
    summary="What our probes measured, as CSV",
    openapi_extra=CSV,
)
@decorate_view(revalidated_with_health)
def get_health_csv(
    request: HttpRequest,
    kind: schemas.ServiceKind,
    provider: schemas.AddressIn,
    query: Query[HealthIn],
) -> HttpResponse:
    """One line per cell, oldest first; empty where nothing was measured."""
    found = _history(kind, provider, query)
    rows = [_COLUMNS, *(_line(cell) for cell in found.cells)]
    return csv_files.few(f"health-{provider}-{query.window}.csv", rows)


def _history(kind: str, provider: str, query: HealthIn) -> History:
    return history(listing_or_404(kind, provider, query.service_name), query.window)


def _line(cell: Cell) -> tuple[Any, ...]:
    uptime = None if cell.uptime is None else percent(cell.uptime)
    example = "true" if cell.example else None
    return (
        *(cell.start, "no data" if cell.state == "none" else cell.state, uptime, cell.probes),
        *_three(_milliseconds(cell.answer)),
        *_three(_milliseconds(cell.first_token)),
        *_three(_tokens(cell.tokens)),
        example,
    )


def _three(found: dict[str, Any] | None) -> tuple[Any, Any, Any]:
    middle, edge, number = found.values() if found else (None, None, None)
    return middle, edge, number


def _body(found: History) -> dict[str, Any]:
    return {
        "window": found.window.name,
        "cell_seconds": int(found.window.span.total_seconds()),
        "now": _now(found.now),
        "uptime": _uptime(found.uptime),
        "answer_ms": _milliseconds(found.answer),
        "first_token_ms": _milliseconds(found.first_token),
        "tokens_per_second": _tokens(found.tokens),
        "cells": [_cell(cell) for cell in found.cells],
        "example": found.example,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "start": cell.start,
        "state": cell.state,
        "uptime": None if cell.uptime is None else percent(cell.uptime),
        "probes": cell.probes,
        "answer_ms": _milliseconds(cell.answer),
        "first_token_ms": _milliseconds(cell.first_token),
        "tokens_per_second": _tokens(cell.tokens),
        "example": cell.example,
    }


def _uptime(found: Uptime | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"percent": found.percent, "probes": found.probes, "cells": found.cells}


def _milliseconds(found: Spread | None) -> dict[str, Any] | None:
    return None if found is None else {"p50": found.p50, "p95": found.edge, "n": found.n}


def _tokens(found: Spread | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"p50": tenths(found.p50), "p5": tenths(found.edge), "n": found.n}
