"""`/models` and `/providers` as lists: the same lines as the pages, as JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from ninja.decorators import decorate_view

from accounts import csv_files
from ledger import selectors
from ledger.records import Page
from marketplace import overviews, schemas
from marketplace.api_lists import CSV, PROBLEMS, envelope, revalidated_as_list
from marketplace.formats import tenths
from marketplace.overviews import Asked, ModelLine, ProviderLine
from marketplace.schemas_overviews import (
    ModelOut,
    ModelsFileIn,
    ModelsIn,
    ProviderLineOut,
    ProvidersFileIn,
    ProvidersIn,
)

router = Router()
Line = TypeVar("Line")
Question = TypeVar("Question", bound=Asked)


def model_body(line: ModelLine) -> dict[str, Any]:
    row, best = line.row, line.measured
    return {
        "model": row.model,
        "types": list(row.types),
        "providers": row.providers,
        "acknowledged": row.acknowledged,
        "verified": best.verified,
        "input_price": row.input_price,
        "output_price": row.output_price,
        "first_token_ms": best.first_token,
        "tokens_per_second": None if best.speed is None else tenths(best.speed),
        "uptime_7d_percent": best.uptime and best.uptime.percent,
        "probes_7d": best.uptime and best.uptime.probes,
        "updated_at_unix": row.updated_at_unix or None,
    }


def provider_body(line: ProviderLine) -> dict[str, Any]:
    row = line.row
    return {
        "address": row.address,
        "name": line.said.name if line.said else None,
        "kinds": list(row.kinds),
        "services": row.services,
        "acknowledged": row.acknowledged,
        "verified": line.verified,
        "uptime_7d_percent": line.uptime and line.uptime.percent,
        "probes_7d": line.uptime and line.uptime.probes,
        "stake": row.stake,
        "earned": row.earned,
        "since_block": row.since_block,
        "updated_at_unix": row.updated_at_unix or None,
    }


@router.get(
    "/models",
    response={200: schemas.ListOf[ModelOut], **PROBLEMS},
    operation_id="list_models",
    summary="All models that services name",
    tags=["Services"],
)
@decorate_view(revalidated_as_list)
def list_models(request: HttpRequest, query: Query[ModelsIn]) -> dict[str, Any]:
    """Each model with how many providers offer it, the lowest prices and the best measurements of 7
    days among its services. The name is the providers' own word; nobody proved that it answers.
    """
    version = selectors.listings_version()
    asked = replace(query.asked, page=query.page)
    return envelope(request, overviews.models(asked, version, query.page_size), model_body)


@router.get(
    "/models.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_models",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
    tags=["Services"],
)
@decorate_view(revalidated_as_list)
def export_models(request: HttpRequest, query: Query[ModelsFileIn]) -> HttpResponseBase:
    """All models that the question selects, in its order; several types are joined by spaces."""
    return _csv(request, "models.csv", ModelOut, query.asked, overviews.models, model_body)


@router.get(
    "/providers",
    response={200: schemas.ListOf[ProviderLineOut], **PROBLEMS},
    operation_id="list_providers",
    summary="All providers with a listed service",
    tags=["Providers"],
)
@decorate_view(revalidated_as_list)
def list_providers(request: HttpRequest, query: Query[ProvidersIn]) -> dict[str, Any]:
    """Each with what it lists, what it was paid, how many of its services pass our check now, and
    the uptime of the least reliable one. `name` is its own word, signed by its wallet.
    """
    version = selectors.listings_version()
    asked = replace(query.asked, page=query.page)
    found = overviews.providers(asked, version, query.page_size)
    return envelope(request, found, provider_body)


@router.get(
    "/providers.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_providers",
    summary="The same as CSV, complete",
    openapi_extra=CSV,
    tags=["Providers"],
)
@decorate_view(revalidated_as_list)
def export_providers(request: HttpRequest, query: Query[ProvidersFileIn]) -> HttpResponseBase:
    """All providers that the question selects, in its order; both kinds are joined by a space."""
    find, body = overviews.providers, provider_body
    return _csv(request, "providers.csv", ProviderLineOut, query.asked, find, body)


def _csv(
    request: HttpRequest,
    name: str,
    shape: type[Schema],
    asked: Question,
    find: Callable[[Question, str, int], Page[Line]],
    body: Callable[[Line], dict[str, Any]],
) -> HttpResponseBase:
    def source() -> Iterator[list[Line]]:
        version = selectors.listings_version()
        number: int | None = 1
        while number is not None:
            page = find(replace(asked, page=number), version, selectors.MAX_PAGE_SIZE)
            yield list(page.items)
            number = page.next_number

    def line(one: Line) -> dict[str, Any]:
        values = body(one).items()
        return {key: " ".join(v) if isinstance(v, list) else v for key, v in values}

    return csv_files.streamed(request, name, tuple(shape.model_fields), source, line)
