"""Rank labels among the services of one model, each with the rule and the window that gave it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db.models import Count, Max, Min, Q
from django.utils.translation import gettext as _

from ledger import records, selectors
from ledger.models import LISTED_PRICE
from marketplace import formats
from marketplace.compare import LEAST_PROBES, LEAST_SAMPLES
from marketplace.conditions import health_of_row
from marketplace.parts import Label, ServiceRow
from probes import selectors as probes
from protocol import fees


@dataclass(frozen=True)
class Ranks:
    """The best values among the services of a model; None where nothing is ranked: one service
    alone, more than half of them alike, or too few measurements."""

    services: int
    price: int | None
    speed: int | None
    uptime: int | None

    @property
    def rules(self) -> tuple[Label, ...]:
        """Those that were given here, with their rules."""
        return tuple(label for best, label in self._best if best is not None)

    @property
    def _best(self) -> tuple[tuple[int | None, Label], ...]:
        cheapest = _(
            "Lowest price on chain, now, of the %(n)s services that name this model; where tokens "
            "go in and out, the sum of both prices."
        )
        fastest = _(
            "Highest median of tokens per second that we measured in the last 7 days, of services "
            "with at least %(n)s measured answers."
        )
        reliable = _(
            "Highest share of the last 7 days in which our probes found it up, of services with "
            "at least %(n)s probes."
        )
        return (
            (self.price, Label(_("cheapest"), cheapest % {"n": f"{self.services:,}"})),
            (self.speed, Label(_("fastest"), fastest % {"n": LEAST_SAMPLES})),
            (self.uptime, Label(_("most reliable"), reliable % {"n": LEAST_PROBES})),
        )

    def of(self, row: ServiceRow) -> tuple[Label, ...]:
        listing, speed, up = row.listing, row.health.tokens, row.health.uptime_7d
        own = (
            None if listing.is_fine_tuning else listed_price(listing),
            speed.p50 if speed and speed.n >= LEAST_SAMPLES else None,
            up.share if up and up.probes >= LEAST_PROBES else None,
        )
        pairs = zip(self._best, own, strict=True)
        return tuple(label for (best, label), one in pairs if best is not None and best == one)


def listed_price(listing: records.Listing) -> int:
    """`ledger.models.LISTED_PRICE` of an inference listing."""
    if listing.service_type in formats.IMAGES:
        return listing.output_price
    if listing.service_type == formats.SPEECH:
        return max(listing.input_price, listing.output_price)
    if listing.service_type == fees.EMBEDDING:
        return listing.input_price
    return listing.input_price + listing.output_price


def ranks(query: selectors.ServiceQuery) -> Ranks:
    """The best values of a query's inference services (2 queries)."""
    since = probes.week_told()
    rows = selectors.matching(query).filter(kind="inference")
    rows = rows.annotate(
        price_=LISTED_PRICE,
        speed_=health_of_row("tokens_p50", since, tokens_n__gte=LEAST_SAMPLES),
        up_=health_of_row("uptime_7d", since, probes_7d__gte=LEAST_PROBES),
    )
    top = rows.aggregate(price=Min("price_"), speed=Max("speed_"), up=Max("up_"))
    found = rows.aggregate(
        services=Count("pk"),
        types=Count("service_type", distinct=True),
        **{name: Count(f"{name}_") for name in top},
        **{f"best_{name}": Count("pk", filter=Q(**{f"{name}_": top[name]})) for name in top},
    )
    # What most of them have tells none of them from the others.
    best = {name: top[name] if 2 * found[f"best_{name}"] <= found[name] else None for name in top}
    return Ranks(
        services=found["services"],
        # Sums of prices of different types say nothing about each other.
        price=best["price"] if found["types"] == 1 else None,
        speed=best["speed"],
        uptime=best["up"],
    )


def labelled(rows: Iterable[ServiceRow], given: Ranks) -> tuple[ServiceRow, ...]:
    return tuple(replace(row, labels=given.of(row)) for row in rows)
