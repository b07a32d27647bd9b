"""Two to four services side by side: the same units, what differs, who wins a row by which rule.

A row without a rule has no winner; nobody wins a row in which all are equal. What was measured too
seldom competes with nobody, nor does a service that its provider removed or moderators hid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.pages_transaction import Link
from attestation.selectors import DEVELOPMENT, ServiceKey, StandingView, standings
from ledger.models import ServiceTotal
from ledger.records import Listing
from marketplace import cards, formats, parts, ranking
from marketplace.filters import Filters
from marketplace.formats import Price
from marketplace.moves import moved
from marketplace.parts import ServiceRow, service_id
from marketplace.reputation import paid_share
from marketplace.selectors import listing_named
from marketplace.tariffs import Workload
from moderation import selectors as moderation
from probes.selectors import HealthView, Spread, health_of
from probes.templatetags.health import seconds, tenths

MOST = 4
#: Fewer samples than this decide nothing.
LEAST_PROBES, LEAST_SAMPLES = 96, 20
_GOOD = ("pass", "warn", "partial")


@dataclass(frozen=True)
class Cell:
    """One of text, a price, an amount of neuron or a verdict; `wins`: by the row's rule. For
    programs the text's exact `value`, None where it is not known, with its `unit`; `samples`: what
    it was measured by."""

    text: str = ""
    note: str = ""
    price: Price | None = None
    neuron: int | None = None
    verdict: str = ""
    health: HealthView | None = None
    wins: bool = False
    value: str | None = None
    unit: str = ""
    samples: int | None = None

    @property
    def exact(self) -> tuple[str | None, str]:
        """Value and unit as the API says them."""
        if self.price is not None:
            return str(self.price.neuron), f"neuron / {self.price.unit}"
        if self.neuron is not None:
            return str(self.neuron), "neuron"
        return self.verdict or self.value, self.unit


@dataclass(frozen=True)
class Row:
    """`name`: what the API calls it. `rule`: what wins, in words, empty where nothing does.
    `declared`: the providers' own words."""

    name: str
    label: str
    cells: tuple[Cell, ...]
    rule: str = ""
    declared: bool = False

    @property
    def differs(self) -> bool:
        """As they are shown: what rounds to the same is the same."""
        plain = {"wins": False, "health": None, "value": None, "samples": None}
        return len({replace(cell, **plain) for cell in self.cells}) > 1  # type: ignore[arg-type]


@dataclass(frozen=True)
class Section:
    name: str
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

    @property
    def competes(self) -> bool:
        """Nobody is told that the best is one that cannot be had."""
        return not (self.listing.removed or self.row.decided.hidden)


def named(ids: Sequence[str]) -> tuple[dict[str, Listing], tuple[str, ...]]:
    """The listings that the first four of these name, by `parts.service_id`, and the names that are
    nobody's (2 queries each)."""
    known: dict[str, Listing] = {}
    unknown = []
    for id in list(dict.fromkeys(ids))[:MOST]:
        listing = listing_named(id)
        if listing is None:
            unknown.append(shown(id))
        else:
            known[service_id(listing)] = listing
    return known, tuple(unknown)


def gather(listings: Sequence[Listing], workload: Workload | None) -> tuple[One, ...]:
    """What there is to compare (5 queries)."""
    keys = [ServiceKey.of(listing) for listing in listings]
    known, measured, moves = standings(keys), health_of(keys), moved(listings)
    decided = moderation.of_listings(listings)
    kept = {
        (total.serving, total.provider): total
        for total in ServiceTotal.objects.filter(provider__in={key.provider for key in keys})
    }
    return tuple(
        One(
            listing=listing,
            row=ServiceRow.of(
                listing,
                known[key],
                measured[key],
                move=moves.get((listing.serving, listing.provider)),
                decided=decided[listing.serving, listing.provider],
            ),
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
        Section("prices", _("Prices"), _prices(found, workload)),
        Section("measured", _("Measured by us, 7 days"), _measured(found)),
        Section("trust", _("Evidence and trust"), _trust(found)),
        Section("record", _("Settlement record, all time"), _record(found)),
        Section("model", _("The model, as declared"), _model(found)),
    )


def _prices(found: Sequence[One], workload: Workload | None) -> tuple[Row, ...]:
    offers = [one.row.offer for one in found]
    rows = [
        _priced(found, "input_price", _("Input"), [offer.input for offer in offers]),
        _priced(found, "cached_price", _("Cached input"), [offer.cached for offer in offers]),
        _priced(found, "output_price", _("Output"), [offer.output for offer in offers]),
    ]
    if workload is not None:
        months = [one.month for one in found]
        cells = [
            Cell(neuron=month) if month is not None else Cell(_("not by tokens"))
            for month in months
        ]
        rule = _("the lowest wins")
        rows.append(_row(found, "month_cost", _("Your month"), cells, rule, months, min))
    tiers = [
        Cell(
            _("%(n)s tiers") % {"n": len(offer.tiers)} if offer.tiers else _("one price"),
            value=str(len(offer.tiers)),
        )
        for offer in offers
    ]
    return (*rows, Row("tiers", _("Long requests"), tuple(tiers)))


def _priced(found: Sequence[One], name: str, label: str, prices: Sequence[Price | None]) -> Row:
    cells = [
        Cell(price=price, note=price.each_said) if price is not None else Cell(formats.UNKNOWN)
        for price in prices
    ]
    units = {price.unit for price in prices if price is not None}
    # Prices of different units are shown, and compared by nobody.
    values = [price.neuron if price is not None and len(units) == 1 else None for price in prices]
    rule = _("the lowest wins") if len(units) == 1 else ""
    return _row(found, name, label, cells, rule, values, min)


def _samples(one: Spread) -> str:
    return ngettext("%(n)s sample", "%(n)s samples", one.n) % {"n": f"{one.n:,}"}


def _first_of(one: Spread) -> str:
    """What the median stands on: few samples have no outer value of their own."""
    if one.n < LEAST_SAMPLES:
        return _samples(one)
    return _("19 of 20 within %(edge)s") % {"edge": seconds(one.edge)} + f", {_samples(one)}"


def _measured(found: Sequence[One]) -> tuple[Row, ...]:
    ups = [one.health.uptime_7d for one in found]
    firsts = [one.health.first_token for one in found]
    speeds = [one.health.tokens for one in found]
    return (
        _row(
            found,
            "uptime_7d",
            _("Uptime"),
            [
                Cell(
                    up.text,
                    ngettext("by %(n)s probe", "by %(n)s probes", up.probes)
                    % {"n": f"{up.probes:,}"},
                    health=one.health,
                    value=up.percent,
                    unit="percent",
                    samples=up.probes,
                )
                if up
                else Cell(_("no data"), health=one.health)
                for up, one in zip(ups, found, strict=True)
            ],
            _("the highest of at least %(n)s probes wins") % {"n": LEAST_PROBES},
            [up.share if up and up.probes >= LEAST_PROBES else None for up in ups],
            max,
        ),
        _row(
            found,
            "first_token_p50",
            _("First token, median"),
            [
                Cell(seconds(one.p50), _first_of(one), value=str(one.p50), unit="ms", samples=one.n)
                if one
                else Cell(_("no data"))
                for one in firsts
            ],
            _("the lowest of at least %(n)s samples wins") % {"n": LEAST_SAMPLES},
            [one.p50 if one and one.n >= LEAST_SAMPLES else None for one in firsts],
            min,
        ),
        _row(
            found,
            "speed_p50",
            _("Speed, median"),
            [
                Cell(
                    f"{tenths(one.p50)} tok/s",
                    _samples(one),
                    value=formats.tenths(one.p50),
                    unit="tokens / second",
                    samples=one.n,
                )
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
        machine = one.standing.questions.get("hardware")
        if question == "gpu" and word in _GOOD and machine in ("fail", "not_provided"):
            return Cell(_("not tied to a genuine machine"))  # it may be another's
        # What was proven of development evidence proves nothing about real hardware.
        shown = f"{DEVELOPMENT}{word}" if one.standing.development and word in _GOOD else word
        return Cell(verdict=shown) if word else Cell(_("not checked"))

    stakes = [one.listing.stake for one in found]
    yes, no = Cell(_("yes"), value="true"), Cell(_("no"), value="false")
    kinds = [cards.verifier_of(one.listing.additional_info) for one in found]
    overall = [one.standing.overall for one in found]
    return (
        Row("verdict", _("Our verdict"), tuple(Cell(verdict=word) for word in overall)),
        Row("hardware", _("Hardware proven"), tuple(answered(one, "hardware") for one in found)),
        Row("gpu", _("GPU proven"), tuple(answered(one, "gpu") for one in found)),
        Row(
            "tee_signer_acknowledged",
            _("Signer acknowledged by the contract’s owner"),
            tuple(yes if one.listing.tee_signer_acknowledged else no for one in found),
        ),
        Row(
            "declared_tee",
            _("Kind of TEE"),
            tuple(Cell(kind or _("not declared"), value=kind or None) for kind in kinds),
            declared=True,
        ),
        _row(
            found,
            "stake",
            _("Stake"),
            [Cell(neuron=stake) for stake in stakes],
            _("the highest wins"),
            stakes,
            max,
        ),
    )


def _record(found: Sequence[One]) -> tuple[Row, ...]:
    totals = [one.total for one in found]
    shares = [paid_share(one.listing, one.total) for one in found]

    def counted(name: str, label: str, numbers: Iterable[int]) -> Row:
        return Row(name, label, tuple(Cell(f"{n:,}", value=str(n)) for n in numbers))

    return (
        counted("settlements", _("Settlements"), (total.items for total in totals)),
        counted("paid_in_part", _("Paid in part"), (total.in_part for total in totals)),
        counted("refused", _("Refused or abandoned"), (total.refused for total in totals)),
        Row("collected", _("Collected"), tuple(Cell(neuron=int(one.settled)) for one in totals)),
        Row(
            "collected_share",
            _("Share of what was asked"),
            tuple(
                Cell(text)
                if text == formats.UNKNOWN
                else Cell(text, value=text.removesuffix(" %"), unit="percent")
                for text in shares
            ),
        ),
    )


def _model(found: Sequence[One]) -> tuple[Row, ...]:
    names = [
        ", ".join(one.listing.models) if one.listing.is_fine_tuning else one.listing.model
        for one in found
    ]
    titles = zip(found, names, strict=True)
    named = Row(
        "model",
        _("Model"),
        tuple(Cell(one.row.title, value=name or None) for one, name in titles),
        declared=True,
    )
    labels = [label for label, _ in found[0].card.facts] if found else []
    facts = [dict(one.card.facts) for one in found]
    return (
        named,
        *(
            Row(
                f"declared_{name}",
                label,
                tuple(
                    Cell(said[label] or _("unknown"), value=_declared(one.card, name))
                    for one, said in zip(found, facts, strict=True)
                ),
                declared=True,
            )
            for name, label in zip(cards.FACTS, labels, strict=True)
        ),
    )


def _declared(card: cards.Card, name: str) -> str | None:
    said = getattr(card, name)
    return None if said in ("", None) else str(said)


def _row(
    found: Sequence[One],
    name: str,
    label: str,
    cells: Sequence[Cell],
    rule: str,
    values: Sequence[int | None],
    best: Callable[[list[int]], int],
) -> Row:
    """A row whose best value wins, where at least two compete and they are not all equal."""
    pairs = zip(found, values, strict=True)
    values = [value if one.competes else None for one, value in pairs]
    competing = [value for value in values if value is not None]
    if not rule or len(competing) < 2 or len(set(competing)) < 2:
        return Row(name, label, tuple(cells), rule)
    won = best(competing)
    marked = tuple(
        replace(cell, wins=value == won) for cell, value in zip(cells, values, strict=True)
    )
    return Row(name, label, marked, rule)


@dataclass(frozen=True)
class ComparePage:
    """`/compare`. `tries`: `pages.try_of` each service; `unsaid`: what no provider declares;
    `unknown`: names that no listing has; `dropped`: more than four were asked. `filters`: the
    workload; `kept`: what else the address says."""

    services: tuple[ServiceRow, ...]
    tries: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    unsaid: tuple[str, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]
    dropped: int
    views: tuple[Link, ...]
    only: bool
    filters: Filters
    kept: tuple[tuple[str, str], ...]
    twins: tuple[Link, ...]


def without_unsaid(
    found: tuple[Section, ...],
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """For people, who would read a row of unknowns for each: the sections without facts of the
    model that none of the providers declares, and the labels of these."""
    unsaid = {
        row.name: row.label
        for section in found
        for row in section.rows
        if section.name == "model" and all(cell.value is None for cell in row.cells)
    }
    kept = tuple(
        replace(section, rows=tuple(row for row in section.rows if row.name not in unsaid))
        for section in found
    )
    return kept, tuple(unsaid.values())


def only_differences(found: tuple[Section, ...]) -> tuple[Section, ...]:
    kept = (
        replace(section, rows=tuple(row for row in section.rows if row.differs))
        for section in found
    )
    return tuple(section for section in kept if section.rows)


def shown(id: str) -> str:
    """A stranger's name of a service, fit to be shown."""
    return formats.clip(parts.name(id), 60)
