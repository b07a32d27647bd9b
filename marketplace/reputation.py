"""What a listing's record says, as counts with a window each; never one score."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Min, Q
from django.db.models.functions import TruncDate
from django.utils import timezone

from attestation.history import told
from attestation.models import Verification
from attestation.selectors import ServiceKey
from ledger.models import ServiceTotal, Settlement
from ledger.records import Listing
from ledger.statistics import paid_since
from marketplace import formats
from marketplace.settlements import GROUPS

DAYS = 90


@dataclass(frozen=True)
class Totals:
    """What settlements say about one listing, as counts; no score. Amounts in neuron.

    `in_full`, `in_part` and `refused` count items and add up to `items`; `share` of what was asked,
    "" where nobody knows; `penalties`, items of which the log says what was paid alone; payers paid
    something in the last 30 days.
    """

    items: int
    in_full: int
    in_part: int
    refused: int
    settled: int
    unsettled: int
    share: str
    penalties: int
    payers_30d: int


def totals(listing: Listing) -> Totals:
    """Settlement record of a listing (2 queries)."""
    provider, serving = listing.provider, listing.serving
    payers = payers_30d(provider, serving)
    found = ServiceTotal.objects.filter(provider=provider, serving=serving).first()
    found = found or ServiceTotal(provider=provider, serving=serving)
    return Totals(
        items=found.items,
        in_full=found.items - found.in_part - found.refused,
        in_part=found.in_part,
        refused=found.refused,
        settled=found.settled,
        unsettled=found.unsettled + found.refused_amount,
        share=paid_share(listing, found).replace(formats.UNKNOWN, ""),
        penalties=penalties(listing, found),
        payers_30d=payers,
    )


def penalties(listing: Listing, total: ServiceTotal) -> int:
    """Items that paid a penalty, the one way in which fine-tuning is paid in part; of these alone
    no log says what was asked for."""
    return int(total.in_part) if listing.is_fine_tuning else 0


def paid_share(listing: Listing, total: ServiceTotal) -> str:
    """What was paid of what was asked for; `–` where nobody knows."""
    asked = total.settled + total.unsettled + total.refused_amount
    return formats.percentage(total.settled, 0 if penalties(listing, total) else asked)


def payers_30d(provider: str, serving: str) -> int:
    """Distinct users who paid a listing in the last 30 days (1 query)."""
    since = timezone.now() - dt.timedelta(days=30)
    paid = paid_since(since).filter(provider=provider, serving=serving, settled__gt=0)
    found: int = paid.aggregate(payers=Count("user", distinct=True))["payers"]
    return found


@dataclass(frozen=True)
class Activity:
    """Of the last 90 days: distinct users who paid, and UTC days with a payment."""

    payers: int
    days: int


@dataclass(frozen=True)
class Refusals:
    """Refused items of one status."""

    status: str
    items: int


@dataclass(frozen=True)
class Verdicts:
    """Stored verification runs by what they found, in the words that stand without a report; `runs`
    that came to a verdict."""

    runs: int
    by_word: tuple[tuple[str, int], ...]
    since: dt.datetime | None


def activity(listing: Listing) -> Activity:
    """Payers and days active (1 query)."""
    rows = paid_since(timezone.now() - dt.timedelta(days=DAYS)).filter(
        provider=listing.provider, serving=listing.serving
    )
    found = rows.aggregate(
        payers=Count("user", distinct=True, filter=Q(settled__gt=0)),
        days=Count(TruncDate("at", tzinfo=dt.UTC), distinct=True),
    )
    return Activity(found["payers"], found["days"])


def refusals(listing: Listing) -> tuple[Refusals, ...]:
    """Why items were refused, all time, the most frequent first (1 query)."""
    rows = Settlement.objects.filter(provider=listing.provider, serving=listing.serving)
    found = rows.filter(GROUPS["refused"][1]).values_list("status").annotate(n=Count("pk"))
    return tuple(Refusals(status, number) for status, number in found.order_by("-n", "status")[:6])


def verdicts(key: ServiceKey) -> Verdicts:
    """The verification history as counts (1 query)."""
    rows = Verification.objects.filter(
        provider=key.provider, kind=key.kind, service_name=key.service_name
    ).exclude(overall="")
    counted = rows.values(word=told()).annotate(n=Count("pk"), first=Min("started_at"))
    found = list(counted.order_by("-n", "word"))
    words = tuple((row["word"], row["n"]) for row in found)
    first = min((row["first"] for row in found), default=None)
    return Verdicts(sum(number for _, number in words), words, first)
