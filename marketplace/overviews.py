"""What `/models` and `/providers` may be asked, and their lines, which pages and API share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from django.contrib.postgres.aggregates import BoolOr
from django.db.models import Count, Min
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.http import page_number
from accounts.pages_parts import Option
from accounts.pages_transaction import Link
from attestation import selectors as attestation
from chain.selectors import times_of
from ledger import groups, selectors, statistics
from ledger.records import Page
from marketplace import conditions, formats, links, names, parts
from marketplace.filters import MAX_QUERY
from marketplace.memo import at_listing
from marketplace.model_facts import Measured, measured
from marketplace.names import Named
from probes import selectors as probes
from probes.selectors import Uptime


@dataclass(frozen=True)
class Asked:
    """A question as its URL says it, each in its canonical text; empty means any. `only`: a type of
    service, or a kind of contract."""

    q: str = ""
    only: str = ""
    sort: str = ""
    page: int = 1

    PATH: ClassVar[str]
    ONLY: ClassVar[str]
    SORTS: ClassVar[Mapping[str, str]]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Never an error: what makes no sense is what a visitor did not ask for."""

        def text(name: str) -> str:
            return given.get(name, "").replace("\x00", "").strip()[:MAX_QUERY]

        sort = text("sort")
        return cls(
            q=text("q"),
            only=cls.known(text(cls.ONLY)),
            sort=sort if sort in list(cls.SORTS)[1:] else "",
            page=page_number(given.get("page", "")),
        )

    @classmethod
    def known(cls, only: str) -> str:
        return only

    def path(self, at: str = "", **changed: str | int) -> str:
        """The page or a twin with this question, some of it changed; the first page unless that is
        given."""
        asked = {"q": self.q, self.ONLY: self.only, "sort": self.sort}
        return links.with_query(at or self.PATH, **{**asked, **changed})

    @property
    def order(self) -> str:
        return self.sort or next(iter(self.SORTS))

    @property
    def narrowed(self) -> bool:
        return bool(self.q or self.only)

    @property
    def sorts(self) -> tuple[Option, ...]:
        usual = next(iter(self.SORTS))
        return tuple(
            Option("" if key == usual else key, _(label), key == self.order)
            for key, label in self.SORTS.items()
        )

    @property
    def twins(self) -> tuple[Link, ...]:
        return (
            Link("JSON", self.path(f"/api/v1{self.PATH}")),
            Link("CSV", self.path(f"/api/v1{self.PATH}.csv")),
        )


class ModelsAsked(Asked):
    PATH, ONLY = "/models", "type"
    SORTS: ClassVar[Mapping[str, str]] = {
        "providers": gettext_noop("Most providers"),
        "model": gettext_noop("Model, A to Z"),
        "input": gettext_noop("Input, lowest first"),
        "output": gettext_noop("Output, lowest first"),
        "updated": gettext_noop("Last changed"),
    }

    @property
    def query(self) -> selectors.ServiceQuery:
        return selectors.ServiceQuery(
            kind="inference", type=self.only, q=self.q, known_as=names.known_as(self.q)
        )


class ProvidersAsked(Asked):
    PATH, ONLY = "/providers", "kind"
    SORTS: ClassVar[Mapping[str, str]] = {
        "since": gettext_noop("Listed longest"),
        "services": gettext_noop("Most services"),
        "stake": gettext_noop("Stake, highest first"),
        "earned": gettext_noop("Earned, most first"),
        "updated": gettext_noop("Last changed"),
    }

    @classmethod
    def known(cls, only: str) -> str:
        return only if only in selectors.KINDS else ""

    @property
    def query(self) -> selectors.ServiceQuery:
        return selectors.ServiceQuery(kind=self.only, q=self.q, known_as=names.known_as(self.q))

    @property
    def kinds(self) -> tuple[Option, ...]:
        return (
            Option("", _("Any kind"), not self.only),
            *(Option(kind, parts.kind_label(kind), kind == self.only) for kind in selectors.KINDS),
        )


# --- models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelLine:
    row: groups.ModelRow
    measured: Measured


def models(asked: ModelsAsked, version: str, size: int = selectors.PAGE_SIZE) -> Page[ModelLine]:
    """One page of models with the best of what we measured (6 queries, 1 more with words; while
    nothing changes that one and the 2 that say so)."""
    query = asked.query
    found = at_listing.get(
        version,
        ("models", query, asked.order, asked.page, size),
        lambda: groups.models(query, asked.page, size, asked.order),
    )
    wanted = tuple(row.model for row in found.items)
    # What we measured moves without listings; the same states stand in the API's ETag.
    states = (attestation.state(), probes.state()) if wanted and version else ()
    known = at_listing.get(
        version, ("measured", query, wanted, states), lambda: measured(wanted, query)
    )
    lines = tuple(ModelLine(row, known.get(row.model, Measured())) for row in found.items)
    return Page(lines, found.count, found.number, found.size)


def types(asked: ModelsAsked, version: str) -> tuple[Option, ...]:
    """Types of service that name a model, the most frequent first."""
    every = selectors.ServiceQuery(kind="inference")
    facets = at_listing.get(version, ("types", every), lambda: statistics.facets(every))
    found = {facet.value: None for facet in facets.types if facet.value}
    found.setdefault(asked.only, None)
    found.pop("", None)
    return (
        Option("", _("Any type"), not asked.only),
        *(Option(one, parts.type_label(one), one == asked.only) for one in found),
    )


# --- providers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProviderLine:
    """`verified`: services that pass our check now; `uptime`: of the least reliable one in 7 days,
    None without data; `example`: some of it was measured nowhere."""

    row: groups.ProviderRow
    verified: int
    uptime: Uptime | None
    example: bool
    said: Named | None
    since: dt.datetime | None

    @property
    def path(self) -> str:
        return links.provider_path(self.row.address)

    @property
    def kinds(self) -> str:
        return ", ".join(parts.kind_label(kind) for kind in self.row.kinds)

    @property
    def updated(self) -> dt.datetime | None:
        return formats.of_unix(self.row.updated_at_unix)


def providers(
    asked: ProvidersAsked, version: str, size: int = selectors.PAGE_SIZE
) -> Page[ProviderLine]:
    """One page of providers (5 queries, 1 more with words and whenever a listing changed)."""
    query = asked.query

    def make() -> Page[groups.ProviderRow]:
        return groups.offering(asked.page, size, query, asked.order)

    # What was earned moves with settlements, not with listings.
    key = ("providers", query, asked.order, asked.page, size)
    offering = make() if asked.order == "earned" else at_listing.get(version, key, make)
    found = groups.with_earnings(offering)
    addresses = [row.address for row in found.items]
    known, said = _measured(addresses), names.names_of(addresses, version)
    blocks = tuple(row.since_block for row in found.items)
    times = at_listing.get(version, ("times", blocks), lambda: times_of(blocks))
    lines = tuple(
        ProviderLine(
            row,
            *known.get(row.address, (0, None, False)),
            said.get(row.address),
            times.get(row.since_block),
        )
        for row in found.items
    )
    return Page(lines, found.count, found.number, found.size)


def _measured(providers: list[str]) -> dict[str, tuple[int, Uptime | None, bool]]:
    """Of each: verified services, the least uptime, and whether any is an example (1 query)."""
    since = probes.week_told()
    rows = selectors.matching(selectors.ServiceQuery()).filter(provider__in=providers)
    made = conditions.health_of_row("example", since)
    rows = rows.annotate(up=conditions.uptime_of_row(since), made=made, word=conditions.word())
    good = Count("pk", filter=conditions.PASSES)
    found = rows.values("provider").annotate(least=Min("up"), good=good, example=BoolOr("made"))
    return {
        row["provider"]: (row["good"], conditions.uptime_of(row["least"]), bool(row["example"]))
        for row in found.order_by()
    }
