"""Two to four services side by side: the same units, what differs, who wins a row by which rule.

A row without a rule has no winner; nobody wins a row in which all are equal, and what was measured
too seldom competes with nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attestation.selectors import DEVELOPMENT, ServiceKey, StandingView, standings
from ledger.models import ServiceTotal
from ledger.records import Listing
from marketplace import cards, formats, parts, ranking
from marketplace.formats import Price
from marketplace.parts import Link, ServiceRow
from marketplace.tariffs import Workload
from probes.selectors import HealthView, Spread, health_of

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
        Section("Prices", _prices(found, workload)),
        Section("Measured by us, 7 days", _measured(found)),
        Section("Evidence and trust", _trust(found)),
        Section("Settlement record, all time", _record(found)),
        Section("The model, as declared", _model(found)),
    )


def _prices(found: Sequence[One], workload: Workload | None) -> tuple[Row, ...]:
    offers = [one.row.offer for one in found]
    rows = [
        _priced("Input", [offer.input for offer in offers]),
        _priced("Cached input", [offer.cached for offer in offers]),
        _priced("Output", [offer.output for offer in offers]),
    ]
    if workload is not None:
        months = [one.month for one in found]
        cells = [
            Cell(neuron=month) if month is not None else Cell("not by tokens") for month in months
        ]
        rows.append(_row("Your month", cells, "the lowest wins", months, min))
    tiers = [Cell(f"{len(offer.tiers)} tiers" if offer.tiers else "one price") for offer in offers]
    return (*rows, Row("Long requests", tuple(tiers)))


def _priced(label: str, prices: Sequence[Price | None]) -> Row:
    cells = [
        Cell(price=price, note=f"{price.each:,} neuron per {price.each_unit}")
        if price is not None
        else Cell(formats.UNKNOWN)
        for price in prices
    ]
    units = {price.unit for price in prices if price is not None}
    # Prices of different units are shown, and compared by nobody.
    values = [price.neuron if price is not None and len(units) == 1 else None for price in prices]
    return _row(label, cells, "the lowest wins" if len(units) == 1 else "", values, min)


def _samples(one: Spread) -> str:
    return f"{one.n:,} sample{'' if one.n == 1 else 's'}"


def _measured(found: Sequence[One]) -> tuple[Row, ...]:
    ups = [one.health.uptime_7d for one in found]
    firsts = [one.health.first_token for one in found]
    speeds = [one.health.tokens for one in found]
    return (
        _row(
            "Uptime",
            [
                Cell(up.text, f"of {up.probes:,} probes", health=one.health)
                if up
                else Cell("no data", health=one.health)
                for up, one in zip(ups, found, strict=True)
            ],
            f"the highest of at least {LEAST_PROBES} probes wins",
            [up.share if up and up.probes >= LEAST_PROBES else None for up in ups],
            max,
        ),
        _row(
            "First token, p50",
            [
                Cell(f"{one.p50:,} ms", f"p95 {one.edge:,} ms, {_samples(one)}")
                if one
                else Cell("no data")
                for one in firsts
            ],
            f"the lowest of at least {LEAST_SAMPLES} samples wins",
            [one.p50 if one and one.n >= LEAST_SAMPLES else None for one in firsts],
            min,
        ),
        _row(
            "Speed, p50",
            [
                Cell(f"{one.p50 // 10:,}.{one.p50 % 10} tok/s", _samples(one))
                if one
                else Cell("no data")
                for one in speeds
            ],
            f"the highest of at least {LEAST_SAMPLES} samples wins",
            [one.p50 if one and one.n >= LEAST_SAMPLES else None for one in speeds],
            max,
        ),
    )


def _trust(found: Sequence[One]) -> tuple[Row, ...]:
    def answered(one: One, question: str) -> Cell:
        word = str(one.standing.questions.get(question, ""))
        # What was proven of development evidence proves nothing about real hardware.
        shown = f"{DEVELOPMENT}{word}" if one.standing.development and word in _GOOD else word
        return Cell(verdict=shown) if word else Cell("not checked")

    stakes = [one.listing.stake for one in found]
    return (
        Row("Our verdict", tuple(Cell(verdict=one.standing.overall) for one in found)),
        Row("Hardware proven", tuple(answered(one, "hardware") for one in found)),
        Row("GPU proven", tuple(answered(one, "gpu") for one in found)),
        Row(
            "Signer acknowledged by the contract’s owner",
            tuple(Cell("yes" if one.listing.tee_signer_acknowledged else "no") for one in found),
        ),
        Row(
            "Kind of TEE",
            tuple(
                Cell(cards.verifier_of(one.listing.additional_info) or "not declared")
                for one in found
            ),
            declared=True,
        ),
        _row("Stake", [Cell(neuron=stake) for stake in stakes], "the highest wins", stakes, max),
    )


def _record(found: Sequence[One]) -> tuple[Row, ...]:
    totals = [one.total for one in found]
    shares = [
        formats.percentage(total.settled, total.settled + total.unsettled + total.refused_amount)
        for total in totals
    ]
    return (
        Row("Settlements", tuple(Cell(f"{total.items:,}") for total in totals)),
        Row(
            "Paid in part or refused",
            tuple(Cell(f"{total.in_part:,} / {total.refused:,}") for total in totals),
        ),
        Row("Collected", tuple(Cell(neuron=int(total.settled)) for total in totals)),
        Row("Share of what was asked", tuple(Cell(share) for share in shares)),
    )


def _model(found: Sequence[One]) -> tuple[Row, ...]:
    named = Row("Model", tuple(Cell(one.row.title) for one in found), declared=True)
    labels = [label for label, _ in found[0].card.facts] if found else []
    facts = [dict(one.card.facts) for one in found]
    return (
        named,
        *(
            Row(label, tuple(Cell(said[label] or "unknown") for said in facts), declared=True)
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
    """`/compare`. `unknown`: names that no listing has; `dropped`: more than four were asked."""

    services: tuple[ServiceRow, ...]
    sections: tuple[Section, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]
    dropped: int
    views: tuple[Link, ...]
    only: bool
    workload: Workload | None


def only_differences(found: tuple[Section, ...]) -> tuple[Section, ...]:
    kept = (
        replace(section, rows=tuple(row for row in section.rows if row.differs))
        for section in found
    )
    return tuple(section for section in kept if section.rows)


def named(id: str) -> str:
    """A stranger's name of a service, fit to be shown."""
    return formats.clip(parts.name(id), 60)
