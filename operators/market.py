"""Where a service's prices stand among all that offer the same model, and how its demand moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ledger.models import ACCEPTED, Service
from ledger.records import Listing
from operators.listing import MILLION
from protocol.fees import EMBEDDING, IMAGES, SPEECH

WEEKS = 12
#: Services of one model that are compared: more than any market has.
MOST = 2_000


@dataclass(frozen=True)
class Standing:
    """One price among those of `of` listed services of the model, this one included: neuron per
    unit. `below` are cheaper, `above` dearer."""

    label: str
    unit: str
    mine: int
    p10: int
    median: int
    p90: int
    below: int
    above: int
    of: int

    @property
    def word(self) -> str:
        """Where it stands, in words."""
        if self.of == 1:
            return _("the only one")
        if self.mine < self.p10:
            return _("below P10")
        if self.mine > self.p90:
            return _("above P90")
        if self.mine == self.median:
            return _("at the median")
        return _("below the median") if self.mine < self.median else _("above the median")

    @property
    def tone(self) -> str:
        return "warn" if self.of > 1 and self.mine > self.p90 else ""


@dataclass(frozen=True)
class Week:
    """Seven days that end with today: neuron settled by this provider, and by all listed services
    of the model."""

    start: dt.date
    mine: int
    everyone: int

    @property
    def share(self) -> int | None:
        """Mine in 1/10000; None where nobody settled anything."""
        return self.mine * 10_000 // self.everyone if self.everyone else None


@dataclass(frozen=True)
class Place:
    """A listing in its market; `model` is "" where it names none that could be compared. `before`:
    what all were paid in the week before the last one until the hour that it is now."""

    listing: Listing
    model: str
    services: int
    prices: tuple[Standing, ...]
    weeks: tuple[Week, ...]
    before: int

    @property
    def last(self) -> Week:
        return self.weeks[-1]


def rank(values: Sequence[int], share: int) -> int:
    """The value that `share` percent of sorted values do not exceed (nearest rank)."""
    place = -(-len(values) * share // 100)
    return values[max(0, place - 1)]


def place(listing: Listing, now: dt.datetime) -> Place:
    """One of a provider's listings among the present ones (2 queries)."""
    rows = Service.current.filter(removed=False, kind=listing.kind)
    if listing.is_fine_tuning:
        model = ""
    else:
        model = listing.model
        rows = rows.filter(model=model, service_type=listing.service_type)
    prices_of = billed(listing)
    compared = bool(model) or listing.is_fine_tuning
    rows = rows if compared else rows.none()
    found = list(
        rows.values_list("provider", "serving", *(column for column, _, _ in prices_of))[:MOST]
    )
    unit, scale = _unit(listing)
    pairs = {(str(row[0]), str(row[1])) for row in found}
    here = (listing.provider, listing.serving)
    prices = []
    for index, (_column, mine, name) in enumerate(prices_of):
        others = [int(row[index + 2]) for row in found]
        if here not in pairs:
            others.append(mine)
        values = sorted(others)
        prices.append(
            Standing(
                label=_(name),
                unit=_(unit),
                mine=mine * scale,
                p10=rank(values, 10) * scale,
                median=rank(values, 50) * scale,
                p90=rank(values, 90) * scale,
                below=sum(value < mine for value in values),
                above=sum(value > mine for value in values),
                of=len(values),
            )
        )
    pairs.add(here)
    return Place(listing, model, len(pairs), tuple(prices), *_weeks(listing, pairs, now))


def billed(listing: Listing) -> tuple[tuple[Combinable, int, str], ...]:
    """What is billed: its column of any such service, this one's price, and its name. The last is
    what services are compared by."""
    given = F("input_price"), listing.input_price, gettext_noop("Input")
    answered = F("output_price"), listing.output_price, gettext_noop("Output")
    if listing.is_fine_tuning:
        return ((F("price_per_token"), listing.price_per_token, gettext_noop("Training")),)
    if listing.service_type in IMAGES:
        return ((*answered[:2], gettext_noop("Per image")),)
    if listing.service_type == SPEECH:  # in either column, by the broker's version
        second = max(listing.input_price, listing.output_price)
        return ((Greatest("input_price", "output_price"), second, gettext_noop("Per minute")),)
    return (given,) if listing.service_type == EMBEDDING else (given, answered)


def _unit(listing: Listing) -> tuple[str, int]:
    """What prices are written per, and how many of the contract's unit that is."""
    if listing.service_type in IMAGES:
        return gettext_noop("image"), 1
    if listing.service_type == SPEECH:
        return "min", 60
    return gettext_noop("1M tokens"), MILLION


_WEEKS = """
SELECT (%(today)s::date - (s.at AT TIME ZONE 'UTC')::date) / 7,
    SUM(settled) FILTER (WHERE s.provider = %(provider)s AND s.serving = %(serving)s), SUM(settled),
    SUM(settled) FILTER (WHERE s.at < %(hour)s)
FROM ledger_settlement s
JOIN UNNEST(%(providers)s::text[], %(servings)s::text[]) AS pair (provider, serving)
    ON s.provider = pair.provider AND s.serving = pair.serving
WHERE s.status = ANY(%(accepted)s) AND s.at >= %(start)s AND s.at < %(end)s GROUP BY 1
"""


def _weeks(
    listing: Listing, pairs: set[tuple[str, str]], now: dt.datetime
) -> tuple[tuple[Week, ...], int]:
    """The last weeks, the oldest first, and `Place.before` (1 query)."""
    today = now.date()
    ordered = sorted(pairs)
    start = today - dt.timedelta(days=7 * WEEKS - 1)
    given: dict[str, Any] = {
        "today": today,
        "provider": listing.provider,
        "serving": listing.serving,
        "providers": [provider for provider, _ in ordered],
        "servings": [serving for _, serving in ordered],
        "accepted": list(ACCEPTED),
        "start": dt.datetime.combine(start, dt.time(), dt.UTC),
        "end": dt.datetime.combine(today + dt.timedelta(days=1), dt.time(), dt.UTC),
        "hour": now - dt.timedelta(days=7),
    }
    with connection.cursor() as cursor:
        cursor.execute(_WEEKS, given)
        found = {week: [int(paid or 0) for paid in sums] for week, *sums in cursor.fetchall()}
    none = [0, 0, 0]
    weeks = tuple(
        Week(today - dt.timedelta(days=7 * back + 6), *found.get(back, none)[:2])
        for back in range(WEEKS - 1, -1, -1)
    )
    return weeks, found.get(1, none)[2]
