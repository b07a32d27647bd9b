"""Reads that `marketplace` alone needs; all others are in `ledger.selectors` and
`ledger.statistics`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count
from django.utils import timezone

from ledger import selectors
from ledger.models import Service, ServiceChange, ServiceTotal
from ledger.records import ChangeEntry, Contract, Listing
from ledger.statistics import paid_since


def listing_named(id: str) -> Listing | None:
    """The listing that `parts.service_id` names, removed ones too (2 queries); None for anything
    else."""
    kind, _, rest = id.partition("/")
    spelled, _, service_name = rest.partition("/")
    address = selectors.address_of(spelled)
    if kind not in selectors.KINDS or address is None or "\x00" in service_name:
        return None
    return selectors.service(kind, address, service_name[:200], include_removed=True)


def latest_changes(
    provider: str, serving: str, known: dict[str, Contract]
) -> dict[str, ChangeEntry]:
    """The newest entry of each kind of change of one listing (1 query)."""
    rows = (
        ServiceChange.objects.filter(provider=provider, serving=serving)
        .order_by("change", "-block", "-pk")
        .distinct("change")
    )
    return {row.change: ChangeEntry.of(row, known) for row in rows}


def service_types(providers: set[str]) -> dict[tuple[str, str], str]:
    """Service type by provider and service name, removed listings included (2 queries)."""
    known = selectors.contracts()
    rows = Service.current.filter(provider__in=providers)
    return {
        (provider, known[serving].service_name): service_type
        for provider, serving, service_type in rows.values_list(
            "provider", "serving", "service_type"
        )
        if serving in known
    }


@dataclass(frozen=True)
class Reputation:
    """What settlements say about one listing, as counts; no score. Amounts in neuron.

    `in_full`, `in_part` and `refused` count items and add up to `items`; payers paid something in
    the last 30 days.
    """

    items: int
    in_full: int
    in_part: int
    refused: int
    settled: int
    unsettled: int
    payers_30d: int


def reputation(provider: str, serving: str, now: dt.datetime | None = None) -> Reputation:
    """Settlement record of a listing (2 queries)."""
    payers = payers_30d(provider, serving, now)
    total = ServiceTotal.objects.filter(provider=provider, serving=serving).first()
    total = total or ServiceTotal(provider=provider, serving=serving)
    return Reputation(
        items=total.items,
        in_full=total.items - total.in_part - total.refused,
        in_part=total.in_part,
        refused=total.refused,
        settled=total.settled,
        unsettled=total.unsettled + total.refused_amount,
        payers_30d=payers,
    )


def payers_30d(provider: str, serving: str, now: dt.datetime | None = None) -> int:
    """Distinct users who paid a listing in the last 30 days (1 query)."""
    since = (now or timezone.now()) - dt.timedelta(days=30)
    paid = paid_since(since).filter(provider=provider, serving=serving, settled__gt=0)
    found: int = paid.aggregate(payers=Count("user", distinct=True))["payers"]
    return found
