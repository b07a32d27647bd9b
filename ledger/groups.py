"""Listings by who offers them, and by the model they name: the lines of two lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db import connection
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from chain.fields import NeuronField
from ledger import listed, selectors
from ledger.models import LISTED_OUTPUT, LISTED_UNIT, Kind, Service, ServiceTotal
from ledger.records import Page
from protocol.fees import CHAT, EMBEDDING, IMAGES, SPEECH


@dataclass(frozen=True)
class ProviderRow:
    """A line of the providers list."""

    address: str
    services: int
    kinds: tuple[str, ...]
    acknowledged: int
    stake: int
    since_block: int
    updated_at_unix: int
    earned: int


def with_earnings(page: Page[ProviderRow]) -> Page[ProviderRow]:
    """The same rows with what each provider was paid until now (1 query)."""
    earned: dict[str, int] = dict(
        ServiceTotal.objects.filter(provider__in=[row.address for row in page.items])
        .values_list("provider")
        .annotate(Sum("settled"))
    )
    rows = tuple(replace(row, earned=earned.get(row.address, 0)) for row in page.items)
    return replace(page, items=rows)


#: Orders of the providers list; ties break by who is there longest.
_PROVIDERS_BY: dict[str, tuple[str, ...]] = {
    "since": (),
    "services": ("-services",),
    "stake": ("-staked",),
    "updated": ("-updated",),
    "earned": ("-paid",),
}


def offering(
    page: int = 1,
    page_size: int = selectors.PAGE_SIZE,
    query: selectors.ServiceQuery | None = None,
    sort: str = "since",
) -> Page[ProviderRow]:
    """Providers with a listed service, without earnings: as long as no listing changes these stay
    the same, unless they are in the order of what was earned (2 queries). `query`: those with a
    service that it selects."""
    rows = listed.rows()
    if query is not None and query != selectors.ServiceQuery():
        rows = rows.filter(provider__in=selectors.matching(query).values("provider"))
    paid = ServiceTotal.objects.filter(provider=OuterRef("provider")).values("provider")
    if sort == "earned":
        sums = Subquery(paid.annotate(all=Sum("settled")).values("all"))
        rows = rows.annotate(paid=Coalesce(sums, Value(0), output_field=NeuronField()))
    grouped = ("provider", "paid") if sort == "earned" else ("provider",)
    groups = (
        rows.values(*grouped)
        .annotate(
            services=Count("pk"),
            inference=Count("pk", filter=Q(kind=Kind.INFERENCE)),
            acknowledged=Count("pk", filter=Q(tee_signer_acknowledged=True)),
            staked=Sum("stake"),
            since=Min("created_block"),
            updated=Max("updated_at_unix"),
        )
        .order_by(*_PROVIDERS_BY.get(sort, ()), "since", "provider")
    )
    shown = selectors.paginate(groups, page, page_size, dict)
    found = tuple(
        ProviderRow(
            address=row["provider"],
            services=row["services"],
            kinds=tuple(
                kind
                for kind, listed in (
                    (Kind.INFERENCE.value, row["inference"]),
                    (Kind.FINE_TUNING.value, row["services"] - row["inference"]),
                )
                if listed
            ),
            acknowledged=row["acknowledged"],
            stake=row["staked"] or 0,
            since_block=row["since"],
            updated_at_unix=row["updated"],
            earned=0,
        )
        for row in shown.items
    )
    return Page(found, shown.count, shown.number, shown.size)


# --- models -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelRow:
    """Inference services that name the same model.

    Prices are the lowest on offer, neuron per token, image or second: of several units that of
    tokens, else of images, since prices of two units have no lowest. `billed_as`: a type of service
    that is billed in that unit. `output_price` is a second's, and 0 where nothing is answered with
    tokens; `input_price` is 0 of all but tokens.
    """

    model: str
    types: tuple[str, ...]
    services: int
    providers: int
    acknowledged: int
    billed_as: str
    input_price: int
    output_price: int
    updated_at_unix: int


def models(
    query: selectors.ServiceQuery | None = None,
    page: int = 1,
    page_size: int = selectors.PAGE_SIZE,
    sort: str = "providers",
) -> Page[ModelRow]:
    """Models offered for inference that a query selects, those with most providers first unless
    `sort` is another key of `MODELS_BY` (3 queries)."""
    asked = query or selectors.ServiceQuery()
    named = selectors.matching(replace(asked, kind=Kind.INFERENCE.value)).exclude(model="")
    count = named.values("model").distinct().count()
    size = min(max(1, page_size), selectors.MAX_PAGE_SIZE)
    number = min(max(1, page), selectors.MAX_PAGE)
    groups = _model_groups(named, sort, size, (number - 1) * size)
    types: dict[str, set[str]] = {}
    offered = named.filter(model__in=[group[0] for group in groups])
    for model, kind in offered.values_list("model", "service_type").distinct():
        types.setdefault(model, set()).add(kind)
    rows = tuple(
        ModelRow(
            model=model,
            types=tuple(sorted(types.get(model, ()))),
            providers=providers,
            services=int(services),
            acknowledged=int(acknowledged),
            billed_as=EMBEDDING if answered is None else _BILLED_AS[unit],
            input_price=int(given or 0),
            output_price=int(answered or 0),
            updated_at_unix=updated,
        )
        for model, providers, services, acknowledged, updated, given, answered, unit in groups
    )
    return Page(rows, count, number, size)


# By model and provider first, in hash tables: COUNT(DISTINCT provider) would sort every listing.
_MODEL_GROUPS = """
SELECT model, COUNT(*), SUM(services), SUM(acknowledged), MAX(updated), MIN(given),
    CASE MIN(unit) WHEN 0 THEN MIN(answered) WHEN 1 THEN MIN(image) ELSE MIN(second) END, MIN(unit)
FROM ({offers}) AS offers GROUP BY model ORDER BY {order}, 1 LIMIT %s OFFSET %s
"""
_TOKENS = ~Q(service_type__in=(*IMAGES, SPEECH))
#: A type of service by what it is billed for (`LISTED_UNIT`).
_BILLED_AS = (CHAT, IMAGES[0], SPEECH)
#: Orders of the models list; prices within what they are the price of.
MODELS_BY = {
    "providers": "2 DESC",
    "model": "LOWER(model)",
    "input": "MIN(unit), 6",
    "output": "MIN(unit), 7 NULLS FIRST",
    "updated": "5 DESC",
}


def _model_groups(
    named: QuerySet[Service], sort: str, limit: int, offset: int
) -> list[tuple[Any, ...]]:
    """The columns of `_MODEL_GROUPS` (1 query)."""
    offers = named.values("model", "provider").annotate(
        services=Count("pk"),
        acknowledged=Count("pk", filter=Q(tee_signer_acknowledged=True)),
        updated=Max("updated_at_unix"),
        unit=Min(LISTED_UNIT),
        given=Min("input_price", filter=_TOKENS),
        answered=Min("output_price", filter=_TOKENS & ~Q(service_type=EMBEDDING)),
        image=Min("output_price", filter=Q(service_type__in=IMAGES)),
        second=Min(LISTED_OUTPUT, filter=Q(service_type=SPEECH)),
    )
    order = MODELS_BY.get(sort, MODELS_BY["providers"])
    sql, given = offers.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(_MODEL_GROUPS.format(offers=sql, order=order), [*given, limit, offset])
        return list(cursor.fetchall())
