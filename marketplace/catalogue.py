"""The catalogue's filters: a URL's query string becomes a `ServiceQuery` and a page, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from django.conf import settings

from attestation import selectors as attestation
from chain.selectors import Freshness as Head
from ledger import selectors, statistics
from ledger.models import Kind
from ledger.records import Listing, Page
from marketplace import formats, links, pages, parts, verdicts
from marketplace.memo import at_block, at_listing

MAX_QUERY = 200
TARGET = "#results"

VERDICT_LABELS = {
    word: verdicts.word(word).text
    for word in ("pass", "warn", "partial", "fail", "not_provided", "expired", "never")
}

SORT_LABELS = {
    "model": "Model, A to Z",
    "price": "Price, lowest first",
    "-price": "Price, highest first",
    "-updated": "Last changed",
    "-created": "Newest",
    "-stake": "Stake, highest first",
}


@dataclass(frozen=True)
class Filters:
    """What the visitor asked for. `type` is a service type or `fine-tuning`; empty means any."""

    q: str = ""
    type: str = ""
    model: str = ""
    verified: str = ""
    sort: str = "model"
    page: int = 1

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Filters:
        """Never an error: what makes no sense is what a visitor did not ask for."""

        def text(name: str) -> str:
            return given.get(name, "").replace("\x00", "").strip()[:MAX_QUERY]

        verified = text("verified")
        sort = text("sort")
        kind = "fine-tuning" if text("kind") == Kind.FINE_TUNING else ""
        return cls(
            q=text("q"),
            type=text("type") or kind,
            # A model is matched whole; its name may be long.
            model=given.get("model", "").replace("\x00", ""),
            verified=verified if verified in VERDICT_LABELS else "",
            sort=sort if sort.removeprefix("-") in selectors.SORTS else "model",
            page=page_number(given.get("page", "")),
        )

    @cached_property
    def query(self) -> selectors.ServiceQuery:
        fine_tuning = self.type == Kind.FINE_TUNING
        return selectors.ServiceQuery(
            kind=Kind.FINE_TUNING.value if fine_tuning else "",
            type="" if fine_tuning else self.type,
            q=self.q,
            model=self.model,
            where=attestation.verified(self.verified),
            sort=self.sort,
        )

    def path(self, **changed: str | int) -> str:
        """The catalogue with these filters, some of them changed; back to page 1 unless that is
        given."""
        values: dict[str, str | int] = {
            "q": self.q,
            "type": self.type,
            "model": self.model,
            "verified": self.verified,
            "sort": "" if self.sort == "model" else self.sort,
            **changed,
        }
        if values.get("page") == 1:
            del values["page"]
        return links.with_query("/", **values)

    @property
    def active(self) -> dict[str, str]:
        """The filters in use, in words."""
        labels = {
            "q": f"“{parts.name(self.q)}”",
            "type": parts.type_label(self.type),
            "model": parts.name(self.model),
            "verified": VERDICT_LABELS.get(self.verified, ""),
        }
        return {field: label for field, label in labels.items() if getattr(self, field)}


def page_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 and int(text) else 1


def catalogue_page(filters: Filters, head: Head) -> pages.CataloguePage:
    """Everything `/` shows. A constant number of queries, whatever the list's length."""
    # The state before the rows: where a block comes in between, what is kept is newer than its
    # name says, and is counted again when the name changes.
    version, query = selectors.listings_version(), filters.query
    found = services(filters, version)
    facets = at_listing.get(version, ("facets", query.unsorted), lambda: statistics.facets(query))
    active, verified = filters.active, Filters(verified="pass")
    return pages.CataloguePage(
        totals=at_block.get(head.indexed_hash, "totals", lambda: totals(version)),
        verified=count_of(verified.query, version),
        verified_path=verified.path(),
        development=settings.IS_DEVNET,
        q=filters.q,
        sort=filters.sort,
        types=_types(filters, facets),
        models=_models(filters, facets),
        verdicts=(
            parts.Option("", "Any verification", not filters.verified),
            *(parts.Option(v, label, v == filters.verified) for v, label in VERDICT_LABELS.items()),
        ),
        sorts=_sorts(filters),
        chips=tuple(
            parts.Chip(label, filters.path(**{field: ""})) for field, label in active.items()
        ),
        columns=_columns(filters),
        rows=parts.rows(found.items),
        count=found.count,
        pager=parts.pager(found, "services", lambda number: filters.path(page=number), TARGET),
        nothing=""
        if found.count
        else "filtered"
        if active
        else "empty"
        if head.indexed_block >= 0
        else "unindexed",
        filters_said=" and ".join(active.values()),
    )


def totals(version: str, *, all_time: bool = False) -> statistics.Totals:
    known = at_listing.get(version, "listed", statistics.listed)
    return statistics.totals(all_time=all_time, known=known)


def count_of(query: selectors.ServiceQuery, version: str) -> int:
    """How many services a query selects."""
    return at_listing.get(
        version, ("count", query.unsorted), lambda: selectors.matching(query).count()
    )


def services(filters: Filters, version: str) -> Page[Listing]:
    """The page asked for, or the last one where the list is shorter."""
    query = filters.query
    count = count_of(query, version)
    last = Page((), count, 1, selectors.PAGE_SIZE).pages
    return selectors.services(query, min(filters.page, last), count=count)


def _types(filters: Filters, facets: statistics.Facets) -> tuple[parts.Option, ...]:
    counts = {facet.value: facet.count for facet in facets.types}
    # A facet of kinds ignores the kind filter but keeps the type; with a type chosen it says
    # nothing.
    other = {facet.value: facet.count for facet in facets.kinds}
    if Kind.FINE_TUNING in other and (not filters.type or filters.type == Kind.FINE_TUNING):
        counts[Kind.FINE_TUNING] = other[Kind.FINE_TUNING]
    counts.setdefault(filters.type, 0)
    counts.pop("", None)
    return (
        parts.Option("", "Any type", not filters.type),
        *(
            parts.Option(value, f"{parts.type_label(value)} ({count})", value == filters.type)
            for value, count in counts.items()
        ),
    )


def _models(filters: Filters, facets: statistics.Facets) -> tuple[parts.Option, ...]:
    counts = {facet.value: facet.count for facet in facets.models}
    if filters.model:
        counts.setdefault(filters.model, 0)
    return (
        parts.Option("", "Any model", not filters.model),
        *(
            parts.Option(
                value, f"{formats.clip(parts.name(value), 40)} ({count})", value == filters.model
            )
            for value, count in counts.items()
        ),
    )


def _sorts(filters: Filters) -> tuple[parts.Option, ...]:
    labels = dict(SORT_LABELS)
    labels.setdefault(filters.sort, f"By {filters.sort.removeprefix('-').replace('_', ' ')}")
    return tuple(
        parts.Option(value, label, value == filters.sort) for value, label in labels.items()
    )


def _columns(filters: Filters) -> tuple[parts.Column, ...]:
    def sortable(label: str, key: str, number: bool = False, first: str = "") -> parts.Column:
        up, down = key, f"-{key}"
        state = {up: "ascending", down: "descending"}.get(filters.sort, "")
        turned = {up: down, down: up}.get(filters.sort, f"{first}{key}")
        return parts.Column(label, number, replace(filters, page=1).path(sort=turned), state)

    return (
        sortable("Model", "model"),
        sortable("Type", "type"),
        sortable("Provider", "provider"),
        sortable("Input", "input_price", True),
        sortable("Output", "output_price", True),
        parts.Column("Verification"),
        sortable("Changed", "updated", True, "-"),
    )
