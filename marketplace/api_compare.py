"""`/compare` as JSON and CSV: the rows of the page, each value exact and with its unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Field, Query, Router, Schema
from ninja.decorators import decorate_view

from accounts import csv_files
from marketplace import compare, schemas, schemas_listings
from marketplace.api_lists import CSV, PROBLEMS, revalidated_with_health
from marketplace.parts import service_id
from marketplace.schemas import EMPTY, Address, TextIn
from marketplace.schemas_services import WorkloadIn
from moderation import selectors as moderation

router = Router(tags=["Services"])


class CompareIn(WorkloadIn):
    """The question of the page `/compare`."""

    s: list[TextIn] = Field(
        ...,
        min_length=1,
        max_length=compare.MOST,
        description="a service, up to four times: `kind/provider`, and `/service_name` where it is "
        "not in the recommended contract",
    )
    only: Annotated[Literal["differences"] | None, EMPTY] = Field(
        None, description="`differences`: rows in which all are equal are left out"
    )


class ComparedService(Schema):
    """`id` is what `s` calls it."""

    id: str
    kind: schemas.ServiceKind
    provider: Address
    service_name: str
    removed: bool
    moderation: schemas_listings.Moderation | None = Field(
        None, description="null: nothing was decided"
    )


class ComparedValue(Schema):
    """What one service has in a row. `value` null: not known; `samples`: how many probes or
    answers it was measured by; `wins`: by the row's rule."""

    value: str | None
    unit: str
    samples: int | None
    wins: bool


class ComparedRow(Schema):
    """`rule` says what wins, empty where nothing does; `declared` rows are the providers' own
    words; `values` stand in the order of `services`."""

    section: str
    name: str
    label: str
    rule: str
    declared: bool
    differs: bool
    values: list[ComparedValue]


class Comparison(Schema):
    """Services side by side. `unknown`: names that no listing has; with fewer than two known ones
    there are no rows."""

    services: list[ComparedService]
    unknown: list[str]
    rows: list[ComparedRow]


def _read(
    query: CompareIn,
) -> tuple[Sequence[compare.One], tuple[str, ...], tuple[compare.Section, ...]]:
    listings, unknown = compare.named(query.s)
    workload = query.filters.workload
    found = compare.gather(tuple(listings.values()), workload)
    sections = compare.sections(found, workload) if len(found) > 1 else ()
    return found, unknown, compare.only_differences(sections) if query.only else sections


@router.get(
    "/compare",
    response={200: Comparison, **PROBLEMS},
    operation_id="compare_services",
    summary="Two to four services side by side",
)
@decorate_view(revalidated_with_health)
def compare_services(request: HttpRequest, query: Query[CompareIn]) -> dict[str, Any]:
    """The rows of the page `/compare`: prices, what our probes measured in 7 days, evidence, the
    settlement record, what providers declare. Removed services can be compared, too.

    A row is won only by its rule, among services measured often enough; prices of different units
    (tokens, pictures, minutes) compete with nobody. A workload adds `month_cost`: 30 such days.
    """
    found, unknown, sections = _read(query)
    return {
        "services": [
            {
                "id": service_id(one.listing),
                "kind": one.listing.kind,
                "provider": one.listing.provider,
                "service_name": one.listing.service_name,
                "removed": one.listing.removed,
                "moderation": moderation.api_body(one.row.decided),
            }
            for one in found
        ],
        "unknown": unknown,
        "rows": [
            {
                "section": section.name,
                "name": row.name,
                "label": row.label,
                "rule": row.rule,
                "declared": row.declared,
                "differs": row.differs,
                "values": [
                    dict(zip(("value", "unit"), cell.exact, strict=True))
                    | {"samples": cell.samples, "wins": cell.wins}
                    for cell in row.cells
                ],
            }
            for section in sections
            for row in section.rows
        ],
    }


COLUMNS = (
    "section", "name", "kind", "provider", "service_name", "value", "unit", "samples", "wins",
    "rule", "declared",
)  # fmt: skip


@router.get(
    "/compare.csv",
    response={200: None, **PROBLEMS},
    operation_id="export_comparison",
    summary="The same as CSV",
    openapi_extra=CSV,
)
@decorate_view(revalidated_with_health)
def export_comparison(request: HttpRequest, query: Query[CompareIn]) -> HttpResponseBase:
    """A line for each service in each row, so that the columns are the same whatever is compared.
    Names that no listing has are left out."""
    found, _, sections = _read(query)

    def source() -> Iterator[list[dict[str, Any]]]:
        for section in sections:
            yield [
                {
                    "section": section.name,
                    "name": row.name,
                    "kind": one.listing.kind,
                    "provider": one.listing.provider,
                    "service_name": one.listing.service_name,
                    "value": cell.exact[0],
                    "unit": cell.exact[1],
                    "samples": cell.samples,
                    "wins": str(cell.wins).lower(),
                    "rule": row.rule,
                    "declared": str(row.declared).lower(),
                }
                for row in section.rows
                for one, cell in zip(found, row.cells, strict=True)
            ]

    return csv_files.streamed(request, "compare.csv", COLUMNS, source, lambda line: line)
