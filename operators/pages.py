"""What the pages of earnings, settlements, customers and market show: one frozen value each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import links
from accounts.pages_parts import Option, Pager
from accounts.pages_transaction import Link
from attestation.selectors import ServiceKey, StandingView
from chain.selectors import Freshness
from ledger.records import Listing
from operators import period as periods
from operators.banners import Banner
from operators.batches import Asked, Batch, Opened, Unpaid
from operators.customers import Collectable, Customer
from operators.debts import Owed
from operators.earnings import UNNAMED, Earnings, Now, Part, Sums
from operators.flows import Books
from operators.gas import Economy
from operators.market import Place
from operators.period import Period
from probes.charts import Chart
from probes.selectors import HealthView

#: Rows of a cut that a page shows; the rest is one row, so that the sum stays.
MOST_ROWS = 20


def windows(at: str, period: Period, more: str = "") -> tuple[Link, ...]:
    """The preset periods and the last months, as links; `more` is kept in each."""
    presets = (
        Link(_(periods.LABELS[name]), f"{at}?period={name}{more}", name == period.name)
        for name in periods.PRESETS
    )
    months = (
        Link(date_format(month.since or "", "F Y"), f"{at}?{month.query()}{more}", month == period)
        for month in periods.months(timezone.now().date())
    )
    return (*presets, *months)


@dataclass(frozen=True)
class Outside:
    """What somebody sees who is not signed in, or owns no service."""

    signed_in: bool
    address: str = ""


@dataclass(frozen=True)
class ServiceRow:
    """One of the operator's services. `earned` neuron in the page's period."""

    listing: Listing
    health: HealthView
    standing: StandingView
    earned: int

    @property
    def path(self) -> str:
        return links.service(self.listing)

    @property
    def tone(self) -> str:
        return {"up": "ok", "degraded": "warn", "down": "bad"}.get(self.health.state, "")

    @property
    def named(self) -> str:
        one = self.listing
        return one.model or (", ".join(one.models) if one.models else "") or one.kind


def service_rows(
    listings: Iterable[Listing],
    health: Mapping[ServiceKey, HealthView],
    standings: Mapping[ServiceKey, StandingView],
    earned: Earnings,
) -> tuple[ServiceRow, ...]:
    sums = {part.id: part.sums.earned for part in earned.by_service}
    return tuple(
        ServiceRow(
            one,
            health[ServiceKey.of(one)],
            standings[ServiceKey.of(one)],
            sums.get(one.service_name, 0),
        )
        for one in listings
    )


@dataclass(frozen=True)
class CutRow:
    """`share`: of the largest row, in 1/10000, for the bar. `address`: the label is one."""

    label: str
    sums: Sums
    share: int
    path: str
    address: str = ""


@dataclass(frozen=True)
class Cut:
    """Earnings cut one way: rows, and what is not shown as one row; together the total."""

    name: str
    title: str
    head: str
    caption: str
    file: str
    rows: tuple[CutRow, ...]
    others: int
    rest: Sums
    total: Sums
    csv: str


_CUTS = {
    "service": (
        *(gettext_noop("By service"), gettext_noop("Service")),
        *(gettext_noop("Earnings by service"), gettext_noop("By service as CSV, in neuron")),
    ),
    "model": (
        *(gettext_noop("By model"), gettext_noop("Model named on chain at the settlement")),
        *(gettext_noop("Earnings by model"), gettext_noop("By model as CSV, in neuron")),
    ),
    "user": (
        *(gettext_noop("By user"), gettext_noop("User")),
        *(gettext_noop("Earnings by user"), gettext_noop("By user as CSV, in neuron")),
    ),
    "day": (
        *(gettext_noop("By day"), gettext_noop("Day, UTC")),
        *(gettext_noop("Earnings by day"), gettext_noop("By day as CSV, in neuron")),
    ),
}


def cut(found: Earnings, name: str, period: Period) -> Cut:
    """One of `earnings.CUTS`; days newest first."""
    parts = found.by(name)
    parts = tuple(reversed(parts)) if name == "day" else parts
    shown, hidden = parts[:MOST_ROWS], parts[MOST_ROWS:]
    largest = max((part.sums.earned for part in shown), default=0) or 1
    title, head, caption, file = map(_, _CUTS[name])
    return Cut(
        name=name,
        title=title,
        head=head,
        caption=caption,
        file=file,
        rows=tuple(
            CutRow(
                label=_(part.id) if name == "model" and part.id in UNNAMED else part.id,
                sums=part.sums,
                share=part.sums.earned * 10_000 // largest,
                path=_rows_path(part, name, period),
                address=part.id if name == "user" else "",
            )
            for part in shown
        ),
        others=len(hidden),
        rest=sum((part.sums for part in hidden), Sums()),
        total=found.total,
        csv=f"/operator/earnings.csv?{period.query(by=name)}",
    )


def cuts(by: str, period: Period) -> tuple[Link, ...]:
    """The ways to cut, as links."""
    return tuple(
        Link(_(words[0]), f"/operator?{period.query(by=name)}#cuts", name == by)
        for name, words in _CUTS.items()
    )


def _rows_path(part: Part, name: str, period: Period) -> str:
    """The settlements behind a row; a model is no filter of them, as the chain does not name it."""
    if name == "model":
        return ""
    if name == "day":
        return f"/operator/settlements?since={part.id}&until={part.id}"
    return f"/operator/settlements?{period.query(**{name: part.id})}"


@dataclass(frozen=True)
class OverviewPage:
    """`/operator`. `uptime`: of the listed service that has the least of it; `owed`: what brokers
    say they have not settled."""

    address: str
    now: Now
    services: tuple[ServiceRow, ...]
    uptime: ServiceRow | None
    banners: tuple[Banner, ...]
    period: Period
    windows: tuple[Link, ...]
    chart: Chart
    cuts: tuple[Link, ...]
    cut: Cut
    owed: Owed
    unpaid: tuple[Unpaid, ...]
    economy: Economy
    freshness: Freshness
    tabs: tuple[Link, ...]

    @property
    def listed(self) -> bool:
        """At least one service is listed now."""
        return any(not row.listing.removed for row in self.services)


@dataclass(frozen=True)
class SettlementsPage:
    """`/operator/settlements`. `books` is None where filters leave items out: a part of them is
    not what the contracts paid."""

    address: str
    asked: Asked
    windows: tuple[Link, ...]
    services: tuple[Option, ...]
    statuses: tuple[Option, ...]
    rows: tuple[Batch, ...]
    pager: Pager
    sums: Sums
    books: Books | None
    unpaid: tuple[Unpaid, ...]
    economy: Economy
    csv: str
    json: str
    tabs: tuple[Link, ...]


@dataclass(frozen=True)
class BatchPage:
    """`/operator/settlements/<hash>`."""

    opened: Opened
    tabs: tuple[Link, ...]


@dataclass(frozen=True)
class CustomersPage:
    """`/operator/customers`."""

    address: str
    sums: Collectable
    rows: tuple[Customer, ...]
    pager: Pager
    more: bool
    views: tuple[Link, ...]
    owed: Owed
    tabs: tuple[Link, ...]


@dataclass(frozen=True)
class PlaceCard:
    place: Place
    chart: Chart
    model_path: str


@dataclass(frozen=True)
class MarketPage:
    """`/operator/market`."""

    cards: tuple[PlaceCard, ...]
    tabs: tuple[Link, ...]
