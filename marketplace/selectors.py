"""Reads that only pages need; everything else is in `ledger.selectors` and `ledger.statistics`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Q, Sum
from django.utils import timezone

from ledger import selectors
from ledger.models import ACCEPTED, Service, ServiceChange, Settlement
from ledger.records import ChangeEntry, Contract


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
    """Settlement record of a listing (1 query)."""
    since = (now or timezone.now()) - dt.timedelta(days=30)
    accepted = Q(status__in=ACCEPTED)
    partly = Q(status="partial")
    found = Settlement.objects.filter(provider=provider, serving=serving).aggregate(
        # First: after it, `settled` names the sum below.
        payers=Count("user", distinct=True, filter=Q(at__gte=since, settled__gt=0)),
        items=Count("pk"),
        in_part=Count("pk", filter=partly),
        refused=Count("pk", filter=~accepted),
        settled=Sum("settled", filter=accepted),
        unsettled=Sum("unsettled"),
    )
    return Reputation(
        items=found["items"],
        in_full=found["items"] - found["in_part"] - found["refused"],
        in_part=found["in_part"],
        refused=found["refused"],
        settled=found["settled"] or 0,
        unsettled=found["unsettled"] or 0,
        payers_30d=found["payers"],
    )
