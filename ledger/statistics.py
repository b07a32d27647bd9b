"""Sums and groups over the ledger: earnings, network totals, one provider, facet counts.

Money is summed by PostgreSQL in `numeric`, exactly; parts and totals that belong together come
from one statement, hence from one snapshot, so that parts always add up to the total, to the
neuron.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection
from django.db.models import (
    BigIntegerField,
    Count,
    Q,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from ledger import listed as on_lists
from ledger import selectors
from ledger.models import (
    ACCEPTED,
    Kind,
    Ledger,
    ServiceTotal,
    Settlement,
    SubAccount,
)
from ledger.records import Listing

# --- earnings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """A UTC day's income; `settlements` counts the accepted items."""

    date: dt.date
    amount: int
    settlements: int


@dataclass(frozen=True)
class Payer:
    user: str
    amount: int
    settlements: int


@dataclass(frozen=True)
class Earnings:
    """A provider's settled income in neuron; `by_service`, `by_day` and `by_user` each sum to
    `total`.
    """

    total: int
    unsettled: int
    settlements: int
    by_service: dict[str, int]
    by_day: tuple[Day, ...]
    by_user: tuple[Payer, ...]


_EARNINGS = """
SELECT GROUPING(serving, day, "user"), serving, day, "user", SUM(settled), SUM(unsettled), COUNT(*)
FROM (
    SELECT serving, (at AT TIME ZONE 'UTC')::date AS day, "user", settled, unsettled
    FROM ledger_settlement WHERE provider = %s AND status = ANY(%s)
) AS items
GROUP BY GROUPING SETS ((), (serving), (day), ("user"))
ORDER BY 1, day, 5 DESC, "user"
"""
# GROUPING's bits, one per column, set where the column is summed over.
_ALL, _BY_SERVICE, _BY_DAY, _BY_USER = 0b111, 0b011, 0b101, 0b110


def earnings(provider: str) -> Earnings:
    """What a provider was paid (2 queries); days oldest first, payers by amount.

    Income is the settled part of accepted items (contracts.md 6.4, 6.5); refused items pay nothing
    and are not counted. `unsettled` is what accepted items asked for and did not get.
    """
    known = selectors.contracts()
    total = unsettled = count = 0
    by_service: dict[str, int] = {}
    days: list[Day] = []
    users: list[Payer] = []
    with connection.cursor() as cursor:
        cursor.execute(_EARNINGS, [provider, list(ACCEPTED)])
        for grouping, serving, day, user, settled, missed, items in cursor.fetchall():
            amount = int(settled or 0)
            if grouping == _ALL:
                total, unsettled, count = amount, int(missed or 0), items
            elif grouping == _BY_SERVICE:
                name = known[serving].service_name if serving in known else serving
                by_service[name] = by_service.get(name, 0) + amount
            elif grouping == _BY_DAY:
                days.append(Day(day, amount, items))
            elif grouping == _BY_USER:
                users.append(Payer(user, amount, items))
    return Earnings(total, unsettled, count, by_service, tuple(days), tuple(users))


# --- the network --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """The listed services in numbers; stake in neuron."""

    services: int
    services_by_kind: dict[str, int]
    acknowledged: int
    providers: int
    models: int
    staked: int


def listed() -> Listed:
    """Counts over all listings (3 queries); they change when a listing does
    (`selectors.listings_version`)."""
    current = on_lists.rows()
    found = current.aggregate(
        services=Count("pk"),
        inference=Count("pk", filter=Q(kind=Kind.INFERENCE)),
        fine_tuning=Count("pk", filter=Q(kind=Kind.FINE_TUNING)),
        acknowledged=Count("pk", filter=Q(tee_signer_acknowledged=True)),
        staked=Sum("stake"),
    )
    return Listed(
        services=found["services"],
        services_by_kind={
            Kind.INFERENCE.value: found["inference"],
            Kind.FINE_TUNING.value: found["fine_tuning"],
        },
        acknowledged=found["acknowledged"],
        # Not COUNT(DISTINCT …), which sorts every row.
        providers=current.values("provider").distinct().count(),
        models=current.exclude(model="").values("model").distinct().count(),
        staked=found["staked"] or 0,
    )


@dataclass(frozen=True)
class Totals(Listed):
    """The network in numbers; amounts in neuron. `spent` is None where it was not asked for."""

    accounts: int
    deposited: int
    available: int
    spent: int | None
    spent_24h: int
    settlements_24h: int

    @property
    def locked(self) -> int:
        """What lies in sub-accounts: deposited but no longer available (contracts.md 2)."""
        return self.deposited - self.available


def totals(
    now: dt.datetime | None = None, *, all_time: bool = False, known: Listed | None = None
) -> Totals:
    """Listed services (3 queries, none where `known`), accounts and spending (2 queries); the
    last 24 h end at `now`. `all_time` also says what was ever spent (1 query more).
    """
    since = (now or timezone.now()) - dt.timedelta(hours=24)
    purses = Ledger.current.filter(exists=True).aggregate(
        accounts=Count("pk"), deposited=Sum("total"), available=Sum("available")
    )
    accepted = Settlement.objects.filter(status__in=ACCEPTED)
    recent = accepted.filter(at__gte=since).aggregate(spent=Sum("settled"), items=Count("pk"))
    ever = None
    if all_time:
        sums = ServiceTotal.objects.filter(provider="").aggregate(spent=Sum("settled"))
        ever = sums["spent"] or 0
    return Totals(
        **vars(known or listed()),
        accounts=purses["accounts"],
        deposited=purses["deposited"] or 0,
        available=purses["available"] or 0,
        spent=ever,
        spent_24h=recent["spent"] or 0,
        settlements_24h=recent["items"],
    )


# --- providers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProviderSummary:
    """One provider over all serving contracts. `users` holds a sub-account there; `payers` paid
    in 30 days.
    """

    address: str
    services: tuple[Listing, ...]
    stake: int
    since_block: int | None
    users: int
    deposited: int
    payers_30d: int
    earned: int
    earned_24h: int
    earned_30d: int
    unsettled: int


def provider(address: str, now: dt.datetime | None = None) -> ProviderSummary:
    """A provider's summary (5 queries); an unknown address has no services and zeroes."""
    now = now or timezone.now()
    listings = selectors.services_of(address)
    held = SubAccount.current.filter(provider=address, live=True).aggregate(
        users=Count("user", distinct=True), deposited=Sum("balance")
    )
    ever = ServiceTotal.objects.filter(provider=address).aggregate(
        earned=Sum("settled"), missed=Sum("unsettled")
    )
    month = paid_since(now - dt.timedelta(days=30)).filter(provider=address)
    paid = month.aggregate(
        payers=Count("user", distinct=True, filter=Q(settled__gt=0)),
        earned_24h=Sum("settled", filter=Q(at__gte=now - dt.timedelta(hours=24))),
        earned_30d=Sum("settled"),
    )
    return ProviderSummary(
        address=address,
        services=listings,
        stake=sum(listing.stake for listing in listings),
        since_block=min((listing.created_block for listing in listings), default=None),
        users=held["users"],
        deposited=held["deposited"] or 0,
        payers_30d=paid["payers"],
        earned=ever["earned"] or 0,
        earned_24h=paid["earned_24h"] or 0,
        earned_30d=paid["earned_30d"] or 0,
        unsettled=ever["missed"] or 0,
    )


def paid_since(since: dt.datetime) -> QuerySet[Settlement]:
    """Accepted items from a moment on."""
    accepted = Settlement.objects.filter(status__in=ACCEPTED, at__gte=since)
    return accepted.filter(block__gte=first_paid(since))


def first_paid(since: dt.datetime) -> Subquery:
    """The block of the first accepted item from a moment on; NULL where there is none.

    Blocks and times rise together: this block leads to the rows of a window by the index that every
    history has, past all the older rows. Of several blocks of one second it is the first.
    """
    accepted = Settlement.objects.filter(status__in=ACCEPTED, at__gte=since)
    first = accepted.order_by("at", "block").values("block")[:1]
    return Subquery(first, output_field=BigIntegerField())


def last_paid(**until: dt.datetime) -> Coalesce:
    """The same for rows that were not accepted: the block of the last accepted item `at__lte` or
    `at__lt` a moment, 0 where there is none. Nothing later stands in an earlier block."""
    accepted = Settlement.objects.filter(status__in=ACCEPTED, **until)
    return Coalesce(Subquery(accepted.order_by("-at").values("block")[:1]), 0)


# --- facets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facet:
    """How many services a filter value would show."""

    value: str
    count: int


@dataclass(frozen=True)
class Facets:
    """Counts per filter value under the other filters of a query; the most frequent first."""

    kinds: tuple[Facet, ...]
    types: tuple[Facet, ...]
    models: tuple[Facet, ...]


def facets(query: selectors.ServiceQuery, limit: int = 30) -> Facets:
    """Facet counts of the services list, at most `limit` values each (3 queries).

    A facet ignores its own filter (choosing another value replaces it) and keeps all the others.
    """

    def count(column: str, own: str) -> tuple[Facet, ...]:
        rows = (
            selectors.matching(query.without(own))
            .exclude(**{column: ""})
            .values_list(column)
            .annotate(found=Count("pk"))
            .order_by("-found", column)[:limit]
        )
        return tuple(Facet(value, found) for value, found in rows)

    return Facets(count("kind", "kind"), count("service_type", "type"), count("model", "model"))
