"""The services list in an order that the ledger does not know: by what we measured, or by what a
workload costs there."""

from __future__ import annotations

from django.db.models import Case, F, QuerySet, TextField, Value, When

from ledger import selectors
from ledger.models import Service
from ledger.records import Listing, Page
from marketplace import conditions, tariffs
from marketplace.filters import Filters
from marketplace.memo import at_listing
from marketplace.tariffs import Workload
from probes import selectors as probes

#: Only these texts change a price; others are not even read.
_SAYS_PRICES = "cacheTokenBilling|tieredPricing"


def services(
    filters: Filters, version: str, page_size: int = selectors.PAGE_SIZE, *, beyond: bool = False
) -> Page[Listing]:
    """The page asked for; where the list is shorter the last one, or an empty one `beyond` it (at
    most 3 queries; one more by cost)."""
    query = filters.query
    count = count_of(query, version)
    last = Page((), count, 1, page_size).pages
    number = filters.page if beyond else min(filters.page, last)
    name = filters.sort.removeprefix("-")
    workload = filters.workload
    if name == "cost" and workload is not None:
        return _by_cost(filters, workload, version, number, page_size)
    if name in probes.SORTS:
        return _by_measure(filters, count, number, page_size)
    return selectors.services(query, number, page_size, count=count)


def count_of(query: selectors.ServiceQuery, version: str) -> int:
    """How many services a query selects."""
    return at_listing.get(
        version, ("count", query.unsorted), lambda: selectors.matching(query).count()
    )


def _by_measure(filters: Filters, count: int, number: int, size: int) -> Page[Listing]:
    """Services without data last, whichever way round."""
    name = filters.sort.removeprefix("-")
    rows = selectors.matching(filters.query).annotate(measure=probes.measured(name))
    order = F("measure")
    turned = filters.sort.startswith("-")
    first = order.desc(nulls_last=True) if turned else order.asc(nulls_last=True)
    rows = rows.defer("search").order_by(first, "kind", "provider", "serving")
    known = selectors.contracts()
    return selectors.paginate(rows, number, size, lambda row: Listing.of(row, known), count)


def _by_cost(
    filters: Filters, workload: Workload, version: str, number: int, size: int
) -> Page[Listing]:
    query = filters.query.unsorted
    order = at_listing.get(
        version,
        ("cost", query, workload),
        lambda: _cheapest_first(selectors.matching(query), workload),
    )
    ranked, rest = order
    keys = (*(reversed(ranked) if filters.sort.startswith("-") else ranked), *rest)
    shown = keys[(number - 1) * size : number * size]
    rows = {row.pk: row for row in Service.current.filter(pk__in=shown).defer("search")}
    known = selectors.contracts()
    items = tuple(Listing.of(rows[key], known) for key in shown if key in rows)
    return Page(items, len(keys), number, size)


def _cheapest_first(
    rows: QuerySet[Service], workload: Workload
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Primary keys of services billed by tokens by what the workload costs there, and of all
    others (2 queries)."""
    said = Case(
        When(additional_info__regex=_SAYS_PRICES, then="additional_info"),
        default=Value(""),
        output_field=TextField(),
    )
    offers = rows.filter(conditions.TOKENS).annotate(said=said)
    costs = sorted(
        (workload.monthly(tariffs.tariff(*priced)), provider, key)
        for key, provider, *priced in offers.values_list(
            "pk", "provider", "service_type", "input_price", "output_price", "said"
        )
    )
    others = rows.exclude(conditions.TOKENS).order_by("kind", "provider", "serving")
    return tuple(key for _, _, key in costs), tuple(others.values_list("pk", flat=True))


def monthly(listing: Listing, workload: Workload | None) -> int | None:
    """Neuron a month; None without a workload, and where nothing is billed by tokens."""
    if workload is None or listing.is_fine_tuning:
        return None
    if not tariffs.billed_by_tokens(listing.service_type):
        return None
    prices = listing.input_price, listing.output_price
    tariff = tariffs.tariff(listing.service_type, *prices, listing.additional_info)
    return workload.monthly(tariff)
