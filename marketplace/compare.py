"""Two to four services side by side: the same units, what differs, who wins a row by which rule.

A row without a rule has no winner; nobody wins a row in which all are equal, and what was measured
too seldom competes with nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from attestation.selectors import DEVELOPMENT, ServiceKey, StandingView, standings
from ledger.models import ServiceTotal
from ledger.records import Listing
from marketplace import cards, formats, parts, ranking
from marketplace.filters import Filters
from marketplace.formats import Price
from marketplace.parts import Link, ServiceRow
from marketplace.tariffs import Workload
from probes.selectors import HealthView, Spread, health_of
from probes.templatetags.health import seconds

MOST = 4
#: Fewer samples than this decide nothing.
LEAST_PROBES, LEAST_SAMPLES = 96, 20
_GOOD = ("pass", "warn", "partial")


@dataclass(frozen=True)
class Cell:
    """One of text, a price, an amount of neuron or a verdict; `wins`: by the row's rule."""

    text: str = ""
    note: str = ""
    price: Price | None = None
    neuron: int | None = None
    verdict: str = ""
    health: HealthView | None = None
    wins: bool = False


@dataclass(frozen=True)
class Row:
    """`rule`: what wins, in words, empty where nothing does. `declared`: the providers' own
    words."""

    label: str
    cells: tuple[Cell, ...]
    rule: str = ""
    declared: bool = False

    @property
    def differs(self) -> bool:
        return len({replace(cell, wins=False, health=None) for cell in self.cells}) > 1


@dataclass(frozen=True)
class Section:
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class One:
    """All that is known about one of the compared services."""

    listing: Listing
    row: ServiceRow
    standing: StandingView
    health: HealthView
    total: ServiceTotal
    card: cards.Card
    month: int | None


def gather(listings: Sequence[Listing], workload: Workload | None) -> tuple[One, ...]:
    """What there is to compare (3 queries)."""
    keys = [ServiceKey.of(listing) for listing in listings]
    known, measured = standings(keys), health_of(keys)
    kept = {
        (total.serving, total.provider): total
        for total in ServiceTotal.objects.filter(provider__in={key.provider for key in keys})
    }
    return tuple(
        One(
            listing=listing,
            row=ServiceRow.of(listing, known[key], measured[key]),
            standing=known[key],
            health=measured[key],
            total=kept.get(
                (listing.serving, listing.provider),
                ServiceTotal(serving=listing.serving, provider=listing.provider),
            ),
            card=cards.card(listing.additional_info),
            month=ranking.monthly(listing, workload),
        )
        for listing, key in zip(listings, keys, strict=True)
    )


def sections(found: Sequence[One], workload: Workload | None) -> tuple[Section, ...]:
    return (
        Section(_("Prices"), _prices(found, workload)),
        Section(_("Measured by us, 7 days"), _measured(found)),
        Section(_("Evidence and trust"), _trust(found)),
        Section(_("Settlement record, all time"), _record(found)),
        Section(_("The model, as declared"), _model(found)),
    )


def _prices(found: Sequence[One], workload: Workload | None) -> tuple[Row, ...]:
    offers = [one.row.offer for one in found]
    rows = [
        _priced(_("Input"), [offer.input for offer in offers]),
        _priced(_("Cached input"), [offer.cached for offer in offers]),
        _priced(_("Output"), [offer.output for offer in offers]),
    ]
    if workload is not None:
        months = [one.month for one in found]
        cells = [
            Cell(neuron=month) if month is not None else Cell(_("not by tokens"))
            for month in months
        ]
        rows.append(_row(_("Your month"), cells, _("the lowest wins"), months, min))
    tiers = [
        Cell(_("%(n)s tiers") % {"n": len(offer.tiers)} if offer.tiers else _("one price"))
        for offer in offers
    ]
    return (*rows, Row(_("Long requests"), tuple(tiers)))


def _priced(label: str, prices: Sequence[Price | None]) -> Row:
    cells = [
        Cell(price=price, note=price.each_said) if price is not None else Cell(formats.UNKNOWN)
        for price in prices
    ]
    units = {price.unit for price in prices if price is not None}
    # Prices of different units are shown, and compared by nobody.
    values = [price.neuron if price is not None and len(units) == 1 else None for price in prices]
    return _row(label, cells, _("the lowest wins") if len(units) == 1 else "", values, min)


def _samples(one: Spread) -> str:
    return ngettext("%(n)s sample", "%(n)s samples", one.n) % {"n": f"{one.n:,}"}


def _measured(found: Sequence[One]) -> tuple[Row, ...]:
    ups = [one.health.uptime_7d for one in found]
    firsts = [one.health.first_token for one in found]
    speeds = [one.health.tokens for one in found]
    return (
        _row(
            _("Uptime"),
            [
                Cell(up.text, _("of %(n)s probes") % {"n": f"{up.probes:,}"}, health=one.health)
                if up
                else Cell(_("no data"), health=one.health)
                for up, one in zip(ups, found, strict=True)
            ],
            _("the highest of at least %(n)s probes wins") % {"n": LEAST_PROBES},
            [up.share if up and up.probes >= LEAST_PROBES else None for up in ups],
            max,
        ),
        _row(
            _("First token, p50"),
            [
                Cell(seconds(one.p50), f"p95 {seconds(one.edge)}, {_samples(one)}")
                if one
                else Cell(_("no data"))
                for one in firsts
            ],
            _("the lowest of at least %(n)s samples wins") % {"n": LEAST_SAMPLES},
            [one.p50 if one and one.n >= LEAST_SAMPLES else None for one in firsts],
            min,
        ),
        _row(
            _("Speed, p50"),
            [
                Cell(f"{one.p50 // 10:,}.{one.p50 % 10} tok/s", _samples(one))
                if one
                else Cell(_("no data"))
                for one in speeds
            ],
            _("the highest of at least %(n)s samples wins") % {"n": LEAST_SAMPLES},
            [one.p50 if one and one.n >= LEAST_SAMPLES else None for one in speeds],
            max,
        ),
    )


def _trust(found: Sequence[One]) -> tuple[Row, ...]:
    def answered(one: One, question: str) -> Cell:
        word = str(one.standing.questions.get(question, ""))
        # What was proven of development evidence proves nothing about real hardware.
        shown = f"{DEVELOPMENT}{word}" if one.standing.development and word in _GOOD else word
        return Cell(verdict=shown) if word else Cell(_("not checked"))

    stakes = [one.listing.stake for one in found]
    yes, no = _("yes"), _("no")
    return (
        Row(_("Our verdict"), tuple(Cell(verdict=one.standing.overall) for one in found)),
        Row(_("Hardware proven"), tuple(answered(one, "hardware") for one in found)),
        Row(_("GPU proven"), tuple(answered(one, "gpu") for one in found)),
        Row(
            _("Signer acknowledged by the contract’s owner"),
            tuple(Cell(yes if one.listing.tee_signer_acknowledged else no) for one in found),
        ),
        Row(
            _("Kind of TEE"),
            tuple(
                Cell(cards.verifier_of(one.listing.additional_info) or _("not declared"))
                for one in found
            ),
            declared=True,
        ),
        _row(
            _("Stake"),
            [Cell(neuron=stake) for stake in stakes],
            _("the highest wins"),
            stakes,
            max,
        ),
    )


def _record(found: Sequence[One]) -> tuple[Row, ...]:
    totals = [one.total for one in found]
    shares = [
        formats.percentage(total.settled, total.settled + total.unsettled + total.refused_amount)
        for total in totals
    ]
    return (
        Row(_("Settlements"), tuple(Cell(f"{total.items:,}") for total in totals)),
        Row(
            _("Paid in part or refused"),
            tuple(Cell(f"{total.in_part:,} / {total.refused:,}") for total in totals),
        ),
        Row(_("Collected"), tuple(Cell(neuron=int(total.settled)) for total in totals)),
        Row(_("Share of what was asked"), tuple(Cell(share) for share in shares)),
    )


def _model(found: Sequence[One]) -> tuple[Row, ...]:
    named = Row(_("Model"), tuple(Cell(one.row.title) for one in found), declared=True)
    labels = [label for label, _ in found[0].card.facts] if found else []
    facts = [dict(one.card.facts) for one in found]
    return (
        named,
        *(
            Row(label, tuple(Cell(said[label] or _("unknown")) for said in facts), declared=True)
            for label in labels
        ),
    )


def _row(
    label: str,
    cells: Sequence[Cell],
    rule: str,
    values: Sequence[int | None],
    best: Callable[[list[int]], int],
) -> Row:
    """A row whose best value wins, where at least two compete and they are not all equal."""
    competing = [value for value in values if value is not None]
    if not rule or len(competing) < 2 or len(set(competing)) < 2:
        return Row(label, tuple(cells), rule)
    won = best(competing)
    marked = tuple(
        replace(cell, wins=value == won) for cell, value in zip(cells, values, strict=True)
    )
    return Row(label, marked, rule)


@dataclass(frozen=True)
class ComparePage:
    """`/compare`. `unknown`: names that no listing has; `dropped`: more than four were asked.
    `filters`: the workload; `kept`: what else the address says."""

    services: tuple[ServiceRow, ...]
    sections: tuple[Section, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]
    dropped: int
    views: tuple[Link, ...]
    only: bool
    filters: Filters
    kept: tuple[tuple[str, str], ...]


def only_differences(found: tuple[Section, ...]) -> tuple[Section, ...]:
    kept = (
        replace(section, rows=tuple(row for row in section.rows if row.differs))
        for section in found
    )
    return tuple(section for section in kept if section.rows)


def named(id: str) -> str:
    """A stranger's name of a service, fit to be shown."""
    return formats.clip(parts.name(id), 60)
